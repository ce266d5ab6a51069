//! The files of one package: listed, hashed, and read beneath its folder only.
//!
//! Invariants: every path is opened beneath the folder's handle; links are never followed and make a package
//! unusable for pinning; what is listed and hashed is bounded. The hash covers names, contents and whether a file may
//! be executed, so a changed folder never passes for the one that was added.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt, OpenOptions, OpenOptionsExt, PermissionsExt};
use rustix::fs::{Mode, OFlags};

use super::names::wrong_with;
use crate::runtime::folder::open_without_links;
use crate::skills::workspace::relative;

/// Files of one package.
pub const FILES_MAX: usize = 2_000;
/// Bytes of all files of one package.
pub const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Folders within folders.
pub(super) const DEPTH_MAX: usize = 8;
/// Separates this hash from every other use of the function.
const HASH_CONTEXT: &[u8] = b"openclaw skill package v1\0";

/// Says why the folder of a package cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The disk refused.
    #[error("failed to {doing} {path}")]
    Io {
        /// What was being done, as an infinitive.
        doing: &'static str,
        /// To what.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is a link or a thing that is no file.
    #[error("failed to take {path}: it is {what}, and a package holds files and folders only")]
    NotAFile {
        /// Which.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// It is too large.
    #[error("failed to take the package: it has more than {limit}")]
    TooLarge {
        /// Which limit.
        limit: &'static str,
    },
    /// The path leads out of the folder, or is none.
    #[error("failed to take `{path}`: {reason}")]
    Path {
        /// What was given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What version control keeps beside the files of a package; it is not hashed, so nobody gets to see it.
pub(super) const VERSIONS: &str = ".git";

/// One file of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageFile {
    /// Relative to the folder, with `/`.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Whether its owner may execute it.
    pub is_executable: bool,
    /// Whether another name leads to it too, perhaps one outside.
    pub is_shared: bool,
}

/// An opened folder of a package.
#[derive(Debug)]
pub struct PackageFolder {
    dir: Dir,
    root: PathBuf,
}

impl PackageFolder {
    /// Opens the folder. A link to a folder is followed here: it was named by the operator.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let opened = Dir::open_ambient_dir(root, ambient_authority());
        let dir = opened.map_err(|source| failed("open", &root.display().to_string(), source))?;
        Ok(Self {
            dir,
            root: root.to_owned(),
        })
    }

    /// Opens a folder of a workspace. Whatever works there can put another thing in the place of a part of its path at
    /// any time, so the path is walked from the workspace's own handle: no link on it leads out, and the folder itself
    /// is none.
    pub fn open_beneath(workspace: &Path, path: &Path) -> Result<Self, FolderError> {
        let root = workspace.join(path);
        let opened = open_no_link(workspace, path);
        let dir = opened.map_err(|source| failed("open", &root.display().to_string(), source))?;
        Ok(Self { dir, root })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All its files, sorted by path.
    ///
    /// **Limits**: [`FILES_MAX`] files, [`BYTES_MAX`] bytes, 8 levels.
    pub fn files(&self) -> Result<Vec<PackageFile>, FolderError> {
        let mut files = Vec::new();
        walk(&self.dir, "", 0, &mut files)?;
        files.sort();
        let mut seen = BTreeSet::new();
        if let Some(again) = files.iter().find(|file| !seen.insert(file.path.to_lowercase())) {
            return Err(FolderError::NotAFile {
                path: again.path.clone(),
                what: "a name that another file has in other letters",
            });
        }
        if files.iter().map(|file| file.bytes).sum::<u64>() > BYTES_MAX {
            return Err(FolderError::TooLarge { limit: "64 MiB" });
        }
        Ok(files)
    }

    /// What a script of it may read: the folder, or all that is in it but what version control keeps there.
    pub fn readable(&self) -> Result<Vec<PathBuf>, FolderError> {
        if self.dir.symlink_metadata(VERSIONS).is_err() {
            return Ok(vec![self.root.clone()]);
        }
        let io = |source| failed("list", ".", source);
        let names = self
            .dir
            .entries()
            .map_err(io)?
            .map(|entry| entry.map(|entry| entry.file_name()));
        let names: Vec<_> = names.collect::<Result<_, _>>().map_err(io)?;
        let shown = names.into_iter().filter(|name| name != VERSIONS);
        Ok(shown.map(|name| self.root.join(name)).collect())
    }

    /// All its files, when nothing speaks against taking it over: beyond what [`Self::files`] asks for, no file has
    /// another name, because that may be one of a file that was never meant to be given away.
    pub fn admissible(&self) -> Result<Vec<PackageFile>, FolderError> {
        let files = self.files()?;
        match files.iter().find(|file| file.is_shared) {
            None => Ok(files),
            Some(shared) => Err(FolderError::NotAFile {
                path: shared.path.clone(),
                what: "a hard link",
            }),
        }
    }

    /// Copies one file of the package.
    pub fn copy(&self, file: &PackageFile, to: &Path) -> Result<(), FolderError> {
        let mut bounded = self.open_file(&file.path)?.take(BYTES_MAX);
        let mode = if file.is_executable { 0o755 } else { 0o644 };
        let mut options = std::fs::OpenOptions::new();
        let made = std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), mode).open(to);
        let copied = made.and_then(|mut made| io::copy(&mut bounded, &mut made));
        copied.map_err(|source| failed("copy", &file.path, source))?;
        Ok(())
    }

    /// The hash of names, contents and permissions to execute, as `blake3:` and 64 digits.
    pub fn hash(&self) -> Result<String, FolderError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(HASH_CONTEXT);
        let mut read_in_all = 0;
        for file in self.files()? {
            let mut content = Vec::new();
            // One more than allowed shows that the file has grown since it was listed.
            let mut bounded = self.open_file(&file.path)?.take(BYTES_MAX - read_in_all + 1);
            let read = bounded.read_to_end(&mut content);
            read.map_err(|source| failed("read", &file.path, source))?;
            read_in_all += content.len() as u64;
            if read_in_all > BYTES_MAX {
                return Err(FolderError::TooLarge { limit: "64 MiB" });
            }
            // Lengths first, so that no two folders give one stream of bytes.
            hasher.update(&(file.path.len() as u64).to_le_bytes());
            hasher.update(file.path.as_bytes());
            hasher.update(&[u8::from(file.is_executable)]);
            hasher.update(&(content.len() as u64).to_le_bytes());
            hasher.update(&content);
        }
        Ok(format!("blake3:{}", hasher.finalize().to_hex()))
    }

    /// The content of one file of at most `bytes_max` bytes.
    pub fn read(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, FolderError> {
        let mut content = Vec::new();
        let mut bounded = self.open_file(path)?.take(bytes_max + 1);
        let read = bounded.read_to_end(&mut content);
        read.map_err(|source| failed("read", path, source))?;
        if content.len() as u64 > bytes_max {
            return Err(FolderError::Path {
                path: path.to_owned(),
                reason: "it is too long to be read",
            });
        }
        Ok(content)
    }

    fn open_file(&self, path: &str) -> Result<cap_std::fs::File, FolderError> {
        let clean = clean(path)?;
        let mut options = OpenOptions::new();
        // A pipe must not hold the thread, and a link is not a file of the package.
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
        options.read(true).custom_flags(flags.bits().cast_signed());
        let opened = self.dir.open_with(&clean, &options);
        let file = opened.map_err(|source| failed("open", path, source))?;
        let metadata = file.metadata().map_err(|source| failed("open", path, source))?;
        if metadata.is_file() {
            Ok(file)
        } else {
            Err(FolderError::NotAFile {
                path: path.to_owned(),
                what: "no regular file",
            })
        }
    }
}

/// A path within a package as somebody wrote it, in its shortest form and without `..`.
pub fn clean(path: &str) -> Result<PathBuf, FolderError> {
    let refuse = |reason| FolderError::Path {
        path: path.chars().take(200).collect(),
        reason,
    };
    let clean = relative(path).map_err(|_| refuse("it is absolute, holds a NUL or is too long"))?;
    let leads_out = clean.components().any(|part| part == std::path::Component::ParentDir);
    match (leads_out, clean == Path::new(".")) {
        (true, _) => Err(refuse("it leads out of the folder")),
        (_, true) => Err(refuse("it names no file")),
        _ if clean.starts_with(VERSIONS) => Err(refuse("it belongs to version control and not to the package")),
        _ => Ok(clean),
    }
}

/// Opens a folder that a workspace keeps packages in: a link may lead to it, but not out of the workspace.
pub(super) fn open_within(workspace: &Path, path: &Path) -> io::Result<Dir> {
    let top = Dir::from_std_file(open_without_links(workspace)?.into());
    top.open_dir(path)
}

fn open_no_link(workspace: &Path, path: &Path) -> io::Result<Dir> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let above = open_within(workspace, above)?;
    // One name and no link: the kernel opens what lies in that folder, or nothing.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(&above, name, flags, Mode::empty())?;
    Ok(Dir::from_std_file(opened.into()))
}

fn walk(dir: &Dir, under: &str, depth: usize, files: &mut Vec<PackageFile>) -> Result<(), FolderError> {
    if depth > DEPTH_MAX {
        return Err(FolderError::TooLarge {
            limit: "8 folders within each other",
        });
    }
    let shown = if under.is_empty() { "." } else { under };
    let io = |source| failed("list", shown, source);
    for entry in dir.entries().map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(FolderError::NotAFile {
                path: shown.to_owned(),
                what: "a name that is no UTF-8",
            });
        };
        let path = if under.is_empty() {
            name.to_owned()
        } else {
            format!("{under}/{name}")
        };
        if let Some(what) = wrong_with(name) {
            return Err(FolderError::NotAFile { path, what });
        }
        let kind = entry.file_type().map_err(io)?;
        if kind.is_symlink() {
            return Err(FolderError::NotAFile { path, what: "a link" });
        }
        if kind.is_dir() {
            // What version control keeps of the whole is none of the package: it can be neither read nor run.
            if path == VERSIONS {
                continue;
            }
            let inner = entry.open_dir().map_err(|source| failed("open", &path, source))?;
            walk(&inner, &path, depth + 1, files)?;
        } else if kind.is_file() {
            let metadata = entry.metadata().map_err(|source| failed("look at", &path, source))?;
            files.push(PackageFile {
                path,
                bytes: metadata.len(),
                is_executable: metadata.permissions().mode() & 0o100 != 0,
                is_shared: metadata.nlink() > 1,
            });
        } else {
            let what = "no regular file";
            return Err(FolderError::NotAFile { path, what });
        }
        if files.len() > FILES_MAX {
            return Err(FolderError::TooLarge { limit: "2000 files" });
        }
    }
    Ok(())
}

fn failed(doing: &'static str, path: &str, source: io::Error) -> FolderError {
    let path = path.to_owned();
    FolderError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn package(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("folders");
            fs::write(path, content).expect("written");
        }
        folder
    }

    fn hash(folder: &tempfile::TempDir) -> String {
        PackageFolder::open(folder.path())
            .and_then(|package| package.hash())
            .expect("hashed")
    }

    #[test]
    fn every_change_of_a_folder_changes_its_hash() {
        let files: &[(&str, &str)] = &[("SKILL.md", "a"), ("scripts/x.sh", "b"), ("references/y", "c")];
        let base = hash(&package(files));
        assert_eq!(base, hash(&package(files)), "the same files");
        let check = |change: &dyn Fn(&Path), what: &str| {
            let folder = package(files);
            change(folder.path());
            assert_ne!(hash(&folder), base, "{what}");
        };
        let write = |path: &'static str, content: &'static str| {
            move |root: &Path| fs::write(root.join(path), content).expect("written")
        };
        check(&write("SKILL.md", "A"), "another content");
        check(&write("new", ""), "a new file");
        check(
            &|root| fs::remove_file(root.join("references/y")).expect("gone"),
            "a file less",
        );
        check(
            &|root| fs::rename(root.join("SKILL.md"), root.join("SKILL")).expect("renamed"),
            "a name",
        );
        let mode = |root: &Path| {
            fs::set_permissions(root.join("scripts/x.sh"), fs::Permissions::from_mode(0o755)).expect("set");
        };
        check(&mode, "a permission");
        // What one file loses another must not be able to give back.
        assert_ne!(hash(&package(&[("a", "bc")])), hash(&package(&[("ab", "c")])));
        assert_ne!(
            hash(&package(&[("a", "b"), ("c", "d")])),
            hash(&package(&[("a", "bcd"), ("c", "")]))
        );
    }

    #[test]
    fn no_path_leads_out_of_a_package() {
        let folder = package(&[
            ("in/SKILL.md", "text"),
            ("in/references/a", "inner"),
            ("secret", "secret"),
        ]);
        let root = folder.path().join("in");
        symlink("../secret", root.join("link")).expect("link");
        symlink("..", root.join("up")).expect("link");
        symlink("SKILL.md", root.join("inner-link")).expect("link");
        rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), rustix::fs::Mode::RUSR).expect("pipe");
        let package = PackageFolder::open(&root).expect("opened");
        for path in [
            "../secret",
            "references/../../secret",
            "/etc/passwd",
            "link",
            "up/secret",
            "up/in/SKILL.md",
            "inner-link",
            "references",
            ".",
            "",
            "a\0b",
            "pipe",
            "no-such",
        ] {
            let read = package.read(path, 100);
            assert!(read.is_err(), "{path:?}: {read:?}");
        }
        assert_eq!(package.read("./references//a", 100).expect("read"), b"inner");
        assert!(package.read("SKILL.md", 3).is_err(), "too long");
        assert!(
            matches!(package.files(), Err(FolderError::NotAFile { .. })),
            "links are no part of a package"
        );
    }

    #[test]
    fn a_folder_of_a_workspace_is_opened_beneath_it_and_through_no_link_that_leads_out() {
        let house = package(&[("work/in/own/SKILL.md", "own"), ("out/own/key", "secret")]);
        let root = house.path().canonicalize().expect("there");
        let work = root.join("work");
        symlink(root.join("out/own"), work.join("in/swapped")).expect("link");
        symlink("own", work.join("in/other")).expect("link");
        symlink(root.join("out"), work.join("led-out")).expect("link");
        symlink("in", work.join("led-on")).expect("link");
        symlink(&work, root.join("to-work")).expect("link");
        let check = |workspace: &Path, path: &str, is_good: bool| {
            let opened = PackageFolder::open_beneath(workspace, Path::new(path));
            assert_eq!(opened.is_ok(), is_good, "{path}: {opened:?}");
        };
        check(&work, "in/own", true);
        check(&work, "led-on/own", true);
        check(&work, "in/swapped", false);
        check(&work, "in/other", false);
        check(&work, "led-out/own", false);
        check(&work, "../out/own", false);
        check(&work, "in/..", false);
        check(&work, "in/own/SKILL.md", false);
        check(&work, "/etc", false);
        check(&root.join("to-work"), "in/own", false);
        let opened = PackageFolder::open_beneath(&work, Path::new("in/own")).expect("opened");
        assert_eq!(opened.read("SKILL.md", 10).expect("read"), b"own");
        assert_eq!(opened.root(), work.join("in/own"));
    }

    #[test]
    fn a_folder_that_is_more_than_its_files_is_not_taken_over() {
        use std::os::unix::ffi::OsStrExt as _;
        let check = |spoil: &dyn Fn(&Path), what: &str| {
            let house = package(&[("in/SKILL.md", "text"), ("secret", "secret")]);
            let root = house.path().join("in");
            let admissible = || PackageFolder::open(&root).and_then(|opened| opened.admissible());
            assert!(admissible().is_ok(), "before: {what}");
            spoil(&root);
            let refused = admissible().expect_err(what);
            let said = crate::domain::fault::in_one_line(&refused);
            assert!(said.contains(what), "{said}, and not: {what}");
        };
        let named = |name: &'static [u8], what: &str| {
            let spoil = |root: &Path| fs::write(root.join(std::ffi::OsStr::from_bytes(name)), "x").expect("written");
            check(&spoil, what);
        };
        named(b"a\nb", "not seen");
        named(b"\x1b[2J", "not seen");
        named("gnp.\u{202e}sh".as_bytes(), "not seen");
        named(b"..\\x", "a separator in it");
        named(b"C:x", "a drive elsewhere");
        named(b"x ", "lost elsewhere");
        named(b"skill.md", "in other letters");
        named(b"\xff", "no UTF-8");
        check(&|root| symlink("../secret", root.join("x")).expect("link"), "a link");
        check(&|root| symlink("/", root.join("x")).expect("link"), "a link");
        check(&|root| symlink("SKILL.md", root.join("x")).expect("link"), "a link");
        check(&|root| symlink("nowhere", root.join("x")).expect("link"), "a link");
        // A second name for what was never meant to be given away.
        check(
            &|root| fs::hard_link(root.join("../secret"), root.join("x")).expect("link"),
            "a hard link",
        );
        let pipe = |root: &Path| {
            rustix::fs::mkfifoat(rustix::fs::CWD, root.join("x"), rustix::fs::Mode::RUSR).expect("pipe");
        };
        check(&pipe, "no regular file");
        let socket = |root: &Path| drop(std::os::unix::net::UnixListener::bind(root.join("x")).expect("socket"));
        check(&socket, "no regular file");
        let huge = |root: &Path| {
            let file = fs::File::create(root.join("x")).expect("made");
            file.set_len(BYTES_MAX + 1).expect("a hole");
        };
        check(&huge, "64 MiB");
        check(
            &|root| fs::create_dir_all(root.join("d/d/d/d/d/d/d/d/d/d")).expect("folders"),
            "8 folders",
        );
    }

    #[test]
    fn a_folder_without_end_is_refused() {
        let deep = format!("{}/x", "d/".repeat(12));
        let folder = package(&[(&deep, "")]);
        let refused = PackageFolder::open(folder.path()).expect("opened").files();
        assert!(matches!(refused, Err(FolderError::TooLarge { .. })), "{refused:?}");
        let many: Vec<String> = (0..=FILES_MAX).map(|number| number.to_string()).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
        let refused = PackageFolder::open(package(&many).path()).expect("opened").files();
        assert!(matches!(refused, Err(FolderError::TooLarge { .. })), "{refused:?}");
    }
}
