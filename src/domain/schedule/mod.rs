//! Schedules as values: when something is due, in which zone, what it starts, and what became of each slot.
//!
//! - [`field`], [`expression`]: what people write, read with the place of each mistake.
//! - [`calendar`]: dates and times of day that match, without any zone.
//! - [`zone`]: the same on the line of real time: what a clock that is set forward or back makes of it.
//! - [`definition`], [`document`]: what a schedule starts and how; its form as JSON (and so as TOML).
//! - [`slot`]: the ledger's rows.

pub mod calendar;
pub mod definition;
pub mod document;
pub mod expression;
pub mod field;
pub mod slot;
pub mod zone;

#[cfg(test)]
mod expression_tests;
