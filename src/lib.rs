//! OpenClaw: an operating system for AI agents that one person can leave running.

pub mod cli;
pub mod daemon;
pub mod domain;
