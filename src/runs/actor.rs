//! The shell of a run: turns messages into events, submits the facts, carries the effects out.
//!
//! Supervised by `runs/active` (transient). A crash loses nothing: the journal is read again, sessions under way
//! go on and report to the next incarnation. A crash of its own, or an end of the process while the run worked, counts
//! as a failed recovery until a new fact comes; the end of what it stands on, while it waited, does not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::TaskExit;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::agents::handle::TakeError;
use crate::agents::order::{CameWith, OrderWork, ReportTo, ReportedEnd, SessionOrder, SessionReport};
use crate::domain::budget::{Account, Amount, BudgetChange, Limit};
use crate::domain::capability::CapabilitySet;
use crate::domain::check::Check;
use crate::domain::compaction::SinceSnapshot;
use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::{ContextSource, Handoff};
use crate::domain::id::{IncidentId, RunId};
use crate::domain::incident::Incident;
use crate::domain::name::{AgentName, SkillName, StepId};
use crate::domain::plan::Work;
use crate::domain::run::RunStatus;
use crate::domain::time::UtcMillis;
use crate::runtime::run_span::run_span;
use crate::runtime::timer::Timer;
use crate::storage::batch::{Batch, Op};

use super::asking::Asking;
use super::check::{Checking, ChecksEnd};
use super::check_call::Journal;
use super::decision::{
    After, AnswerRefused, AttemptEnd, Effect, Event, Judged, Reaction, RunLoop, judge_approval, judge_resolution, react,
};
use super::dispatcher::actor::DispatchMessage;
use super::left;
use super::lesson::{Ended, lesson_of};
use super::message::{RunArgument, RunMessage};
use super::parts::RunsInside;
use super::state::{RunState, StepPhase};
use super::undo::undo;

/// Tries to give an order while nobody can take it, and the pause between two of them: a layer is back within a second.
const GIVES: u32 = 40;
const GIVE_PAUSE: Duration = Duration::from_millis(50);

/// The actor.
pub struct RunActor {
    /// What it shares with its layer.
    pub inside: RunsInside,
}

/// How an incarnation starts.
pub struct RunStart {
    /// The run.
    pub argument: RunArgument,
    /// Whether an earlier incarnation may have written facts.
    pub restarted: bool,
}

/// What an incarnation holds.
pub struct RunActorState {
    run: RunLoop,
    after: After,
    exit_codes: BTreeMap<StepId, i32>,
    checks: Vec<supervisors::TaskRef>,
    wake: Option<Timer>,
    since_snapshot: SinceSnapshot,
    /// Whether the list of runs that wait for a yes has this one.
    asks: bool,
    asking: Asking,
    came_with: Option<CameWith>,
}

impl Drop for RunActorState {
    fn drop(&mut self) {
        if self.asks {
            self.asking.note(self.run.state.run, false);
        }
        for check in &self.checks {
            check.cancel();
        }
    }
}

impl Actor for RunActor {
    type Msg = RunMessage;
    type State = RunActorState;
    type Arguments = RunStart;

    async fn pre_start(
        &self,
        myself: ActorRef<RunMessage>,
        start: RunStart,
    ) -> Result<RunActorState, ActorProcessingErr> {
        let came_with = start.argument.came_with;
        let fresh = start.argument.fresh.filter(|_| !start.restarted);
        let after = match (&fresh, start.restarted) {
            (Some(_), _) => After::Acceptance,
            (None, true) => After::OwnCrash,
            (None, false) => After::OthersEnd,
        };
        // The journal of a recovered run is read with its first message and not here: its supervisor starts one
        // child after the other, and after a crash there may be thousands.
        let state = fresh.map_or_else(|| RunState::new(start.argument.run), |state| (*state).clone());
        myself.cast(RunMessage::Begin)?;
        Ok(RunActorState {
            run: RunLoop::new(state),
            after,
            exit_codes: BTreeMap::new(),
            checks: Vec::new(),
            wake: None,
            since_snapshot: SinceSnapshot::default(),
            asks: false,
            asking: self.inside.asking.clone(),
            came_with,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<RunMessage>,
        message: RunMessage,
        state: &mut RunActorState,
    ) -> Result<(), ActorProcessingErr> {
        let span = run_span(state.run.state.run, None);
        self.take(myself, message, state).instrument(span).await
    }
}

impl RunActor {
    async fn take(
        &self,
        myself: ActorRef<RunMessage>,
        message: RunMessage,
        state: &mut RunActorState,
    ) -> Result<(), ActorProcessingErr> {
        let event = match message {
            RunMessage::Begin => {
                if state.after != After::Acceptance {
                    state.run = RunLoop::new(self.load(state.run.state.run).await?);
                }
                Event::Taken { after: state.after }
            }
            RunMessage::Agree { given, reply } => {
                let judged = judge_approval(&state.run.state, &given);
                return self.answer(&myself, state, judged, reply).await;
            }
            RunMessage::Resolve {
                attempt,
                ordinal,
                resolution,
                by,
                reply,
            } => {
                let judged = judge_resolution(&state.run.state, &attempt, ordinal, resolution, by);
                return self.answer(&myself, state, judged, reply).await;
            }
            RunMessage::LookedBack { undo } => Event::LookedBack { undo },
            RunMessage::Cancel { reason, reply } => {
                // One that has ended meanwhile says nothing: who asks finds that in the header.
                if state.run.state.status() == RunStatus::Active {
                    let wanted = Judged::Take(Event::CancelWanted { reason });
                    return self.answer(&myself, state, Ok(wanted), reply).await;
                }
                return Ok(());
            }
            RunMessage::Granted { step } => Event::Granted { step },
            RunMessage::Reported(report) => reported(state, report),
            RunMessage::Checked {
                attempt,
                output,
                reports,
                tried,
            } => {
                state.checks.retain(|check| !check.is_finished());
                Event::Checked {
                    attempt,
                    output,
                    reports,
                    tried,
                }
            }
            RunMessage::WakeDue => {
                state.wake = None;
                Event::Woken
            }
        };
        let now = self.inside.parts.clock.now();
        let reaction = react(&mut state.run, event, now, &self.inside.parts);
        self.carry_out(&myself, state, reaction, now).await
    }

    /// Takes a person's answer in when it is the first one, and says so when it is on disk.
    async fn answer(
        &self,
        myself: &ActorRef<RunMessage>,
        state: &mut RunActorState,
        judged: Result<Judged, AnswerRefused>,
        reply: oneshot::Sender<Result<(), AnswerRefused>>,
    ) -> Result<(), ActorProcessingErr> {
        let answer = match judged {
            Ok(Judged::Take(event)) => {
                let parts = &self.inside.parts;
                let now = parts.clock.now();
                let reaction = react(&mut state.run, event, now, parts);
                self.carry_out(myself, state, reaction, now).await?;
                parts.committer.barrier().await?;
                Ok(())
            }
            Ok(Judged::Same) => Ok(()),
            Err(refused) => Err(refused),
        };
        // Who asked may have gone.
        reply.send(answer).ok();
        Ok(())
    }

    /// The state of a run that another incarnation had, and its slots.
    async fn load(&self, run: RunId) -> Result<RunState, ActorProcessingErr> {
        let parts = &self.inside.parts;
        // What an earlier incarnation submitted must be readable before it is folded.
        parts.committer.barrier().await?;
        let state = RunState::load(run, &parts.store.facts_for_state(run)?);
        let running = std::iter::once((RunState::planning_step(), &state.planning))
            .chain(state.steps.iter().map(|(id, step)| (id.clone(), step)))
            .filter(|(_, step)| step.phase == StepPhase::Running)
            .map(|(id, _)| id)
            .collect();
        self.dispatch(DispatchMessage::Rejoin { run, running })?;
        Ok(state)
    }

    fn dispatch(&self, message: DispatchMessage) -> Result<(), ActorProcessingErr> {
        // The dispatcher is down only while the layer restarts, and this run with it.
        self.inside
            .dispatcher
            .cast(message)
            .map_err(|_| "the dispatcher is down".into())
    }

    async fn carry_out(
        &self,
        myself: &ActorRef<RunMessage>,
        state: &mut RunActorState,
        reaction: Reaction,
        now: UtcMillis,
    ) -> Result<(), ActorProcessingErr> {
        let parts = &self.inside.parts;
        let run = state.run.state.run;
        let asks = state.run.state.asks();
        if asks != state.asks {
            state.asks = asks;
            self.inside.asking.note(run, asks);
        }
        let mut pending = None;
        let mut is_due = false;
        if !reaction.facts.is_empty() {
            let mut extras = Vec::new();
            for fact in &reaction.facts {
                extras.extend(self.extra(state, fact, now)?);
            }
            let count = reaction.facts.len();
            let batch = Batch::facts(run, now, reaction.facts);
            is_due = state.since_snapshot.add(count, batch.journal_bytes());
            pending = Some(parts.committer.submit(extras.into_iter().fold(batch, Batch::with))?);
        }
        for effect in reaction.effects {
            match effect {
                Effect::Want(wish) => self.dispatch(DispatchMessage::Want { run, wish })?,
                Effect::Release { step } => self.dispatch(DispatchMessage::Release { run, step })?,
                Effect::Start {
                    attempt,
                    handoff,
                    deadline,
                    resume,
                } => {
                    self.start(myself, state, attempt, handoff, deadline, resume).await;
                }
                Effect::Stop { attempt } => {
                    if !parts.agents.stop(run, &attempt) {
                        let end = self.left_behind(&state.run.state, &attempt).await?;
                        myself.cast(RunMessage::Reported(SessionReport { attempt, end }))?;
                    }
                }
                Effect::Check {
                    attempt,
                    output,
                    checks,
                    tried,
                } => {
                    let checking = Checking {
                        run,
                        attempt: attempt.clone(),
                        workspace: workspace(&state.run.state),
                        output: output.clone(),
                        exit_code: state.exit_codes.remove(&attempt.step),
                        skills: parts.skills.clone(),
                        approvals: parts.agents.approvals(),
                        agent: agent_of(&state.run.state, &attempt.step),
                        bounds: self.bounds(&state.run.state, &attempt.step),
                        journal: self.journal(),
                    };
                    self.check(myself, state, checking, checks, tried);
                }
                Effect::LookBack => {
                    // What the sessions submitted last must be readable.
                    parts.committer.barrier().await?;
                    let facts = parts.store.facts(run, 0)?;
                    let catalogue = parts.skills.catalogue();
                    let undo_of = |skill: &SkillName| catalogue.manifest(skill)?.undo.clone();
                    let undo = undo(&facts, undo_of);
                    myself.cast(RunMessage::LookedBack { undo })?;
                }
                Effect::Wake { at } => {
                    state.wake = Some(Timer::after(myself, parts.clock.until(at), || RunMessage::WakeDue));
                }
                Effect::Leave => {
                    // Nobody asks this actor any more once its end is on disk.
                    if let Some(pending) = pending.take() {
                        pending.durable().await?;
                    }
                    myself.stop(None);
                    return Ok(());
                }
            }
        }
        if let Some(pending) = pending {
            pending.detach();
        }
        if is_due {
            self.snapshot(run).await?;
        }
        Ok(())
    }

    fn journal(&self) -> Journal {
        let parts = &self.inside.parts;
        Journal {
            clock: parts.clock.clone(),
            store: parts.store.clone(),
            committer: parts.committer.clone(),
            under_way: self.inside.commands.clone(),
        }
    }

    /// How an attempt ended that no session has any more. The calls of a run that leaves its work stay as they are:
    /// whoever takes it up again looks for them.
    async fn left_behind(&self, state: &RunState, attempt: &Attempt) -> Result<ReportedEnd, ActorProcessingErr> {
        if state.status() != RunStatus::Active {
            return Ok(ReportedEnd::Stopped);
        }
        let closed = left::close(state.run, attempt, &self.inside.parts.skills, &self.journal()).await;
        closed.map_err(Into::into)
    }

    /// What shares the transaction with a fact.
    fn extra(&self, state: &RunActorState, fact: &Fact, now: UtcMillis) -> Result<Vec<Op>, ActorProcessingErr> {
        let parts = &self.inside.parts;
        let run = state.run.state.run;
        Ok(match fact {
            Fact::RunDone { .. } => {
                let steps = state.run.state.plan.iter().flat_map(|plan| plan.steps.iter());
                let agents = steps.filter_map(|step| match &step.work {
                    Work::Agent(agent) => Some(agent.clone()),
                    Work::Skill(_) => None,
                });
                let agents: BTreeSet<_> = agents.chain([parts.settings.load().planner.clone()]).collect();
                let unsettled = self.unsettled(run)?;
                parts.agents.treasury().close_run(run, &agents, &unsettled, now.day())
            }
            Fact::StepDone { attempt, output } => self.lesson(state, attempt, Some(output.as_ref()), now),
            Fact::RunParked { reason } => vec![Op::IncidentOpen(Incident {
                id: IncidentId::new(now, parts.entropy.u128()),
                at: now,
                severity: "error".into(),
                what: format!("{run} was parked").into(),
                why: reason.clone(),
                action:
                    "the run is taken out of work until somebody cancels it or says what became of its unknown calls; \
                         a retry does the work anew as another run"
                        .into(),
                run: Some(run),
            })],
            Fact::StepFailed {
                attempt,
                reason,
                retry_at: None,
                ..
            } => {
                let undo = state.run.state.compensation(&attempt.step);
                let incident = undo.map(|undo| {
                    Op::IncidentOpen(Incident {
                        id: IncidentId::new(now, parts.entropy.u128()),
                        at: now,
                        severity: "error".into(),
                        what: format!("step {} of {run} was not undone", undo.undoes.step).into(),
                        why: reason.clone(),
                        action: "the rest is undone all the same; a person has to look at this effect".into(),
                        run: Some(run),
                    })
                });
                incident
                    .into_iter()
                    .chain(self.lesson(state, attempt, None, now))
                    .collect()
            }
            _ => Vec::new(),
        })
    }

    /// What a step that failed on the way teaches later ones; kept with its outcome, or not at all.
    fn lesson(&self, state: &RunActorState, attempt: &Attempt, output: Option<&str>, now: UtcMillis) -> Vec<Op> {
        let state = &state.run.state;
        let Some(step) = state.step(&attempt.step) else {
            return Vec::new();
        };
        let Some(handoff) = &step.handoff else {
            return Vec::new();
        };
        let keeps = self.inside.parts.agents.definitions();
        if keeps.get(&handoff.to).is_none_or(|agent| agent.memory_tokens == 0) {
            return Vec::new();
        }
        let ended = Ended {
            run: state.run,
            agent: &handoff.to,
            project: state.spec.as_ref().map_or("/", |spec| &*spec.workspace),
            task: &handoff.task,
            lessons: &step.lessons,
            attempt: attempt.number,
            output,
        };
        let wish = lesson_of(&ended, &self.inside.parts.settings.load().redactor).into_iter();
        wish.map(|wish| Op::MemoryPut(Box::new(wish.prepare(now)))).collect()
    }

    /// What is still booked for requests whose end nobody saw: the process was killed while they were out, and the
    /// run ended without resuming them. Their use is unknown, so it is their ceiling.
    fn unsettled(&self, run: RunId) -> Result<Vec<(Account, BudgetChange)>, ActorProcessingErr> {
        let parts = &self.inside.parts;
        if parts.agents.treasury().balance(&Account::Run(run))?.reserved == Amount::default() {
            return Ok(Vec::new());
        }
        let mut open = BTreeMap::new();
        for stamped in parts.store.facts(run, 0)? {
            match stamped.fact {
                Fact::TurnIntended {
                    attempt,
                    agent,
                    reserved,
                    reserved_cost,
                    day,
                    ..
                } => {
                    let ceiling = Amount {
                        tokens: reserved,
                        cost: reserved_cost,
                    };
                    let change = BudgetChange::Settle {
                        reserved: ceiling,
                        spent: ceiling,
                    };
                    open.insert(attempt, (Account::AgentDay(agent, day), change));
                }
                Fact::TurnFinished { attempt, .. } | Fact::TurnFailed { attempt, .. } => {
                    open.remove(&attempt);
                }
                _ => {}
            }
        }
        Ok(open.into_values().collect())
    }

    async fn start(
        &self,
        myself: &ActorRef<RunMessage>,
        state: &RunActorState,
        attempt: Attempt,
        handoff: Option<Arc<Handoff>>,
        deadline: UtcMillis,
        resume: bool,
    ) {
        let run_state = &state.run.state;
        let run = run_state.run;
        let spec = run_state.spec.as_ref().expect("a run that starts steps was accepted");
        let definition = run_state.definition(&attempt.step);
        let work = match (handoff, definition.map(|step| &step.work)) {
            (Some(handoff), _) => OrderWork::Agent {
                context: resolve(run_state, &handoff),
                handoff,
            },
            (None, Some(Work::Skill(skill))) => {
                let arguments = definition.map(|step| run_state.inputs(step)).unwrap_or_default();
                OrderWork::Skill {
                    skill: skill.clone(),
                    arguments: arguments.into(),
                }
            }
            (None, _) => {
                let report = failed(
                    attempt,
                    FailureClass::Crash,
                    "the order of this attempt is not in the journal",
                );
                myself.cast(RunMessage::Reported(report)).ok();
                return;
            }
        };
        let actors = self.inside.actors.clone();
        let order = SessionOrder {
            run,
            attempt: attempt.clone(),
            work,
            workspace: workspace(run_state),
            deadline,
            run_limit: Limit {
                tokens: spec.tokens_max,
                cost: spec.cost_max,
            },
            model: spec.model.clone(),
            skills: definition.and_then(|step| step.skills.clone()),
            exit_code_is_checked: definition.is_some_and(|step| {
                run_state
                    .checks(step)
                    .iter()
                    .any(|(check, _)| matches!(check, Check::ExitCode { .. }))
            }),
            resume,
            came_with: state.came_with.clone(),
            grant: spec.grant.clone(),
            planned_by: self.planned_by(run_state),
            // The run's actor may be another incarnation by then; one that is down reads the journal when it is up.
            report: ReportTo::new(move |report| {
                if let Some(actor) = actors.get(run.to_string()) {
                    actor.cast(RunMessage::Reported(report)).ok();
                }
            }),
        };
        let report = match self.give(order).await {
            Ok(()) => return,
            Err(TakeError::Refused(findings)) => SessionReport {
                attempt,
                end: ReportedEnd::Refused(findings.into()),
            },
            Err(error @ TakeError::NoAgent(_)) => failed(attempt, FailureClass::Config, &error.to_string()),
            Err(error) => {
                let source = std::error::Error::source(&error)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                failed(attempt, FailureClass::Overload, &format!("{error}: {source}"))
            }
        };
        myself.cast(RunMessage::Reported(report)).ok();
    }

    /// Gives an order, again and again while the layer of the agents is just being started anew.
    async fn give(&self, order: SessionOrder) -> Result<(), TakeError> {
        for _ in 0..GIVES {
            match self.inside.parts.agents.take(order.clone()).await {
                Err(error) if error.is_passing() => tokio::time::sleep(GIVE_PAUSE).await,
                given => return given,
            }
        }
        self.inside.parts.agents.take(order).await
    }

    /// The agent that planned the run's steps.
    fn planned_by(&self, state: &RunState) -> Option<AgentName> {
        state
            .planned_by_agent()
            .then(|| self.inside.parts.settings.load().planner.clone())
    }

    /// What the checks of a step may touch at most: what its run, its agent and whoever gave it the order may.
    fn bounds(&self, state: &RunState, step: &StepId) -> Vec<CapabilitySet> {
        let definitions = self.inside.parts.agents.definitions();
        let from = state.step(step).and_then(|step| step.handoff.as_ref()?.from.clone());
        let agents = [agent_of(state, step), from.or_else(|| self.planned_by(state))];
        let agents = agents.into_iter().flatten();
        let of_agents = agents.filter_map(|agent| definitions.get(&agent)?.capabilities.clone());
        let of_run = state.spec.as_ref().and_then(|spec| spec.grant.clone());
        of_agents.chain(of_run).collect()
    }

    fn check(
        &self,
        myself: &ActorRef<RunMessage>,
        state: &mut RunActorState,
        checking: Checking,
        checks: Vec<(crate::domain::check::Check, UtcMillis)>,
        tried: Vec<Arc<str>>,
    ) {
        let to = myself.clone();
        let attempt = checking.attempt.clone();
        let output = checking.output.clone();
        let name = format!("checks of {} {attempt}", checking.run);
        let on_exit = {
            let attempt = attempt.clone();
            move |exit| {
                let message = match exit {
                    TaskExit::Done(ChecksEnd::Made(reports)) => RunMessage::Checked {
                        attempt,
                        output,
                        reports,
                        tried,
                    },
                    TaskExit::Done(ChecksEnd::Unknown(evidence)) => RunMessage::Reported(SessionReport {
                        attempt,
                        end: ReportedEnd::Unknown(evidence),
                    }),
                    TaskExit::Done(ChecksEnd::NotMade(class, reason)) => {
                        RunMessage::Reported(failed(attempt, class, &reason))
                    }
                    TaskExit::Panicked(text) => {
                        let reason = format!("the checks crashed: {text}");
                        RunMessage::Reported(failed(attempt, FailureClass::Crash, &reason))
                    }
                    TaskExit::Cancelled => return,
                };
                to.cast(message).ok();
            }
        };
        match self.inside.checking.spawn(name, checking.make(checks), on_exit) {
            Ok(task) => state.checks.push(task),
            Err(refused) => {
                let report = failed(
                    attempt,
                    FailureClass::Overload,
                    &format!("checks could not be made: {refused}"),
                );
                myself.cast(RunMessage::Reported(report)).ok();
            }
        }
    }

    async fn snapshot(&self, run: RunId) -> Result<(), ActorProcessingErr> {
        let parts = &self.inside.parts;
        parts.committer.barrier().await?;
        if let Some(op) = parts.store.snapshot_of(run)? {
            parts.committer.submit(Batch::ops(vec![op]))?.detach();
        }
        Ok(())
    }
}

fn workspace(state: &RunState) -> Arc<Path> {
    let text = state.spec.as_ref().map_or("/", |spec| &*spec.workspace);
    Path::new(text).into()
}

fn failed(attempt: Attempt, class: FailureClass, reason: &str) -> SessionReport {
    SessionReport {
        attempt,
        end: ReportedEnd::Failed {
            class,
            reason: reason.into(),
            tried: Vec::new(),
        },
    }
}

/// Whose work a step is; none for one done by a skill. The planning step has no checks.
fn agent_of(state: &RunState, step: &StepId) -> Option<AgentName> {
    match &state.definition(step)?.work {
        Work::Agent(agent) => Some(agent.clone()),
        Work::Skill(_) => None,
    }
}

fn resolve(state: &RunState, handoff: &Handoff) -> serde_json::Map<String, serde_json::Value> {
    let entries = handoff.context.iter().map(|entry| {
        let value = match &entry.source {
            ContextSource::Literal(value) => value.clone(),
            ContextSource::Output { step, pointer } => state.output(step, pointer).cloned().unwrap_or_default(),
        };
        (entry.name.to_string(), value)
    });
    entries.collect()
}

fn reported(state: &mut RunActorState, report: SessionReport) -> Event {
    let SessionReport { attempt, end } = report;
    let end = match end {
        ReportedEnd::Refused(findings) => return Event::Refused { attempt, findings },
        ReportedEnd::Answered {
            output,
            tried,
            exit_code,
        } => {
            if let Some(code) = exit_code {
                state.exit_codes.insert(attempt.step.clone(), code);
            }
            AttemptEnd::Answered { output, tried }
        }
        ReportedEnd::Failed { class, reason, tried } => AttemptEnd::Failed { class, reason, tried },
        ReportedEnd::Unknown(evidence) => AttemptEnd::Unknown { evidence },
        ReportedEnd::Asks(asks) => AttemptEnd::Asks { asks },
        ReportedEnd::Rested { reason, until } => AttemptEnd::Rested { reason, until },
        ReportedEnd::Stopped => AttemptEnd::Stopped,
    };
    Event::Ended { attempt, end }
}
