//! What commands do by themselves when no daemon runs on the home.

use super::context::Context;
use super::error::{Cause, CliError};
use crate::daemon::config::DaemonFile;
use crate::domain::code::{self, Code};
use crate::storage::backup::error::BackupError;
use crate::storage::compaction::CompactError;
use crate::storage::error::StoreError;
use crate::storage::migration::error::MigrationError;
use crate::storage::store::{CACHE_BYTES_DEFAULT, Store};

/// How long a daemon may read or write the whole store before it answers, in milliseconds.
pub const LONG_MS: u64 = 3_600_000;

/// Why something was not done without a daemon.
pub trait Offline: std::error::Error + Send + Sync + 'static {
    /// The code that users see.
    fn offline_code(&self) -> Code;
}

impl Offline for StoreError {
    fn offline_code(&self) -> Code {
        match self {
            Self::Locked { .. } => code::STORE_LOCKED,
            Self::Version { .. } => code::STORE_VERSION,
            Self::Earlier { .. } => code::STORE_EARLIER,
            error if error.is_damage() => code::STORE_CORRUPT,
            error if error.is_disk_full() => code::DISK_FULL,
            _ => code::STORE_FAILED,
        }
    }
}

impl Offline for CompactError {
    fn offline_code(&self) -> Code {
        match self {
            Self::TooLarge { .. } | Self::Busy => code::STORE_BUSY,
            Self::Store(error) => error.offline_code(),
        }
    }
}

impl Offline for MigrationError {
    fn offline_code(&self) -> Code {
        self.code()
    }
}

impl Offline for BackupError {
    fn offline_code(&self) -> Code {
        self.code()
    }
}

/// The error of a command.
pub fn failed(step: &'static str, error: impl Offline) -> CliError {
    let hint = match error.offline_code() {
        code if code == code::STORE_LOCKED => Some("a daemon runs on this home: `openclaw stop` ends it".into()),
        code if code == code::STORE_EARLIER => {
            Some("`openclaw store migrate` brings it to this program, and so does `openclaw start`".into())
        }
        code if code == code::MIGRATION_NO_ROOM || code == code::MIGRATION_FAILED => {
            Some("nothing was changed: the earlier program still works with this store".into())
        }
        code if code == code::BACKUP_NOT_FOUND => Some("`openclaw backup list` shows those that are there".into()),
        _ => None,
    };
    CliError::Daemon {
        step,
        code: error.offline_code(),
        hint,
        source: Cause::from(error),
    }
}

/// Whether a daemon runs on the home, or another one was named.
pub fn daemon_runs(context: &Context) -> Result<bool, CliError> {
    let named = context.overrides.environment.get("OPENCLAW_ADMIN_URL");
    let is_named = named.is_some_and(|url| !url.is_empty());
    Ok(is_named || DaemonFile::read(&context.home)?.is_some_and(|daemon| daemon.is_alive()))
}

/// Opens the store of the home; a daemon that runs has its lock.
pub fn open_store(context: &Context) -> Result<Store, CliError> {
    context.require_home()?;
    Store::open(&context.home.store_file(), CACHE_BYTES_DEFAULT).map_err(|error| failed("open the store", error))
}
