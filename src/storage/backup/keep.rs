//! Which backups are there, and which of them go.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::create::{Made, sync_folder};
use super::error::{BackupError, file};
use super::manifest::Manifest;

/// The backups of a folder, oldest first. What has no list of its own is none.
pub fn list(backups: &Path) -> Result<Vec<(PathBuf, Manifest)>, BackupError> {
    let entries = match fs::read_dir(backups).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file("list", backups)(error)),
    };
    let named = entries
        .iter()
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    let read = named.filter_map(|entry| Some((entry.path(), Manifest::read(&entry.path()).ok()?)));
    let mut found: Vec<_> = read.collect();
    found.sort_by(|(one, made), (other, also)| {
        let key = |path: &Path| (path.as_os_str().len(), path.to_owned());
        (made.made_at, key(one)).cmp(&(also.made_at, key(other)))
    });
    Ok(found)
}

/// Removes the oldest backups until `keep` are left, and says which went. The one that was just made always stays: one
/// with a later time was made before it, by a clock that was set back since, and goes first.
///
/// **Cancel**: of a process that is killed a part of one lies there under a name that begins with a dot, and the next
/// backup removes it.
pub(super) fn prune(backups: &Path, keep: usize, made: &Made) -> Result<Vec<PathBuf>, BackupError> {
    let mut older = list(backups)?;
    older.retain(|(path, _)| *path != made.path);
    let (later, mut ordered): (Vec<_>, Vec<_>) = older
        .into_iter()
        .partition(|(_, manifest)| manifest.made_at > made.manifest.made_at);
    ordered.splice(..0, later);
    let going = (ordered.len() + 1).saturating_sub(keep.max(1));
    let going = ordered.into_iter().take(going).map(|(path, _)| path);
    going
        .map(|path| {
            let aside = put_aside(backups, &path)?;
            fs::remove_dir_all(&aside).map_err(file("remove", &aside))?;
            Ok(path)
        })
        .collect()
}

/// Takes a backup out of the list at one stroke: what a kill leaves of it from then on is a half like that of one which
/// was being made. Were its files removed under its name, nobody would know what is left.
fn put_aside(backups: &Path, path: &Path) -> Result<PathBuf, BackupError> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let aside = backups.join(name);
    fs::rename(path, &aside).map_err(file("rename", path))?;
    // Before anything in it goes, also when it is the power that fails.
    sync_folder(backups)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::UtcMillis;
    use crate::storage::backup::create::{Places, create};
    use crate::storage::backup::making::{Terms, make};

    /// 2026-01-01.
    const NOW: u64 = 1_767_225_600_000;
    const YEARS: u64 = 4 * 31_536_000_000;

    /// Makes backups at these times with so many kept, and gives the times of those that are left, oldest first.
    fn check(keep: usize, times: &[u64], wanted: &[u64]) {
        let (_folder, store, places) = Places::of_empty_home();
        let mut names = std::collections::BTreeSet::new();
        for time in times {
            let made = create(&store, &places, false, UtcMillis(*time)).expect("made");
            let gone = prune(&places.backups, keep, &made).expect("pruned");
            assert!(!gone.contains(&made.path), "{times:?}: the newest went");
            assert!(made.path.is_dir(), "{times:?}: the newest is there");
            assert!(names.insert(made.path), "{times:?}: a name is never given twice");
        }
        let left = list(&places.backups).expect("listed");
        let left: Vec<u64> = left.iter().map(|(_, manifest)| manifest.made_at.0).collect();
        assert_eq!(left, wanted, "{times:?}");
    }

    #[test]
    fn the_oldest_go_and_the_one_just_made_stays_whatever_the_clock_says() {
        check(2, &[NOW, NOW + 1_000, NOW + 2_000], &[NOW + 1_000, NOW + 2_000]);
        // All within one second: their names differ in a number alone, of which 10 sorts before 2 as a text.
        let second: Vec<u64> = (0..12).map(|ms| NOW + ms).collect();
        check(3, &second, &second[9..]);
        check(3, &[NOW; 12], &[NOW; 3]);
        // The clock was set back: what is of a time that has not come was made before, and goes first.
        let (early, late) = (NOW, NOW + YEARS);
        check(2, &[late, late + 1, late + 2, early], &[early, late + 2]);
        check(
            2,
            &[late, late + 1, early, early + 1, early + 2],
            &[early + 1, early + 2],
        );
        check(1, &[late, early], &[early]);
        check(0, &[late, early], &[early]);
    }

    #[test]
    fn a_removal_that_a_kill_cuts_off_leaves_nothing_that_nobody_knows() {
        let (_folder, store, places) = Places::of_empty_home();
        let terms = Terms {
            keys: false,
            keep: 9,
            free_min: 0,
        };
        let folders = || {
            let entries = fs::read_dir(&places.backups).expect("listed");
            let paths = entries.map(|entry| entry.expect("an entry").path());
            paths.filter(|path| path.is_dir()).collect::<Vec<_>>()
        };
        let (first, _) = make(&store, &places, terms, UtcMillis(NOW)).expect("made");
        // Killed when one of its files had gone.
        let aside = put_aside(&places.backups, &first.path).expect("put aside");
        fs::remove_file(aside.join("state/openclaw.redb")).expect("removed");
        assert!(list(&places.backups).expect("listed").is_empty(), "no backup any more");
        assert_eq!(folders(), [aside]);
        let (second, _) = make(&store, &places, terms, UtcMillis(NOW + 5_000)).expect("made");
        assert_eq!(folders(), [second.path]);
    }
}
