//! What the rim holds of the runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use supervisors::ApiError;
use tokio::sync::watch;

use crate::domain::capability::{CapabilitySet, narrower};
use crate::domain::code::{self, Code};
use crate::domain::exchange::{Exchange, Shown};
use crate::domain::fact::{Fact, Stamped};
use crate::domain::handoff::Finding;
use crate::domain::id::RunId;
use crate::domain::limits::{ACTIVE_RUNS_MAX, TASK_BYTES_MAX};
use crate::domain::name::{AgentName, StepId};
use crate::domain::plan::Step;
use crate::domain::plan_admission::single_step;
use crate::domain::run::{RunHeader, RunSpec, RunStatus};
use crate::domain::traffic::Tape;
use crate::llm::cassette::canon::Canon;
use crate::llm::cassette::redact::Redactor;
use crate::runtime::bus::Watch;
use crate::runtime::committer::CommitError;
use crate::storage::batch::{Batch, Op, Refused, Submission};
use crate::storage::error::StoreError;

use super::cassette;
use super::decision::AnswerRefused;
use super::dispatcher::actor::DispatchMessage;
use super::grounds::GroundsError;
use super::message::{RunArgument, RunMessage};
use super::parts::{RunsInside, RunsSettings};
use super::state::RunState;

/// The step of a run that one agent does alone.
const ONLY_STEP: &str = "work";

/// A cheap clone; resolves the actors at each call.
#[derive(Clone)]
pub struct RunsHandle {
    pub(super) inside: RunsInside,
    recovered: watch::Receiver<bool>,
}

/// Which submission an idempotency key stands for.
#[derive(Debug, Clone, Copy)]
pub struct Idempotency {
    /// Hash of who submits and the key.
    pub key: [u8; 32],
    /// Hash of the body.
    pub body: [u8; 32],
}

/// What was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The run.
    pub run: RunId,
    /// False when the same submission had been accepted before.
    pub is_new: bool,
}

/// Why a run could not be accepted, found or changed.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// The task is empty or too long.
    #[error("accept a run: {0}")]
    Task(String),
    /// The plan is not acceptable.
    #[error("accept a run: the plan is wrong in {} places", .0.len())]
    Plan(Vec<Finding>),
    /// There is no such agent.
    #[error("accept a run: there is no agent `{0}`")]
    NoAgent(AgentName),
    /// Runs may not work in the workspace.
    #[error("accept a run: its workspace")]
    Workspace(#[source] GroundsError),
    /// The idempotency key was used with another body.
    #[error("accept a run: the idempotency key belongs to {0}, which had another body")]
    IdempotencyConflict(RunId),
    /// The limit of active runs is reached.
    #[error("accept a run: {active} are active, at most {limit} may be")]
    TooMany {
        /// How many are.
        active: usize,
        /// How many may be.
        limit: usize,
    },
    /// The disk is full.
    #[error("accept a run: there is too little room on the disk")]
    DiskFull,
    /// There is no such run.
    #[error("find {0}")]
    NotFound(RunId),
    /// The run has ended.
    #[error("change {run}: it has ended ({status})")]
    Ended {
        /// Which.
        run: RunId,
        /// How.
        status: &'static str,
    },
    /// The run has not ended.
    #[error("repeat {0}: it has not ended")]
    Active(RunId),
    /// The run was not recorded.
    #[error("write the cassette of {0}: it was not recorded")]
    NotRecorded(RunId),
    /// An answer does not count.
    #[error("answer")]
    Answer(#[source] AnswerRefused),
    /// More than one call is unknown, and the answer does not say which it means.
    #[error("answer: {} calls are unknown", .0.len())]
    SeveralUnknown(Vec<String>),
    /// A balance cannot be read.
    #[error("read a balance")]
    Balance(#[source] Arc<StoreError>),
    /// The slot that it is for has its run.
    #[error("accept a run of a slot")]
    Slot(#[source] Refused),
    /// The write failed.
    #[error("commit")]
    Commit(#[source] CommitError),
    /// The read failed.
    #[error("read the journal")]
    Store(#[source] StoreError),
}

impl RunsError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Task(_) | Self::SeveralUnknown(_) => code::INVALID_REQUEST,
            Self::Answer(AnswerRefused::NotAsked) => code::NOT_ASKED,
            Self::Answer(AnswerRefused::Contradicts { .. }) => code::ANSWERED_BEFORE,
            Self::Plan(_) => code::PLAN_REJECTED,
            Self::NoAgent(_) => code::AGENT_NOT_FOUND,
            Self::Workspace(_) => code::WORKSPACE_INVALID,
            Self::IdempotencyConflict(_) => code::IDEMPOTENCY_CONFLICT,
            Self::TooMany { .. } | Self::Commit(CommitError::Overloaded) => code::TOO_MANY_RUNS,
            Self::DiskFull => code::DISK_FULL,
            Self::NotFound(_) => code::RUN_NOT_FOUND,
            Self::Ended { .. } => code::RUN_ENDED,
            Self::Active(_) => code::RUN_ACTIVE,
            Self::NotRecorded(_) => code::CASSETTE_ABSENT,
            Self::Slot(_) => code::SLOT_TAKEN,
            Self::Store(StoreError::Corrupt { .. }) => code::STORE_CORRUPT,
            Self::Commit(_) | Self::Store(_) | Self::Balance(_) => code::STORE_FAILED,
        }
    }
}

impl RunsHandle {
    pub(super) fn new(inside: RunsInside, recovered: watch::Receiver<bool>) -> Self {
        Self { inside, recovered }
    }

    /// Takes another configuration: steps that start from now on are bound by it, and plans are made by its planner.
    pub fn configure(&self, settings: RunsSettings, steps_concurrent_max: u32) {
        self.inside.parts.settings.store(Arc::new(settings));
        let slots = self.inside.parts.slots(steps_concurrent_max);
        self.inside.slots.store(Arc::new(slots));
        // A dispatcher that is just being started reads them by itself.
        self.inside.dispatcher.cast(DispatchMessage::SlotsChanged).ok();
    }

    /// Accepts a run that keeps nothing of its model traffic.
    pub async fn accept(&self, spec: RunSpec, idempotency: Option<Idempotency>) -> Result<Accepted, RunsError> {
        self.accept_taped(spec, idempotency, None).await
    }

    /// Accepts a run: when this returns, the run is on disk and cannot be lost.
    ///
    /// **Cancel**: the run may have been accepted; the same idempotency key finds it.
    pub async fn accept_taped(
        &self,
        spec: RunSpec,
        idempotency: Option<Idempotency>,
        tape: Option<Tape>,
    ) -> Result<Accepted, RunsError> {
        let taped = |run| tape.map(|tape| Op::TapePut { run, tape }).into_iter().collect();
        self.accept_with(spec, idempotency, taped).await
    }

    /// Accepts a run that answers a client's exchange, as [`Self::accept_taped`] does. `hears` is told the run's id
    /// before the run can begin, so that nothing of its answer is missed.
    pub async fn accept_exchange(
        &self,
        spec: RunSpec,
        idempotency: Option<Idempotency>,
        exchange: Arc<Exchange>,
        hears: impl FnOnce(RunId) + Send,
    ) -> Result<Accepted, RunsError> {
        let with = |run| {
            hears(run);
            vec![Op::ExchangePut { run, exchange }]
        };
        self.accept_with(spec, idempotency, with).await
    }

    /// Accepts a run together with changes that belong to it: all is on disk, or nothing. A slot that is taken refuses
    /// the whole.
    ///
    /// **Cancel**: the run may have been accepted, and then the changes were made as well.
    pub async fn accept_with(
        &self,
        spec: RunSpec,
        idempotency: Option<Idempotency>,
        changes: impl FnOnce(RunId) -> Vec<Op> + Send,
    ) -> Result<Accepted, RunsError> {
        let parts = &self.inside.parts;
        if parts.room.is_low() {
            return Err(RunsError::DiskFull);
        }
        let now = parts.clock.now();
        let facts = self.first_facts(&spec, now)?;
        let run = RunId::new(now, parts.entropy.u128());
        let mut state = RunState::new(run);
        for fact in &facts {
            state.fold(fact, now);
        }
        let submission = Submission {
            idempotency: idempotency.map(|of| of.key),
            body: idempotency.map_or([0; 32], |of| of.body),
            active_max: ACTIVE_RUNS_MAX,
        };
        let mut batch = Batch::accept(run, now, facts, submission);
        for change in changes(run) {
            batch = batch.with(change);
        }
        match parts.committer.commit(batch).await {
            Ok(_) => {}
            Err(CommitError::Refused(Refused::SameSubmission(run))) => return Ok(Accepted { run, is_new: false }),
            Err(CommitError::Refused(Refused::IdempotencyConflict(run))) => {
                return Err(RunsError::IdempotencyConflict(run));
            }
            Err(CommitError::Refused(Refused::TooManyActive { active, limit })) => {
                return Err(RunsError::TooMany { active, limit });
            }
            Err(CommitError::Refused(refused @ Refused::SlotTaken { .. })) => return Err(RunsError::Slot(refused)),
            Err(error) => return Err(RunsError::Commit(error)),
        }
        let argument = RunArgument {
            run,
            fresh: Some(Arc::new(state)),
        };
        match self.inside.actors.start_child(run.to_string(), argument).await {
            Ok(_) | Err(ApiError::AlreadyStarted { .. } | ApiError::Restarting(_)) => {}
            // It is accepted all the same: the steward takes it up.
            Err(error) => tracing::warn!(%run, %error, "the actor of an accepted run could not be started yet"),
        }
        Ok(Accepted { run, is_new: true })
    }

    /// The facts that accept a run. A run whose plan is known from the start has it accepted at once.
    fn first_facts(&self, spec: &RunSpec, now: crate::domain::time::UtcMillis) -> Result<Vec<Fact>, RunsError> {
        let parts = &self.inside.parts;
        if spec.task.trim().is_empty() {
            return Err(RunsError::Task("the task is empty".into()));
        }
        if spec.task.len() > TASK_BYTES_MAX {
            return Err(RunsError::Task(format!(
                "the task has {} bytes, at most {TASK_BYTES_MAX}",
                spec.task.len()
            )));
        }
        let folder = match &*spec.workspace {
            "" => parts.settings.load().grounds.for_nobody_in_particular(),
            named => parts.settings.load().grounds.admit(Path::new(named)),
        };
        let spec = RunSpec {
            workspace: folder.map_err(RunsError::Workspace)?.to_string_lossy().into(),
            ..spec.clone()
        };
        let definitions = parts.agents.definitions();
        if let Some(agent) = spec.agent.as_ref().filter(|agent| !definitions.contains_key(*agent)) {
            return Err(RunsError::NoAgent(agent.clone()));
        }
        let plan = match (&spec.plan, &spec.agent) {
            (Some(plan), _) => Some(plan.clone()),
            (None, Some(agent)) => {
                let id = StepId::new(ONLY_STEP).expect("a valid id");
                let work = crate::domain::plan::Work::Agent(agent.clone());
                let step = Step {
                    output_schema: spec.output_schema.clone(),
                    ..Step::new(id, work, spec.task.clone())
                };
                Some(Arc::new(single_step(agent.clone(), step)))
            }
            (None, None) => None,
        };
        if let Some(plan) = &plan {
            parts
                .judge_submitted_plan(plan, spec.deadline.since(now), spec.tokens_max)
                .map_err(RunsError::Plan)?;
        }
        let mut facts = vec![Fact::RunAccepted(Arc::new(spec))];
        if let Some(plan) = plan {
            facts.push(Fact::PlanProposed { round: 1, plan });
            facts.push(Fact::PlanAccepted { round: 1 });
        }
        Ok(facts)
    }

    /// Asks a run to end; it has ended when its work has.
    pub async fn cancel(&self, run: RunId, reason: Arc<str>) -> Result<(), RunsError> {
        let header = self.header(run)?;
        match header.status {
            RunStatus::Active => {}
            status => {
                return Err(RunsError::Ended {
                    run,
                    status: status.as_str(),
                });
            }
        }
        // A run whose actor is between two incarnations gets the message when it is back, within a bound.
        for _ in 0..50 {
            if let Some(actor) = self.inside.actors.get(run.to_string())
                && actor.cast(RunMessage::Cancel { reason: reason.clone() }).is_ok()
            {
                return Ok(());
            }
            let header = self.header(run)?;
            if header.status != RunStatus::Active {
                return Err(RunsError::Ended {
                    run,
                    status: header.status.as_str(),
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(RunsError::Commit(CommitError::TimedOut(Duration::from_secs(1))))
    }

    /// The header of a run.
    pub fn header(&self, run: RunId) -> Result<RunHeader, RunsError> {
        self.inside
            .parts
            .store
            .header(run)
            .map_err(RunsError::Store)?
            .ok_or(RunsError::NotFound(run))
    }

    /// Headers, newest first.
    pub fn headers(
        &self,
        before: Option<RunId>,
        limit: usize,
        status: Option<RunStatus>,
    ) -> Result<Vec<RunHeader>, RunsError> {
        self.inside
            .parts
            .store
            .headers(before, limit, status)
            .map_err(RunsError::Store)
    }

    /// The state of a run as its journal has it.
    pub fn state(&self, run: RunId) -> Result<RunState, RunsError> {
        let facts = self.inside.parts.store.facts_for_state(run).map_err(RunsError::Store)?;
        if facts.is_empty() {
            return Err(RunsError::NotFound(run));
        }
        Ok(RunState::load(run, &facts))
    }

    /// The facts of a run after a place.
    pub fn facts(&self, run: RunId, after: u64) -> Result<Vec<Stamped>, RunsError> {
        self.inside.parts.store.facts(run, after).map_err(RunsError::Store)
    }

    /// The facts of a run after a place, about so many of them.
    pub fn facts_page(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<Stamped>, RunsError> {
        let store = &self.inside.parts.store;
        store.facts_page(run, after, limit).map_err(RunsError::Store)
    }

    /// What a client asked the run; none for a run that came another way.
    pub fn exchange(&self, run: RunId) -> Result<Option<Exchange>, RunsError> {
        self.inside.parts.store.exchange(run).map_err(RunsError::Store)
    }

    /// The answer to an exchange is not to be asked for any more; the run stays.
    pub async fn forget_exchange(&self, run: RunId) -> Result<(), RunsError> {
        let batch = Batch::ops(vec![Op::ExchangeForget { run }]);
        let committed = self.inside.parts.committer.commit(batch).await;
        committed.map(drop).map_err(RunsError::Commit)
    }

    /// Keeps events of an answer, the first of which has this number; when this returns they are on disk.
    pub async fn keep_shown(&self, run: RunId, first: u64, shown: Shown) -> Result<(), RunsError> {
        let batch = Batch::ops(vec![Op::ShownPut { run, first, shown }]);
        let committed = self.inside.parts.committer.commit(batch).await;
        committed.map(drop).map_err(RunsError::Commit)
    }

    /// Events of an answer that were kept, from this number on; see [`crate::storage::store::Store::shown`].
    pub fn shown(&self, run: RunId, from: u64, limit: usize) -> Result<Vec<(u64, Shown)>, RunsError> {
        self.inside
            .parts
            .store
            .shown(run, from, limit)
            .map_err(RunsError::Store)
    }

    /// Watches the journal of a run.
    pub fn watch(&self, run: RunId) -> Watch {
        self.inside.parts.bus.watch(run)
    }

    /// The same work again, as a new run. It may touch what the first one might and whoever repeats it may.
    pub async fn retry(&self, run: RunId, of_key: Option<CapabilitySet>) -> Result<Accepted, RunsError> {
        let state = self.state(run)?;
        if state.status() == RunStatus::Active {
            return Err(RunsError::Active(run));
        }
        let spec = state.spec.as_ref().ok_or(RunsError::NotFound(run))?;
        let allowed = spec.deadline.since(state.accepted_at);
        let spec = RunSpec {
            deadline: self.inside.parts.clock.now().plus_ms(allowed),
            origin: "retry".into(),
            retry_of: Some(run),
            grant: narrower(spec.grant.clone(), of_key),
            ..(**spec).clone()
        };
        // A run that was played from a cassette must not ask its models the second time.
        let tape = self.inside.parts.store.tape(run).map_err(RunsError::Store)?;
        if let Some(exchange) = self.exchange(run)? {
            return self.accept_exchange(spec, None, Arc::new(exchange), |_| {}).await;
        }
        self.accept_taped(spec, None, tape).await
    }

    /// The cassette of a run, as far as its requests have been answered.
    pub fn cassette(&self, run: RunId, redactor: &Redactor) -> Result<String, RunsError> {
        let header = self.header(run)?;
        let store = &self.inside.parts.store;
        if store.tape(run).map_err(RunsError::Store)?.is_none() {
            return Err(RunsError::NotRecorded(header.run));
        }
        let traffic = store.traffic(run).map_err(RunsError::Store)?;
        let facts = self.facts(run, 0)?;
        let Some(Fact::RunAccepted(spec)) = facts.first().map(|stamped| &stamped.fact) else {
            return Err(RunsError::NotFound(run));
        };
        let canon = Canon::new(&spec.workspace, run, redactor.clone());
        Ok(cassette::write(&canon, spec, &facts, &traffic))
    }

    /// Runs that have an actor.
    pub fn active(&self) -> usize {
        self.inside.actors.count()
    }

    /// Runs that wait for a person because recovery did not get them further; counts at most 1,000.
    pub fn parked_count(&self) -> Result<usize, RunsError> {
        self.headers(None, 1000, Some(RunStatus::Parked))
            .map(|headers| headers.len())
    }

    /// Whether the runs of an earlier life have been taken up.
    pub fn is_recovered(&self) -> bool {
        *self.recovered.borrow()
    }
}
