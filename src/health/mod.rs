//! Whether everything gets on, and who is told when it does not.
//!
//! A checker asks every part at an interval; what fails becomes an incident, what is good again ends it. Restarts of
//! actors become incidents as supervisors tell them. An alerter tells people of incidents over the configured channels,
//! in groups, again after a while, and of their end; what it is going to say is on disk before it says it.
//!
//! Refuses to know how parts repair themselves. **Invariants**: a part is well when it has made progress, not when it
//! is silent; the same fault is one incident as long as it goes on; a message is written in the transaction that says
//! that somebody is told, and keeps its id over all tries.
//!
//! Supervised as branch `health`: `checking` (tasks), `checker`, `sending` (tasks), `recorder`, `alerter`, and where a
//! collector is configured `exporting` (tasks) and `exporter`. A crash costs a round; incidents and messages are in the
//! store.

pub mod alerter;
pub mod alerts;
pub mod check;
pub mod checker;
pub mod decision;
pub mod export;
pub mod handle;
pub mod layer;
pub mod operator;
pub mod parts;
mod program;
pub mod recorder;
pub mod round;

#[cfg(test)]
mod tests;
