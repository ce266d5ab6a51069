//! Collection: what is not worth keeping is archived, and what was archived long ago is deleted.
//!
//! One supervised actor for the whole memory. It works in small batches, each a commit of its own, so that nobody waits
//! long for the writer; a crash or a kill loses the rest of a round, and the next round finds it again. Nothing is
//! deleted that was not archived before.

pub mod actor;
pub mod decision;
pub mod round;
pub mod uses;

#[cfg(test)]
mod tests;
