//! The list of what is in a backup, and holding the backup against it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path};

use serde_json::{Value, json};

use crate::domain::time::UtcMillis;
use crate::storage::copy::RowCounts;
use crate::storage::review::review_file;

use super::error::{BackupError, file};

/// The list's file.
pub const MANIFEST: &str = "backup.json";
/// The store within a backup.
pub const STORE: &str = "state/openclaw.redb";
/// The form of the list that this program writes.
const FORMAT: u64 = 1;
/// Largest list that is read.
const MANIFEST_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFile {
    /// Where, from the backup's folder on.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hexadecimal digits.
    pub hash: String,
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// When it was made.
    pub made_at: UtcMillis,
    /// Version of the program that made it.
    pub program: String,
    /// Whether the private keys are in it.
    pub keys: bool,
    /// Rows of the store by table.
    pub rows: RowCounts,
    /// The files, the list itself left out.
    pub files: Vec<BackupFile>,
}

impl Manifest {
    /// Size of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// As it is written.
    pub fn to_json(&self) -> Value {
        let files = self
            .files
            .iter()
            .map(|file| json!({ "path": file.path, "bytes": file.bytes, "blake3": file.hash }));
        json!({
            "format": FORMAT, "made_at_ms": self.made_at.0,
            "program": self.program, "keys": self.keys, "rows": self.rows, "files": files.collect::<Vec<_>>(),
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let files = value["files"].as_array()?.iter().map(|file| {
            Some(BackupFile {
                path: file["path"].as_str()?.to_owned(),
                bytes: file["bytes"].as_u64()?,
                hash: file["blake3"].as_str()?.to_owned(),
            })
        });
        let rows = value["rows"].as_object()?.iter();
        (value["format"] == FORMAT).then_some(())?;
        Some(Self {
            made_at: UtcMillis(value["made_at_ms"].as_u64()?),
            program: value["program"].as_str()?.to_owned(),
            keys: value["keys"].as_bool()?,
            rows: rows
                .map(|(table, count)| Some((table.clone(), count.as_u64()?)))
                .collect::<Option<_>>()?,
            files: files.collect::<Option<_>>()?,
        })
    }

    /// Reads the list of a backup.
    pub fn read(folder: &Path) -> Result<Self, BackupError> {
        let path = folder.join(MANIFEST);
        let opened = match File::open(&path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(BackupError::NotFound { path: folder.into() });
            }
            Err(error) => return Err(file("open", path)(error)),
        };
        let mut text = String::new();
        let read = opened.take(MANIFEST_BYTES_MAX).read_to_string(&mut text);
        read.map_err(file("read", path))?;
        let value: Option<Value> = serde_json::from_str(&text).ok();
        let manifest = value.as_ref().and_then(Self::from_json);
        let manifest = manifest.filter(|manifest| manifest.files.iter().all(|file| stays_inside(&file.path)));
        manifest.ok_or_else(|| BackupError::Damaged {
            path: folder.into(),
            findings: vec![format!("its {MANIFEST} is not of this program")],
        })
    }
}

/// Whether a path of the list leads nowhere but into the backup.
fn stays_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    parts.next().is_some()
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
}

/// Size and hash of a file.
pub(super) fn hash_file(path: &Path) -> std::io::Result<(u64, String)> {
    let mut hasher = blake3::Hasher::new();
    let bytes = std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok((bytes, hasher.finalize().to_hex().to_string()))
}

/// Holds every file against the list, and reads every row of the store.
///
/// **Errors**: everything that is wrong, at once.
pub fn verify(folder: &Path) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(folder)?;
    let mut findings = Vec::new();
    for listed in &manifest.files {
        match hash_file(&folder.join(&listed.path)) {
            Ok((bytes, hash)) if (bytes, &hash) == (listed.bytes, &listed.hash) => {}
            Ok(_) => findings.push(format!("{} is not what was written", listed.path)),
            Err(error) => findings.push(format!("{} cannot be read: {error}", listed.path)),
        }
    }
    if !manifest.files.iter().any(|listed| listed.path == STORE) {
        findings.push(format!("{STORE} is missing"));
    }
    if findings.is_empty() {
        let review = review_file(&folder.join(STORE)).map_err(BackupError::Store)?;
        findings = review.findings;
    }
    if findings.is_empty() {
        return Ok(manifest);
    }
    Err(BackupError::Damaged {
        path: folder.into(),
        findings,
    })
}
