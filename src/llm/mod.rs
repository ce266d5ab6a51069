//! Asking a model: one trait, the dialects of remote providers, and the offline model that is built in.
//!
//! What this layer refuses to know: agents, runs, prompts, budgets. It makes one request once; whether another
//! attempt makes sense is decided above, from the [`FailureClass`](crate::domain::failure::FailureClass) of the
//! [`AskError`].

pub mod cassette;
pub mod client;
#[cfg(test)]
mod client_tests;
pub mod config;
pub mod dialect;
pub mod estimate;
pub mod gate;
pub mod model;
pub mod offline;
pub mod rate_limits;
pub mod registry;
pub mod retry_after;
pub mod wire;

pub use config::{ModelConfig, Provider, Secret, Timeouts};
pub use model::{AskError, Model, ModelDescription, Spent};
pub use registry::{Models, RegistryError};
