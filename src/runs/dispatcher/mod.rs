//! The dispatcher: grants slots to the steps of all runs, by limits and priority.
//!
//! Supervised by `runs` before the runs themselves (rest_for_one): when it crashes the runs start anew from their
//! journals and ask again.

pub mod actor;
pub mod state;
