//! What a schedule does next. Pure: from its state, its zone and the time alone.
//!
//! One step at a time: the shell commits it, tells the state, and asks again. Each step leaves the store such that a
//! process killed right after it, or right before, decides the rest the same way.

use std::sync::Arc;

use crate::domain::id::RunId;
use crate::domain::schedule::definition::{CatchUp, Overlap, Schedule};
use crate::domain::schedule::expression::When;
use crate::domain::schedule::slot::{Kept, SlotRow, SlotState};
use crate::domain::schedule::zone::Offsets;
use crate::domain::time::UtcMillis;

use super::effect::{Change, Notice, Start, Step, Trouble, Verdict, Written};
use super::state::{CANCELS_EARLIER, Gap, ScheduleState};

/// Rows that one catch-up writes; what is older is summed up in one more.
pub const CATCH_UP_ROWS_MAX: u64 = 100;
/// What is said of a slot that was cancelled for a later one.
const TAKEN_PLACE: &str = "a later slot took its place";
/// A slot that was due so long ago was not looked at in time, in milliseconds.
const STALLED_MS: u64 = 5_000;
/// Runs of one schedule at once under [`Overlap::Allow`].
pub const PARALLEL_MAX: usize = 16;

/// What is next.
pub fn decide(state: &ScheduleState, zone: &dyn Offsets, now: UtcMillis) -> Step {
    if state.kept.through > now.max(state.kept.floor) {
        return Step::Rewind;
    }
    let overlap = state.schedule.overlap;
    let put_off = state.put_off_until(now);
    let has_room = match overlap {
        Overlap::Allow => state.running.len() < PARALLEL_MAX,
        _ => state.running.is_empty(),
    };
    if let Some((slot, why)) = state.queued.first_key_value()
        && has_room
        && put_off.is_none()
    {
        return Step::Start(Start {
            slot: *slot,
            expected: Some(SlotState::Queued),
            kept: state.kept.clone(),
            why: why.clone(),
        });
    }
    if state.cancel_for.is_some_and(|slot| state.queued.contains_key(&slot)) {
        let runs = state.running.values().filter_map(|row| row.run);
        let runs: Vec<RunId> = runs.filter(|run| state.may_be_asked_to_end(*run, now)).collect();
        if !runs.is_empty() {
            return Step::Cancel(runs);
        }
    }
    if let Some(until) = put_off {
        // What is due until then is decided when there is an answer, as what was due in a gap.
        return Step::Wait(Some(until));
    }
    let Some(slot) = next_open(state, zone, &state.schedule.when, state.kept.through) else {
        return Step::Wait(None);
    };
    let due = due_of(&state.schedule, zone, state.kept.anchor, slot);
    if due > now {
        return Step::Wait(Some(due));
    }
    if is_behind(state, zone, (slot, due), now) {
        return catch_up(state, zone, slot, now);
    }
    on_time(state, slot, now)
}

/// When a slot is due: its jitter never puts it off beyond the next one.
fn due_of(schedule: &Schedule, zone: &dyn Offsets, anchor: UtcMillis, slot: UtcMillis) -> UtcMillis {
    let jitter = schedule.jitter_of(slot);
    if jitter == 0 {
        return slot;
    }
    let next = schedule.when.next(zone, anchor, slot);
    let between = next.map_or(u64::MAX, |next| next.since(slot)).max(1);
    slot.plus_ms(jitter % between)
}

/// Whether nobody looked when a slot was due. Those that are not late yet are started in time still, as far as they may
/// run beside each other and nothing stands in their way but a run that began after them.
fn is_behind(state: &ScheduleState, zone: &dyn Offsets, (slot, due): (UtcMillis, UtcMillis), now: UtcMillis) -> bool {
    let schedule = &state.schedule;
    if now.since(due) > schedule.late_after_ms {
        return true;
    }
    if state.gap.is_none() && now.since(due) < STALLED_MS {
        return false;
    }
    let anchor = state.kept.anchor;
    if schedule.overlap == Overlap::Allow {
        let room = PARALLEL_MAX.saturating_sub(state.running.len() + state.queued.len());
        return schedule.when.count(zone, anchor, state.kept.through, now) > room as u64;
    }
    let next = next_open(state, zone, &schedule.when, slot);
    let is_next_due = next.is_some_and(|next| due_of(schedule, zone, anchor, next) <= now);
    let began_later = |row: &SlotRow| row.decided_at > due;
    is_next_due || (schedule.overlap == Overlap::Skip && state.running.values().any(began_later))
}

/// The first slot after a time that is in no ledger.
fn next_open(state: &ScheduleState, zone: &dyn Offsets, when: &When, after: UtcMillis) -> Option<UtcMillis> {
    let mut slot = when.next(zone, state.kept.anchor, after)?;
    while state.settled.contains(&slot) {
        slot = when.next(zone, state.kept.anchor, slot)?;
    }
    Some(slot)
}

fn kept_through(state: &ScheduleState, through: UtcMillis) -> Kept {
    Kept {
        through,
        ..state.kept.clone()
    }
}

fn new_row(
    state: &ScheduleState,
    slot: UtcMillis,
    word: SlotState,
    now: UtcMillis,
    why: impl Into<Arc<str>>,
) -> Change {
    Change {
        row: SlotRow::new(state.schedule.name.clone(), slot, word, now).because(why),
        expected: None,
    }
}

/// A slot that is due now.
fn on_time(state: &ScheduleState, slot: UtcMillis, now: UtcMillis) -> Step {
    let kept = kept_through(state, slot);
    let write = |rows: Vec<Change>, cancels: Option<UtcMillis>| {
        Step::Write(Box::new(Written {
            rows,
            kept: kept.clone(),
            cancels,
            notice: None,
        }))
    };
    let skip = |why: String| write(vec![new_row(state, slot, SlotState::Skipped, now, why)], None);
    if let Some((_, why)) = &state.kept.paused {
        return skip(format!("paused: {why}"));
    }
    let is_free = state.running.is_empty() && state.queued.is_empty();
    let running = || {
        let row = state.running.values().next();
        let run = row.and_then(|row| row.run).map(|run| run.to_string());
        run.map_or_else(
            || "an earlier slot waits".to_owned(),
            |run| format!("{run} of an earlier slot still runs"),
        )
    };
    match state.schedule.overlap {
        Overlap::Allow if state.running.len() >= PARALLEL_MAX => {
            skip(format!("{PARALLEL_MAX} runs of earlier slots still run"))
        }
        Overlap::Allow => start(slot, kept),
        _ if is_free => start(slot, kept),
        Overlap::Skip => skip(running()),
        Overlap::Queue if !state.queued.is_empty() => skip("an earlier slot waits already".into()),
        Overlap::Queue => write(vec![new_row(state, slot, SlotState::Queued, now, running())], None),
        Overlap::Cancel => {
            let superseded = state.queued.keys().map(|waiting| Change {
                expected: Some(SlotState::Queued),
                ..new_row(state, *waiting, SlotState::Skipped, now, TAKEN_PLACE)
            });
            let mut rows: Vec<Change> = superseded.collect();
            rows.push(new_row(state, slot, SlotState::Queued, now, CANCELS_EARLIER));
            write(rows, Some(slot))
        }
    }
}

fn start(slot: UtcMillis, kept: Kept) -> Step {
    Step::Start(Start {
        slot,
        expected: None,
        kept,
        why: "".into(),
    })
}

/// Slots that were due while nobody looked, from `first` on.
fn catch_up(state: &ScheduleState, zone: &dyn Offsets, first: UtcMillis, now: UtcMillis) -> Step {
    let schedule = &state.schedule;
    let reason = state.gap.map_or(
        "nobody looked when it was due: the machine slept, was overloaded, or its clock was set forward",
        Gap::reason,
    );
    let end = last_due(state, zone, first, now);
    let (word, why) = match (&state.kept.paused, schedule.catch_up) {
        (Some((_, paused)), _) => (SlotState::Skipped, format!("paused: {paused}")),
        (None, CatchUp::Skip) => (SlotState::Missed, format!("{reason}; this schedule is not caught up")),
        (None, CatchUp::Last) => (SlotState::Missed, format!("{reason}; only the last one is caught up")),
        (None, CatchUp::All) => (
            SlotState::Missed,
            format!("{reason}; at most {CATCH_UP_ROWS_MAX} are caught up"),
        ),
    };
    let mut rows = rows_between(
        state,
        zone,
        &schedule.when,
        (state.kept.through, end),
        (word, &why),
        now,
    );
    if state.kept.paused.is_none() {
        // To cancel one by one what is caught up one after another would do nothing but the last.
        let all = schedule.catch_up == CatchUp::All && schedule.overlap != Overlap::Cancel;
        let runs = match schedule.catch_up {
            CatchUp::Skip => 0,
            CatchUp::All if all => CATCH_UP_ROWS_MAX as usize,
            _ => 1,
        };
        let late: Arc<str> = reason.into();
        for change in rows.iter_mut().rev().filter(|change| change.row.count == 1).take(runs) {
            change.row.state = SlotState::Queued;
            change.row.why = late.clone();
        }
    }
    let missed: u64 = rows
        .iter()
        .filter(|change| change.row.state == SlotState::Missed)
        .map(|change| change.row.count)
        .sum();
    let queued = rows
        .iter()
        .filter(|change| change.row.state == SlotState::Queued)
        .count();
    let notice = (missed > 0).then(|| Notice {
        trouble: Trouble::Missing,
        severity: "warning",
        what: format!("{missed} slots of schedule {} were missed", schedule.name),
        why: reason.to_owned(),
        action: match queued {
            0 => "none is caught up; `openclaw cron backfill` runs them".to_owned(),
            some => format!("{some} run late now; `openclaw cron backfill` runs the others"),
        },
        run: None,
    });
    Step::Write(Box::new(Written {
        rows,
        kept: kept_through(state, end),
        cancels: None,
        notice,
    }))
}

/// The last slot, from `first` on, that was due before now.
fn last_due(state: &ScheduleState, zone: &dyn Offsets, first: UtcMillis, now: UtcMillis) -> UtcMillis {
    let (when, anchor) = (&state.schedule.when, state.kept.anchor);
    let before = UtcMillis(now.0.saturating_sub(1)).max(first);
    // None is due later than the next one: of those before now only the last may still have to wait.
    let mut after = when.tail(zone, anchor, (first, before), 2);
    let mut last = first;
    while let Some(slot) = when.next(zone, anchor, after).filter(|slot| *slot <= before) {
        if due_of(&state.schedule, zone, anchor, slot) < now {
            last = last.max(slot);
        }
        after = slot;
    }
    last
}

/// Rows for all slots after `through` up to and with `end` that have none: the last ones each, the others in one.
fn rows_between(
    state: &ScheduleState,
    zone: &dyn Offsets,
    when: &When,
    (through, end): (UtcMillis, UtcMillis),
    (word, why): (SlotState, &str),
    now: UtcMillis,
) -> Vec<Change> {
    let anchor = state.kept.anchor;
    let each_after = when.tail(zone, anchor, (through, end), CATCH_UP_ROWS_MAX);
    let mut rows = Vec::new();
    let settled = state
        .settled
        .range(UtcMillis(through.0 + 1)..=each_after.max(UtcMillis(through.0 + 1)))
        .count() as u64;
    let older = when.count(zone, anchor, through, each_after).saturating_sub(settled);
    if older > 0 {
        let first = next_open(state, zone, when, state.kept.through).unwrap_or(each_after);
        let mut change = new_row(
            state,
            last_open(state, zone, when, (through, each_after)),
            word,
            now,
            why,
        );
        change.row.count = older;
        change.row.first = first.min(change.row.slot);
        rows.push(change);
    }
    let mut after = each_after;
    while let Some(slot) = when.next(zone, anchor, after).filter(|slot| *slot <= end) {
        if !state.settled.contains(&slot) {
            rows.push(new_row(state, slot, word, now, why));
        }
        after = slot;
    }
    rows
}

/// The last slot after `through`, up to `end`, that has no row. There is one.
fn last_open(
    state: &ScheduleState,
    zone: &dyn Offsets,
    when: &When,
    (through, end): (UtcMillis, UtcMillis),
) -> UtcMillis {
    let mut end = end;
    loop {
        let before = when.tail(zone, state.kept.anchor, (through, end), 1);
        let slot = when.next(zone, state.kept.anchor, before).unwrap_or(end);
        if slot <= through || !state.settled.contains(&slot) {
            return slot;
        }
        end = UtcMillis(slot.0 - 1);
    }
}

/// The schedule was changed while nobody looked, or is changed now: slots of the old expression that have no row were
/// missed, and the new one begins.
pub fn adopt(state: &ScheduleState, old: Option<(&When, &dyn Offsets)>, now: UtcMillis) -> Written {
    let schedule = &state.schedule;
    let why = "the daemon was not running when it was due, and the schedule was changed since";
    let mut rows = Vec::new();
    // What is due this moment may not have been looked at yet: it is not missed, the change came first.
    let end = UtcMillis(now.0.saturating_sub(schedule.late_after_ms));
    if let Some((when, zone)) = old
        && end > state.kept.through
        && state.kept.paused.is_none()
    {
        rows = rows_between(
            state,
            zone,
            when,
            (state.kept.through, end),
            (SlotState::Missed, why),
            now,
        );
    }
    let missed: u64 = rows.iter().map(|change| change.row.count).sum();
    Written {
        rows,
        kept: Kept {
            expression: schedule.expression.clone(),
            zone: schedule.zone.clone(),
            anchor: now,
            through: now,
            ..state.kept.clone()
        },
        cancels: None,
        notice: (missed > 0).then(|| Notice {
            trouble: Trouble::Missing,
            severity: "warning",
            what: format!("{missed} slots of schedule {} were missed", schedule.name),
            why: why.to_owned(),
            action: "none is caught up, because they are those of the schedule as it was".to_owned(),
            run: None,
        }),
    }
}

/// A slot's run has ended. None when the slot has no run that is awaited: it was told before.
pub fn finish(
    state: &ScheduleState,
    zone: &dyn Offsets,
    slot: UtcMillis,
    verdict: &Verdict,
    now: UtcMillis,
) -> Option<Written> {
    let before = state.running.get(&slot)?;
    let schedule = &state.schedule;
    let due = due_of(schedule, zone, state.kept.anchor, slot);
    let is_late = before.decided_at.since(due) > schedule.late_after_ms;
    let mut row = before.clone();
    row.ended_at = Some(now);
    row.state = match verdict {
        Verdict { succeeded: true, .. } if is_late => SlotState::Late,
        Verdict { succeeded: true, .. } => SlotState::Ran,
        Verdict {
            is_superseded: true, ..
        } => SlotState::Skipped,
        _ => SlotState::Failed,
    };
    match row.state {
        SlotState::Skipped => row.why = TAKEN_PLACE.into(),
        SlotState::Failed => row.why = verdict.why.clone(),
        _ => {}
    }
    let mut kept = state.kept.clone();
    if verdict.succeeded {
        kept.succeeded_at = Some(now);
    }
    let notice = (row.state == SlotState::Failed).then(|| failed(state, &verdict.why, row.run));
    Some(Written {
        rows: vec![Change {
            row,
            expected: Some(SlotState::Running),
        }],
        kept,
        cancels: None,
        notice,
    })
}

/// A slot cannot be started and never will be.
pub fn fail(state: &ScheduleState, start: &Start, why: &str, now: UtcMillis) -> Written {
    let mut change = new_row(state, start.slot, SlotState::Failed, now, why);
    change.row.ended_at = Some(now);
    change.expected = start.expected;
    Written {
        rows: vec![change],
        kept: start.kept.clone(),
        cancels: None,
        notice: Some(failed(state, why, None)),
    }
}

fn failed(state: &ScheduleState, why: &str, run: Option<RunId>) -> Notice {
    let name = &state.schedule.name;
    Notice {
        trouble: Trouble::Failing,
        severity: "error",
        what: format!("a slot of schedule {name} failed"),
        why: why.to_owned(),
        action: format!("nothing is repeated by itself; `openclaw cron backfill {name}` runs it again"),
        run,
    }
}

/// A slot is to run because a person asks for it.
pub fn queue(state: &ScheduleState, slot: UtcMillis, expected: Option<SlotState>, why: &str, now: UtcMillis) -> Change {
    Change {
        expected,
        ..new_row(state, slot, SlotState::Queued, now, why)
    }
}

/// Rows of slots whose schedule goes away.
pub fn retire(open: Vec<SlotRow>, now: UtcMillis) -> Vec<Change> {
    let rows = open.into_iter().filter(|row| !row.state.is_final()).map(|row| {
        let expected = Some(row.state);
        let (state, why) = match row.state {
            SlotState::Queued => (SlotState::Skipped, "the schedule was removed while it waited"),
            _ => (
                SlotState::Failed,
                "the schedule was removed while it ran; the run goes on by itself",
            ),
        };
        let row = SlotRow {
            state,
            ended_at: Some(now),
            ..row.because(why)
        };
        Change { row, expected }
    });
    rows.collect()
}

/// Up to which slot the ledger of a schedule is dropped, if any: what is over the bound of rows, and what is older than
/// is kept; never a row that has not ended, nor one that came after it.
pub fn drop_through(
    over_bound: Option<UtcMillis>,
    older: Option<UtcMillis>,
    open: Option<UtcMillis>,
) -> Option<UtcMillis> {
    let through = over_bound.max(older)?;
    match open {
        Some(open) => (open.0 > 0).then(|| through.min(UtcMillis(open.0 - 1))),
        None => Some(through),
    }
}
