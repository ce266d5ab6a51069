//! Connections: accepted, bounded, answered and ended.
//!
//! Every listener of the program goes through here, so that each kind of silence has an end on all of them: a client
//! that says nothing, half a handshake, half a head, half a preface of HTTP/2, that idles between requests, drips its
//! body or takes nothing of its answer is let go at the limit of [`bounds::Bounds`].

pub mod acceptor;
pub mod bounds;
pub mod connection;
pub mod crowd;
pub mod deaf;
mod handed;
pub mod http2;
pub mod network;
pub mod serve;
pub mod stall;
pub mod visitor;
