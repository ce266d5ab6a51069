//! How long runs and the audit log are kept: a pure decision, and the collector that carries it out.
//!
//! Supervised by `runs` (permanent). It holds nothing; a crash costs the rest of a round, and the next one finds it.

pub mod collector;
pub mod decision;
