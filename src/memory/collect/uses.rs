//! What was found and given to somebody who asked since it was last written down: by key, by a question, or told to an
//! agent before it began. Whoever puts, forgets or lists an entry does not use it.
//!
//! A read costs no write: uses gather here and are written with the next collection. A kill loses those of one
//! interval, which make an entry look a little less used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::memory::ShardName;

/// Entries that are counted between two collections; uses of further ones are not counted.
const ENTRIES_MAX: usize = 65_536;

type Counts = HashMap<(ShardName, u64), u64>;

/// Cheap to clone; shared by those who read and the collector.
#[derive(Debug, Clone, Default)]
pub struct Uses(Arc<Mutex<Counts>>);

impl Uses {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Each change is one insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry was found and given to somebody.
    pub fn count(&self, shard: &ShardName, id: u64) {
        let mut counts = self.lock();
        let key = (shard.clone(), id);
        if counts.len() < ENTRIES_MAX || counts.contains_key(&key) {
            *counts.entry(key).or_default() += 1;
        }
    }

    /// Takes all counts out.
    pub fn take(&self) -> Vec<((ShardName, u64), u64)> {
        std::mem::take(&mut *self.lock()).into_iter().collect()
    }
}
