//! What operators do to the configuration and the log of a running daemon, done by whoever knows the files.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::gateway::error::ApiError;

/// What an edit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The key, dotted.
    pub key: String,
    /// The value that stood in the file; none when the default was in force.
    pub old: Option<String>,
    /// The value now.
    pub new: String,
    /// The file.
    pub file: String,
    /// Whether a running daemon could take it.
    pub live: bool,
}

/// What reading the files again came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// What is in force from now on, by the names that people use.
    pub applied: Vec<String>,
    /// What is taken at the next start.
    pub at_restart: Vec<String>,
}

/// The files and the log of this daemon.
pub trait Desk: Send + Sync {
    /// All settings that are in force by the files as they are now, each with its default and where it came from.
    ///
    /// **Errors**: the files cannot be read, or hold what is not allowed.
    fn settings(&self) -> Result<Value, ApiError>;

    /// Whether a value may be given to a key; gives the key as it is written in full.
    ///
    /// **Errors**: there is no such key, or the value is not allowed.
    fn check(&self, key: &str, value: &str) -> Result<String, ApiError>;

    /// Writes one value into the file, its comments kept.
    ///
    /// **Errors**: those of [`Self::check`], and the file cannot be written.
    fn set(&self, key: &str, value: &str) -> Result<Edited, ApiError>;

    /// Reads the files again for somebody: all of them are checked first, and what a running daemon can take is in force
    /// when this returns.
    ///
    /// **Errors**: the files cannot be used; nothing was changed.
    fn reload(&self, by: Arc<str>) -> BoxFuture<'static, Result<Reloaded, ApiError>>;

    /// The least important line that is logged.
    fn log_level(&self) -> String;

    /// Logs from this level on, until the next start.
    ///
    /// **Errors**: there is no such level.
    fn set_log_level(&self, level: &str) -> Result<(), ApiError>;
}
