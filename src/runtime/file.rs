//! Files that must never be half there or seen by others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Largest file that holds a key.
const PRIVATE_BYTES_MAX: u64 = 64 * 1024;

/// Reads a text file of at most so many bytes; none when it is not there.
pub fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than what this program writes",
        ));
    }
    Ok(Some(text))
}

/// Reads a file that only its owner may read; none when it is not there. One that others can read is refused, because
/// what it holds is no secret any more.
pub fn read_private(path: &Path) -> io::Result<Option<String>> {
    match fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "other users can read it; make it private with `chmod 600`, and what it holds anew",
        )),
        Ok(_) => read_at_most(path, PRIVATE_BYTES_MAX),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a file: temporary file in the same folder, sync, rename, sync of the folder. A reader sees the old
/// text or the new one. Permissions of an existing file are kept; a new one gets `mode`. Its owner and group are kept
/// where this process may give files away, which root may; its group also where it is one of its own. A link is followed,
/// so that a file kept elsewhere (in a repository of dot files) stays a link.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut replacement = Replacement::begin(path, mode)?;
    replacement.file().write_all(bytes)?;
    replacement.finish()
}

/// A file that is written bit by bit and takes the place of another once it is whole, as in [`replace`]. One that is
/// dropped before leaves the other as it was, and nothing beside it.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    is_whole: bool,
}

impl Replacement {
    /// Begins one beside the file that it is for.
    pub fn begin(path: &Path, mode: u32) -> io::Result<Self> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
        let found = fs::metadata(&path).ok();
        let mode = found.as_ref().map_or(mode, |found| found.permissions().mode() & 0o7777);
        let owner = found.map(|found| (found.uid(), found.gid()));
        let mut temporary_name = std::ffi::OsString::from(".");
        temporary_name.push(name);
        temporary_name.push(format!(".{}.tmp", std::process::id()));
        let temporary = folder_of(&path).join(temporary_name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        let replacement = Self {
            path,
            temporary,
            file,
            is_whole: false,
        };
        replacement.give(mode, owner)?;
        Ok(replacement)
    }

    fn give(&self, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
        if let Some((user, group)) = owner {
            let given = fchown(&self.file, Some(user), Some(group));
            match given.or_else(|_| fchown(&self.file, None, Some(group))) {
                // Whoever may write to the folder may replace the file; what they may not give away becomes theirs.
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                _ => {}
            }
        }
        // The mode of `open` is cut by the umask and does not touch a file that a crash left behind.
        self.file.set_permissions(fs::Permissions::from_mode(mode))
    }

    /// Where to write.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Puts it in the place of the other; it is on disk when this returns.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.is_whole = true;
        File::open(folder_of(&self.path))?.sync_all()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_whole {
            // The old file is untouched; the rest of the failed attempt is of no use to anybody.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_keeps_its_permissions_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.toml");
        replace(&path, b"one", 0o600).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        replace(&path, b"two", 0o600).expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
    }

    #[test]
    fn a_replacement_that_is_not_finished_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.jsonl");
        replace(&path, b"one", 0o600).expect("written");
        let mut replacement = Replacement::begin(&path, 0o600).expect("begun");
        replacement.file().write_all(b"two").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"one");
        drop(replacement);
        assert_eq!(fs::read(&path).expect("read"), b"one");
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
    }

    #[test]
    fn a_replaced_file_keeps_its_owner_and_group_where_they_may_be_given() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.toml");
        replace(&path, b"one", 0o640).expect("written");
        // Only root may give a file to another; for anybody else the file is their own before and after.
        let given = std::os::unix::fs::chown(&path, Some(12_345), Some(23_456)).is_ok();
        let owner = || {
            fs::metadata(&path)
                .map(|found| (found.uid(), found.gid()))
                .expect("there")
        };
        let before = owner();
        assert!(!given || before == (12_345, 23_456));
        replace(&path, b"two", 0o640).expect("written");
        assert_eq!(owner(), before);
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (real, link) = (folder.path().join("real.toml"), folder.path().join("link.toml"));
        fs::write(&real, "one").expect("written");
        std::os::unix::fs::symlink(&real, &link).expect("linked");
        replace(&link, b"two", 0o600).expect("written");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read(&real).expect("read"), b"two");
    }

    #[test]
    fn a_private_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("key");
        assert_eq!(read_private(&path).expect("none"), None);
        replace(&path, b"secret", 0o600).expect("written");
        assert_eq!(read_private(&path).expect("read").as_deref(), Some("secret"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        assert!(read_private(&path).is_err());
        assert!(read_at_most(&path, 3).is_err());
    }
}
