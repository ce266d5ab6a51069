//! Confinement of programs: what a program that a skill starts can reach, and the proof that the limits hold.
//!
//! Refuses to know: which skill asks, and why. Invariants: nothing is started before the self-test has run; a control
//! that is asked for and cannot be put in force stops the program before it begins; what a program may read, write
//! and reach is a list, and the list is empty until somebody fills it. `ops/docs/sandbox.md` says what it does not
//! protect from.

pub mod cgroup;
mod confine;
mod dispatch;
mod files;
mod namespaces;
mod paths;
pub mod policy;
mod privileges;
mod probe;
pub mod report;
pub mod self_test;
pub mod stage;
mod syscalls;
pub mod temp;

pub use namespaces::PROXY_PORT;
pub use probe::probe_main;
pub use stage::exec_main;
pub(crate) use syscalls::prepare_filters;
