//! Running programs so that none outlives its call or the daemon, with bounded output.
//!
//! The daemon starts its own binary again as `__shim`; the shim starts the program as `__exec` in a group of its
//! own, watches the pipe to the daemon, the time and the program's end, and reports once.

pub mod runner;
