//! Memory: what agents keep and find again.
//!
//! What this layer refuses to know: agents, runs, models, skills.

pub mod collect;
mod counted;
pub mod embed;
pub mod embedding;
pub mod filling;
pub mod handle;
pub mod index;
pub mod indexing;
pub mod keep;
pub mod layer;
pub mod limits;
pub mod parts;
pub mod question;
pub mod ranking;
pub mod recall;
mod room;
pub mod shard;
pub mod upkeep;
