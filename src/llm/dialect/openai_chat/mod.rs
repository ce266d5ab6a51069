//! OpenAI's Chat Completions, as OpenAI and the many servers that copy it spell it.
//!
//! **Source**: the request and response types of the vendor's own SDKs; known quirks of compatible servers (arguments
//! as an object, empty, repeated or changing ids, one index for all calls, no usage, errors in an answer with status
//! 200).

mod answer;
mod request;

pub use answer::{Reader, read_answer};
pub use request::{NAME, write_request};
