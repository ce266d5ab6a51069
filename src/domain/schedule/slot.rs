//! The ledger: one row for every slot, and what is kept of a schedule between two of them.

use std::sync::Arc;

use crate::domain::id::RunId;
use crate::domain::name::ScheduleName;
use crate::domain::time::UtcMillis;

/// What became of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotState {
    /// It waits for an earlier one to end.
    Queued,
    /// Its run has been accepted and has not ended.
    Running,
    /// Its run succeeded with all expected outputs, and had started in time.
    Ran,
    /// The same, but it had started late.
    Late,
    /// Its run did not succeed, or could not be accepted, or an expected output is missing.
    Failed,
    /// It was not to run: an earlier one was running, or the schedule was paused.
    Skipped,
    /// It was due while nobody looked, and its schedule does not catch it up.
    Missed,
}

impl SlotState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Ran,
        Self::Late,
        Self::Failed,
        Self::Skipped,
        Self::Missed,
    ];

    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Ran => "ran",
            Self::Late => "late",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
        }
    }

    /// The state of a word made by [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether nothing more is to happen by itself.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// Whether a person may have it run after all.
    pub fn may_be_backfilled(self) -> bool {
        matches!(self, Self::Missed | Self::Skipped | Self::Failed)
    }
}

/// One row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRow {
    /// Whose slot.
    pub schedule: ScheduleName,
    /// When it was due, jitter left out. With the schedule it is the row's key.
    pub slot: UtcMillis,
    /// What became of it.
    pub state: SlotState,
    /// Why, in one line; empty for what simply ran.
    pub why: Arc<str>,
    /// Its run.
    pub run: Option<RunId>,
    /// When it was decided: of a slot that ran, its start.
    pub decided_at: UtcMillis,
    /// When its run had ended and was judged.
    pub ended_at: Option<UtcMillis>,
    /// How many slots the row stands for; more than one only for missed ones of a long downtime, which end here.
    pub count: u64,
    /// The first of them.
    pub first: UtcMillis,
}

impl SlotRow {
    /// A row of one slot.
    pub fn new(schedule: ScheduleName, slot: UtcMillis, state: SlotState, at: UtcMillis) -> Self {
        Self {
            schedule,
            slot,
            state,
            why: "".into(),
            run: None,
            decided_at: at,
            ended_at: None,
            count: 1,
            first: slot,
        }
    }

    /// With a reason.
    #[must_use]
    pub fn because(self, why: impl Into<Arc<str>>) -> Self {
        Self {
            why: why.into(),
            ..self
        }
    }
}

/// What is kept of a schedule between two slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Whose.
    pub schedule: ScheduleName,
    /// The expression that the ledger was filled by: slots before a change are those of the old one.
    pub expression: Arc<str>,
    /// Its zone.
    pub zone: Arc<str>,
    /// When it was first seen; `@every` counts from here.
    pub anchor: UtcMillis,
    /// Slots up to this time are in no ledger any more and never start, also when the clock is set back.
    pub floor: UtcMillis,
    /// Every slot up to this time is in the ledger.
    pub through: UtcMillis,
    /// Since when, and why, it is paused.
    pub paused: Option<(UtcMillis, Arc<str>)>,
    /// When the last slot succeeded.
    pub succeeded_at: Option<UtcMillis>,
}
