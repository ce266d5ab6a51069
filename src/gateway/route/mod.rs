//! The routes, one file for each thing; they never import each other.

pub mod agents;
pub mod answers;
pub mod chat;
pub mod health;
pub mod incidents;
pub mod memory;
pub mod memory_upkeep;
pub mod messages;
pub mod models;
pub mod responses;
pub mod router;
pub mod runs;
pub mod schedule;
pub mod skills;
pub mod status;
pub mod usage;
