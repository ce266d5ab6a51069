//! Memory entries.

use bincode::{Decode, Encode};

use crate::domain::memory::{MemoryEntry, MemoryKey};
use crate::domain::time::UtcMillis;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MemoryRecord {
    text: String,
    version: u64,
    updated_at: u64,
}

impl From<&MemoryEntry> for MemoryRecord {
    fn from(entry: &MemoryEntry) -> Self {
        Self {
            text: entry.text.to_string(),
            version: entry.version,
            updated_at: entry.updated_at.0,
        }
    }
}

impl From<MemoryRecord> for MemoryEntry {
    fn from(record: MemoryRecord) -> Self {
        Self {
            text: record.text.into(),
            version: record.version,
            updated_at: UtcMillis(record.updated_at),
        }
    }
}

/// The key of an entry's row: lengths in front keep any two names apart, whatever characters they hold.
pub fn memory_row(key: &MemoryKey) -> String {
    format!(
        "{}:{}:{}:{}",
        key.scope.as_str(),
        key.namespace.len(),
        key.namespace,
        key.key
    )
}
