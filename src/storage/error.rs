//! Why the store could not do something.

use std::path::{Path, PathBuf};

use crate::domain::fault::Fault;

/// Failures of opening, reading and writing the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder of the store cannot be made.
    #[error("make folder {path}")]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process holds the file.
    #[error("open {path}: another process has it open")]
    Locked {
        /// Which file.
        path: PathBuf,
    },
    /// redb cannot open the file.
    #[error("open {path}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// The file was written by a program that knows a later layout.
    #[error("open {path}: its layout is version {found}, this program knows up to {known}")]
    Version {
        /// Which file.
        path: PathBuf,
        /// The file's layout.
        found: u64,
        /// The newest layout known here.
        known: u64,
    },
    /// The file was written by a program that knew an earlier layout only.
    #[error("open {path}: its layout is version {found}, this program works with {known}")]
    Earlier {
        /// Which file.
        path: PathBuf,
        /// The file's layout.
        found: u64,
        /// The layout of this program.
        known: u64,
    },
    /// redb failed while it did something.
    #[error("{step}")]
    Redb {
        /// What was done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: Box<redb::Error>,
    },
    /// A record cannot be read.
    #[error("read {what}: {reason}")]
    Corrupt {
        /// Which record.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// Wraps an error of redb with the step that failed.
    pub fn redb(step: &'static str) -> impl FnOnce(redb::Error) -> Self {
        move |source| Self::Redb {
            step,
            source: Box::new(source),
        }
    }

    /// Wraps what redb says when it cannot open a file.
    pub(super) fn opening(path: &Path) -> impl FnOnce(redb::DatabaseError) -> Self {
        move |error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Self::Locked { path: path.to_owned() },
            error => Self::Open {
                path: path.to_owned(),
                source: Box::new(error.into()),
            },
        }
    }

    /// Whether the file is as a kill leaves it: the next opening for writing repairs it.
    pub fn is_unrepaired(&self) -> bool {
        matches!(self, Self::Open { source, .. } if matches!(**source, redb::Error::RepairAborted))
    }

    /// Whether what the file holds is no store any more, or one with holes: nothing but a backup brings that back.
    pub fn is_damage(&self) -> bool {
        let source = match self {
            Self::Open { source, .. } | Self::Redb { source, .. } => source,
            Self::Corrupt { .. } => return true,
            Self::Folder { .. } | Self::Locked { .. } | Self::Version { .. } | Self::Earlier { .. } => return false,
        };
        match &**source {
            redb::Error::Corrupted(_) => true,
            // The first bytes are another program's, there are none, or the file ends too soon.
            redb::Error::Io(source) => matches!(
                source.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ),
            _ => false,
        }
    }

    /// Whether the file system had no room left.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Folder { source, .. } => is_full(source),
            Self::Open { source, .. } | Self::Redb { source, .. } => {
                matches!(&**source, redb::Error::Io(source) if is_full(source))
            }
            Self::Locked { .. } | Self::Version { .. } | Self::Earlier { .. } | Self::Corrupt { .. } => false,
        }
    }

    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Locked { .. } | Self::Version { .. } | Self::Earlier { .. } => Fault::Conflict,
            Self::Corrupt { .. } => Fault::Corrupt,
            Self::Folder { .. } | Self::Open { .. } | Self::Redb { .. } => Fault::Unavailable,
        }
    }
}

/// Whether an operation failed for want of room: the disk's, or the user's share of it.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    )
}

/// Short for a `map_err` over any of redb's error types.
pub(crate) fn step<E: Into<redb::Error>>(step: &'static str) -> impl FnOnce(E) -> StoreError {
    move |error| StoreError::redb(step)(error.into())
}
