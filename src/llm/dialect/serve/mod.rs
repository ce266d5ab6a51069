//! The other side of the dialects: a provider's request read as ours, our answer written as the provider's, whole or
//! as a stream.
//!
//! For faces that speak a vendor's API and for serving a model of this program to another one.

mod answer;
mod events;
mod request;

pub use answer::{write_anthropic, write_openai_chat, write_openai_responses};
pub use events::Events;
pub use request::{ServeError, read_anthropic, read_openai_chat, read_openai_responses};
