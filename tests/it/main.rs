//! Integration tests.

mod process;
mod skills;
mod support;
mod tidy;
