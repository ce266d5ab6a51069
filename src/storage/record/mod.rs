//! Records: what is on disk. Each file owns one kind and its conversions from and to domain values.
//!
//! The order of members and variants is the disk layout: new variants go to the end; any other change is a new
//! version with an upcaster.

pub mod balance;
pub mod fact;
pub mod header;
pub mod incident;
pub mod key;
pub mod memory;
pub mod submission;

#[cfg(test)]
mod fact_tests;
