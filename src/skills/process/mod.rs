//! Running programs so that none outlives its call or the daemon, with bounded output.
//!
//! The daemon starts its own binary again as `__shim`; the shim starts the program as `__exec`, which confines itself
//! ([`super::sandbox`]) and becomes it, in a group of its own. The shim watches the pipe to the daemon, the time, what
//! the program takes and its end, and reports once.

mod bounds;
mod capture;
mod descent;
pub mod end;
mod event;
pub mod orphans;
pub mod program;
mod relay;
pub mod runner;
mod shim;
pub mod spool;
pub mod wire;

pub use shim::shim_main;
