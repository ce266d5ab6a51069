//! The parts of the program `memory`.

pub mod churn;
pub mod entries;
pub mod puts;
pub mod questions;
pub mod vectors;
