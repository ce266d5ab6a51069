//! Which backups are there, and which of them go.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Removes the oldest backups until `keep` are left, and says which went. The newest one always stays.
pub fn prune(backups: &Path, keep: usize) -> Result<Vec<PathBuf>, BackupError> {
    let found = list(backups)?;
    let going = found.len().saturating_sub(keep.max(1));
    let going = found.into_iter().take(going).map(|(path, _)| path);
    going
        .map(|path| {
            // Its list goes first: a half that is left is no backup any more.
            let removed =
                fs::remove_file(path.join(super::manifest::MANIFEST)).and_then(|()| fs::remove_dir_all(&path));
            removed.map_err(file("remove", &path))?;
            Ok(path)
        })
        .collect()
}
