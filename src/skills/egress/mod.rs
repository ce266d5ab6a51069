//! The one way from programs to the network: a proxy of the daemon that knows which program asks and what it may reach.
//!
//! A program in a network of its own finds it at a fixed address, by the variables that HTTP clients read. Refuses to
//! know: skills, processes. Invariants: a connection without a pass is closed; a host is reached only when the pass
//! names it with its port; inner addresses are reached only when the operator opens them, whatever their name; a
//! secret is put into requests that this proxy makes itself, and never shown to a program.

mod allowed;
mod door;
mod porter;
mod proxy;
pub mod secret;
mod variables;

pub use door::{Egress, Pass};
pub use porter::layer;
pub use variables::variables;
