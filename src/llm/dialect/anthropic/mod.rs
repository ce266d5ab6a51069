//! Anthropic's Messages.
//!
//! **Source**: the vendor's API reference (messages, streaming, tool use, extended thinking, prompt caching,
//! structured outputs).

mod answer;
mod request;

pub use answer::{Reader, read_answer};
pub use request::{NAME, VERSION, write_request};
