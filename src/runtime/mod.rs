//! What every part stands on: the clock, ids, the committer, the bus of committed facts, metrics.
//!
//! Knows nothing of what is being run. **Invariant**: the bus speaks only of what is on disk.

pub mod bus;
pub mod clock;
mod commit_queue;
pub mod committer;
pub mod crash_point;
pub mod entropy;
pub mod file;
pub mod folder;
pub mod live;
mod metering;
pub mod own_process;
pub mod panicking;
pub mod room;
pub mod run_span;
pub mod steady;
pub mod telemetry;
pub mod timer;
pub mod tls;
