//! One file per command. None imports another; what two of them share lies one level up.

pub mod agent;
pub mod config;
pub mod doctor;
pub mod init;
pub mod quickstart;
pub mod run;
pub mod runs;
pub mod start;
pub mod status;
pub mod stop;
pub mod tree;
