//! Integration tests.

#![expect(
    clippy::disallowed_methods,
    reason = "bounds on real processes are held against real time"
)]

mod admin;
mod again;
mod answers;
mod budget;
mod builtins;
mod cancel;
mod capabilities;
mod cassette;
mod cli;
mod compaction;
mod cron;
mod damage;
mod faces;
mod faults;
mod gateway;
mod gateway_tls;
mod health;
mod incidents;
mod keys;
mod kill;
mod lessons;
mod limits;
mod litellm;
mod logs;
mod mcp;
mod memory;
mod memory_upkeep;
mod migration;
mod model_faults;
mod models;
mod money;
mod nginx;
mod otlp;
mod packages;
mod paths;
mod process;
mod prometheus;
mod rebinding;
mod reload;
mod sandbox;
mod schemathesis;
mod sdks;
mod secrets;
mod skills;
mod slow_clients;
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
