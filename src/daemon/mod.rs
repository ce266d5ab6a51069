//! The composition root: configuration, start-up, signals.
//!
//! The one place that knows every layer below it. It wires; it decides nothing about runs.

pub mod adapters;
mod alerting;
mod ask;
mod checks;
pub mod config;
mod config_seen;
mod desk;
pub mod error;
mod foundation;
pub mod guard;
pub mod layers;
pub mod log_files;
pub mod log_writer;
pub mod logging;
mod measuring;
pub mod operator_key;
pub mod programs;
pub mod reload;
mod rim;
pub mod service;
pub mod start;
pub mod store_layout;

#[cfg(test)]
mod tests;
