//! What crosses the network, as JSON; owned conversions from domain values.

pub mod event;
pub mod memory;
pub mod money;
pub mod question;
pub mod run;
pub mod statistics;
pub mod submission;
pub mod tree;
