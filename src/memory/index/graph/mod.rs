//! Graphs over the rows of a shard: approximate, so only ever beside the exact scan.

pub mod build;
pub mod compact;
pub mod hnsw;
pub mod links;
pub mod twins;

#[cfg(test)]
mod tests;
