//! OpenAI's Responses, without state at the provider: every request brings the whole conversation, so that it can be
//! made again after a crash, with any key, or to another server.
//!
//! **Source**: the request, item and event types of the vendor's own SDKs.

mod answer;
mod request;

pub use answer::{Reader, read_answer};
pub use request::{NAME, write_request};
