//! Erlang/OTP-grade supervision for ractor.

#![expect(
    clippy::disallowed_methods,
    reason = "this is where tasks get their supervisor, and where a seed is drawn when none is given"
)]

mod actor;
mod address;
mod admission;
mod child;
mod decision;
mod dynamic;
mod error;
mod exit;
mod handle;
mod id;
mod policy;
mod probe;
mod report;
mod shell;
mod snapshot;
mod state;
mod supervisor;
mod tasks;
mod tree;

pub use address::{CallError, CastError, ChildRef};
pub use admission::{Admission, Overloaded, Permit};
pub use child::{ChildSpec, StartContext, Started};
pub use dynamic::{DynamicRef, DynamicSpec};
pub use error::{ApiError, Ignore, StartError};
pub use exit::{ExitReason, SHUTDOWN};
pub use handle::{StartedChild, SupervisorRef};
pub use id::{ChildId, TreePath};
pub use policy::{
    AutoShutdown, Backoff, ChildKind, ChildPolicy, Flags, Intensity, Restart, SHUTDOWN_DEFAULT, START_DEADLINE_DEFAULT,
    Shutdown, SpecError, Strategy, ZOMBIE_AFTER_DEFAULT,
};
pub use report::{Fact, GiveUp, Report, ReportSink};
pub use snapshot::{ChildInfo, ChildStatus, SnapshotStrategy, TreeSnapshot};
pub use state::ChildCounts;
pub use supervisor::{Supervisor, SupervisorSpec, ZOMBIE_LIMIT_DEFAULT};
pub use tasks::{TaskExit, TaskRef, TaskRefused, TaskSupervisor, Tasks};
