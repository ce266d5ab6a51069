//! Bringing a store of an earlier program to the layout of this one.
//!
//! The steps work on a copy beside the store. The store itself is not written to; when the copy is complete and was
//! checked, it takes the store's place in one rename, and the store as it was stays beside it. Until that rename, a
//! failure, a kill or a power cut leaves the store as the earlier program wrote it.
//!
//! **Invariants**: of each store there is at any moment one whole file under its name; steps are done in order, each in
//! one transaction together with the number of the layout that it leads to; a store of a newer program is not touched.

pub mod engine;
pub mod error;
pub mod order;
mod steps;

#[cfg(test)]
mod tests;
