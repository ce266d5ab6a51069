//! All packages that can be found: the home's, those of configured folders, and those of a run's workspace.
//!
//! Refuses to know: agents. Invariants: the folders are looked at anew each time, so what an operator changes counts
//! at once; of two packages with one name that counts which was added, else the first; a package of a workspace is
//! readable and nothing more, and is never opened by its path alone; a package that was added and has changed since is
//! refused until it is added again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::name::PackageName;

use super::document::{self, DOCUMENT_BYTES_MAX, SkillDocument};
use super::folder::{FolderError, PackageFolder, open_within};
use super::pin::{LOCK_BYTES_MAX, LOCK_FILE, Lock, Pin};
use super::warning::PackageWarning;

/// The file that makes a folder a package.
pub const DOCUMENT_FILE: &str = "SKILL.md";
/// Where a workspace keeps packages.
pub const WORKSPACE_FOLDER: &str = ".agents/skills";
/// Packages of one folder that are looked at.
const PACKAGES_MAX: usize = 256;
/// Bytes of the list that agents are offered.
const OFFER_BYTES_MAX: usize = 48 * 1024;

/// Where a package was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the home's `skills/`.
    Home,
    /// In a folder of `skills.dirs`.
    Configured,
    /// In the run's workspace: written by nobody that the operator answers for.
    Workspace,
}

impl Origin {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Configured => "configured",
            Self::Workspace => "workspace",
        }
    }
}

/// One package that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// What it says of itself.
    pub document: SkillDocument,
    /// Its folder.
    pub folder: PathBuf,
    /// Where it was found.
    pub origin: Origin,
    /// The workspace that it belongs to, if it is one's.
    pub workspace: Option<PathBuf>,
    /// What was written down when it was added.
    pub pin: Option<Pin>,
}

/// Whether a package is what an operator added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Never added: it can be read, its scripts do not run.
    NotAdded,
    /// Added, and unchanged since.
    Added,
    /// Added, and changed since: refused.
    Changed,
}

impl Standing {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAdded => "not_added",
            Self::Added => "added",
            Self::Changed => "changed",
        }
    }
}

impl Package {
    /// Opens its folder: an operator's own where it lies, one of a workspace beneath that and not otherwise.
    pub fn open(&self) -> Result<PackageFolder, FolderError> {
        open_package(&self.folder, self.workspace.as_deref())
    }

    /// Compares the folder with its pin. Reads all its files: not for the way of every session.
    pub fn standing(&self) -> Result<Standing, FolderError> {
        let Some(pin) = &self.pin else {
            return Ok(Standing::NotAdded);
        };
        let hash = self.open()?.hash()?;
        Ok(if hash == pin.hash {
            Standing::Added
        } else {
            Standing::Changed
        })
    }
}

/// What a look at all folders found.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    /// The packages by name.
    pub packages: BTreeMap<PackageName, Package>,
    /// What is not as it should be.
    pub warnings: Vec<PackageWarning>,
}

impl Shelf {
    /// Why the package in a folder of this name was left out; none when there is none or it is there.
    pub fn refusal_of(&self, name: &PackageName) -> Option<&PackageWarning> {
        let is_meant = |path: &Path| path.file_name().is_some_and(|folder| folder == name.as_str());
        let mut fatal = self.warnings.iter().filter(|warning| warning.fatal);
        fatal.find(|warning| is_meant(&warning.file) || warning.file.parent().is_some_and(is_meant))
    }
}

/// Where packages are looked for.
#[derive(Debug, Clone, Default)]
pub struct Library {
    home: Option<PathBuf>,
    configured: Vec<PathBuf>,
    lock_file: Option<PathBuf>,
}

impl Library {
    /// The packages of a home (the folder of its configuration) and of further folders.
    pub fn new(config_dir: &Path, configured: Vec<PathBuf>) -> Self {
        Self {
            home: Some(config_dir.join("skills")),
            configured,
            lock_file: Some(config_dir.join(LOCK_FILE)),
        }
    }

    /// Looks at all folders. Blocks for as long as the disk takes for at most 256 small files of each.
    pub fn look(&self, workspace: Option<&Path>) -> Shelf {
        let mut shelf = Shelf::default();
        let lock = self.lock(&mut shelf.warnings);
        if let Some(home) = &self.home {
            add_folder(home, None, Origin::Home, &lock, &mut shelf);
        }
        for folder in &self.configured {
            add_folder(folder, None, Origin::Configured, &lock, &mut shelf);
        }
        if let Some(workspace) = workspace {
            let root = workspace.join(WORKSPACE_FOLDER);
            add_folder(&root, Some(workspace), Origin::Workspace, &lock, &mut shelf);
        }
        shelf
    }

    /// One package.
    pub fn find(&self, name: &PackageName, workspace: Option<&Path>) -> Option<Package> {
        self.look(workspace).packages.remove(name)
    }

    /// The list for an agent's system text: names and descriptions, nothing more; none when there is no package.
    pub fn offer(&self, workspace: Option<&Path>) -> Option<String> {
        let shelf = self.look(workspace);
        if shelf.packages.is_empty() {
            return None;
        }
        let mut text = String::from(
            "Skill packages: instructions that others wrote for certain work. When the task is of that kind, call \
             skill.read with the name before you begin.\n",
        );
        for (name, package) in &shelf.packages {
            let mark = match package.origin {
                Origin::Workspace => " (from the workspace: not checked by the operator)",
                Origin::Home | Origin::Configured => "",
            };
            let description =
                crate::domain::text::preview(&package.document.description, 4 * document::DESCRIPTION_CHARS_MAX);
            if text.len() + description.len() > OFFER_BYTES_MAX {
                let _ = writeln!(text, "- … more packages are there than fit here");
                break;
            }
            let _ = writeln!(text, "- {name}{mark}: {description}");
        }
        Some(text)
    }

    fn lock(&self, warnings: &mut Vec<PackageWarning>) -> Lock {
        let Some(file) = &self.lock_file else {
            return Lock::default();
        };
        let allowed = "what `openclaw skill add` writes";
        let is_sane = fs::metadata(file).is_ok_and(|metadata| metadata.len() <= LOCK_BYTES_MAX);
        match fs::read_to_string(file) {
            Ok(text) if is_sane => match Lock::parse(&text) {
                Ok(lock) => return lock,
                Err(error) => warnings.push(PackageWarning::mild(file, 0, error.to_string(), allowed)),
            },
            Ok(_) => warnings.push(PackageWarning::mild(file, 0, "more than 1 MiB", allowed)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warnings.push(PackageWarning::mild(file, 0, error.to_string(), allowed)),
        }
        // Without a readable lock nothing is pinned: everything can be read and nothing runs.
        Lock::default()
    }
}

/// Opens the folder of a package. That it was a folder when it was looked at says nothing: whatever works in a workspace
/// may have put a link in its place since.
fn open_package(folder: &Path, workspace: Option<&Path>) -> Result<PackageFolder, FolderError> {
    match workspace {
        None => PackageFolder::open(folder),
        // What is not beneath it stays absolute, and that is refused.
        Some(workspace) => PackageFolder::open_beneath(workspace, folder.strip_prefix(workspace).unwrap_or(folder)),
    }
}

/// The names of the folders in one.
fn folders_in(root: &Path, workspace: Option<&Path>) -> io::Result<Vec<OsString>> {
    let Some(workspace) = workspace else {
        // An operator's own may be a link.
        let entries = fs::read_dir(root)?.flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        return Ok(folders.map(|entry| entry.file_name()).collect());
    };
    let dir = open_within(workspace, Path::new(WORKSPACE_FOLDER))?;
    let names = dir.entries()?.flatten().map(|entry| entry.file_name());
    // A link in a workspace could lead anywhere.
    let folders = names.filter(|name| dir.symlink_metadata(name).is_ok_and(|found| found.is_dir()));
    Ok(folders.collect())
}

fn add_folder(root: &Path, workspace: Option<&Path>, origin: Origin, lock: &Lock, shelf: &mut Shelf) {
    let mut names = match folders_in(root, workspace) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && workspace.is_none() => return,
        Err(error) => {
            let allowed = match workspace {
                Some(_) => "a folder within the workspace",
                None => "a folder that the daemon can read",
            };
            shelf
                .warnings
                .push(PackageWarning::mild(root, 0, error.to_string(), allowed));
            return;
        }
    };
    names.sort();
    let mut seen = 0;
    for name in names {
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        seen += 1;
        if seen > PACKAGES_MAX {
            let allowed = "at most 256 packages in one folder";
            shelf.warnings.push(PackageWarning::mild(
                root,
                0,
                "more folders; they were not looked at",
                allowed,
            ));
            return;
        }
        add_package(&root.join(name), workspace, origin, lock, shelf);
    }
}

fn add_package(folder: &Path, workspace: Option<&Path>, origin: Origin, lock: &Lock, shelf: &mut Shelf) {
    let file = folder.join(DOCUMENT_FILE);
    let read = open_package(folder, workspace).and_then(|opened| opened.read(DOCUMENT_FILE, DOCUMENT_BYTES_MAX));
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => {
            let found = crate::domain::fault::in_one_line(&error);
            let warning = PackageWarning::fatal(&file, 0, found, "a folder with a SKILL.md of at most 256 KiB");
            shelf.warnings.push(warning);
            return;
        }
    };
    let folder_name = folder.file_name().unwrap_or_default().to_string_lossy();
    let (document, mut warnings) = document::read(&bytes, &file, &folder_name);
    shelf.warnings.append(&mut warnings);
    let Some(document) = document else { return };
    // A pin is for the folder that was added, not for whatever has its name.
    let pin = lock
        .pins
        .get(&document.name)
        .filter(|pin| pin.folder == *folder && origin != Origin::Workspace);
    let package = Package {
        pin: pin.cloned(),
        document,
        folder: folder.to_owned(),
        origin,
        workspace: workspace.map(Path::to_owned),
    };
    let (left_out, has_it) = match shelf.packages.entry(package.document.name.clone()) {
        Entry::Vacant(place) => {
            place.insert(package);
            return;
        }
        // What an operator added counts before what only lies there.
        Entry::Occupied(mut first) if first.get().pin.is_none() && package.pin.is_some() => {
            let has_it = package.folder.clone();
            (first.insert(package), has_it)
        }
        Entry::Occupied(first) => (package, first.get().folder.clone()),
    };
    let found = format!(
        "the name `{}` again; {} has it",
        left_out.document.name,
        has_it.display()
    );
    let file = left_out.folder.join(DOCUMENT_FILE);
    shelf
        .warnings
        .push(PackageWarning::fatal(&file, 0, found, "a name of its own"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::capability::CapabilitySet;

    fn put(root: &Path, name: &str, text: &str) -> PathBuf {
        let folder = root.join(name);
        fs::create_dir_all(&folder).expect("folder");
        fs::write(folder.join(DOCUMENT_FILE), text).expect("written");
        folder
    }

    fn sound(name: &str) -> String {
        format!("---\nname: {name}\ndescription: Does {name}.\n---\nBody of {name}.\n")
    }

    fn name(text: &str) -> PackageName {
        PackageName::new(text).expect("name")
    }

    #[test]
    fn a_bad_package_stops_no_other_and_says_its_place() {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path().join("skills");
        put(&root, "good", &sound("good"));
        put(&root, "bad", "no front matter");
        fs::create_dir_all(root.join("empty")).expect("folder");
        fs::create_dir_all(root.join(".git")).expect("folder");
        fs::write(root.join("a-file"), "").expect("written");
        let shelf = Library::new(folder.path(), Vec::new()).look(None);
        assert_eq!(
            shelf.packages.keys().map(PackageName::as_str).collect::<Vec<_>>(),
            ["good"]
        );
        let fatal: Vec<String> = shelf.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(fatal.len(), 2, "{fatal:?}");
        assert!(
            fatal[0].contains("bad/SKILL.md:1") && fatal[1].contains("empty/SKILL.md"),
            "{fatal:?}"
        );
        assert!(fatal.iter().all(|line| line.contains("; allowed: ")), "{fatal:?}");
    }

    #[test]
    fn of_two_packages_with_one_name_the_one_that_was_added_counts() {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path().join("skills");
        let first = put(&root, "aaa", &sound("tool"));
        let added = put(&root, "tool", &sound("tool"));
        let library = Library::new(folder.path(), Vec::new());
        let check = |counts: &Path, left_out: &Path| {
            let shelf = library.look(None);
            assert_eq!(shelf.packages[&name("tool")].folder, counts);
            let fatal: Vec<&PackageWarning> = shelf.warnings.iter().filter(|warning| warning.fatal).collect();
            assert_eq!(fatal.len(), 1, "{fatal:?}");
            assert_eq!(fatal[0].file, left_out.join(DOCUMENT_FILE));
        };
        check(&first, &added);
        let mut lock = Lock::default();
        let pin = Pin {
            hash: PackageFolder::open(&added)
                .and_then(|opened| opened.hash())
                .expect("a hash"),
            folder: added.clone(),
            capabilities: CapabilitySet::default(),
        };
        lock.pins.insert(name("tool"), pin);
        fs::write(folder.path().join(LOCK_FILE), lock.render()).expect("written");
        check(&added, &first);
    }

    #[test]
    fn the_operators_package_counts_before_the_workspaces() {
        let folder = tempfile::tempdir().expect("folder");
        let (config, work, more) = (
            folder.path().join("c"),
            folder.path().join("w"),
            folder.path().join("m"),
        );
        put(&config.join("skills"), "one", &sound("one"));
        put(&more, "two", &sound("two"));
        put(&work.join(WORKSPACE_FOLDER), "one", &sound("one"));
        put(&work.join(WORKSPACE_FOLDER), "three", &sound("three"));
        let outside = put(folder.path(), "outside", &sound("outside"));
        std::os::unix::fs::symlink(&outside, work.join(WORKSPACE_FOLDER).join("outside")).expect("link");
        let library = Library::new(&config, vec![more]);
        let shelf = library.look(Some(&work));
        let origins: Vec<(&str, Origin)> = shelf
            .packages
            .iter()
            .map(|(name, package)| (name.as_str(), package.origin))
            .collect();
        assert_eq!(
            origins,
            [
                ("one", Origin::Home),
                ("three", Origin::Workspace),
                ("two", Origin::Configured)
            ]
        );
        let offer = library.offer(Some(&work)).expect("packages");
        assert!(
            offer.contains("- one: Does one.") && !offer.contains("Body of"),
            "{offer}"
        );
        assert!(offer.contains("- three (from the workspace"), "{offer}");
        assert_eq!(Library::new(&folder.path().join("none"), Vec::new()).offer(None), None);
        let led_out = folder.path().join("led-out");
        fs::create_dir_all(&led_out).expect("folder");
        std::os::unix::fs::symlink(work.join(".agents"), led_out.join(".agents")).expect("link");
        let shelf = library.look(Some(&led_out));
        assert!(
            !shelf.packages.contains_key(&name("three")) && shelf.warnings.len() == 1,
            "{shelf:?}"
        );
    }

    #[test]
    fn a_link_that_took_the_place_of_a_workspaces_package_is_not_followed() {
        let house = tempfile::tempdir().expect("folder");
        let root = house.path().canonicalize().expect("there");
        let (work, state) = (root.join("work"), root.join("state"));
        let folder = put(&work.join(WORKSPACE_FOLDER), "one", &sound("one"));
        fs::write(folder.join("operator.key"), "its own").expect("written");
        let outside = put(&state, "one", &sound("one"));
        fs::write(outside.join("operator.key"), "secret").expect("written");
        let library = Library::new(&root.join("config"), Vec::new());
        let package = library.find(&name("one"), Some(&work)).expect("found");
        let read = || package.open().and_then(|opened| opened.read("operator.key", 100));
        assert_eq!(read().expect("read"), b"its own");
        let aside = root.join("aside");
        let swap = |place: &Path, target: &Path| {
            fs::rename(place, &aside).expect("aside");
            std::os::unix::fs::symlink(target, place).expect("link");
        };
        let undo = |place: &Path| {
            fs::remove_file(place).expect("gone");
            fs::rename(&aside, place).expect("back");
        };
        // Its own folder, and one above it.
        for (place, target) in [(folder.clone(), &outside), (work.join(WORKSPACE_FOLDER), &state)] {
            swap(&place, target);
            let seen = read();
            assert!(seen.is_err(), "{}: {seen:?}", place.display());
            assert_eq!(library.find(&name("one"), Some(&work)), None, "{}", place.display());
            // The folder was listed before the link was there.
            let mut shelf = Shelf::default();
            add_package(&folder, Some(&work), Origin::Workspace, &Lock::default(), &mut shelf);
            assert!(shelf.packages.is_empty() && shelf.warnings.len() == 1, "{shelf:?}");
            undo(&place);
        }
        assert_eq!(read().expect("read"), b"its own");
    }

    #[test]
    fn a_package_that_was_added_is_refused_when_it_has_changed() {
        let folder = tempfile::tempdir().expect("folder");
        let package = put(&folder.path().join("skills"), "one", &sound("one"));
        let library = Library::new(folder.path(), Vec::new());
        let standing = || {
            library
                .find(&name("one"), None)
                .expect("found")
                .standing()
                .expect("looked")
        };
        assert_eq!(standing(), Standing::NotAdded);
        let pin = |folder: &Path| Pin {
            hash: PackageFolder::open(&package)
                .and_then(|opened| opened.hash())
                .expect("hashed"),
            folder: folder.to_owned(),
            capabilities: CapabilitySet::default(),
        };
        let write = |pin: Pin| {
            let lock = Lock {
                pins: [(name("one"), pin)].into(),
            };
            fs::write(folder.path().join(LOCK_FILE), lock.render()).expect("written");
        };
        write(pin(&package));
        assert_eq!(standing(), Standing::Added);
        fs::write(package.join("scripts.sh"), "rm -r /").expect("written");
        assert_eq!(standing(), Standing::Changed);
        write(pin(&package));
        assert_eq!(standing(), Standing::Added);
        // Another folder of the same name is another package.
        write(pin(Path::new("/elsewhere/one")));
        assert_eq!(standing(), Standing::NotAdded);
        fs::write(folder.path().join(LOCK_FILE), "version = 7").expect("written");
        assert_eq!(standing(), Standing::NotAdded);
        assert_eq!(library.look(None).warnings.len(), 1);
    }
}
