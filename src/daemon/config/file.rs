//! Files of the home: read with a limit, written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

pub use crate::runtime::file::replace;

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
