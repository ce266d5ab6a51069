//! What tests of the running program share.

pub mod accepting;
pub mod contract;
pub mod daemon;
pub mod disk;
pub mod embedding_server;
pub mod fault_server;
pub mod model_server;
pub mod rim;
pub mod wait;
