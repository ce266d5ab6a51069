//! The actor of one schedule: asks the decision what is next and carries it out.
//!
//! Supervised by `automation/schedules` (dynamic, permanent). A crash loses nothing: the next incarnation reads the
//! ledger and decides the same. Its timers are only wake-up calls; what is due comes from the store and the clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::TaskExit;

use crate::domain::fault::{Fault, in_one_line};
use crate::domain::id::RunId;
use crate::domain::name::ScheduleName;
use crate::domain::schedule::definition::Schedule;
use crate::domain::schedule::expression::When;
use crate::domain::schedule::slot::{Kept, SlotRow, SlotState};
use crate::domain::schedule::zone::Offsets;
use crate::domain::time::UtcMillis;
use crate::runs::handle::RunsError;
use crate::runtime::committer::CommitError;
use crate::runtime::telemetry::{SCHEDULE_SLOTS, SCHEDULE_SUCCESS};
use crate::runtime::timer::Timer;
use crate::storage::batch::{Batch, Op, Refused};
use crate::storage::error::StoreError;

use super::backfill::{backfill, looked_at};
use super::decision::{adopt, decide, drop_through, fail, finish, queue, retire};
use super::effect::{Change, Start, Step, Verdict, Written};
use super::message::{Answer, BACKFILL_MAX, ScheduleMessage, ScheduleRefused};
use super::parts::AutomationInside;
use super::state::ScheduleState;
use super::troubles;
use super::watching;
use super::zone::Zone;

/// Steps that are carried out for one message; then others get their turn.
const STEPS_MAX: usize = 64;
/// Rows of one schedule's ledger; the oldest go when there are more.
pub const LEDGER_ROWS_MAX: usize = 10_000;
/// Rows that are written between two looks at the ledger's length.
const TRIM_EVERY: usize = 1_000;
/// And after this long, for rows that are too old, in milliseconds.
const TRIM_AFTER_MS: u64 = 24 * 3_600_000;

/// One schedule.
pub struct ScheduleActor {
    /// What it shares with its layer.
    pub inside: AutomationInside,
    /// Which.
    pub name: ScheduleName,
}

/// What it holds.
pub struct ActorState {
    schedule: ScheduleState,
    zone: Zone,
    watched: BTreeSet<UtcMillis>,
    timer: Option<Timer>,
    /// When the ledger was last looked through for old rows, in this life.
    trimmed_at: Option<UtcMillis>,
}

impl Actor for ScheduleActor {
    type Msg = ScheduleMessage;
    type State = ActorState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<ScheduleMessage>, (): ()) -> Result<ActorState, ActorProcessingErr> {
        let schedule = self.inside.book.get(&self.name).ok_or("the schedule was removed")?;
        let zone = Zone::find(&schedule.zone).ok_or("the zone data has gone")?;
        let state = self.load(schedule).await?;
        // Metrics begin anew with each process; what the ledger knows does not.
        self.show_success(&state.kept);
        myself.cast(ScheduleMessage::LookDue)?;
        Ok(ActorState {
            schedule: state,
            zone,
            watched: BTreeSet::new(),
            timer: None,
            trimmed_at: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ScheduleMessage>,
        message: ScheduleMessage,
        state: &mut ActorState,
    ) -> Result<(), ActorProcessingErr> {
        // Who asked may have stopped waiting; what was asked is done all the same.
        match message {
            ScheduleMessage::LookDue => {}
            ScheduleMessage::RunEnded { slot, verdict } => {
                state.watched.remove(&slot);
                let now = self.inside.parts.clock.now();
                if let Some(written) = finish(&state.schedule, &state.zone, slot, &verdict, now) {
                    self.write(state, written).await?;
                }
            }
            ScheduleMessage::Pause { why, reply } => {
                let now = self.inside.parts.clock.now();
                let paused = Some((now, why));
                reply.send(self.keep(state, |kept| kept.paused = paused).await).ok();
            }
            ScheduleMessage::Resume { reply } => {
                reply.send(self.resume(state).await?).ok();
            }
            ScheduleMessage::RunNow { by, reply } => {
                reply.send(self.run_now(state, &by).await).ok();
            }
            ScheduleMessage::Backfill { between, by, reply } => {
                reply.send(self.backfill(state, between, &by).await).ok();
            }
            ScheduleMessage::Retire { reply } => {
                reply.send(self.retire(state).await).ok();
                // Nothing is started any more; the actor is taken down next.
                return Ok(());
            }
            #[cfg(test)]
            ScheduleMessage::Crash => panic!("asked to"),
        }
        self.work(&myself, state).await
    }
}

fn open_rows(inside: &AutomationInside, name: &ScheduleName) -> Result<Vec<SlotRow>, StoreError> {
    let all = UtcMillis(0)..=UtcMillis(u64::MAX);
    inside
        .parts
        .store
        .slots(name, all, LEDGER_ROWS_MAX, &|row| !row.state.is_final())
}

/// The slots after a time that have rows.
fn rows_after(inside: &AutomationInside, name: &ScheduleName, at: UtcMillis) -> Result<Vec<UtcMillis>, StoreError> {
    let after = UtcMillis(at.0.saturating_add(1))..=UtcMillis(u64::MAX);
    let rows = inside.parts.store.slots(name, after, LEDGER_ROWS_MAX, &|_| true)?;
    Ok(rows.into_iter().map(|row| row.slot).collect())
}

/// Closes what a schedule that goes away has open, and forgets it.
pub(super) fn retiring(inside: &AutomationInside, name: &ScheduleName) -> Result<Batch, StoreError> {
    let now = inside.parts.clock.now();
    let mut batch = Batch::ops(vec![Op::ScheduleDrop(name.clone())]);
    for op in troubles::end(&inside.parts, name, now)? {
        batch = batch.with(op);
    }
    for Change { row, expected } in retire(open_rows(inside, name)?, now) {
        batch = batch.with(Op::SlotPut { row, expected });
    }
    Ok(batch)
}

impl ScheduleActor {
    /// Reads what is on disk; a schedule that is new, or has changed, begins now.
    async fn load(&self, schedule: Arc<Schedule>) -> Result<ScheduleState, ActorProcessingErr> {
        let parts = &self.inside.parts;
        // What the incarnation before has sent is on disk or refused before this one reads.
        parts.committer.settled().await?;
        let now = parts.clock.now();
        let kept = parts.store.schedule(&self.name)?;
        let open = open_rows(&self.inside, &self.name)?;
        let new = || Kept {
            schedule: self.name.clone(),
            expression: "".into(),
            zone: "".into(),
            anchor: now,
            floor: UtcMillis(0),
            through: now,
            paused: None,
            succeeded_at: None,
        };
        let state = {
            let kept = kept.unwrap_or_else(new);
            let ahead = rows_after(&self.inside, &self.name, kept.through)?;
            ScheduleState::load(schedule.clone(), kept, open, ahead)
        };
        if state.kept.expression == schedule.expression && state.kept.zone == schedule.zone {
            return Ok(state);
        }
        let before = When::read(&state.kept.expression).ok();
        let before = before.zip(Zone::find(&state.kept.zone));
        let before = before.as_ref().map(|(when, zone)| (when, zone as &dyn Offsets));
        let written = adopt(&state, before, now);
        let mut state = state;
        parts.committer.commit(self.batch(&written, false)?).await?;
        self.count(&written);
        state.wrote(&written);
        Ok(state)
    }

    /// Carries out steps until there is nothing to do now.
    async fn work(&self, myself: &ActorRef<ScheduleMessage>, state: &mut ActorState) -> Result<(), ActorProcessingErr> {
        let parts = &self.inside.parts;
        for _ in 0..STEPS_MAX {
            self.inside.book.looked(&self.name);
            self.watch(myself, state);
            if self.inside.held.load(Ordering::Acquire) {
                state.schedule.held();
                state.timer = Some(Timer::after(myself, parts.tick, || ScheduleMessage::LookDue));
                return Ok(());
            }
            let now = parts.clock.now();
            let is_due = state.trimmed_at.is_none_or(|at| now.since(at) >= TRIM_AFTER_MS);
            if is_due || state.schedule.rows_written >= TRIM_EVERY {
                self.trim(state, now).await?;
            }
            match decide(&state.schedule, &state.zone, now) {
                Step::Wait(until) => {
                    state.schedule.rests(now);
                    let wait = until.map_or(parts.tick, |at| parts.clock.until(at).min(parts.tick));
                    // A clock that shows a time just before the due one must not make it turn round.
                    let wait = wait.max(Duration::from_millis(1));
                    state.timer = Some(Timer::after(myself, wait, || ScheduleMessage::LookDue));
                    return Ok(());
                }
                Step::Rewind => self.rewind(state, now)?,
                Step::Write(written) => self.write(state, *written).await?,
                Step::Start(start) => self.start(state, start).await?,
                Step::Cancel(runs) => self.cancel(state, runs).await,
            }
        }
        // There is more to do; what was sent meanwhile comes first.
        myself.cast(ScheduleMessage::LookDue)?;
        Ok(())
    }

    fn rewind(&self, state: &mut ActorState, now: UtcMillis) -> Result<(), ActorProcessingErr> {
        let slots = rows_after(&self.inside, &self.name, now)?;
        let ahead = state.schedule.kept.through.since(now);
        // A clock that is corrected by a moment is nothing to talk about.
        if ahead > 60_000 {
            tracing::warn!(schedule = %self.name, ms = ahead, rows = slots.len(), "the clock was set back; no slot runs twice");
        }
        state.schedule.rewound(now, slots);
        Ok(())
    }

    /// Sees to it that somebody waits for every run.
    fn watch(&self, myself: &ActorRef<ScheduleMessage>, state: &mut ActorState) {
        let waiting = state
            .schedule
            .running
            .iter()
            .filter(|(slot, _)| !state.watched.contains(slot));
        let waiting: Vec<(UtcMillis, SlotRow)> = waiting.map(|(slot, row)| (*slot, row.clone())).collect();
        for (slot, row) in waiting {
            let Some(run) = row.run else { continue };
            let future = watching::verdict(self.inside.parts.clone(), state.schedule.schedule.clone(), row, run);
            let actor = myself.clone();
            let told = move |exit| {
                let verdict = match exit {
                    TaskExit::Done(verdict) => verdict,
                    TaskExit::Panicked(panic) => Verdict {
                        succeeded: false,
                        is_superseded: false,
                        why: format!("looking at {run} failed: {panic}").into(),
                    },
                    // The next incarnation, or the next life, waits again.
                    TaskExit::Cancelled => return,
                };
                actor.cast(ScheduleMessage::RunEnded { slot, verdict }).ok();
            };
            match self.inside.watching.spawn(format!("{}-{run}", self.name), future, told) {
                Ok(_) => {
                    state.watched.insert(slot);
                }
                Err(error) => {
                    tracing::warn!(schedule = %self.name, %run, %error, "nobody waits for a run yet; it is tried again");
                }
            }
        }
    }

    fn batch(&self, written: &Written, is_well: bool) -> Result<Batch, StoreError> {
        let mut ops = vec![Op::SchedulePut(written.kept.clone())];
        ops.extend(written.rows.iter().map(|change| Op::SlotPut {
            row: change.row.clone(),
            expected: change.expected,
        }));
        ops.extend(troubles::follow(&self.inside.parts, &self.name, written, is_well)?);
        Ok(Batch::ops(ops))
    }

    fn count(&self, written: &Written) {
        let telemetry = &self.inside.parts.telemetry;
        for change in written.rows.iter().filter(|change| change.row.state.is_final()) {
            let labels = [self.name.as_str(), change.row.state.as_str()];
            telemetry.counter(&SCHEDULE_SLOTS, &labels).increment(change.row.count);
        }
        self.show_success(&written.kept);
    }

    fn show_success(&self, kept: &Kept) {
        if let Some(at) = kept.succeeded_at {
            let gauge = self
                .inside
                .parts
                .telemetry
                .gauge(&SCHEDULE_SUCCESS, &[self.name.as_str()]);
            gauge.set(at.0 as f64 / 1_000.0);
        }
    }

    /// Commits; a slot that is not as it was thought to be makes the ledger be read anew.
    async fn write(&self, state: &mut ActorState, written: Written) -> Result<(), ActorProcessingErr> {
        let batch = self.batch(&written, state.schedule.is_well)?;
        match self.inside.parts.committer.commit(batch).await {
            Ok(_) => {
                self.count(&written);
                state.schedule.wrote(&written);
                Ok(())
            }
            Err(CommitError::Refused(Refused::SlotTaken { slot, .. })) => self.taken(state, slot),
            // The store's failure ends the process; anything else is tried again by the next incarnation.
            Err(error) => Err(error.into()),
        }
    }

    /// A slot has a row that this actor did not know of: asked for by hand at the same moment, or left over from a
    /// clock that was wrong. It is left as it is.
    fn taken(&self, state: &mut ActorState, slot: UtcMillis) -> Result<(), ActorProcessingErr> {
        tracing::info!(schedule = %self.name, slot = slot.0, "the slot has its row already");
        let row = self.inside.parts.store.slot(&self.name, slot)?;
        state.schedule.queued.remove(&slot);
        match row {
            Some(row) if row.state == SlotState::Running => {
                state.schedule.running.insert(slot, row);
            }
            Some(row) if row.state == SlotState::Queued => {
                state.schedule.queued.insert(slot, row.why);
            }
            _ => {}
        }
        if slot > state.schedule.kept.through {
            state.schedule.settled.insert(slot);
        }
        Ok(())
    }

    async fn start(&self, state: &mut ActorState, start: Start) -> Result<(), ActorProcessingErr> {
        let parts = &self.inside.parts;
        let now = parts.clock.now();
        let spec = match parts.spec(&state.schedule.schedule, now) {
            Ok(spec) => spec,
            Err(reason) => return self.failed(state, &start, &format!("not started: {reason}"), now).await,
        };
        let row = SlotRow::new(self.name.clone(), start.slot, SlotState::Running, now).because(start.why.clone());
        let with_run = |run: RunId| SlotRow {
            run: Some(run),
            ..row.clone()
        };
        let changes = |run| {
            vec![
                Op::SchedulePut(start.kept.clone()),
                Op::SlotPut {
                    row: with_run(run),
                    expected: start.expected,
                },
            ]
        };
        match parts.runs.accept_with(spec, None, changes).await {
            Ok(accepted) => {
                state.schedule.put_off = None;
                state.schedule.wrote(&Written {
                    rows: vec![Change {
                        row: with_run(accepted.run),
                        expected: start.expected,
                    }],
                    kept: start.kept,
                    cancels: None,
                    notice: None,
                });
                Ok(())
            }
            Err(RunsError::Slot(_)) => self.taken(state, start.slot),
            // Nobody knows whether it is on disk: the next incarnation reads it.
            Err(RunsError::Commit(
                error @ (CommitError::Failed(_) | CommitError::Closed | CommitError::TimedOut(_)),
            )) => Err(error.into()),
            Err(error) => {
                let reason = in_one_line(&error);
                let may_pass = error.code().fault == Fault::Overloaded;
                if may_pass && state.schedule.refused(now) {
                    tracing::warn!(schedule = %self.name, %reason, "a slot is put off");
                    return Ok(());
                }
                state.schedule.put_off = None;
                self.failed(state, &start, &format!("not accepted: {reason}"), now)
                    .await
            }
        }
    }

    async fn failed(
        &self,
        state: &mut ActorState,
        start: &Start,
        why: &str,
        now: UtcMillis,
    ) -> Result<(), ActorProcessingErr> {
        let written = fail(&state.schedule, start, why, now);
        self.write(state, written).await
    }

    async fn cancel(&self, state: &mut ActorState, runs: Vec<RunId>) {
        state
            .schedule
            .asked_to_end(runs.iter().copied(), self.inside.parts.clock.now());
        for run in runs {
            let cancelled = self.inside.parts.runs.cancel(run, watching::SUPERSEDED.into()).await;
            match cancelled {
                // It is told when it has ended.
                Ok(()) | Err(RunsError::Ended { .. }) => {}
                Err(error) => {
                    tracing::warn!(%run, error = %in_one_line(&error), "the run of an earlier slot is not cancelled yet; it is tried again");
                }
            }
        }
    }

    /// Changes what is kept.
    async fn keep(&self, state: &mut ActorState, change: impl FnOnce(&mut Kept)) -> Answer<()> {
        let mut kept = state.schedule.kept.clone();
        change(&mut kept);
        self.put(state, Vec::new(), kept, []).await
    }

    /// Commits rows, and `beside` them what changes nothing of the state.
    async fn put(
        &self,
        state: &mut ActorState,
        rows: Vec<Change>,
        kept: Kept,
        beside: impl IntoIterator<Item = Op>,
    ) -> Answer<()> {
        let written = Written {
            rows,
            kept,
            cancels: None,
            notice: None,
        };
        let batch = self
            .batch(&written, state.schedule.is_well)
            .map_err(|error| ScheduleRefused::Store(Arc::new(error)))?;
        let batch = beside.into_iter().fold(batch, Batch::with);
        let committed = self.inside.parts.committer.commit(batch).await;
        committed.map_err(ScheduleRefused::Commit)?;
        self.count(&written);
        state.schedule.wrote(&written);
        Ok(())
    }

    /// Slots up to now were due while it was paused: they get their rows before it goes on.
    async fn resume(&self, state: &mut ActorState) -> Result<Answer<()>, ActorProcessingErr> {
        for _ in 0..STEPS_MAX {
            match decide(&state.schedule, &state.zone, self.inside.parts.clock.now()) {
                Step::Write(written) => self.write(state, *written).await?,
                Step::Start(start) => self.start(state, start).await?,
                _ => break,
            }
        }
        Ok(self.keep(state, |kept| kept.paused = None).await)
    }

    async fn run_now(&self, state: &mut ActorState, by: &str) -> Answer<UtcMillis> {
        let parts = &self.inside.parts;
        let now = parts.clock.now();
        let mut slot = now;
        let read = |error| ScheduleRefused::Store(Arc::new(error));
        while parts.store.slot(&self.name, slot).map_err(read)?.is_some() {
            slot = slot.plus_ms(1);
        }
        let change = queue(&state.schedule, slot, None, &format!("asked for by {by}"), now);
        let kept = state.schedule.kept.clone();
        self.put(state, vec![change], kept, []).await?;
        Ok(slot)
    }

    async fn backfill(
        &self,
        state: &mut ActorState,
        between: (UtcMillis, UtcMillis),
        by: &str,
    ) -> Answer<Vec<UtcMillis>> {
        let parts = &self.inside.parts;
        let now = parts.clock.now();
        let read = |error| ScheduleRefused::Store(Arc::new(error));
        // Slots that ran are no reason to refuse; so many that nobody would look at them are.
        let found = looked_at(&state.schedule, &state.zone, between) as usize;
        if found > LEDGER_ROWS_MAX {
            return Err(ScheduleRefused::TooMany { found });
        }
        let all = UtcMillis(0)..=UtcMillis(u64::MAX);
        // Between two trims there are a few more than its bound.
        let rows = parts.store.slots(&self.name, all, 2 * LEDGER_ROWS_MAX, &|_| true);
        let rows = rows.map_err(read)?.into_iter().map(|row| (row.slot, row)).collect();
        let why = format!("run later, asked for by {by}");
        let backfill = backfill(&state.schedule, &state.zone, between, &rows, &why, now);
        if backfill.queued.len() > BACKFILL_MAX {
            return Err(ScheduleRefused::TooMany {
                found: backfill.queued.len(),
            });
        }
        let slots = backfill.queued.iter().map(|change| change.row.slot).collect();
        let kept = state.schedule.kept.clone();
        // They were counted when they were missed.
        let left = backfill.left.into_iter();
        let left = left.map(|Change { row, expected }| Op::SlotPut { row, expected });
        self.put(state, backfill.queued, kept, left).await?;
        Ok(slots)
    }

    async fn retire(&self, state: &mut ActorState) -> Answer<()> {
        state.timer = None;
        let batch = retiring(&self.inside, &self.name);
        let batch = batch.map_err(|error| ScheduleRefused::Store(Arc::new(error)))?;
        let committed = self.inside.parts.committer.commit(batch).await;
        committed.map(drop).map_err(ScheduleRefused::Commit)
    }

    /// Drops the oldest rows when there are too many, and those that are too old; none that has not ended.
    async fn trim(&self, state: &mut ActorState, now: UtcMillis) -> Result<(), ActorProcessingErr> {
        let parts = &self.inside.parts;
        let mut over = None;
        if state.schedule.rows_written >= TRIM_EVERY {
            state.schedule.rows_written = 0;
            let all = UtcMillis(0)..=UtcMillis(u64::MAX);
            let rows = parts.store.slots(&self.name, all, LEDGER_ROWS_MAX + 1, &|_| true)?;
            over = rows.get(LEDGER_ROWS_MAX).map(|oldest| oldest.slot);
        }
        state.trimmed_at = Some(now);
        let old = UtcMillis(0)..=UtcMillis(now.0.saturating_sub(parts.slots_ms));
        let older = parts.store.slots(&self.name, old, 1, &|_| true)?.pop();
        let open = state.schedule.running.keys().chain(state.schedule.queued.keys()).min();
        let Some(through) = drop_through(over, older.map(|row| row.slot), open.copied()) else {
            return Ok(());
        };
        let mut kept = state.schedule.kept.clone();
        kept.floor = kept.floor.max(through);
        let trim = Op::SlotsTrim {
            schedule: self.name.clone(),
            through,
        };
        let batch = Batch::ops(vec![trim, Op::SchedulePut(kept.clone())]);
        self.inside.parts.committer.commit(batch).await?;
        state.schedule.kept = kept;
        Ok(())
    }
}
