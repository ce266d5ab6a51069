//! A drill: faults on a seeded schedule against a real daemon under load.

pub mod drill;
pub mod keeper;
pub mod killer;
pub mod load;
pub mod provider;
pub mod report;
pub mod watch;
