//! The words of the product as values: ids, runs, plans, steps, hand-offs, facts, budgets, limits, faults.
//!
//! Everything here is pure: no clock, no randomness, no disk, no network, no async. Other layers hand those in
//! as arguments. The one outside type is [`serde_json::Value`], because arguments and outputs are JSON by
//! nature (`ops/decisions/0001-json-in-the-domain.md`); no type of this layer can be serialised by itself:
//! the disk has records of its own and the network has wire types of its own.
//!
//! What this layer refuses to know: who calls it.

pub mod agent;
pub mod alert;
pub mod approval;
pub mod audit;
pub mod brief;
pub mod budget;
pub mod capability;
pub mod check;
pub mod code;
pub mod compaction;
pub mod conversation;
pub mod effect;
pub mod exchange;
pub mod fact;
pub mod failure;
pub mod fault;
pub mod handoff;
pub mod id;
pub mod incident;
pub mod json;
pub mod limits;
pub mod memory;
pub mod money;
pub mod name;
pub mod plan;
pub mod plan_admission;
pub mod plan_document;
pub mod request_options;
pub mod resolution;
pub mod run;
pub mod sameness;
pub mod schedule;
pub mod skill;
pub mod statistics;
pub mod text;
pub mod text_policy;
pub mod time;
pub mod traffic;
