//! Why a store was not brought to another layout. In every case it is as it was.

use std::io;
use std::path::PathBuf;

use crate::domain::code::{self, Code};
use crate::storage::error::StoreError;

use super::order::OrderError;

/// Failures of a migration.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The store cannot be opened or read.
    #[error("open the store to bring it to another layout")]
    Open(#[source] StoreError),
    /// No steps lead there.
    #[error("find the steps to another layout")]
    Order(#[source] OrderError),
    /// The copy finds no room on the disk.
    #[error("copy the store: it takes up to {needed} bytes, and {free} are free on the disk of {}", folder.display())]
    NoRoom {
        /// Bytes that the copy may take.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// The folder of the store.
        folder: PathBuf,
    },
    /// The store cannot be copied.
    #[error("copy the store")]
    Copy(#[source] StoreError),
    /// A step failed.
    #[error("bring the copy from layout {from} to the next")]
    Step {
        /// Where the step begins.
        from: u64,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// What came of it cannot be read.
    #[error("read the migrated copy")]
    Review(#[source] StoreError),
    /// What came of it is not what it was.
    #[error("check the migrated copy: {}", findings.join("; "))]
    Unsound {
        /// What is wrong.
        findings: Vec<String>,
    },
    /// A file beside the store cannot be used.
    #[error("{what} {}", path.display())]
    File {
        /// What was done.
        what: &'static str,
        /// With which.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl MigrationError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Open(StoreError::Locked { .. }) => code::STORE_LOCKED,
            Self::Open(StoreError::Corrupt { .. }) => code::STORE_CORRUPT,
            Self::Open(_) => code::STORE_FAILED,
            Self::Order(OrderError::Newer { .. }) => code::STORE_VERSION,
            Self::NoRoom { .. } => code::MIGRATION_NO_ROOM,
            Self::Copy(error) | Self::Step { source: error, .. } | Self::Review(error) if error.is_disk_full() => {
                code::MIGRATION_NO_ROOM
            }
            Self::Order(OrderError::Missing { .. })
            | Self::Copy(_)
            | Self::Step { .. }
            | Self::Review(_)
            | Self::Unsound { .. }
            | Self::File { .. } => code::MIGRATION_FAILED,
        }
    }
}

/// Short for a `map_err` over operations on files.
pub(super) fn file(what: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> MigrationError {
    move |source| MigrationError::File {
        what,
        path: path.to_owned(),
        source,
    }
}
