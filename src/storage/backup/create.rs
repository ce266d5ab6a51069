//! Making a backup.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::time::UtcMillis;
use crate::storage::owner::give_all;
use crate::storage::store::Store;

use super::error::{BackupError, file};
use super::manifest::{BackupFile, MANIFEST, Manifest, STORE, hash_file};

/// Files of the state beside the store without which the store cannot be used as it was. Files that hold keys end with
/// `true`.
const STATE_FILES: &[(&str, bool)] = &[
    // Before the store: a checkpoint must not know rows that the copy has not.
    ("audit.checkpoints", false),
    ("audit.key", true),
    ("secret.key", true),
    ("secret.salt", true),
    ("operator.key", true),
    ("tls", true),
];
/// Files beside the store, at most.
const FILES_MAX: usize = 20_000;
/// Their bytes, at most.
const BYTES_MAX: u64 = 1 << 30;

/// Where the files are that belong into a backup.
#[derive(Debug, Clone)]
pub struct Places {
    /// The operator's files.
    pub config: PathBuf,
    /// The program's state.
    pub state: PathBuf,
    /// The folder of backups.
    pub backups: PathBuf,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its folder.
    pub path: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
}

/// The name of a backup made at this time: `20261122T211416Z`.
fn name(at: UtcMillis) -> String {
    let millis = i64::try_from(at.0).unwrap_or_default();
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

pub(super) fn make_folder(path: &Path) -> Result<(), BackupError> {
    let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.map_err(file("make folder", path))
}

pub(super) fn sync_folder(path: &Path) -> Result<(), BackupError> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(file("sync", path))
}

struct Taking<'taking> {
    folder: &'taking Path,
    skip: [&'taking Path; 2],
    files: Vec<BackupFile>,
    bytes: u64,
}

impl Taking<'_> {
    /// Copies a file, or a folder with everything in it. Links are not followed: they may lead anywhere.
    fn take(&mut self, from: &Path, to: &str) -> Result<(), BackupError> {
        let found = match fs::symlink_metadata(from) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(file("look at", from)(error)),
        };
        if self.skip.contains(&from) {
            return Ok(());
        }
        if found.is_dir() {
            let entries = fs::read_dir(from).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            for entry in entries.map_err(file("list", from))? {
                // A name that is no text could not be listed, and no file of this program has one.
                if let Some(name) = entry.file_name().to_str() {
                    self.take(&entry.path(), &format!("{to}/{name}"))?;
                }
            }
            return Ok(());
        }
        if !found.is_file() {
            return Ok(());
        }
        self.bytes += found.len();
        let too = |limit, unit| BackupError::TooLarge {
            path: from.parent().unwrap_or(from).to_owned(),
            limit,
            unit,
        };
        if self.files.len() >= FILES_MAX {
            return Err(too(FILES_MAX as u64, "files"));
        }
        if self.bytes > BYTES_MAX {
            return Err(too(BYTES_MAX, "bytes"));
        }
        let into = self.folder.join(to);
        if let Some(parent) = into.parent() {
            make_folder(parent)?;
        }
        fs::copy(from, &into).map_err(file("copy", from))?;
        let synced = File::open(&into).and_then(|copied| copied.sync_all());
        synced.map_err(file("sync", &into))?;
        self.list(to)
    }

    fn list(&mut self, path: &str) -> Result<(), BackupError> {
        let full = self.folder.join(path);
        let (bytes, hash) = hash_file(&full).map_err(file("read", full))?;
        self.files.push(BackupFile {
            path: path.to_owned(),
            bytes,
            hash,
        });
        Ok(())
    }
}

/// The folder of a backup that is being made. What failed on the way goes with this: it is of no use to anybody, and on
/// a disk that it has filled it would keep the room from everything else.
struct Half(PathBuf);

impl Drop for Half {
    fn drop(&mut self) {
        // One that is whole has another name by now.
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "half a backup stays until the next one is made");
        }
    }
}

/// Makes a backup of a store that is open, while it is written to. Blocks its thread for as long as reading the store
/// and writing it anew take. Without `keys` the private keys stay out, and a restored store has to be given them.
///
/// **Limits**: whoever calls it sees to it that nobody else works in the folder of backups, and that there is room:
/// [`super::making::make`].
///
/// **Errors**: nothing of it is left. **Cancel**: of a process that is killed a part lies beside the backups under a
/// name that begins with a dot, and the next one removes it.
pub(super) fn create(store: &Store, places: &Places, keys: bool, now: UtcMillis) -> Result<Made, BackupError> {
    make_folder(&places.backups)?;
    let name = free_name(&places.backups, &name(now))?;
    let half = Half(places.backups.join(format!(".{name}")));
    let making = &half.0;
    make_folder(&making.join("state"))?;
    let mut taking = Taking {
        folder: making,
        skip: [&places.state, &places.backups],
        files: Vec::new(),
        bytes: 0,
    };
    for (state_file, _) in STATE_FILES.iter().filter(|(_, holds_key)| keys || !holds_key) {
        taking.take(&places.state.join(state_file), &format!("state/{state_file}"))?;
    }
    let rows = store.copy_to(&making.join(STORE)).map_err(BackupError::Store)?;
    taking.list(STORE)?;
    taking.take(&places.config, "config")?;
    let manifest = Manifest {
        made_at: now,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        keys,
        rows,
        files: taking.files,
    };
    let listed = making.join(MANIFEST);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&listed)
        .and_then(|mut file| {
            file.write_all(format!("{:#}\n", manifest.to_json()).as_bytes())?;
            file.sync_all()
        });
    written.map_err(file("write", listed))?;
    sync_folder(&making.join("state"))?;
    sync_folder(making)?;
    give_all(making, &places.state).map_err(file("give away", making))?;
    let path = places.backups.join(name);
    fs::rename(making, &path).map_err(file("rename", making))?;
    sync_folder(&places.backups)?;
    Ok(Made { path, manifest })
}

/// A name behind all of the same second, also behind those that went meanwhile while a later one is there: what is
/// newer sorts last.
fn free_name(backups: &Path, name: &str) -> Result<String, BackupError> {
    let entries = fs::read_dir(backups).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let numbers = entries.map_err(file("list", backups))?.into_iter().filter_map(|entry| {
        let entry = entry.file_name();
        match entry.to_str()?.strip_prefix(name)? {
            "" => Some(1),
            more => more.strip_prefix('-')?.parse::<u32>().ok(),
        }
    });
    Ok(match numbers.max() {
        None => name.to_owned(),
        Some(last) => format!("{name}-{}", last.saturating_add(1)),
    })
}

/// Removes what processes left that ended while they made a backup, or removed one.
pub(super) fn remove_halves(backups: &Path) -> Result<(), BackupError> {
    let entries = fs::read_dir(backups).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in entries.map_err(file("list", backups))? {
        if entry.file_name().to_string_lossy().starts_with('.') && entry.path().is_dir() {
            fs::remove_dir_all(entry.path()).map_err(file("remove", entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
impl Places {
    /// Those of a home in which nothing is but an open store.
    pub(crate) fn of_empty_home() -> (tempfile::TempDir, Store, Self) {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let store = Store::open(&state.join("openclaw.redb"), 1 << 20).expect("opens");
        let places = Self {
            config: folder.path().join("config"),
            backups: state.join("backups"),
            state,
        };
        (folder, store, places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_that_fails_on_the_way_leaves_nothing_behind() {
        let (_folder, store, places) = Places::of_empty_home();
        fs::create_dir(&places.config).expect("made");
        // Found only when the store has been copied already. It has no blocks of its own.
        let large = File::create(places.config.join("large")).expect("made");
        large.set_len(BYTES_MAX + 1).expect("a large file");
        let failed = create(&store, &places, true, UtcMillis(1));
        assert!(matches!(failed, Err(BackupError::TooLarge { .. })), "{failed:?}");
        let left: Vec<_> = fs::read_dir(&places.backups).expect("listed").collect();
        assert!(left.is_empty(), "{left:?}");
        large.set_len(1).expect("a small file");
        let made = create(&store, &places, true, UtcMillis(1)).expect("made");
        assert!(made.path.join(MANIFEST).is_file());
    }
}
