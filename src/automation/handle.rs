//! What everybody else holds of schedules.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::RpcReplyPort;
use serde_json::Value;
use supervisors::{ApiError, CallError};

use crate::domain::code::{self, Code};
use crate::domain::fault::Fault;
use crate::domain::handoff::Finding;
use crate::domain::name::ScheduleName;
use crate::domain::schedule::definition::{SCHEDULES_MAX, Schedule, Target};
use crate::domain::schedule::document::{read_schedule, write_schedule};
use crate::domain::schedule::slot::{Kept, SlotRow};
use crate::domain::time::UtcMillis;
use crate::storage::error::StoreError;

use super::message::{Answer, ScheduleMessage, ScheduleRefused};
use super::parts::AutomationInside;
use super::prepare::CommandView;
use super::zone::{Zone, is_zone};

/// Longest time for which a healthy schedule is not looked after, with room: one looks at least every 30 seconds.
const TICK_MAX: Duration = Duration::from_secs(60);
/// Longest wait for a schedule's actor, a commit included.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// A cheap clone; resolves the actors at each call.
#[derive(Clone)]
pub struct AutomationHandle {
    inside: AutomationInside,
}

/// Why something was not done with a schedule.
#[derive(Debug, thiserror::Error)]
pub enum AutomationError {
    /// The schedule cannot be used.
    #[error("save the schedule: it is wrong in {} places", .0.len())]
    Invalid(Vec<Finding>),
    /// There is no such schedule.
    #[error("find the schedule `{0}`")]
    NotFound(ScheduleName),
    /// There is one already.
    #[error("save the schedule `{0}`: there is one of this name")]
    Exists(ScheduleName),
    /// There may be no more.
    #[error("save the schedule: there are {SCHEDULES_MAX}, which is the most")]
    TooMany,
    /// The operator's file cannot be written or removed.
    #[error("change the schedule's file: {0}")]
    File(String),
    /// The actor did not do it.
    #[error("change the schedule")]
    Refused(#[source] ScheduleRefused),
    /// The actor did not answer.
    #[error("ask the schedule")]
    Unanswered(#[source] CallError),
    /// The schedule has no actor at the moment.
    #[error("ask the schedule `{0}`: it is between two lives")]
    Down(ScheduleName),
    /// The actor could not be started.
    #[error("start the schedule")]
    NotStarted(#[source] ApiError),
    /// The ledger cannot be read.
    #[error("read the ledger")]
    Store(#[source] StoreError),
}

impl AutomationError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => code::SCHEDULE_INVALID,
            Self::NotFound(_) => code::SCHEDULE_NOT_FOUND,
            Self::Exists(_) => code::SCHEDULE_EXISTS,
            Self::TooMany | Self::Refused(ScheduleRefused::TooMany { .. }) => code::SCHEDULE_LIMIT,
            Self::File(_) => code::HOME_FILE,
            Self::Refused(ScheduleRefused::Commit(error)) if error.fault() == Fault::Conflict => code::SLOT_TAKEN,
            Self::Unanswered(_) | Self::Down(_) | Self::NotStarted(_) => code::SCHEDULE_UNAVAILABLE,
            Self::Refused(_) | Self::Store(_) => code::STORE_FAILED,
        }
    }
}

/// A schedule and where it stands.
#[derive(Debug, Clone)]
pub struct ScheduleView {
    /// The schedule.
    pub schedule: Arc<Schedule>,
    /// What is kept of it; none before its actor has run.
    pub kept: Option<Kept>,
    /// The next slots, jitter left out.
    pub next: Vec<UtcMillis>,
    /// The newest row.
    pub last: Option<SlotRow>,
    /// For a command: its program and search path.
    pub command: Option<CommandView>,
    /// Its zone.
    pub zone: Option<Zone>,
}

impl AutomationHandle {
    pub(super) fn new(inside: AutomationInside) -> Self {
        Self { inside }
    }

    /// The longest time for which a schedule was not looked after, and which it is; none without schedules. A healthy
    /// one looks at least every 30 seconds.
    pub fn tick_age(&self) -> Option<(ScheduleName, Duration)> {
        self.inside.book.tick_age()
    }

    /// The schedule that was not looked after for longer than a healthy one ever is, and for how long; none when all
    /// are well.
    pub fn late(&self) -> Option<(ScheduleName, Duration)> {
        self.tick_age().filter(|(_, age)| *age > TICK_MAX)
    }

    /// Starts nothing from now on, or goes on. What is due meanwhile is in no ledger yet: it is decided when this ends,
    /// in this life or the next, as after a time in which the daemon was not running. Ends with the process.
    pub fn hold(&self, on: bool) {
        self.inside.held.store(on, Ordering::Release);
        if on {
            return;
        }
        for schedule in self.all() {
            // One that is between two lives looks at its start.
            if let Some(actor) = self.inside.actors.get(schedule.name.as_str()) {
                actor.cast(ScheduleMessage::LookDue).ok();
            }
        }
    }

    /// All schedules, by name.
    pub fn all(&self) -> Vec<Arc<Schedule>> {
        self.inside.book.all()
    }

    fn find(&self, name: &ScheduleName) -> Result<Arc<Schedule>, AutomationError> {
        self.inside
            .book
            .get(name)
            .ok_or_else(|| AutomationError::NotFound(name.clone()))
    }

    /// A schedule and where it stands, with its next `slots` slots.
    pub fn show(&self, name: &ScheduleName, slots: usize) -> Result<ScheduleView, AutomationError> {
        let schedule = self.find(name)?;
        let store = &self.inside.parts.store;
        let kept = store.schedule(name).map_err(AutomationError::Store)?;
        let all = UtcMillis(0)..=UtcMillis(u64::MAX);
        let last = store
            .slots(name, all, 1, &|_| true)
            .map_err(AutomationError::Store)?
            .pop();
        let mut view = self.preview(schedule, slots);
        if let (Some(kept), Some(zone)) = (&kept, &view.zone) {
            view.next = next_slots(&view.schedule, zone, kept.anchor, self.inside.parts.clock.now(), slots);
        }
        Ok(ScheduleView { kept, last, ..view })
    }

    /// A schedule as it would be if it were saved now.
    fn preview(&self, schedule: Arc<Schedule>, slots: usize) -> ScheduleView {
        let now = self.inside.parts.clock.now();
        let zone = Zone::find(&schedule.zone);
        let command = match &schedule.target {
            Target::Command(command) => Some(self.inside.parts.look_at_command(&schedule, command)),
            _ => None,
        };
        ScheduleView {
            next: zone
                .as_ref()
                .map_or_else(Vec::new, |zone| next_slots(&schedule, zone, now, now, slots)),
            schedule,
            kept: None,
            last: None,
            command,
            zone,
        }
    }

    /// Saves a new schedule: its file is written, and it runs from now on. With `dry_run` it is only looked at.
    ///
    /// **Errors**: every wrong place of the document, and everything that it names and that is not there.
    /// **Cancel**: the file may have been written; the schedule then runs from the next start on.
    pub async fn add(
        &self,
        name: ScheduleName,
        document: &Value,
        dry_run: bool,
        slots: usize,
    ) -> Result<ScheduleView, AutomationError> {
        let parts = &self.inside.parts;
        let schedule =
            read_schedule(name.clone(), document, &parts.defaults, &is_zone).map_err(AutomationError::Invalid)?;
        let findings = parts.check(&schedule);
        if !findings.is_empty() {
            return Err(AutomationError::Invalid(findings));
        }
        let schedule = Arc::new(schedule);
        if self.preview(schedule.clone(), 1).next.is_empty() {
            let never = format!("`{}` has passed: it would never be due", schedule.expression);
            return Err(AutomationError::Invalid(vec![Finding::new("/cron", never)]));
        }
        if self.inside.book.get(&name).is_some() {
            return Err(AutomationError::Exists(name));
        }
        if self.inside.book.count() >= SCHEDULES_MAX {
            return Err(AutomationError::TooMany);
        }
        if dry_run {
            return Ok(self.preview(schedule, slots));
        }
        // What was written is what will be read: defaults of the configuration may change later, the schedule not.
        let file = parts
            .files
            .write(&name, &write_schedule(&schedule))
            .map_err(AutomationError::File)?;
        tracing::info!(schedule = %name, %file, "a schedule was saved");
        self.inside.book.put(schedule);
        match self.inside.actors.start_child(name.as_str(), name.clone()).await {
            Ok(_) | Err(ApiError::AlreadyStarted { .. } | ApiError::Restarting(_)) => {}
            // The keeper tries again.
            Err(error) => return Err(AutomationError::NotStarted(error)),
        }
        self.show(&name, slots)
    }

    /// Removes a schedule and its file. Its ledger stays; a run of it goes on by itself.
    pub async fn remove(&self, name: &ScheduleName) -> Result<(), AutomationError> {
        self.find(name)?;
        self.inside.parts.files.remove(name).map_err(AutomationError::File)?;
        self.ask(name, |reply| ScheduleMessage::Retire { reply }).await?;
        self.inside.book.remove(name);
        match self.inside.actors.terminate_child(name.as_str()).await {
            // Without its entry in the book no incarnation would start.
            Ok(()) | Err(ApiError::NotFound(_)) => Ok(()),
            Err(error) => Err(AutomationError::NotStarted(error)),
        }
    }

    /// Holds new slots back.
    pub async fn pause(&self, name: &ScheduleName, why: Arc<str>) -> Result<(), AutomationError> {
        self.ask(name, |reply| ScheduleMessage::Pause { why, reply }).await
    }

    /// Goes on.
    pub async fn resume(&self, name: &ScheduleName) -> Result<(), AutomationError> {
        self.ask(name, |reply| ScheduleMessage::Resume { reply }).await
    }

    /// Runs it now; the row of the ledger has the time that is returned.
    pub async fn run_now(&self, name: &ScheduleName, by: Arc<str>) -> Result<UtcMillis, AutomationError> {
        self.ask(name, |reply| ScheduleMessage::RunNow { by, reply }).await
    }

    /// Runs the slots of a time that did not run: missed, skipped or failed ones. Returns them.
    pub async fn backfill(
        &self,
        name: &ScheduleName,
        between: (UtcMillis, UtcMillis),
        by: Arc<str>,
    ) -> Result<Vec<UtcMillis>, AutomationError> {
        self.ask(name, |reply| ScheduleMessage::Backfill { between, by, reply })
            .await
    }

    /// Rows of the ledger, newest first; also of a schedule that was removed.
    pub fn slots(
        &self,
        name: &ScheduleName,
        between: std::ops::RangeInclusive<UtcMillis>,
        limit: usize,
        filter: &dyn Fn(&SlotRow) -> bool,
    ) -> Result<Vec<SlotRow>, AutomationError> {
        let rows = self.inside.parts.store.slots(name, between, limit, filter);
        let rows = rows.map_err(AutomationError::Store)?;
        if rows.is_empty() {
            self.find(name)?;
        }
        Ok(rows)
    }

    /// One row.
    pub fn slot(&self, name: &ScheduleName, slot: UtcMillis) -> Result<Option<SlotRow>, AutomationError> {
        self.inside.parts.store.slot(name, slot).map_err(AutomationError::Store)
    }

    async fn ask<T: Send + 'static>(
        &self,
        name: &ScheduleName,
        message: impl FnOnce(RpcReplyPort<Answer<T>>) -> ScheduleMessage,
    ) -> Result<T, AutomationError> {
        self.find(name)?;
        let actor = self.inside.actors.get(name.as_str());
        let actor = actor.ok_or_else(|| AutomationError::Down(name.clone()))?;
        let answer = actor
            .call(message, ANSWER_MAX)
            .await
            .map_err(AutomationError::Unanswered)?;
        answer.map_err(AutomationError::Refused)
    }
}

fn next_slots(schedule: &Schedule, zone: &Zone, anchor: UtcMillis, now: UtcMillis, most: usize) -> Vec<UtcMillis> {
    let mut after = now;
    let next = std::iter::from_fn(|| {
        after = schedule.when.next(zone, anchor, after)?;
        Some(after)
    });
    next.take(most).collect()
}
