//! Which program brought the store to a layout.

use bincode::{Decode, Encode};

use crate::domain::time::UtcMillis;

/// One row, by the layout that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LayoutRecord {
    /// Version of the program.
    pub program: String,
    at: u64,
}

impl LayoutRecord {
    /// By this program, now.
    pub fn new(program: &str, now: UtcMillis) -> Self {
        Self {
            program: program.to_owned(),
            at: now.0,
        }
    }

    /// When.
    pub fn at(&self) -> UtcMillis {
        UtcMillis(self.at)
    }
}
