//! Skills: what agents can do to the world, each with a manifest, an input schema and an effect class.
//!
//! Refuses to know: agents, runs, the journal. A call gets an order and gives back an end; the caller journals
//! both. Invariants: paths never leave the workspace; programs never outlive the daemon or their call; private
//! addresses are not fetched unless the operator allows that host and port.

pub mod builtin;
pub mod catalogue;
pub mod command;
mod declare;
pub mod egress;
mod environment;
mod exhaustion;
mod fetch;
pub mod first_set;
mod git_config;
pub mod handle;
mod html;
pub mod mcp;
pub mod memory_reader;
mod meter;
mod needs;
pub mod network;
pub mod package;
pub mod poison;
pub mod preview;
pub mod process;
mod program_call;
mod resource;
pub mod sandbox;
mod showing;
pub mod skill;
mod stop;
mod thread;
mod walk;
pub mod workers;
mod workspace;

pub use process::spool;
