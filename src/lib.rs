#![doc = include_str!("ARCHITECTURE.md")]

pub mod agents;
pub mod automation;
pub mod cli;
pub mod daemon;
pub mod domain;
pub mod gateway;
pub mod health;
pub mod identity;
pub mod llm;
pub mod memory;
pub mod runs;
pub mod runtime;
pub mod skills;
pub mod storage;
