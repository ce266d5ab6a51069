//! Retrieval quality: conversations with marked evidence, and how much of it is found.

pub mod material;
pub mod measure;
