//! Telling people of incidents.
//!
//! Incidents are looked at every few seconds; what people have to be told is written as messages, one for each channel,
//! in the transaction that says that they are told, and sent from there until it has arrived.

pub mod channel;
pub mod command;
pub mod decision;
pub mod error;
pub mod mail;
pub mod message;
pub mod outbox;
pub mod webhook;
