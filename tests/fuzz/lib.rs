//! The pure parts of the program that read what strangers wrote, compiled by path: with the program's network, store
//! and TLS beside them an instrumented build would take minutes instead of seconds.

#[path = "../../src/domain/mod.rs"]
pub mod domain;

#[path = "../../src/llm/wire/mod.rs"]
pub mod wire;

pub mod checks;
