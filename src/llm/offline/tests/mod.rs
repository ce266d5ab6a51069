//! The offline model driven to its end against a workspace in memory.

mod behaviour;
mod stage;
