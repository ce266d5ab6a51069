//! Running programs so that none outlives its call or the daemon, with bounded output.
//!
//! The daemon starts its own binary once more as the launcher (`__launch`), which makes a copy of itself for each
//! program: the shim. The shim makes a copy of itself that confines itself ([`super::sandbox`]) and becomes the program,
//! in a group of its own. The shim watches its connection to the daemon, the time, what the program takes and its end,
//! and reports once.

pub(super) mod bounds;
mod capture;
pub mod confiner;
pub(super) mod descent;
pub mod end;
pub(super) mod event;
pub(super) mod launch;
mod launcher;
mod launcher_handle;
pub mod minder;
pub mod orphans;
pub mod program;
mod relay;
pub mod runner;
mod shim;
pub mod spool;
mod trace;
mod watch;
pub mod wire;

pub use launcher::launch_main;
