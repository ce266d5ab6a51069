//! What one schedule has come to: built from the store, changed only by what was committed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::id::RunId;
use crate::domain::schedule::definition::Schedule;
use crate::domain::schedule::slot::{Kept, SlotRow, SlotState};
use crate::domain::time::UtcMillis;

use super::effect::{Notice, Trouble, Written};

/// Between two attempts to start a slot whose run was refused for now, in milliseconds.
pub const RETRY_MS: u64 = 5_000;
/// What is said of a slot that waits until the run of an earlier one has been cancelled for it.
pub const CANCELS_EARLIER: &str = "the run of an earlier slot is cancelled first";
/// After so many milliseconds of refusals a slot fails.
pub const GIVE_UP_MS: u64 = 3_600_000;

/// One schedule's state.
#[derive(Debug, Clone)]
pub struct ScheduleState {
    /// The schedule.
    pub schedule: Arc<Schedule>,
    /// What is on disk of it.
    pub kept: Kept,
    /// The slots whose runs have not ended.
    pub running: BTreeMap<UtcMillis, SlotRow>,
    /// The slots that wait, with the reason.
    pub queued: BTreeMap<UtcMillis, Arc<str>>,
    /// Slots after `kept.through` that have rows: the clock was set back over them.
    pub settled: BTreeSet<UtcMillis>,
    /// The slot for which earlier runs are to be cancelled.
    pub cancel_for: Option<UtcMillis>,
    /// Runs that were asked to end, and when.
    pub cancelled: BTreeMap<RunId, UtcMillis>,
    /// Until when nothing is started, and since when starts are refused.
    pub put_off: Option<PutOff>,
    /// Why slots may have been due without being decided; none from the first rest after it.
    pub gap: Option<Gap>,
    /// Whether the slot that ended last is known to have succeeded.
    pub is_well: bool,
    /// Rows written since the ledger was last trimmed.
    pub rows_written: usize,
}

/// Why slots were due and nothing was decided about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// The process, or the actor, had not begun.
    Down,
    /// The daemon was being drained.
    Drained,
    /// Starts were refused.
    Refused,
}

impl Gap {
    /// What is said of a slot.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Down => "the daemon was not running when it was due",
            Self::Drained => "the daemon was being drained when it was due",
            Self::Refused => "its run could not be accepted in time",
        }
    }
}

/// Starts are refused for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOff {
    /// Since when.
    pub since: UtcMillis,
    /// When the next is tried.
    pub until: UtcMillis,
}

impl ScheduleState {
    /// The state as the store has it; `open` are the rows that are not final, `ahead` the slots after `kept.through`
    /// that have rows: there are some when the clock was set back in an earlier life.
    pub fn load(schedule: Arc<Schedule>, kept: Kept, open: Vec<SlotRow>, ahead: Vec<UtcMillis>) -> Self {
        let mut state = Self {
            schedule,
            kept,
            running: BTreeMap::new(),
            queued: BTreeMap::new(),
            settled: ahead.into_iter().collect(),
            cancel_for: None,
            cancelled: BTreeMap::new(),
            put_off: None,
            gap: Some(Gap::Down),
            is_well: false,
            rows_written: 0,
        };
        for row in open {
            state.row(row);
        }
        // The life that wrote it may have ended before the earlier run was asked to.
        let cancels = state.queued.iter().filter(|(_, why)| &***why == CANCELS_EARLIER);
        state.cancel_for = cancels.map(|(slot, _)| *slot).next_back();
        state
    }

    /// Takes over a committed row.
    fn row(&mut self, row: SlotRow) {
        self.queued.remove(&row.slot);
        if let Some(before) = self.running.remove(&row.slot)
            && let Some(run) = before.run
        {
            self.cancelled.remove(&run);
        }
        match row.state {
            SlotState::Queued => {
                self.queued.insert(row.slot, row.why);
            }
            SlotState::Running => {
                self.running.insert(row.slot, row);
            }
            _ => {}
        }
    }

    /// Takes over what was committed.
    pub fn wrote(&mut self, written: &Written) {
        self.rows_written += written.rows.len();
        for change in &written.rows {
            self.row(change.row.clone());
        }
        self.kept = written.kept.clone();
        let through = self.kept.through;
        self.settled.retain(|slot| *slot > through);
        if written.cancels.is_some() {
            self.cancel_for = written.cancels;
        }
        let failed = |notice: &Notice| notice.trouble == Trouble::Failing;
        if written.notice.as_ref().is_some_and(failed) {
            self.is_well = false;
        } else if written.succeeds() {
            self.is_well = true;
        }
    }

    /// Runs were asked to end. Those that have not ended are asked again after a while: an actor that ends before it has
    /// written the wish down forgets it.
    pub fn asked_to_end(&mut self, runs: impl IntoIterator<Item = RunId>, now: UtcMillis) {
        self.cancelled.extend(runs.into_iter().map(|run| (run, now)));
    }

    /// Whether a run is to be asked to end, for the first time or again.
    pub fn may_be_asked_to_end(&self, run: RunId, now: UtcMillis) -> bool {
        let asked = self.cancelled.get(&run);
        // Also where the clock was set back since.
        asked.is_none_or(|at| *at > now || now.since(*at) >= RETRY_MS)
    }

    /// The clock was set back to `now`; `slots` are those after it that have rows.
    pub fn rewound(&mut self, now: UtcMillis, slots: impl IntoIterator<Item = UtcMillis>) {
        // Saved under a clock that was ahead: counted from there, the first slot would lie in a far future.
        self.kept.anchor = self.kept.anchor.min(now);
        self.kept.through = now.max(self.kept.floor);
        self.settled.extend(slots);
    }

    /// A start was refused for now. False when it has been so for too long.
    pub fn refused(&mut self, now: UtcMillis) -> bool {
        // A clock that was set back makes the wait begin anew.
        let since = self.put_off.map(|off| off.since).filter(|since| *since <= now);
        let since = since.unwrap_or(now);
        self.put_off = Some(PutOff {
            since,
            until: now.plus_ms(RETRY_MS),
        });
        self.gap = Some(Gap::Refused);
        now.since(since) < GIVE_UP_MS
    }

    /// Nothing is decided for now, because the daemon is being drained.
    pub fn held(&mut self) {
        self.gap.get_or_insert(Gap::Drained);
    }

    /// Everything that is due is decided, or waits until starts are tried again.
    pub fn rests(&mut self, now: UtcMillis) {
        if self.put_off_until(now).is_none() {
            self.put_off = None;
            self.gap = None;
        }
    }

    /// Until when nothing is started.
    pub fn put_off_until(&self, now: UtcMillis) -> Option<UtcMillis> {
        // Not by a wait from before the clock was set back.
        let off = self.put_off.filter(|off| off.since <= now)?;
        (off.until > now).then_some(off.until)
    }
}
