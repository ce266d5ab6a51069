//! Bytes of all live texts, as far as they are known without counting the store.

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::time::UtcMillis;

/// Time after which the store is counted anew: not everything that is kept asks for room.
const COUNTED_FOR_MS: u64 = 60_000;

/// Bytes of all live texts as far as known: counted now and then, and what was given room since.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted(Arc<Mutex<Option<Count>>>);

#[derive(Debug, Clone, Copy)]
struct Count {
    bytes: u64,
    at: UtcMillis,
}

impl Counted {
    fn with<T>(&self, work: impl FnOnce(&mut Option<Count>) -> T) -> T {
        // Each change is one assignment.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The bytes, when they were counted lately.
    pub(super) fn lately(&self, now: UtcMillis) -> Option<u64> {
        let count = self.with(|count| *count)?;
        (now.since(count.at) < COUNTED_FOR_MS && now >= count.at).then_some(count.bytes)
    }

    pub(super) fn set(&self, bytes: u64, at: UtcMillis) {
        self.with(|count| *count = Some(Count { bytes, at }));
    }

    pub(super) fn add(&self, bytes: u64) {
        self.with(|count| {
            if let Some(count) = count {
                count.bytes = count.bytes.saturating_add(bytes);
            }
        });
    }

    pub(super) fn forget(&self) {
        self.with(|count| *count = None);
    }
}
