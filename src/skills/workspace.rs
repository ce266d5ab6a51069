//! Files within one folder, and no way out of it.
//!
//! Refuses to know: which skill asks. Invariants: every path is opened beneath the folder's handle, so `..`,
//! absolute paths and links that lead outside are refused by the kernel's own walk, never by comparing strings;
//! a write appears whole or not at all and is durable when it returns.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};

use crate::domain::code;
use crate::domain::effect::EffectKey;
use crate::runtime::folder::open_without_links;

use super::skill::SkillError;
use super::stop::{Halt, Stop};

/// Bytes of a path.
const PATH_BYTES_MAX: usize = 4096;
/// What git keeps a repository in, or a file that says where it is.
const GIT_FOLDER: &str = ".git";
/// What belongs to programs alone; listings skip it.
pub(super) const OWN_FOLDER: &str = ".openclaw";
/// Bytes in which a NUL makes a file binary.
const BINARY_LOOK_BYTES: usize = 8 * 1024;

/// A run's folder.
#[derive(Debug)]
pub(super) struct Workspace {
    dir: Dir,
}

/// What a finished write says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    /// Whether there was no such file before.
    pub(super) created: bool,
}

impl Workspace {
    pub(super) fn open(root: &Path) -> Result<Self, SkillError> {
        let opened = open_without_links(root).map_err(|source| SkillError::OpenWorkspace {
            path: root.display().to_string(),
            source,
        })?;
        let dir = Dir::from_std_file(opened.into());
        Ok(Self { dir })
    }

    /// The folder's handle, for walks.
    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Whether this is a folder within the workspace.
    pub(super) fn check_folder(&self, path: &str) -> Result<PathBuf, Stop> {
        let clean = relative(path)?;
        let metadata = self
            .dir
            .metadata(&clean)
            .map_err(|error| explain(error, "open", path))?;
        if metadata.is_dir() {
            Ok(clean)
        } else {
            Err(Stop::refused(format!("`{path}` is not a folder")))
        }
    }

    /// Opens a regular file for reading, and says how long it is.
    pub(super) fn open_file(&self, path: &str) -> Result<(File, u64), Stop> {
        let clean = relative(path)?;
        let mut options = OpenOptions::new();
        // A pipe in the workspace must not hold the thread.
        options
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let opened = self.dir.open_with(&clean, &options);
        let file = opened.map_err(|error| explain(error, "open", path))?;
        let metadata = file.metadata().map_err(|error| explain(error, "open", path))?;
        if metadata.is_dir() {
            return Err(Stop::refused(format!("`{path}` is a folder, not a file")));
        }
        if !metadata.is_file() {
            return Err(Stop::refused(format!("`{path}` is not a regular file")));
        }
        Ok((file, metadata.len()))
    }

    /// The whole content of a file of at most `bytes_max` bytes.
    pub(super) fn read(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, Stop> {
        let (file, bytes) = self.open_file(path)?;
        let mut content = Vec::new();
        let mut bounded = file.take(bytes_max + 1);
        bounded
            .read_to_end(&mut content)
            .map_err(|error| explain(error, "read", path))?;
        if content.len() as u64 > bytes_max {
            return Err(Stop::refused(format!(
                "`{path}` has {bytes} bytes, at most {bytes_max} are read at once"
            )));
        }
        Ok(content)
    }

    /// Replaces or makes a file with its folders. The key names the temporary file, so that a call that is made
    /// again cleans up after the one before it.
    pub(super) fn write(&self, path: &str, content: &[u8], key: EffectKey, halt: &Halt) -> Result<Written, Stop> {
        let clean = relative(path)?;
        if clean == Path::new(".") || path.ends_with('/') {
            return Err(Stop::refused(format!("`{path}` is not the name of a file")));
        }
        // A link within the workspace stays a link: what it names is written.
        let target = match self.dir.canonicalize(&clean) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => clean,
            Err(error) => return Err(explain(error, "write", path)),
        };
        self.refuse_settings(path, &target)?;
        let before = match self.dir.symlink_metadata(&target) {
            Ok(metadata) if metadata.is_file() => Some(metadata),
            Ok(_) => return Err(Stop::refused(format!("`{path}` is there and is not a regular file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(explain(error, "write", path)),
        };
        let folder = parent(&target);
        self.make_folders(folder)
            .map_err(|error| explain(error, "make the folder of", path))?;
        let dir = self
            .dir
            .open_dir(folder)
            .map_err(|error| explain(error, "write", path))?;
        let name = target
            .file_name()
            .ok_or_else(|| Stop::refused(format!("`{path}` is not the name of a file")))?;
        let temporary = format!(".openclaw-{key}.tmp");
        let replaced = (|| -> Result<(), Stop> {
            let explain = |error| explain(error, "write", path);
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            let mut file = dir.open_with(&temporary, &options).map_err(explain)?;
            file.write_all(content).map_err(explain)?;
            if let Some(before) = &before {
                file.set_permissions(before.permissions()).map_err(explain)?;
            }
            file.sync_all().map_err(explain)?;
            halt.look()?;
            dir.rename(&temporary, &dir, name).map_err(explain)?;
            sync_folder(&dir).map_err(explain)
        })();
        if replaced.is_err() {
            let _ = dir.remove_file(&temporary);
        }
        replaced?;
        Ok(Written {
            created: before.is_none(),
        })
    }

    /// Gives a file or folder another name; makes the folders that are missing. What has the new name stays, unless
    /// it is a file and may be replaced by one.
    pub(super) fn rename(&self, from: &str, to: &str, overwrite: bool, halt: &Halt) -> Result<(), Stop> {
        let (source, target) = (relative(from)?, relative(to)?);
        let nameless = |path: &str| Stop::refused(format!("`{path}` is not the name of a file or folder"));
        let old_name = source.file_name().ok_or_else(|| nameless(from))?;
        let new_name = target.file_name().ok_or_else(|| nameless(to))?;
        self.refuse_settings(from, &source)?;
        self.refuse_settings(to, &target)?;
        let before = self
            .dir
            .symlink_metadata(&source)
            .map_err(|error| explain(error, "move", from))?;
        self.make_folders(parent(&target))
            .map_err(|error| explain(error, "make the folder of", to))?;
        let open = |path: &Path, named: &str| {
            let opened = self.dir.open_dir(parent(path));
            opened.map_err(|error| explain(error, "move", named))
        };
        let (old, new) = (open(&source, from)?, open(&target, to)?);
        halt.look()?;
        let moved = if overwrite && before.is_file() {
            old.rename(old_name, &new, new_name)
        } else {
            // The kernel refuses what is there, so nobody can put it there in between.
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            rustix::fs::renameat_with(&old, old_name, &new, new_name, flags).map_err(io::Error::from)
        };
        moved.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(to),
            io::ErrorKind::InvalidInput => Stop::refused(format!("`{from}` cannot be moved into itself")),
            _ => explain(error, "move", from),
        })?;
        let synced = sync_folder(&new).and_then(|()| sync_folder(&old));
        synced.map_err(|error| explain(error, "move", to))
    }

    /// Refuses to change what programs read as their settings: those of git of a repository, whose configuration and hooks
    /// name programs, and where a `.git` of another place makes another repository of the folder; and the folder that
    /// programs have as their home. `path` is what was asked for, `clean` what that is.
    pub(super) fn refuse_settings(&self, path: &str, clean: &Path) -> Result<(), Stop> {
        // Links before the last part lead on; a name that is not there yet is made as it is spelt.
        let led = clean.ancestors().find_map(|there| self.dir.canonicalize(there).ok());
        let parts = clean.components().chain(led.iter().flat_map(|led| led.components()));
        let parts: Vec<Component<'_>> = parts.collect();
        let is_own = |part: &Component<'_>| part.as_os_str().eq_ignore_ascii_case(OWN_FOLDER);
        if parts.iter().any(is_own) {
            return Err(Stop::refused(format!(
                "`{path}` is in the folder that programs have as their home: they read what is there as their settings, so \
                 it is changed by programs alone"
            )));
        }
        let is_git = |part: &Component<'_>| part.as_os_str().eq_ignore_ascii_case(GIT_FOLDER);
        if parts.iter().any(is_git) {
            return Err(Stop::refused(format!(
                "`{path}` belongs to git: its files name programs that git runs, so they are changed by git alone; use \
                 git.commit, or exec.run where that is allowed [{}]",
                code::GIT_FOLDER_REFUSED.id
            )));
        }
        Ok(())
    }

    fn make_folders(&self, folder: &Path) -> io::Result<()> {
        if is_folder(&self.dir, folder)? {
            return Ok(());
        }
        make_all(&self.dir, folder)?;
        // A folder is durable when the folder that names it is.
        for ancestor in folder.ancestors().skip(1) {
            let ancestor = if ancestor.as_os_str().is_empty() {
                Path::new(".")
            } else {
                ancestor
            };
            sync_folder(&self.dir.open_dir(ancestor)?)?;
        }
        Ok(())
    }
}

/// Refuses a new name that something has.
pub(super) fn taken(to: &str) -> Stop {
    Stop::refused(format!("`{to}` is there; overwrite replaces a file"))
}

/// Whether this is a folder. `Dir::is_dir` also says no when it could not look, for want of a descriptor, say.
pub(super) fn is_folder(dir: &Dir, path: &Path) -> io::Result<bool> {
    match dir.metadata(path) {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a folder and those above it that are missing. `Dir::create_dir_all` takes a folder that it could not look at
/// for something else, so its word that there is one is looked into.
pub(super) fn make_all(dir: &Dir, path: &Path) -> io::Result<()> {
    match dir.create_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_folder(dir, path)? => Ok(()),
        other => other,
    }
}

fn sync_folder(dir: &Dir) -> io::Result<()> {
    // A handle of `Dir` is for naming only; syncing needs one that is open for reading.
    dir.open(".")?.sync_all()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A path as a model writes it, tidied; whether it stays inside is decided when it is opened.
pub(super) fn relative(path: &str) -> Result<PathBuf, Stop> {
    if path.contains('\0') || path.len() > PATH_BYTES_MAX {
        return Err(Stop::refused("the path holds a NUL or has more than 4096 bytes"));
    }
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Prefix(_) | Component::RootDir => {
                return Err(Stop::refused(format!(
                    "`{path}` is absolute; paths are relative to the workspace and cannot leave it"
                )));
            }
            Component::CurDir => {}
            // Kept: what lies before it may be a link.
            Component::ParentDir => clean.push(".."),
            Component::Normal(name) => clean.push(name),
        }
    }
    if clean.as_os_str().is_empty() {
        clean.push(".");
    }
    Ok(clean)
}

/// Turns an error of the file system into words for the model, or into a failure when it is not theirs to mend.
pub(super) fn explain(error: io::Error, doing: &'static str, path: &str) -> Stop {
    let text = match error.kind() {
        io::ErrorKind::NotFound => format!("there is no `{path}` in the workspace"),
        // The walk beneath the folder reports an escape without a number from the system.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            format!("`{path}` leads out of the workspace; paths cannot leave it")
        }
        io::ErrorKind::PermissionDenied => format!("cannot {doing} `{path}`: permission denied"),
        io::ErrorKind::IsADirectory => format!("`{path}` is a folder, not a file"),
        io::ErrorKind::NotADirectory => format!("a part of `{path}` is a file, not a folder"),
        io::ErrorKind::InvalidFilename => format!("`{path}` has a name that is too long"),
        io::ErrorKind::InvalidInput => format!("`{path}` is not a usable path"),
        io::ErrorKind::AlreadyExists => format!("a part of `{path}` is there and is not a folder"),
        io::ErrorKind::ReadOnlyFilesystem => format!("cannot {doing} `{path}`: {error}"),
        // ELOOP of older kernels and of links beneath a handle has no kind on stable.
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            format!("`{path}` goes round in links")
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            format!("`{path}` is not a regular file")
        }
        _ => {
            return Stop::Failed(SkillError::Files {
                doing,
                path: path.to_owned(),
                source: error,
            });
        }
    };
    Stop::Refused(text)
}

/// Whether content is not for reading as text.
pub(super) fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(BINARY_LOOK_BYTES)].contains(&0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct House {
        _folder: tempfile::TempDir,
        root: PathBuf,
        workspace: Workspace,
    }

    /// A workspace `inside` with a secret beside it, and every kind of link out of it.
    fn house() -> House {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path().join("inside");
        std::fs::create_dir_all(root.join("sub")).expect("folders");
        std::fs::write(folder.path().join("secret"), "secret").expect("written");
        std::fs::write(root.join("plain"), "plain").expect("written");
        for (link, to) in [
            ("up", ".."),
            ("out", "../secret"),
            ("absolute", folder.path().join("secret").to_str().expect("text")),
            ("root", "/"),
            ("proc", "/proc/self/root"),
            ("sub/chain", "../up/secret"),
            ("good", "sub/../plain"),
            ("loop", "loop"),
        ] {
            symlink(to, root.join(link)).expect("link");
        }
        let workspace = Workspace::open(&root).expect("workspace");
        House {
            _folder: folder,
            root,
            workspace,
        }
    }

    const ESCAPES: [&str; 17] = [
        "../secret",
        "sub/../../secret",
        "./../secret",
        "sub/../sub/../../secret",
        "/etc/passwd",
        "//etc/passwd",
        "up/secret",
        "out",
        "absolute",
        "root/etc/passwd",
        "proc/etc/passwd",
        "sub/chain",
        "up/inside/plain",
        "..",
        "sub/../..",
        "loop",
        "plain/../../secret",
    ];

    #[test]
    fn no_path_reads_outside() {
        let house = house();
        for path in ESCAPES {
            let read = house.workspace.read(path, 1000);
            assert!(matches!(read, Err(Stop::Refused(_))), "{path}: {read:?}");
        }
        for path in ["plain", "./plain", "sub/../plain", "good", "sub//../plain"] {
            let read = house.workspace.read(path, 1000);
            assert!(matches!(&read, Ok(content) if content == b"plain"), "{path}: {read:?}");
        }
    }

    #[test]
    fn no_path_writes_outside() {
        let house = house();
        let key = EffectKey(uuid::Uuid::from_u128(1));
        let halt = Halt::default();
        for path in ESCAPES
            .into_iter()
            .chain(["up/new", "root/tmp/openclaw-new", "../new", ".", "", "sub/", "sub"])
        {
            let written = house.workspace.write(path, b"x", key, &halt);
            assert!(matches!(written, Err(Stop::Refused(_))), "{path}: {written:?}");
        }
        let beside: Vec<_> = std::fs::read_dir(house.root.parent().expect("parent"))
            .expect("list")
            .collect();
        assert_eq!(beside.len(), 2, "{beside:?}");
        let secret = std::fs::read_to_string(house.root.parent().expect("parent").join("secret"));
        assert_eq!(secret.expect("readable"), "secret");
    }

    #[test]
    fn a_write_makes_folders_keeps_permissions_and_leaves_nothing_beside() {
        use std::os::unix::fs::PermissionsExt;
        let house = house();
        let key = EffectKey(uuid::Uuid::from_u128(1));
        let halt = Halt::default();
        let write = |path: &str, content: &str| house.workspace.write(path, content.as_bytes(), key, &halt);
        assert!(write("a/b/c.txt", "1").expect("written").created);
        let file = house.root.join("a/b/c.txt");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o750)).expect("set");
        assert!(!write("a/b/c.txt", "2").expect("written").created);
        assert_eq!(std::fs::read_to_string(&file).expect("readable"), "2");
        assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o750);
        assert_eq!(std::fs::read_dir(house.root.join("a/b")).expect("list").count(), 1);
        write("good", "3").expect("written");
        assert!(house.root.join("good").is_symlink());
        assert_eq!(
            std::fs::read_to_string(house.root.join("plain")).expect("readable"),
            "3"
        );
    }

    #[test]
    fn an_unwanted_write_changes_nothing() {
        let house = house();
        let (halt, key) = (Halt::of_unwanted_work(), EffectKey(uuid::Uuid::from_u128(1)));
        let written = house.workspace.write("plain", b"new", key, &halt);
        assert!(matches!(written, Err(Stop::Unwanted)), "{written:?}");
        assert_eq!(
            std::fs::read_to_string(house.root.join("plain")).expect("readable"),
            "plain"
        );
    }

    #[test]
    fn a_pipe_does_not_hold_the_reader() {
        let house = house();
        let pipe = house.root.join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .expect("mkfifo");
        assert!(made.success());
        let read = house.workspace.read("pipe", 10);
        assert!(matches!(read, Err(Stop::Refused(_))), "{read:?}");
    }
}
