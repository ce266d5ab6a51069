//! Why a backup was not made, read or restored.

use std::io;
use std::path::PathBuf;

use crate::domain::code::{self, Code};
use crate::storage::error::{StoreError, is_full};
use crate::storage::migration::error::MigrationError;

/// Failures of backups.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file or folder cannot be used.
    #[error("{verb} {}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The store cannot be copied or opened.
    #[error("copy the store")]
    Store(#[source] StoreError),
    /// The store of the backup is of an earlier program and cannot be migrated.
    #[error("bring the store of the backup to the layout of this program")]
    Migration(#[source] MigrationError),
    /// The files beside the store are too many or too large.
    #[error("back up {}: it has more than {limit} {unit}", path.display())]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// How much may be.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// It finds no room on the disk.
    #[error(
        "make a backup: it takes up to {needed} bytes, {kept} are to stay free, and {free} are free on the disk of {}",
        folder.display()
    )]
    NoRoom {
        /// Bytes that it may take.
        needed: u64,
        /// Bytes that are to stay free beside it.
        kept: u64,
        /// Bytes that are free.
        free: u64,
        /// The folder of backups.
        folder: PathBuf,
    },
    /// Another one is being made in the same folder, or an old one removed.
    #[error("make a backup in {}: another one is being made there", folder.display())]
    Busy {
        /// The folder of backups.
        folder: PathBuf,
    },
    /// The thread that worked on it crashed.
    #[error("work on a backup: the work crashed")]
    Crashed,
    /// There is no such backup.
    #[error("find a backup at {}", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The backup is not what was written.
    #[error("use the backup at {}: {}", path.display(), findings.join("; "))]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        findings: Vec<String>,
    },
    /// A process has the store open that would be replaced.
    #[error("restore into {}: a daemon runs on it", path.display())]
    Live {
        /// The folder of the state.
        path: PathBuf,
    },
}

impl BackupError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::File { source, .. } if is_full(source) => code::DISK_FULL,
            Self::File { .. } => code::HOME_FILE,
            Self::Store(StoreError::Locked { .. }) | Self::Live { .. } => code::STORE_LOCKED,
            Self::Store(error) if error.is_disk_full() => code::DISK_FULL,
            Self::Store(_) => code::STORE_FAILED,
            Self::NoRoom { .. } => code::DISK_FULL,
            Self::Busy { .. } => code::STORE_BUSY,
            Self::Crashed => code::BUG,
            Self::Migration(error) => error.code(),
            Self::TooLarge { .. } => code::BACKUP_TOO_LARGE,
            Self::NotFound { .. } => code::BACKUP_NOT_FOUND,
            Self::Damaged { .. } => code::BACKUP_DAMAGED,
        }
    }
}

/// Short for a `map_err` over a file operation.
pub(super) fn file(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::File {
        verb,
        path: path.into(),
        source,
    }
}
