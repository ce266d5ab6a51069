//! What a shard keeps in memory and can rebuild: words and vectors of its entries.

pub mod codes;
pub mod gather;
pub mod graph;
mod irregular;
pub mod lexical;
pub mod library;
pub mod nearest;
pub mod query;
pub mod scores;
pub mod signals;
pub mod terms;
pub mod words;
