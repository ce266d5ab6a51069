//! Slots that a person wants to be run after all. Pure.
//!
//! Invariant: every slot stands in the ledger once, before and after: a row that sums up missed slots is written anew as
//! what is left of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::schedule::slot::{SlotRow, SlotState};
use crate::domain::schedule::zone::Offsets;
use crate::domain::time::UtcMillis;

use super::decision::queue;
use super::effect::Change;
use super::state::ScheduleState;

/// What a backfill writes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backfill {
    /// The slots that wait now, oldest first.
    pub queued: Vec<Change>,
    /// What is left of rows that stood for several slots, some of which wait now.
    pub left: Vec<Change>,
}

/// The slots from `between.0` up to and with `between.1` that have not run; `rows` is the whole ledger.
pub fn backfill(
    state: &ScheduleState,
    zone: &dyn Offsets,
    between: (UtcMillis, UtcMillis),
    rows: &BTreeMap<UtcMillis, SlotRow>,
    why: &str,
    now: UtcMillis,
) -> Backfill {
    let Some((first, end)) = range(state, between) else {
        return Backfill::default();
    };
    let mut found = Backfill::default();
    let mut kept_whole = Vec::new();
    for summary in rows.values().filter(|row| row.count > 1) {
        if summary.first <= end && summary.slot >= first {
            match left_of(state, zone, (first, end), rows, summary, now) {
                Some(left) => found.left.extend(left),
                None => kept_whole.push(summary.slot),
            }
        }
    }
    let mut after = UtcMillis(first.0 - 1);
    while let Some(slot) = state
        .schedule
        .when
        .next(zone, state.kept.anchor, after)
        .filter(|slot| *slot <= end)
    {
        after = slot;
        let before = rows.get(&slot).map(|row| row.state);
        if before.is_none_or(SlotState::may_be_backfilled) && !kept_whole.contains(&slot) {
            found.queued.push(queue(state, slot, before, why, now));
        }
    }
    found
}

/// How many slots a backfill looks at.
pub fn looked_at(state: &ScheduleState, zone: &dyn Offsets, between: (UtcMillis, UtcMillis)) -> u64 {
    range(state, between).map_or(0, |(first, end)| {
        let (when, anchor) = (&state.schedule.when, state.kept.anchor);
        when.count(zone, anchor, UtcMillis(first.0 - 1), end)
    })
}

/// The first and the last moment of a backfill: none whose slots are in no ledger any more, or not yet.
fn range(state: &ScheduleState, between: (UtcMillis, UtcMillis)) -> Option<(UtcMillis, UtcMillis)> {
    let first = UtcMillis(between.0.0.max(state.kept.floor.0.saturating_add(1)));
    let end = between.1.min(state.kept.through);
    (first <= end).then_some((first, end))
}

/// The rows that take the place of a summary when all slots between `first` and `end` get rows of their own: one for
/// what came before them, one for what comes after. None when it is a summary of other slots than the schedule has now,
/// because its expression was changed since; it then stays as it is.
fn left_of(
    state: &ScheduleState,
    zone: &dyn Offsets,
    (first, end): (UtcMillis, UtcMillis),
    rows: &BTreeMap<UtcMillis, SlotRow>,
    summary: &SlotRow,
    now: UtcMillis,
) -> Option<Vec<Change>> {
    let (when, anchor) = (&state.schedule.when, state.kept.anchor);
    // What was asked for in between is no slot of the expression.
    let is_slot = |at: UtcMillis| when.next(zone, anchor, UtcMillis(at.0.saturating_sub(1))) == Some(at);
    let is_own = |row: &SlotRow| row.slot != summary.slot && is_slot(row.slot);
    // Slots of the summary between two moments, both counted.
    let count = |from: UtcMillis, to: UtcMillis| {
        if from > to {
            return 0;
        }
        let slots = when.count(zone, anchor, UtcMillis(from.0.saturating_sub(1)), to);
        let own = rows.range(from..=to).filter(|(_, row)| is_own(row)).count() as u64;
        slots.saturating_sub(own)
    };
    if count(summary.first, summary.slot) != summary.count {
        return None;
    }
    let row = |slot: UtcMillis, first: UtcMillis, count: u64| SlotRow {
        count,
        first,
        ended_at: summary.ended_at,
        ..SlotRow::new(summary.schedule.clone(), slot, summary.state, now).because(Arc::clone(&summary.why))
    };
    let has_row = |slot: &UtcMillis| rows.get(slot).is_some_and(is_own);
    let mut left = Vec::new();
    let before = UtcMillis(first.0 - 1);
    let older = count(summary.first, before);
    if older > 0 {
        // The last one before the range that has no row of its own: there is one.
        let mut up_to = before;
        let slot = loop {
            let tail = when.tail(zone, anchor, (UtcMillis(summary.first.0.saturating_sub(1)), up_to), 1);
            let slot = when.next(zone, anchor, tail)?;
            if !has_row(&slot) {
                break slot;
            }
            up_to = UtcMillis(slot.0 - 1);
        };
        left.push(Change {
            row: row(slot, summary.first.min(slot), older),
            expected: None,
        });
    }
    let after = UtcMillis(end.0.saturating_add(1));
    let newer = count(after, summary.slot);
    if newer > 0 {
        let mut slot = when.next(zone, anchor, end)?;
        while has_row(&slot) {
            slot = when.next(zone, anchor, slot)?;
        }
        left.push(Change {
            row: row(summary.slot, slot, newer),
            expected: Some(summary.state),
        });
    }
    Some(left)
}
