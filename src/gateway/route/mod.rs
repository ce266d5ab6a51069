//! The routes, one file for each thing; they never import each other.

pub mod agents;
pub mod answers;
pub mod health;
pub mod router;
pub mod runs;
pub mod status;
pub mod usage;
