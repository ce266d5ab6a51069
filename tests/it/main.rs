//! Integration tests.

mod budget;
mod cancel;
mod cli;
mod gateway;
mod kill;
mod models;
mod process;
mod skills;
mod supervision;
mod support;
mod tidy;
mod workspace;
