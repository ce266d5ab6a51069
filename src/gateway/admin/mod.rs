//! What operators do to the daemon itself: its keys, its certificates and secrets, the audit log, its actors, its end.
//!
//! On a listener of its own, which asks for a certificate before it reads anything, and for a key then.

pub mod audit;
pub mod changes;
pub mod keys;
pub mod listener;
pub mod openapi;
pub mod process;
pub mod router;
pub mod secrets;
pub mod settings;
pub mod store;
pub mod tls;
