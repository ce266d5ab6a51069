//! What tests of the running program share.

pub mod daemon;
pub mod wait;
