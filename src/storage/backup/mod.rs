//! Backups: a folder with a consistent copy of the store, what it cannot be used without, and a list of all of it.
//!
//! ```text
//! backups/20261122T211416Z/
//!   backup.json          what is in it, with a hash for each file
//!   state/openclaw.redb  the store as it was at one moment
//!   state/…              keys of the audit log and of the secrets, the internal authority
//!   config/…             the operator's files
//! ```
//!
//! **Invariants**: a backup is there whole or not at all (it is made beside its place and renamed); nothing is restored
//! over a store that a process has open, and what is replaced is kept; what ran when the backup was made does not run
//! again by itself, because nobody knows how far it came since; one backup at a time is made or removed in a folder, and
//! one that fails leaves nothing behind.

pub mod create;
pub mod error;
pub mod keep;
pub mod making;
pub mod manifest;
pub mod restore;
