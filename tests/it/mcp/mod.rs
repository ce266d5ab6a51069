//! Servers of the Model Context Protocol: real processes and addresses, well behaved and not.

mod daemon;
mod http;
mod official;
mod stage;
mod stdio;
