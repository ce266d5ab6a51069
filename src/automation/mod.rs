//! What starts work by itself: schedules and their ledger.
//!
//! One supervised actor for each schedule ([`actor`]) asks a pure decision ([`decision`]) what is next and carries it
//! out, one committed change at a time. A slot's row and the run that it starts are one transaction, so that a slot
//! never starts twice, whenever the process is killed. [`keeper`] sees to it that every schedule has its actor.
//! [`backups`] makes backups by itself.
//!
//! **Invariants**: every slot has a row in the ledger, or stands in the summary of a long downtime; a slot starts at
//! most once; what is due is worked out from what is on disk, never from a timer that could be lost.
//!
//! What it refuses to know: HTTP, files of the operator (they are handed in and out as [`parts::ScheduleFiles`]).

pub mod actor;
mod backfill;
pub mod backups;
pub mod book;
pub mod decision;
pub mod effect;
pub mod handle;
pub mod keeper;
pub mod layer;
pub mod message;
pub mod outputs;
pub mod parts;
mod prepare;
pub mod state;
mod troubles;
mod watching;
pub mod zone;

#[cfg(test)]
mod decision_tests;
