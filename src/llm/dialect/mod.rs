//! How providers spell requests and answers: pure functions to and from JSON, whole or event by event.
//!
//! The dialects never import each other; what they share is in `wire`, in `gathered` (an answer in the making) and
//! in `failure` (what errors mean). Whether an answer comes whole or in pieces makes no difference to what comes out.

pub mod anthropic;
pub mod failure;
pub mod gathered;
pub mod kind;
pub mod openai_chat;
pub mod openai_responses;
pub mod serve;

#[cfg(test)]
mod tests;
