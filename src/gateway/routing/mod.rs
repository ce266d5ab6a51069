//! Which agent gets a request that names none.
//!
//! In this order: the header `X-OpenClaw-Agent`, the agent that the request's session has, the rules of
//! `gateway.routes` in the order of their names, the default agent of the key (its scope `agent:NAME`).

pub mod affinity;
pub mod choose;
pub mod rule;
