//! The faces: the protocols of OpenAI and Anthropic over durable runs.
//!
//! Every request becomes a run before anything is answered, and the client's conversation is kept beside its journal.
//! `read_…` makes a request of a body, `order` a run of a request, `told` is what the run's facts tell a client, and
//! `write_…` and `stream` put it into the vendor's shape.

pub mod body;
pub mod follow;
pub mod order;
pub mod read_chat;
pub mod read_messages;
pub mod read_responses;
pub mod replay;
pub mod rules;
pub mod scribe;
pub mod stream;
pub mod told;
pub mod vendor;
pub mod write_chat;
pub mod write_messages;
pub mod write_responses;

#[cfg(test)]
mod read_tests;
