//! The keys of memory.

use std::time::Duration;

use crate::memory::limits::{WhenFull, prune_period};

use super::setting::Settings;

/// How memory is kept in bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Between two collections, in seconds.
    pub gc_interval_s: u64,
    /// Between two prunes; none when there are none.
    pub prune_every: Option<Duration>,
    /// How long what was archived can be restored, in seconds.
    pub archive_keep_s: u64,
    /// Live entries of one part.
    pub entries_max: u64,
    /// Bytes of all live texts.
    pub bytes_max: u64,
    /// What happens at those limits.
    pub when_full: WhenFull,
}

impl MemoryConfig {
    /// As configured; the table of keys has checked the words.
    pub(super) fn of(settings: &Settings) -> Self {
        let word = |name| settings.text(&["memory", name]).unwrap_or_default();
        let number = |name| {
            let number = settings.number(&["memory", name]);
            number.expect("the key has a default, and only allowed values replace it")
        };
        Self {
            gc_interval_s: number("gcInterval"),
            prune_every: prune_period(word("pruneSchedule")).flatten(),
            archive_keep_s: number("archiveKeep"),
            entries_max: number("maxEntries"),
            bytes_max: number("maxBytes"),
            when_full: WhenFull::from_word(word("whenFull")).unwrap_or(WhenFull::Evict),
        }
    }
}
