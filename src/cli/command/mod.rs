//! One file per command. None imports another; what two of them share lies one level up.

pub mod agent;
pub mod audit;
pub mod backup;
pub mod budget;
pub mod config;
pub mod cron;
pub mod doctor;
pub mod init;
pub mod key;
pub mod mcp;
pub mod memory;
pub mod memory_upkeep;
pub mod quickstart;
pub mod run;
pub mod runs;
pub mod secret;
pub mod security;
pub mod service;
pub mod skill;
pub mod start;
pub mod status;
pub mod stop;
pub mod store;
pub mod tls;
pub mod tree;
