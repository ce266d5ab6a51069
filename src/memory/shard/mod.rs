//! One shard: an index that follows the store, and the actor that owns it.

pub mod actor;
pub mod index;

#[cfg(test)]
mod tests;
