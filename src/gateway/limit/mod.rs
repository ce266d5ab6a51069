//! Limits on what clients ask, each with a refusal that says when to come back.
//!
//! Nothing here is counted before a key is known, but for failures: so the tables are bounded by the keys that were
//! made, the agents that are configured, and one bound for addresses. A limit of a connection is the business of `rim`.

pub mod limits;
pub mod rates;
pub mod throttle;
