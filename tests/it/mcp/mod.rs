//! Servers of the Model Context Protocol: real processes and addresses, well behaved and not.

mod http;
mod stage;
mod stdio;
