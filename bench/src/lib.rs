//! Workloads and floors: every published figure has its program here.

pub mod daemon;
pub mod disk;
pub mod floor;
pub mod history;
pub mod model_server;
pub mod table;
