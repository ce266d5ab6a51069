//! What the rim holds of the runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::code::{self, Code};
use crate::domain::exchange::{Exchange, Shown};
use crate::domain::fact::{Fact, Stamped};
use crate::domain::handoff::Finding;
use crate::domain::id::RunId;
use crate::domain::name::AgentName;
use crate::domain::run::{RunHeader, RunStatus};
use crate::llm::cassette::canon::Canon;
use crate::llm::cassette::redact::Redactor;
use crate::runtime::bus::Watch;
use crate::runtime::committer::CommitError;
use crate::storage::batch::{Batch, Op, Refused};
use crate::storage::error::StoreError;

use super::cassette;
use super::decision::AnswerRefused;
use super::dispatcher::actor::DispatchMessage;
use super::grounds::GroundsError;
use super::parts::{RunsInside, RunsSettings};
use super::state::RunState;

/// A cheap clone; resolves the actors at each call.
#[derive(Clone)]
pub struct RunsHandle {
    pub(super) inside: RunsInside,
    recovered: watch::Receiver<bool>,
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

    /// Begins no further command of a check and lets those that run come to their end; gives how many had not got there
    /// within `limit`.
    pub async fn end_commands(&self, limit: Duration) -> usize {
        self.inside.commands.close(limit).await
    }

    /// The folder without links and dots, when runs may work in it.
    ///
    /// Asks the file system.
    pub fn admitted(&self, folder: &Path) -> Result<PathBuf, RunsError> {
        let admitted = self.inside.parts.settings.load().grounds.admit(folder);
        admitted.map_err(RunsError::Workspace)
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
