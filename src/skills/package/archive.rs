//! Packages as archives: `.zip` and `.tar.gz` (`.tgz`), unpacked into a folder and nowhere else.
//!
//! Refuses to know: what a package is for. Invariants: every entry is judged by its name and kind before a byte of it is
//! written; nothing but regular files and folders comes into being, each once, beneath the folder's handle; what is
//! unpacked is bounded in files, bytes and in what it grows to. What is refused leaves the folder half full: whoever
//! made it removes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use flate2::read::MultiGzDecoder;

use super::folder::{BYTES_MAX, DEPTH_MAX, FILES_MAX};
use super::library::DOCUMENT_FILE;
use super::names::wrong_with;

/// Bytes of an archive.
pub const ARCHIVE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Entries of an archive, folders and what is passed over among them.
const ENTRIES_MAX: usize = 2 * FILES_MAX;
/// How many times its own size an archive may unpack to, once it is more than [`RATIO_FREE_BYTES`].
const RATIO_MAX: u64 = 100;
const RATIO_FREE_BYTES: u64 = 1024 * 1024;
/// Bytes that the format itself may take between files: headers and padding.
const FRAME_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 1024;
/// What one system's archiver puts beside each file.
const RESOURCE_FORKS: &str = "__MACOSX";

/// Says why an archive is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The disk refused, or the archive ends early.
    #[error("failed to {doing} {what}")]
    Io {
        /// What was being done, as an infinitive.
        doing: &'static str,
        /// To what.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is none, or a damaged one.
    #[error("failed to read the archive: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// An entry is not taken, and with it the whole archive.
    #[error("failed to take the entry {name}: {reason}")]
    Entry {
        /// Its name, harmless.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It is too large.
    #[error("failed to take the archive: it has more than {limit}")]
    TooLarge {
        /// Which limit.
        limit: String,
    },
    /// Nothing in it is a package, or too much is.
    #[error("failed to find the package in the archive: {reason}")]
    NoPackage {
        /// What was found.
        reason: String,
    },
}

/// Whether a file is to be taken for an archive, by its name.
pub fn is_archive(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
    name.is_some_and(|name| [".zip", ".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end)))
}

/// Unpacks an archive into a folder, which is there and empty, and says which folder beneath it is the package: the
/// archive's root, or the one folder in it.
///
/// **Limits**: [`ARCHIVE_BYTES_MAX`]; unpacked those of a package, and a hundred times the archive's own size.
pub fn unpack(archive: &Path, into: &Path) -> Result<PathBuf, ArchiveError> {
    let shown = archive.display().to_string();
    let mut file = File::open(archive).map_err(failed("open", &shown))?;
    let metadata = file.metadata().map_err(failed("open", &shown))?;
    if !metadata.is_file() {
        let reason = "it is no regular file".to_owned();
        return Err(ArchiveError::Damaged { reason });
    }
    if metadata.len() > ARCHIVE_BYTES_MAX {
        return Err(too_large("64 MiB as an archive"));
    }
    let mut mark = [0; 4];
    let read = file.read(&mut mark).map_err(failed("read", &shown))?;
    file.seek(SeekFrom::Start(0)).map_err(failed("read", &shown))?;
    let dir = Dir::open_ambient_dir(into, ambient_authority()).map_err(failed("open", &into.display().to_string()))?;
    let mut taken = Taken {
        dir,
        kinds: BTreeMap::new(),
        entries: 0,
        files: 0,
        bytes: 0,
        bytes_max: BYTES_MAX.min((metadata.len() * RATIO_MAX).max(RATIO_FREE_BYTES)),
    };
    match &mark[..read] {
        [b'P', b'K', ..] => unpack_zip(file, &mut taken)?,
        [0x1f, 0x8b, ..] => unpack_tar(file, &mut taken)?,
        _ => {
            let reason = "it is neither a zip archive nor a tar archive under gzip".to_owned();
            return Err(ArchiveError::Damaged { reason });
        }
    }
    taken.package().map(|inner| into.join(inner))
}

fn unpack_zip(file: File, taken: &mut Taken) -> Result<(), ArchiveError> {
    let damaged = |error: zip::result::ZipError| ArchiveError::Damaged {
        reason: error.to_string(),
    };
    let named = zip_entries(&file)?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    if archive.len() != named {
        // The library keeps one of several entries of one name, and nobody can say which was meant.
        let reason = format!(
            "its list has {named} entries, of which {} have names of their own",
            archive.len()
        );
        return Err(ArchiveError::Damaged { reason });
    }
    for place in 0..archive.len() {
        let raw = archive.by_index_raw(place).map_err(damaged)?;
        let name = raw.name_raw().to_vec();
        let refuse = |reason| Err(entry_error(&String::from_utf8_lossy(&name), reason));
        let Ok(name) = std::str::from_utf8(&name) else {
            return refuse("its name is no UTF-8");
        };
        if raw.encrypted() {
            return refuse("it is encrypted");
        }
        let mode = raw.unix_mode().unwrap_or(0o644);
        let kind = match mode & 0o170_000 {
            0o040_000 => Kind::Folder,
            0 | 0o100_000 if name.ends_with('/') => Kind::Folder,
            0 | 0o100_000 => Kind::File,
            0o120_000 => return refuse("it is a link"),
            _ => return refuse("it is neither a file nor a folder"),
        };
        let bytes = raw.size();
        drop(raw);
        let Some(path) = taken.admit(name, kind, bytes)? else {
            continue;
        };
        if kind == Kind::File {
            let mut entry = archive.by_index(place).map_err(damaged)?;
            taken.write(&path, &mut entry, bytes, mode & 0o111 != 0)?;
        }
    }
    Ok(())
}

/// How many entries the list at the end of a zip archive says that it has.
///
/// **Source**: PKWARE's APPNOTE, section 4.3.16.
fn zip_entries(mut file: &File) -> Result<usize, ArchiveError> {
    const END_BYTES: usize = 22;
    const MARK: [u8; 4] = *b"PK\x05\x06";
    let io = || failed("read", "the archive's list");
    let length = file.seek(SeekFrom::End(0)).map_err(io())?;
    // A comment of at most 64 KiB may follow.
    let from = length.saturating_sub(END_BYTES as u64 + u64::from(u16::MAX));
    file.seek(SeekFrom::Start(from)).map_err(io())?;
    let mut tail = Vec::new();
    file.take(length - from).read_to_end(&mut tail).map_err(io())?;
    file.seek(SeekFrom::Start(0)).map_err(io())?;
    let place = tail.windows(END_BYTES).rposition(|window| window.starts_with(&MARK));
    let count = place.map(|place| u16::from_le_bytes([tail[place + 10], tail[place + 11]]));
    count.map(usize::from).ok_or_else(|| ArchiveError::Damaged {
        reason: "its end is missing".to_owned(),
    })
}

fn unpack_tar(file: File, taken: &mut Taken) -> Result<(), ArchiveError> {
    use tar::EntryType;
    // Whatever the headers say, no more than this is ever made out of the archive.
    let mut stream = MultiGzDecoder::new(BufReader::new(file)).take(taken.bytes_max + FRAME_BYTES_MAX);
    let mut archive = tar::Archive::new(&mut stream);
    let damaged = failed_to_read;
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path_bytes().into_owned();
        let refuse = |reason| Err(entry_error(&String::from_utf8_lossy(&name), reason));
        let kind = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Folder,
            // What version control says of the whole.
            EntryType::XGlobalHeader => continue,
            EntryType::Symlink | EntryType::Link => return refuse("it is a link"),
            _ => return refuse("it is neither a file nor a folder"),
        };
        let Ok(name) = std::str::from_utf8(&name) else {
            return refuse("its name is no UTF-8");
        };
        let mode = entry.header().mode().map_err(damaged)?;
        let bytes = entry.size();
        let Some(path) = taken.admit(name, kind, bytes)? else {
            continue;
        };
        if kind == Kind::File {
            taken.write(&path, &mut entry, bytes, mode & 0o111 != 0)?;
        }
    }
    // To the end, where the sum of everything is.
    io::copy(&mut stream, &mut io::sink()).map_err(failed_to_read)?;
    if stream.limit() == 0 {
        return Err(too_large("its files"));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
}

/// What has been taken of an archive so far.
struct Taken {
    dir: Dir,
    /// By their names in small letters: on some systems two that differ only in that are one file.
    kinds: BTreeMap<String, Kind>,
    entries: usize,
    files: usize,
    bytes: u64,
    bytes_max: u64,
}

impl Taken {
    /// The path of an entry when it is to be taken, and none when it is to be passed over.
    fn admit(&mut self, name: &str, kind: Kind, bytes: u64) -> Result<Option<String>, ArchiveError> {
        let refuse = |reason| Err(entry_error(name, reason));
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(too_large(&format!("{ENTRIES_MAX} entries")));
        }
        if name.len() > NAME_BYTES_MAX {
            return refuse("its name is too long");
        }
        if name.starts_with('/') {
            return refuse("its name is absolute");
        }
        let parts: Vec<&str> = name
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        for part in &parts {
            if let Some(reason) = wrong_with(part) {
                return refuse(reason);
            }
        }
        let Some((_, above)) = parts.split_last() else {
            // The folder that everything is in.
            return if kind == Kind::Folder {
                Ok(None)
            } else {
                refuse("it has no name")
            };
        };
        if parts[0] == RESOURCE_FORKS {
            return Ok(None);
        }
        // One more than in a package: archives have a folder around it.
        if above.len() > DEPTH_MAX + 1 {
            return refuse("it is too deep within folders");
        }
        for depth in 1..=above.len() {
            let folder = parts[..depth].join("/").to_lowercase();
            if *self.kinds.entry(folder).or_insert(Kind::Folder) == Kind::File {
                return refuse("it is within what is a file");
            }
        }
        let path = parts.join("/");
        match self.kinds.insert(path.to_lowercase(), kind) {
            None => {}
            Some(Kind::Folder) if kind == Kind::Folder => {}
            Some(_) => return refuse("its name comes twice, perhaps in other letters"),
        }
        let dir = if kind == Kind::Folder {
            path.clone()
        } else {
            above.join("/")
        };
        if !dir.is_empty() {
            self.dir.create_dir_all(&dir).map_err(failed("make", &dir))?;
        }
        if kind == Kind::File {
            self.files += 1;
            if self.files > FILES_MAX {
                return Err(too_large(&format!("{FILES_MAX} files")));
            }
            if self.bytes.saturating_add(bytes) > self.bytes_max {
                return Err(self.too_many_bytes());
            }
        }
        Ok(Some(path))
    }

    /// Writes the content of an entry that was admitted.
    fn write(
        &mut self,
        path: &str,
        content: &mut impl Read,
        bytes: u64,
        is_executable: bool,
    ) -> Result<(), ArchiveError> {
        let mut options = OpenOptions::new();
        let mode = if is_executable { 0o755 } else { 0o644 };
        options.write(true).create_new(true).mode(mode);
        let mut file = self.dir.open_with(path, &options).map_err(failed("make", path))?;
        // One more than the entry says shows that it says too little.
        let written = io::copy(&mut content.take(bytes + 1), &mut file).map_err(failed("unpack", path))?;
        self.bytes += written;
        if self.bytes > self.bytes_max {
            return Err(self.too_many_bytes());
        }
        if written == bytes {
            Ok(())
        } else {
            Err(entry_error(path, "it has not as many bytes as it says"))
        }
    }

    fn too_many_bytes(&self) -> ArchiveError {
        if self.bytes_max == BYTES_MAX {
            too_large("64 MiB unpacked")
        } else {
            too_large(&format!("{RATIO_MAX} times its own size unpacked"))
        }
    }

    /// Where the package is.
    fn package(&self) -> Result<PathBuf, ArchiveError> {
        let is_file = |path: &str| self.dir.metadata(path).is_ok_and(|found| found.is_file());
        if is_file(DOCUMENT_FILE) {
            return Ok(PathBuf::new());
        }
        let entries = self.dir.entries().map_err(failed("list", "what was unpacked"))?;
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut packages: Vec<String> = names
            .filter(|name| is_file(&format!("{name}/{DOCUMENT_FILE}")))
            .collect();
        match (packages.pop(), packages.is_empty()) {
            (Some(one), true) => Ok(one.into()),
            (None, _) => Err(ArchiveError::NoPackage {
                reason: format!("there is no {DOCUMENT_FILE} at its top or in a folder at its top"),
            }),
            (Some(_), false) => Err(ArchiveError::NoPackage {
                reason: format!(
                    "{} folders have a {DOCUMENT_FILE}; unpack it and name one",
                    packages.len() + 1
                ),
            }),
        }
    }
}

fn entry_error(name: &str, reason: &'static str) -> ArchiveError {
    let name = format!("{:?}", crate::domain::text::preview(name, 200));
    ArchiveError::Entry { name, reason }
}

fn too_large(limit: &str) -> ArchiveError {
    ArchiveError::TooLarge {
        limit: limit.to_owned(),
    }
}

fn failed(doing: &'static str, what: &str) -> impl FnOnce(io::Error) -> ArchiveError {
    let what = what.to_owned();
    move |source| ArchiveError::Io { doing, what, source }
}

fn failed_to_read(source: io::Error) -> ArchiveError {
    failed("read", "the archive")(source)
}
