//! Runs: accepting, planning, dispatching the graph, checks, cancellation, deadlines, recovery.
//!
//! Knows nothing of HTTP or cron.

pub mod accepting;
pub mod actor;
pub mod answering;
pub mod asking;
mod cassette;
pub mod check;
pub mod check_call;
pub mod decision;
pub mod dispatcher;
pub mod grounds;
pub mod handle;
pub mod layer;
mod left;
pub mod lesson;
pub mod message;
pub mod parts;
pub mod question;
pub mod retention;
pub mod state;
pub mod steward;
mod surroundings;
pub mod undo;

#[cfg(test)]
mod tests;
