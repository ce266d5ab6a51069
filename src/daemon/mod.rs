//! The composition root: configuration, start-up, signals.

pub mod config;
