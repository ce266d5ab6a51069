//! How what was found is ordered, thinned out and fitted into a limit. Pure, and without a word of how it was found.

pub mod best;
pub mod distinct;
pub mod pack;
pub mod span;
pub mod speech;
pub mod weights;
