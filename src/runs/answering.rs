//! What persons say on its way to a run, answers and the wish that it ends: found in the journal, judged by the run's
//! actor, or, when the run has ended unknown or is parked, the beginning of its next life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use supervisors::ApiError;
use tokio::sync::oneshot;

use crate::agents::treasury::{Bookings, TreasuryError};
use crate::domain::approval::Given;
use crate::domain::budget::{Account, Amount, BudgetChange};
use crate::domain::effect::EffectKey;
use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::id::RunId;
use crate::domain::name::{AgentName, StepId};
use crate::domain::resolution::Resolution;
use crate::domain::run::{Outcome, RunHeader, RunStatus};
use crate::runtime::committer::CommitError;
use crate::storage::batch::Batch;

use super::decision::{AnswerRefused, same_answer};
use super::handle::{RunsError, RunsHandle};
use super::message::{RunArgument, RunMessage};
use super::question::{Question, QuestionKind, questions};
use super::state::RunState;

/// How long a run's actor may take, restarts and all, to judge what it is told and have it on disk.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Looks for an actor that is between two incarnations, and the pause between them.
const LOOKS_MAX: u32 = 50;
const LOOK: Duration = Duration::from_millis(20);

/// Which unknown call is meant. What is left out must be clear from what is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Its step.
    pub step: Option<StepId>,
    /// Its number within the attempt.
    pub call: Option<u32>,
    /// The place of the fact that says that it is unknown: an answer to an older question does not count.
    pub seq: Option<u64>,
}

impl Which {
    fn means(&self, attempt: &Attempt, ordinal: u32) -> bool {
        self.step.as_ref().is_none_or(|step| *step == attempt.step) && self.call.is_none_or(|call| call == ordinal)
    }
}

impl RunsHandle {
    /// A run as its journal has it, with what it waits for persons to say.
    pub fn look(&self, run: RunId) -> Result<(RunState, Vec<Question>), RunsError> {
        let facts = self.inside.parts.store.facts_for_state(run).map_err(RunsError::Store)?;
        if facts.is_empty() {
            return Err(RunsError::NotFound(run));
        }
        let state = RunState::load(run, &facts);
        let open = questions(&state, &facts);
        Ok((state, open))
    }

    /// The runs that wait for a yes, of those that are active in this process.
    pub fn asking(&self) -> Vec<RunId> {
        self.inside.asking.runs()
    }

    /// Answers the question of this hash. The first answer counts; the same one again is no error.
    ///
    /// **Cancel**: the answer may have been taken; it can be given again.
    pub async fn approve(&self, run: RunId, given: Given) -> Result<(), RunsError> {
        let header = self.header(run)?;
        let facts = self.facts(run, 0)?;
        let said = facts.iter().rev().find_map(|stamped| match &stamped.fact {
            Fact::ApprovalGiven { given: said, .. } if said.hash == given.hash => Some(said),
            _ => None,
        });
        if let Some(said) = said {
            return same_answer(said, &given).map(|_| ()).map_err(RunsError::Answer);
        }
        if header.status != RunStatus::Active {
            return Err(ended(run, header.status));
        }
        self.ask_actor(run, |reply| RunMessage::Agree {
            given: given.clone(),
            reply,
        })
        .await
    }

    /// Says what became of an unknown call. The first answer counts; the same one again is no error. A run that has
    /// ended unknown or is parked goes on; the time in which it waited does not count.
    ///
    /// **Cancel**: the answer may have been taken; it can be given again.
    pub async fn resolve(
        &self,
        run: RunId,
        which: &Which,
        resolution: Resolution,
        by: Arc<str>,
    ) -> Result<(), RunsError> {
        let (header, _one) = self.header_to_reopen(run).await?;
        let facts = self.facts(run, 0)?;
        let state = RunState::load(run, &facts);
        let open: Vec<Question> = questions(&state, &facts)
            .into_iter()
            .filter(|question| matches!(question.kind, QuestionKind::Unknown { .. }))
            .filter(|question| which.means(&question.attempt, question.ordinal))
            .filter(|question| which.seq.is_none_or(|seq| seq == question.seq))
            .collect();
        let question = match &open[..] {
            [question] => question,
            [] => return said_before(&facts, which, &resolution),
            several => return Err(RunsError::SeveralUnknown(several.iter().map(name).collect())),
        };
        let (attempt, ordinal) = (question.attempt.clone(), question.ordinal);
        // A call that is made again keeps its key, and may leave a report at once.
        let settles = !matches!(resolution, Resolution::NotHappened);
        let settled = EffectKey::derive(run, &attempt.step, attempt.number, ordinal);
        let said = match header.status {
            RunStatus::Active => {
                self.ask_actor(run, |reply| RunMessage::Resolve {
                    attempt: attempt.clone(),
                    ordinal,
                    resolution: resolution.clone(),
                    by: by.clone(),
                    reply,
                })
                .await
            }
            RunStatus::Ended(Outcome::Unknown) | RunStatus::Parked => {
                let resolved = Fact::CallResolved {
                    attempt,
                    ordinal,
                    resolution,
                    by,
                };
                self.reopen(&state, &header, &facts, resolved).await
            }
            status @ RunStatus::Ended(_) => Err(ended(run, status)),
        };
        if said.is_ok() && settles {
            // The journal has what became of it: what its program left is evidence of nothing open.
            self.inside.parts.skills.forget([settled]);
        }
        said
    }

    /// Asks a run to end; the wish is on disk when this returns, and the run has ended when its work has.
    ///
    /// One that is parked is taken up for that.
    ///
    /// **Cancel**: the wish may have been taken; it can be said again, and the first one counts.
    pub async fn cancel(&self, run: RunId, reason: Arc<str>) -> Result<(), RunsError> {
        let (header, _one) = self.header_to_reopen(run).await?;
        match header.status {
            RunStatus::Active => {
                self.ask_actor(run, |reply| RunMessage::Cancel {
                    reason: reason.clone(),
                    reply,
                })
                .await
            }
            RunStatus::Parked => {
                let wanted = Fact::CancelRequested {
                    outcome: Outcome::Cancelled,
                    reason,
                };
                let facts = self.facts(run, 0)?;
                self.reopen(&RunState::load(run, &facts), &header, &facts, wanted).await
            }
            status @ RunStatus::Ended(_) => Err(ended(run, status)),
        }
    }

    /// The header of a run. While it is not active nobody else reopens it for as long as the guard is held: two who did
    /// would both have the last word.
    async fn header_to_reopen(
        &self,
        run: RunId,
    ) -> Result<(RunHeader, Option<tokio::sync::MutexGuard<'_, ()>>), RunsError> {
        let header = self.header(run)?;
        if header.status == RunStatus::Active {
            return Ok((header, None));
        }
        let one = self.inside.reopening.lock().await;
        Ok((self.header(run)?, Some(one)))
    }

    /// Begins the next life of a run that has ended unknown or is parked, with what a person says of it.
    async fn reopen(
        &self,
        state: &RunState,
        header: &RunHeader,
        facts: &[Stamped],
        said: Fact,
    ) -> Result<(), RunsError> {
        let parts = &self.inside.parts;
        let run = state.run;
        let now = parts.clock.now();
        let waited = state.ended_at.map_or(0, |at| now.since(at));
        let reopened = Fact::RunReopened {
            deadline: state.deadline.plus_ms(waited),
        };
        let batch = Batch::reopen(run, now, vec![reopened, said]);
        let treasury = parts.agents.treasury();
        let settle = match header.status {
            // The accounts of one that is parked never were closed.
            RunStatus::Parked => Vec::new(),
            _ => self.used_so_far(header, facts)?,
        };
        let bookings = Bookings {
            settle,
            ..Bookings::default()
        };
        let pending = treasury.submit(batch, bookings).map_err(not_booked)?;
        pending.durable().await.map_err(RunsError::Commit)?;
        for _ in 0..LOOKS_MAX {
            let argument = RunArgument::found(run);
            match self.inside.actors.start_child(run.to_string(), argument).await {
                Ok(_) => return Ok(()),
                // The actor of the life that has ended may still be on its way out.
                Err(ApiError::AlreadyStarted { .. } | ApiError::Restarting(_)) => tokio::time::sleep(LOOK).await,
                Err(error) => {
                    tracing::warn!(%run, %error, "the actor of a reopened run could not be started yet");
                    break;
                }
            }
        }
        // It is reopened all the same: the steward takes it up.
        Ok(())
    }

    /// What is booked for a run that goes on after its end: its accounts were closed with it, and what it has used still
    /// counts.
    fn used_so_far(&self, header: &RunHeader, facts: &[Stamped]) -> Result<Vec<(Account, BudgetChange)>, RunsError> {
        let parts = &self.inside.parts;
        let run = header.run;
        let settled = |spent| BudgetChange::Settle {
            reserved: Amount::default(),
            spent,
        };
        let figures = parts.store.statistics_of_run(run).map_err(RunsError::Store)?;
        let all = Amount {
            tokens: header.tokens,
            cost: figures.cost,
        };
        let mut settle = vec![(Account::Run(run), settled(all))];
        let definitions = parts.agents.definitions();
        for (agent, used) in used_by_agents(facts) {
            // Only counted where somebody set a limit, as it is by sessions.
            if definitions.get(&agent).is_none_or(|agent| agent.per_run_max.is_none()) {
                continue;
            }
            let account = Account::AgentRun(agent, run);
            // An account that the end of the run has missed is still there.
            let known = parts.agents.treasury().balance(&account).map_err(not_booked)?.used();
            settle.push((account, settled(used.minus(known))));
        }
        Ok(settle)
    }

    /// Hands what is said to the run's actor; one that is between two incarnations gets it when it is back, within a
    /// bound.
    async fn ask_actor(
        &self,
        run: RunId,
        message: impl Fn(oneshot::Sender<Result<(), AnswerRefused>>) -> RunMessage,
    ) -> Result<(), RunsError> {
        // An actor that takes it in and crashes each time is asked no longer than one that is silent.
        let told = tokio::time::timeout(ANSWER_MAX, self.tell_actor(run, message)).await;
        told.unwrap_or(Err(RunsError::Commit(CommitError::TimedOut(ANSWER_MAX))))
    }

    async fn tell_actor(
        &self,
        run: RunId,
        message: impl Fn(oneshot::Sender<Result<(), AnswerRefused>>) -> RunMessage,
    ) -> Result<(), RunsError> {
        for _ in 0..LOOKS_MAX {
            let (reply, answer) = oneshot::channel();
            if let Some(actor) = self.inside.actors.get(run.to_string())
                && actor.cast(message(reply)).is_ok()
            {
                // Else the actor went down with it; it may have taken it, and the next one will say so.
                if let Ok(judged) = answer.await {
                    return judged.map_err(RunsError::Answer);
                }
            }
            let status = self.header(run)?.status;
            if status != RunStatus::Active {
                return Err(ended(run, status));
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(RunsError::Commit(CommitError::TimedOut(LOOK * LOOKS_MAX)))
    }
}

fn not_booked(error: TreasuryError) -> RunsError {
    match error {
        TreasuryError::Commit(error) => RunsError::Commit(error),
        TreasuryError::Balance(error) => RunsError::Balance(error),
        // Settling is never refused.
        TreasuryError::Exhausted(_) => RunsError::Commit(CommitError::Overloaded),
    }
}

/// What each agent has used in a run, by its journal. A request whose end is not there counts with its ceiling, as it did
/// when the run ended.
fn used_by_agents(facts: &[Stamped]) -> BTreeMap<AgentName, Amount> {
    let mut used: BTreeMap<AgentName, Amount> = BTreeMap::new();
    let mut open: BTreeMap<&Attempt, (&AgentName, Amount)> = BTreeMap::new();
    let mut book = |agent: &AgentName, amount: Amount| {
        let sum = used.entry(agent.clone()).or_default();
        *sum = sum.plus(amount);
    };
    for stamped in facts {
        let (attempt, spent) = match &stamped.fact {
            Fact::TurnIntended {
                attempt,
                agent,
                reserved,
                reserved_cost,
                ..
            } => {
                let ceiling = Amount {
                    tokens: *reserved,
                    cost: *reserved_cost,
                };
                open.insert(attempt, (agent, ceiling));
                continue;
            }
            Fact::TurnFinished {
                attempt, answer, cost, ..
            } => (attempt, (answer.usage.total(), *cost)),
            Fact::TurnFailed {
                attempt, charged, cost, ..
            } => (attempt, (*charged, *cost)),
            _ => continue,
        };
        if let Some((agent, _)) = open.remove(attempt) {
            let (tokens, cost) = spent;
            book(agent, Amount { tokens, cost });
        }
    }
    for (agent, ceiling) in open.into_values() {
        book(agent, ceiling);
    }
    used
}

fn ended(run: RunId, status: RunStatus) -> RunsError {
    RunsError::Ended {
        run,
        status: status.as_str(),
    }
}

fn name(question: &Question) -> String {
    format!("step {} call {}", question.attempt.step, question.ordinal)
}

/// Nothing that is meant is open: the same answer again is no error.
fn said_before(facts: &[Stamped], which: &Which, resolution: &Resolution) -> Result<(), RunsError> {
    let mut asked = None;
    for stamped in facts.iter().rev() {
        match &stamped.fact {
            Fact::CallResolved {
                attempt,
                ordinal,
                resolution: said,
                by,
            } if asked.is_none() && which.means(attempt, *ordinal) => {
                if said != resolution {
                    let said = format!("{}, by {by}", said.as_str());
                    return Err(RunsError::Answer(AnswerRefused::Contradicts { said }));
                }
                if which.seq.is_none() {
                    return Ok(());
                }
                asked = Some((attempt.clone(), *ordinal));
            }
            // The question that this answer belongs to.
            Fact::CallUnknown { attempt, ordinal, .. } if asked.as_ref() == Some(&(attempt.clone(), *ordinal)) => {
                return if which.seq == Some(stamped.seq) {
                    Ok(())
                } else {
                    Err(RunsError::Answer(AnswerRefused::NotAsked))
                };
            }
            _ => {}
        }
    }
    Err(RunsError::Answer(AnswerRefused::NotAsked))
}
