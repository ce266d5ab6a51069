//! Running programs so that none outlives its call or the daemon, with bounded output.
//!
//! The daemon starts its own binary again as `__shim`; the shim starts the program as `__exec` in a group of its
//! own, watches the pipe to the daemon, the time and the program's end, and reports once.

mod capture;
mod descent;
pub mod end;
mod exec;
pub mod orphans;
pub mod program;
pub mod runner;
mod shim;
pub mod spool;
mod trace;
pub mod wire;

pub use exec::exec_main;
pub use shim::shim_main;
