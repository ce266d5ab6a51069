//! How providers spell requests and answers: pure functions to and from JSON.
//!
//! The dialects never import each other; what they share is in `wire`. They make and read whole documents; reading
//! an answer in pieces is a matter of its own that ends in the same [`ModelAnswer`](crate::domain::conversation::ModelAnswer).

pub mod anthropic;
pub mod openai_chat;
pub mod serve;

#[cfg(test)]
mod tests;
