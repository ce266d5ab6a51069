//! Integration tests.

mod kill;
mod process;
mod skills;
mod support;
mod tidy;
