//! The roster: one supervised actor per agent, its sessions, its token budgets, the turn loop.
//!
//! Knows nothing of how runs are planned: it takes an order, and reports how its session ended.

pub mod answer;
pub mod handle;
pub mod handoff;
pub mod hidden_text;
pub mod layer;
pub mod order;
pub mod parts;
pub mod players;
pub mod roster;
pub mod session;
pub mod treasury;
pub mod turn;
