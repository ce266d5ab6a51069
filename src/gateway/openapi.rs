//! The description of the API, as it is served at `/openapi.json`.

use serde_json::Value;

/// The document. It is a file of its own, so that it can be read without a daemon; a test holds it against the
/// routes.
pub fn document() -> Value {
    serde_json::from_str(include_str!("openapi.json")).expect("the file is JSON; a test reads it")
}
