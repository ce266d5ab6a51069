//! What a decision comes to: data alone, for the shell to carry out and the state to take over. Pure.

use std::sync::Arc;

use crate::domain::id::RunId;
use crate::domain::name::ScheduleName;
use crate::domain::schedule::slot::{Kept, SlotRow, SlotState};
use crate::domain::time::UtcMillis;

/// One row and the state that its slot must have until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The row.
    pub row: SlotRow,
    /// The state before; none means that there is no row.
    pub expected: Option<SlotState>,
}

/// What troubles a schedule. All of one kind are one incident as long as it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Slots fail; it ends with one that succeeds.
    Failing,
    /// Slots are missed; it ends when none was for a day.
    Missing,
}

impl Trouble {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Failing, Self::Missing];

    /// What its incident is called.
    pub fn fingerprint(self, schedule: &ScheduleName) -> String {
        match self {
            Self::Failing => format!("schedule:{schedule}"),
            Self::Missing => format!("missed:{schedule}"),
        }
    }

    /// After how long without another one it has ended by itself, in milliseconds.
    pub fn quiet_ms(self) -> Option<u64> {
        match self {
            Self::Failing => None,
            Self::Missing => Some(24 * 3_600_000),
        }
    }
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Of what it is one.
    pub trouble: Trouble,
    /// `warning` or `error`.
    pub severity: &'static str,
    /// What happened.
    pub what: String,
    /// Why.
    pub why: String,
    /// What was done.
    pub action: String,
    /// The run concerned.
    pub run: Option<RunId>,
}

/// What is written in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: Vec<Change>,
    /// What is kept then.
    pub kept: Kept,
    /// The slot for which earlier runs are to end.
    pub cancels: Option<UtcMillis>,
    /// What a person should know.
    pub notice: Option<Notice>,
}

impl Written {
    /// Whether a slot's run succeeded.
    pub fn succeeds(&self) -> bool {
        let succeeded = |change: &Change| matches!(change.row.state, SlotState::Ran | SlotState::Late);
        self.rows.iter().any(succeeded)
    }
}

/// A slot's run is to be accepted, in one transaction with its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Which.
    pub slot: UtcMillis,
    /// The state of its row until then.
    pub expected: Option<SlotState>,
    /// What is kept then.
    pub kept: Kept,
    /// Why it starts only now; empty when it is in time.
    pub why: Arc<str>,
}

/// What is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time; none means never.
    Wait(Option<UtcMillis>),
    /// The clock was set back: the rows from then on are needed.
    Rewind,
    /// Write rows.
    Write(Box<Written>),
    /// Start a slot.
    Start(Start),
    /// Ask runs to end.
    Cancel(Vec<RunId>),
}

/// What came of a slot's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it succeeded with all that was expected of it.
    pub succeeded: bool,
    /// Whether its schedule ended it, for a later slot.
    pub is_superseded: bool,
    /// Why not; for people.
    pub why: Arc<str>,
}
