//! Integration tests.

#![expect(
    clippy::disallowed_methods,
    reason = "bounds on real processes are held against real time"
)]

mod admin;
mod answers;
mod budget;
mod builtins;
mod cancel;
mod capabilities;
mod cassette;
mod cli;
mod compaction;
mod cron;
mod faults;
mod gateway;
mod keys;
mod kill;
mod lessons;
mod litellm;
mod mcp;
mod memory;
mod memory_upkeep;
mod model_faults;
mod models;
mod money;
mod packages;
mod paths;
mod process;
mod sandbox;
mod sdks;
mod secrets;
mod skills;
mod ssrf;
mod stop;
mod store_care;
mod supervision;
mod support;
mod systemd;
mod text;
mod tidy;
mod undoing;
mod workers;
mod workspace;
