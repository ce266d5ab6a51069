//! Making a backup as people and the daemon ask for it: one at a time in a folder, only where there is room for it, and
//! the oldest over the limit go.
//!
//! **Invariants**: only whoever holds the lock of the folder writes to it, so that nobody takes for a half what somebody
//! else is making; what was just made is removed by nobody who made another one at the same time; a backup takes no room
//! that was to stay free.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::time::UtcMillis;
use crate::storage::copy::{free_bytes, room_of_copy};
use crate::storage::owner::give;
use crate::storage::store::Store;

use super::create::{Made, Places, create, make_folder, remove_halves};
use super::error::{BackupError, file};
use super::keep::prune;

/// The file of the folder that is locked. Nothing is in it, and it stays.
const LOCK: &str = ".lock";

/// How a backup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether the private keys are in it; without them a restored store has to be given them.
    pub keys: bool,
    /// How many are kept, the new one among them.
    pub keep: usize,
    /// Bytes that are to stay free on the disk of the state.
    pub free_min: u64,
}

/// Makes a backup of a store that is open, while it is written to, then removes the oldest over the limit, and says
/// which went. Blocks its thread for as long as reading the store and writing it anew take.
///
/// **Errors**: nothing was written when there is no room, or when another one is being made; of one that failed on the
/// way nothing is left.
pub fn make(store: &Store, places: &Places, terms: Terms, now: UtcMillis) -> Result<(Made, Vec<PathBuf>), BackupError> {
    make_folder(&places.backups)?;
    give(&places.backups, &places.state).map_err(file("give away", &places.backups))?;
    // Until the old ones have gone: two that remove them at once would each take the new one of the other.
    let _turn = Turn::take(places)?;
    // They may be what fills the disk.
    remove_halves(&places.backups)?;
    demand_room(store, places, terms.free_min)?;
    let made = create(store, places, terms.keys, now)?;
    let gone = prune(&places.backups, terms.keep, &made)?;
    Ok((made, gone))
}

/// The right to write to a folder of backups. It ends with its process, also after a kill.
struct Turn(File);

impl Turn {
    fn take(places: &Places) -> Result<Self, BackupError> {
        let backups = &places.backups;
        let path = backups.join(LOCK);
        let opened = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let opened = opened.map_err(file("open", &path))?;
        give(&path, &places.state).map_err(file("give away", &path))?;
        match opened.try_lock() {
            Ok(()) => Ok(Self(opened)),
            // Nobody is made to wait: a second one would be nearly the same, and the first may take long.
            Err(TryLockError::WouldBlock) => Err(BackupError::Busy { folder: backups.into() }),
            Err(TryLockError::Error(error)) => Err(file("lock", path)(error)),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Closing it is not enough: a program that is being started may hold the same file for a moment.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the folder of backups stays locked until its file is closed");
        }
    }
}

fn device(path: &Path) -> Result<u64, BackupError> {
    Ok(fs::metadata(path).map_err(file("look at", path))?.dev())
}

/// Refuses what would fill the disk. The copy is as small as what is in the store, and no larger than its file.
fn demand_room(store: &Store, places: &Places, free_min: u64) -> Result<(), BackupError> {
    let folder = &places.backups;
    let free = free_bytes(folder).map_err(file("look at the room of", folder))?;
    // What is to stay free is asked of the disk of the state alone.
    let is_same = device(folder)? == device(&places.state)?;
    let kept = if is_same { free_min } else { 0 };
    let needed = room_of_copy(store.file_bytes());
    if free >= needed.saturating_add(kept) {
        return Ok(());
    }
    Err(BackupError::NoRoom {
        needed,
        kept,
        free,
        folder: folder.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::code;
    use crate::storage::backup::keep::list;

    /// 2026-01-01.
    const NOW: UtcMillis = UtcMillis(1_767_225_600_000);
    const TERMS: Terms = Terms {
        keys: false,
        keep: 3,
        free_min: 0,
    };

    #[test]
    fn a_second_backup_beside_the_first_is_refused_and_takes_nothing_from_it() {
        let (_folder, store, places) = Places::of_empty_home();
        make_folder(&places.backups).expect("made");
        let first = Turn::take(&places).expect("nobody else is there");
        let half = places.backups.join(".20260101T000000Z");
        fs::create_dir(&half).expect("made");
        fs::write(half.join("copied"), "so far").expect("written");
        let second = make(&store, &places, TERMS, NOW).expect_err("refused");
        assert!(matches!(second, BackupError::Busy { .. }), "{second:?}");
        assert_eq!(second.code(), code::STORE_BUSY);
        assert!(half.join("copied").is_file(), "the first goes on");
        assert!(list(&places.backups).expect("listed").is_empty());
        drop(first);
        let (made, gone) = make(&store, &places, TERMS, NOW).expect("made");
        assert!(made.path.is_dir() && gone.is_empty());
        assert!(!half.exists(), "what a killed one leaves goes");
        // Its turn has ended.
        make(&store, &places, TERMS, NOW).expect("made");
    }

    #[test]
    fn backups_at_once_are_whole_or_refused_and_none_that_was_made_is_gone() {
        let (_folder, store, places) = Places::of_empty_home();
        let made = std::thread::scope(|scope| {
            let making: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| make(&store, &places, TERMS, NOW)))
                .collect();
            let ended = making.into_iter().map(|one| one.join().expect("no panic"));
            ended.collect::<Vec<_>>()
        });
        let (well, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        for error in refused.into_iter().filter_map(Result::err) {
            assert!(matches!(error, BackupError::Busy { .. }), "{error:?}");
        }
        let listed = list(&places.backups).expect("listed");
        assert_eq!(listed.len(), well.len().min(TERMS.keep));
        assert!(!listed.is_empty(), "the first of them finds nobody");
    }

    #[test]
    fn without_room_nothing_is_written_and_the_answer_says_so() {
        let (_folder, store, places) = Places::of_empty_home();
        make_folder(&places.backups).expect("made");
        // As a killed one left it.
        fs::create_dir(places.backups.join(".20260101T000000Z")).expect("made");
        let terms = Terms {
            free_min: u64::MAX,
            ..TERMS
        };
        let refused = make(&store, &places, terms, NOW).expect_err("refused");
        assert_eq!(refused.code(), code::DISK_FULL, "{refused:?}");
        let entries = fs::read_dir(&places.backups).expect("listed");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        assert_eq!(names.collect::<Vec<_>>(), [LOCK]);
        make(&store, &places, TERMS, NOW).expect("there is room");
    }
}
