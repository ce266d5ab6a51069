//! The roster: agents, their sessions, their token budgets.

pub mod turn;
