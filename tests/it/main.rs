//! Integration tests.

mod process;
mod skills;
mod tidy;
