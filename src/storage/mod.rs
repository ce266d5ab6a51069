//! Bytes on disk: redb tables in one file, versioned records, the journal, snapshots, blobs.
//!
//! The only layer that knows redb and bincode. It owns the conversions between domain values and records, and
//! the one function that applies a batch within a write transaction. It knows no actors: the thread that calls
//! it is the committer of `runtime`.
//!
//! **Invariants**: a batch is applied whole or not at all; journal places rise within a run; nothing is
//! journaled for a run that has ended; a record that cannot be read is reported, never repaired silently.

pub mod audit;
pub mod backup;
pub mod batch;
pub mod codec;
pub mod compaction;
pub mod copy;
pub mod error;
pub mod exchange;
pub mod incidents;
pub mod journal;
pub mod memory_earlier;
pub mod memory_embed;
pub mod memory_follow;
pub mod memory_read;
pub mod memory_row;
mod memory_tables;
mod memory_upkeep;
pub mod memory_verify;
pub mod memory_write;
pub mod migration;
mod overlay;
mod owner;
pub mod record;
pub mod reserve;
mod retention;
pub mod review;
mod schedules;
pub mod statistics;
pub mod store;
pub mod table;
mod tables;
mod tape;
pub mod trust;
mod unwinding;
pub mod writer;

#[cfg(test)]
pub(crate) mod power_loss;
