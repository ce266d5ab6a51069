//! Integration tests.

mod process;
mod skills;
