//! The network rim: the native API, server-sent events, authentication, limits.
//!
//! Knows no storage records. **Invariants**: nothing is answered with a run id before the run is on disk; a
//! client that leaves stops nothing; every write needs a key; every error has a code and a hint.

pub mod admin;
pub mod again;
pub mod attribution;
pub mod auth;
pub mod body;
pub mod desk;
pub mod error;
pub mod face;
pub mod hosts;
pub mod idempotency;
mod lapse;
pub mod layer;
pub mod limit;
pub mod metrics;
pub mod openapi;
pub mod parts;
pub mod query;
pub mod request_id;
pub mod rim;
pub mod route;
pub mod routing;
pub mod standing;
pub mod wire;
