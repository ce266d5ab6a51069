//! Files of the home: read with a limit, written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::error::ConfigError;

/// Largest configuration file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Files of one kind in one folder.
pub const FILES_MAX: usize = 256;

/// Reads a text file; none when it is not there.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<Option<String>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes > bytes_max {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            bytes,
            bytes_max,
        });
    }
    let mut text = String::with_capacity(bytes as usize);
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// The files with this extension in a folder, sorted by name; empty when the folder is not there.
pub fn list(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|found| found == extension) && path.is_file() {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(ConfigError::TooMany {
                path: folder.to_owned(),
                files_max: FILES_MAX,
            });
        }
    }
    files.sort();
    Ok(files)
}

/// Replaces a file: temporary file in the same folder, sync, rename, sync of the folder. A reader sees the old
/// text or the new one. Permissions of an existing file are kept; a new one gets `mode`. A link is followed, so
/// that a file kept elsewhere (in a repository of dot files) stays a link.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let mode = fs::metadata(&path).map_or(mode, |found| found.permissions().mode() & 0o7777);
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    temporary_name.push(format!(".{}.tmp", std::process::id()));
    let temporary = folder.join(temporary_name);
    let written = write_new(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = written {
        // The old file is untouched; the rest of the failed attempt is of no use to anybody.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    // The mode of `open` is cut by the umask and does not touch a file that a crash left behind.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
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
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (real, link) = (folder.path().join("real.toml"), folder.path().join("link.toml"));
        fs::write(&real, "one").expect("written");
        std::os::unix::fs::symlink(&real, &link).expect("linked");
        replace(&link, b"two", 0o600).expect("written");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read(&real).expect("read"), b"two");
    }
}
