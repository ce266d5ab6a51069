//! Servers of the Model Context Protocol: real processes and addresses, well behaved and not.

mod confined;
mod daemon;
mod http;
mod official;
pub mod stage;
mod stdio;
