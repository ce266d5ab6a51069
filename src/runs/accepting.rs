//! Accepting runs: when a client is told of one, it is on disk and cannot be lost.

use std::path::Path;
use std::sync::Arc;

use supervisors::ApiError;

use crate::agents::order::CameWith;
use crate::domain::capability::{CapabilitySet, narrower};
use crate::domain::exchange::Exchange;
use crate::domain::fact::Fact;
use crate::domain::id::RunId;
use crate::domain::limits::{ACTIVE_RUNS_MAX, TASK_BYTES_MAX};
use crate::domain::name::StepId;
use crate::domain::plan::{Step, Work};
use crate::domain::plan_admission::single_step;
use crate::domain::run::{RunSpec, RunStatus};
use crate::domain::time::UtcMillis;
use crate::domain::traffic::Tape;
use crate::runtime::committer::{CommitError, Pending};
use crate::storage::batch::{Batch, Op, Receipt, Refused, Submission};

use super::handle::{RunsError, RunsHandle};
use super::message::{RunActors, RunArgument};
use super::state::RunState;

/// The step of a run that one agent does alone.
const ONLY_STEP: &str = "work";

/// Which submission an idempotency key stands for.
#[derive(Debug, Clone, Copy)]
pub struct Idempotency {
    /// Hash of who submits and the key.
    pub key: [u8; 32],
    /// Hash of the body.
    pub body: [u8; 32],
}

/// What a run that has ended did, to be done once more; see [`RunsHandle::repeated`].
#[derive(Debug, Clone)]
pub struct Repeated {
    run: RunId,
    /// What the new run is to do.
    pub spec: RunSpec,
}

/// How a client's request is known again when it comes a second time.
#[derive(Debug, Clone, Copy)]
pub enum Known {
    /// Not at all.
    Never,
    /// By the key that its client gave it.
    ByKey(Idempotency),
    /// By this hash of who asked whom for what, when its first answer reached nobody; see
    /// [`RunsHandle::left_unanswered`].
    ByContent([u8; 32]),
}

/// Under which key a run keeps the hash by which its request is known again.
fn content_key(run: RunId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("openclaw: the content that a run was asked");
    hasher.update(&run.to_bytes());
    *hasher.finalize().as_bytes()
}

/// What was accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The run.
    pub run: RunId,
    /// The state that it begins with; none when the same submission had been accepted before.
    pub fresh: Option<Arc<RunState>>,
}

impl Accepted {
    /// What was accepted before.
    pub fn before(run: RunId) -> Self {
        Self { run, fresh: None }
    }

    /// False when the same submission had been accepted before.
    pub fn is_new(&self) -> bool {
        self.fresh.is_some()
    }
}

/// A run that has begun while its acceptance is on its way to the disk.
#[must_use = "nobody may be told of the run before it is durable"]
pub struct Acceptance {
    run: RunId,
    pending: Pending,
    actors: RunActors,
}

impl Acceptance {
    /// Has it written at once; when this returns, the run is on disk and cannot be lost.
    ///
    /// **Cancel**: it is accepted all the same.
    pub async fn durable(self) -> Result<(), RunsError> {
        let committed = self.pending.durable().await;
        settled(committed, self.run, &self.actors).await
    }

    /// Waits for the same without a hurry.
    ///
    /// **Cancel**: it is accepted all the same.
    pub async fn carried(self) -> Result<(), RunsError> {
        let committed = self.pending.carried().await;
        settled(committed, self.run, &self.actors).await
    }
}

/// What became of an acceptance whose run has begun. One that was refused after all never was.
async fn settled(committed: Result<Receipt, CommitError>, run: RunId, actors: &RunActors) -> Result<(), RunsError> {
    let Err(error) = committed else { return Ok(()) };
    if matches!(error, CommitError::Refused(_))
        && let Err(error) = actors.terminate_child(run.to_string()).await
    {
        tracing::warn!(%run, %error, "the actor of a run that was not accepted could not be stopped");
    }
    Err(not_accepted(error))
}

fn not_accepted(error: CommitError) -> RunsError {
    match error {
        CommitError::Refused(Refused::IdempotencyConflict(run)) => RunsError::IdempotencyConflict(run),
        CommitError::Refused(Refused::TooManyActive { active, limit }) => RunsError::TooMany { active, limit },
        CommitError::Refused(refused @ Refused::SlotTaken { .. }) => RunsError::Slot(refused),
        error => RunsError::Commit(error),
    }
}

impl RunsHandle {
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

    /// Accepts a run that answers a client's exchange. `hears` is told the run's id before the run can begin, so that
    /// nothing of its answer is missed.
    ///
    /// Where nothing can refuse it any more, the run begins while its acceptance is on its way to the disk, and the
    /// [`Acceptance`] is given: **nobody outside may be told of the run before it is durable**. To ask a model changes
    /// nothing in the world; what would, waits for the disk by itself, and so for what came before.
    ///
    /// **Cancel**: the run may have been accepted; the same idempotency key finds it.
    pub async fn accept_exchange(
        &self,
        spec: RunSpec,
        known: Known,
        exchange: Arc<Exchange>,
        hears: impl FnOnce(RunId) + Send,
    ) -> Result<(Accepted, Option<Acceptance>), RunsError> {
        let (idempotency, content) = match known {
            Known::Never => (None, None),
            Known::ByKey(idempotency) => (Some(idempotency), None),
            Known::ByContent(content) => (None, Some(content)),
        };
        let with = |run| {
            hears(run);
            let content = content.map(|body| {
                let key = content_key(run);
                Op::SubmissionPut { run, key, body }
            });
            content.into_iter().chain([Op::ExchangePut { run, exchange }]).collect()
        };
        let is_free = idempotency.is_none() && self.is_recovered() && self.active() < ACTIVE_RUNS_MAX / 2;
        if !is_free {
            return Ok((self.accept_with(spec, idempotency, with).await?, None));
        }
        let (batch, beginning) = self.prepare(&spec, None, with)?;
        let run = beginning.run;
        let pending = self.inside.parts.committer.submit(batch).map_err(RunsError::Commit)?;
        let fresh = beginning.fresh.clone();
        self.begin(beginning).await;
        let actors = self.inside.actors.clone();
        let acceptance = Acceptance { run, pending, actors };
        Ok((Accepted { run, fresh }, Some(acceptance)))
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
        let (batch, beginning) = self.prepare(&spec, idempotency, changes)?;
        let run = beginning.run;
        match self.inside.parts.committer.commit(batch).await {
            Ok(_) => {}
            Err(CommitError::Refused(Refused::SameSubmission(run))) => return Ok(Accepted::before(run)),
            Err(error) => return Err(not_accepted(error)),
        }
        let fresh = beginning.fresh.clone();
        self.begin(beginning).await;
        Ok(Accepted { run, fresh })
    }

    /// What accepts a run, and what it begins with.
    fn prepare(
        &self,
        spec: &RunSpec,
        idempotency: Option<Idempotency>,
        changes: impl FnOnce(RunId) -> Vec<Op>,
    ) -> Result<(Batch, RunArgument), RunsError> {
        let parts = &self.inside.parts;
        if parts.room.is_low() {
            return Err(RunsError::DiskFull);
        }
        let now = parts.clock.now();
        let facts = self.first_facts(spec, now)?;
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
        let mut came_with = CameWith::default();
        for change in changes(run) {
            match &change {
                Op::ExchangePut { exchange, .. } => came_with.exchange = Some(exchange.clone()),
                Op::TapePut { .. } => came_with.is_taped = true,
                _ => {}
            }
            batch = batch.with(change);
        }
        let beginning = RunArgument {
            run,
            fresh: Some(Arc::new(state)),
            came_with: Some(came_with),
        };
        Ok((batch, beginning))
    }

    async fn begin(&self, beginning: RunArgument) {
        let run = beginning.run;
        match self.inside.actors.start_child(run.to_string(), beginning).await {
            Ok(_) | Err(ApiError::AlreadyStarted { .. } | ApiError::Restarting(_)) => {}
            // It is accepted all the same: the steward takes it up.
            Err(error) => tracing::warn!(%run, %error, "the actor of an accepted run could not be started yet"),
        }
    }

    /// The run that was accepted under a client's key. Asked before anything is refused that is for new runs alone: a
    /// request that comes again asks for none.
    ///
    /// **Errors**: the key was used with another body.
    pub fn known(&self, idempotency: Idempotency) -> Result<Option<RunId>, RunsError> {
        let known = self.inside.parts.store.submission(&idempotency.key);
        match known.map_err(RunsError::Store)? {
            Some((run, body)) if body != idempotency.body => Err(RunsError::IdempotencyConflict(run)),
            known => Ok(known.map(|(run, _)| run)),
        }
    }

    /// The client of a run that may go on was answered: its request is not known by its content any more, in the next
    /// life of the process neither.
    pub fn was_answered(&self, run: RunId) {
        let batch = Batch::ops(vec![Op::SubmissionsDrop(vec![content_key(run)])]);
        match self.inside.parts.committer.submit(batch) {
            // Nobody waits for it: an end of the process before it is on disk has the run found again, as one between
            // the answer and its way to the client has.
            Ok(pending) => pending.detach(),
            Err(error) => tracing::warn!(%run, %error, "that a client was answered is not written down"),
        }
    }

    /// The active runs whose requests are known by their content, with it. Right after a start these are the runs whose
    /// clients the end of the last life has cut off: those of who was answered are [forgotten](Self::was_answered).
    pub fn left_unanswered(&self) -> Result<Vec<(RunId, [u8; 32])>, RunsError> {
        let store = &self.inside.parts.store;
        let active = store.active_runs().map_err(RunsError::Store)?;
        let keys: Vec<[u8; 32]> = active.iter().map(|run| content_key(*run)).collect();
        let asked = store.asked_under(&keys).map_err(RunsError::Store)?;
        let asked = active.into_iter().zip(asked);
        Ok(asked.filter_map(|(run, content)| Some((run, content?))).collect())
    }

    /// The facts that accept a run. A run whose plan is known from the start has it accepted at once.
    fn first_facts(&self, spec: &RunSpec, now: UtcMillis) -> Result<Vec<Fact>, RunsError> {
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
                let work = Work::Agent(agent.clone());
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

    /// What a run that has ended did, to be done again. It may touch what the first one might and whoever repeats it
    /// may.
    pub fn repeated(&self, run: RunId, of_key: Option<CapabilitySet>) -> Result<Repeated, RunsError> {
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
        Ok(Repeated { run, spec })
    }

    /// The same work again, as a new run; the same idempotency key finds it.
    pub async fn retry(&self, again: Repeated, idempotency: Option<Idempotency>) -> Result<Accepted, RunsError> {
        let Repeated { run, spec } = again;
        // A run that was played from a cassette must not ask its models the second time.
        let tape = self.inside.parts.store.tape(run).map_err(RunsError::Store)?;
        if let Some(exchange) = self.exchange(run)? {
            let known = idempotency.map_or(Known::Never, Known::ByKey);
            let (accepted, acceptance) = self.accept_exchange(spec, known, Arc::new(exchange), |_| {}).await?;
            if let Some(acceptance) = acceptance {
                acceptance.durable().await?;
            }
            return Ok(accepted);
        }
        self.accept_taped(spec, idempotency, tape).await
    }
}
