//! One shard: an index that follows the store, and the actor that owns it.

pub mod actor;
pub mod index;
mod lists;
mod thread;

#[cfg(test)]
mod tests;
