//! Workloads and floors: every published figure has its program here.

#![expect(clippy::disallowed_methods, reason = "it measures, and waits for other processes")]

pub mod chaos;
pub mod clients;
pub mod daemon;
pub mod disk;
pub mod floor;
pub mod glosses;
pub mod history;
pub mod meter;
pub mod model_server;
pub mod table;
pub mod talking_models;
