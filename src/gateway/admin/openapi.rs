//! The description of the operators' routes, as it is served at `/openapi.json` of their listener.

use serde_json::Value;

use crate::gateway::openapi::with_common;

/// The document; a test holds it against the routes.
pub fn document() -> Value {
    with_common(serde_json::from_str(include_str!("openapi.json")).expect("the file is JSON; a test reads it"))
}
