//! How much is kept, and how often it is looked through.

use std::time::Duration;

use crate::runtime::telemetry::Telemetry;

/// What happens when a part of the memory is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The least valuable entries make room; they are archived.
    Evict,
    /// Nothing more is taken.
    Refuse,
}

impl WhenFull {
    /// The policy of a word of the configuration.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "evict" => Some(Self::Evict),
            "refuse" => Some(Self::Refuse),
            _ => None,
        }
    }
}

/// How memory is kept in bounds.
#[derive(Debug, Clone)]
pub struct Upkeep {
    /// Between two collections.
    pub interval: Duration,
    /// Between two prunes; none when entries of little value stay.
    pub prune_every: Option<Duration>,
    /// How long what was archived can be restored.
    pub archive_keep: Duration,
    /// Live entries of one part (a session, a project, the global one).
    pub entries_max: u64,
    /// Bytes of all live texts.
    pub bytes_max: u64,
    /// What happens at those limits.
    pub when_full: WhenFull,
    /// Counts.
    pub telemetry: Telemetry,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(3600),
            prune_every: Some(7 * DAY),
            archive_keep: 30 * DAY,
            entries_max: 2_000_000,
            bytes_max: 8 << 30,
            when_full: WhenFull::Evict,
            telemetry: Telemetry::default(),
        }
    }
}

/// Time between two prunes, by the word of the configuration; the inner none is for never.
pub fn prune_period(word: &str) -> Option<Option<Duration>> {
    match word {
        "off" => Some(None),
        "daily" => Some(Some(DAY)),
        "weekly" => Some(Some(7 * DAY)),
        "monthly" => Some(Some(30 * DAY)),
        _ => None,
    }
}
