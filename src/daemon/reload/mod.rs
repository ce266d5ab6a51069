//! Reading the configuration again while the daemon runs: all of it is checked first, what can be taken is taken at
//! once, what cannot is named, and a configuration that cannot be used changes nothing.
//!
//! **Invariants**: nothing is replaced before everything was read, checked and built; each part is replaced as a whole.

pub mod decision;
pub mod reloader;
