//! Plans, steps and checks as JSON documents: reading names every place that is wrong, writing is canonical.
//!
//! Written by hand rather than derived, because a model or a person repairs a plan by JSON Pointers, and because
//! this layer carries no serialisation of its own. The schema given to planners is [`plan_schema`].

mod read;
pub mod reader;
mod schema;
mod words;
mod write;

#[cfg(test)]
mod tests;

pub use read::{read_checks, read_plan};
pub use schema::plan_schema;
pub use write::{write_check, write_plan};
