//! Tools of servers of the Model Context Protocol, as skills named `mcp.<server>.<tool>`.
//!
//! Servers come from the operator's configuration alone ([`config`]). Each has a supervised actor ([`server`]) that
//! keeps one connection ([`link`]) and its list of tools ([`tool`]); calls go straight to the connection
//! ([`tool_skill`]). A program that serves runs under a [`keeper`], so that it never outlives its actor or the daemon.
//! The SDK (`rmcp`) is named in [`link`], [`server`], [`outcome`], [`tool`] and [`tool_skill`] and nowhere else.
//!
//! Refuses to know: agents, runs. Invariants: a server that crashes, hangs, floods or lies ends its own calls and
//! nothing else; a call that was sent to a server that was lost is unknown, one that was not sent did not happen;
//! everything that a server says is bounded before it is kept.

pub mod config;
pub mod handle;
pub mod keeper;
pub mod layer;
pub mod link;
pub mod memo;
pub mod metered;
pub mod outcome;
mod runtime;
pub mod server;
pub mod shared;
pub mod tool;
pub mod tool_skill;
