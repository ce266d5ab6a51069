//! Runs: accepting, planning, dispatching the graph, checks, cancellation, deadlines, recovery.
//!
//! Knows nothing of HTTP or cron.

pub mod decision;
pub mod state;

#[cfg(test)]
mod tests;
