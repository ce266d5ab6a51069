//! Memory: what agents keep and find again.
//!
//! What this layer refuses to know: agents, runs, models, skills.

pub mod embed;
pub mod index;
pub mod keep;
