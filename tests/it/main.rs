//! Integration tests.

#![expect(
    clippy::disallowed_methods,
    reason = "bounds on real processes are held against real time"
)]

mod budget;
mod cancel;
mod capabilities;
mod cli;
mod gateway;
mod kill;
mod mcp;
mod models;
mod packages;
mod process;
mod skills;
mod stop;
mod supervision;
mod support;

mod text;
mod tidy;
mod workspace;
