//! OpenClaw: an operating system for AI agents that one person can leave running.

pub mod domain;
pub mod skills;
