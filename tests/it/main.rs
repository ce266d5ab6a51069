//! Integration tests.

#![expect(
    clippy::disallowed_methods,
    reason = "bounds on real processes are held against real time"
)]

mod budget;
mod cancel;
mod cli;
mod gateway;
mod kill;
mod models;
mod process;
mod sandbox;
mod skills;
mod stop;
mod supervision;
mod support;
mod tidy;
mod workspace;
