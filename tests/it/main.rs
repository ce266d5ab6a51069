//! Integration tests.

#![expect(
    clippy::disallowed_methods,
    reason = "bounds on real processes are held against real time"
)]

mod kill;
mod process;
mod skills;
mod support;
mod tidy;
