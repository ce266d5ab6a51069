//! The configuration: one table of keys, the files of the home, and the typed values that the daemon is built from.
//!
//! - [`key`]: every key, once; help, checks, defaults and the commented template all come from it.
//! - [`mod@load`]: default < file < environment < flag; each value knows its origin.
//! - [`edit`]: one value changed in the operator's file, comments kept.
//! - [`home`]: where everything lives; [`daemon_file`]: what a running daemon says of itself.
//! - [`agent`], [`prompt`], [`model`], [`command_skill`], [`mcp`], [`memory`], [`otlp`], [`pipeline`], [`schedule`]: the
//!   things that are configured.
//!
//! What it refuses to know: who uses the values. It opens no socket and no store.

pub mod agent;
mod approval;
pub mod command_skill;
pub mod daemon_file;
pub mod document;
pub mod edit;
pub mod error;
pub mod file;
pub mod gateway;
pub mod health;
pub mod home;
pub mod key;
pub mod kind;
pub mod load;
pub mod mcp;
pub mod memory;
pub mod model;
pub mod otlp;
pub mod pipeline;
pub mod prompt;
pub mod sandbox;
pub mod schedule;
pub mod setting;
pub mod template;

pub use daemon_file::DaemonFile;
pub use error::{BadValue, ConfigError, Place, Warning};
pub use home::{Home, HomeError};
pub use load::{Config, Loaded, Overrides, load};
