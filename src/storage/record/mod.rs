//! Records: what is on disk. Each file owns one kind and its conversions from and to domain values.
//!
//! The order of members and variants is the disk layout: new variants go to the end; any other change is a new
//! version with an upcaster.

pub mod alert;
mod answer;
pub mod audit;
pub mod balance;
pub mod certificate;
pub mod exchange;
pub mod fact;
mod handoff;
pub mod header;
pub mod incident;
pub mod incident_state;
pub mod key;
pub mod layout;
pub mod memory;
mod reading;
pub mod schedule;
pub mod secret;
mod spec;
pub mod statistics;
pub mod submission;
pub mod traffic;

#[cfg(test)]
mod fact_tests;
#[cfg(test)]
mod schedule_tests;
