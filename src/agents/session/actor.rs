//! The shell of a session: turns messages into events, submits the facts, carries the effects out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{TaskExit, TaskRef};

use crate::agents::order::{OrderWork, ReportedEnd, SessionOrder, SessionReport};
use crate::agents::parts::{ActiveSession, AgentsParts};
use crate::agents::treasury::TreasuryError;
use crate::agents::turn::decision::{Effect, Event, Reaction, SessionEnd, Surroundings as _, poisoned, react};
use crate::agents::turn::state::{OpenTurn, Phase, TurnRules, TurnState};
use crate::domain::agent::AgentDefinition;
use crate::domain::compaction::SinceSnapshot;
use crate::domain::effect::EffectKey;
use crate::domain::fact::Fact;
use crate::domain::failure::FailureClass;
use crate::domain::fault::in_one_line;
use crate::domain::id::{IncidentId, RunId};
use crate::domain::money::MicroUsd;
use crate::domain::name::SkillName;
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;
use crate::llm::model::{AskError, Asking};
use crate::llm::wire::memo::Memo;
use crate::runtime::committer::Pending;
use crate::runtime::timer::Timer;
use crate::skills::handle::Ticket;
use crate::skills::poison::CallName;
use crate::skills::skill::{CallOrder, ProbeAnswer};
use crate::skills::workers::WorkerEnd;
use crate::storage::batch::{Batch, Op};

use super::booking::bookings;
use super::hearing::Hearing;
use super::incoming::{asked, called};
use super::message::SessionMessage;
use super::preparing::{call_order, rules, surroundings, take_exchange};
use super::recalling::recalled_for;
use super::surroundings::SessionSurroundings;
use super::tape::{Conversation, SessionTape};

/// Starts of one session before it is given up.
const INCARNATIONS_MAX: u64 = 5;

/// The actor.
pub struct SessionActor {
    /// What it stands on.
    pub parts: AgentsParts,
}

/// How a session starts.
pub struct SessionStart {
    /// The order.
    pub order: SessionOrder,
    /// Its agent; none for a step done by a skill.
    pub definition: Option<Arc<AgentDefinition>>,
    /// Which incarnation it is, from 1; later ones may find facts of earlier ones.
    pub incarnation: u64,
}

/// What a running session holds.
pub struct SessionState {
    order: SessionOrder,
    definition: Option<Arc<AgentDefinition>>,
    turn: TurnState,
    around: SessionSurroundings,
    asking: Option<TaskRef>,
    calls: BTreeMap<u32, Ticket>,
    ending: Option<Ending>,
    /// Whether facts of this attempt may be in the journal.
    resumes: bool,
    since_snapshot: SinceSnapshot,
    /// What is kept of its model traffic, when something is.
    tape: Option<SessionTape>,
    /// What its requests leave behind, so that each message is written once.
    memo: Memo,
    /// Effects of this session whose programs may have left a report.
    spooled: Vec<EffectKey>,
    /// The time to send a request that waits.
    rest: Option<Timer>,
    _deadline: Timer,
    _counted: Option<ActiveSession>,
}

/// Why the session is winding down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Stopped,
    Deadline,
    Suspended,
}

impl Drop for SessionState {
    fn drop(&mut self) {
        // Also on a kill: nothing that this session started may outlive it.
        if let Some(asking) = &self.asking {
            asking.cancel();
        }
        for call in self.calls.values() {
            call.cancel();
        }
    }
}

impl Actor for SessionActor {
    type Msg = SessionMessage;
    type State = SessionState;
    type Arguments = SessionStart;

    async fn pre_start(
        &self,
        myself: ActorRef<SessionMessage>,
        start: SessionStart,
    ) -> Result<SessionState, ActorProcessingErr> {
        let SessionStart {
            order,
            definition,
            incarnation,
        } = start;
        let to = myself.clone();
        let wake = move || {
            to.cast(SessionMessage::PlaceFree).ok();
        };
        let around = surroundings(&self.parts, &order, definition.as_deref(), wake);
        let rules = rules(&self.parts, &order, definition.as_deref(), &around);
        // What the journal has of the attempt is read with the first message and not here: the supervisor starts one
        // session after the other, and after a crash there may be thousands.
        let turn = TurnState::new(rules);
        let resumes = order.resume || incarnation > 1;
        let until = self.parts.clock.until(order.deadline);
        let deadline = Timer::after(&myself, until, || SessionMessage::DeadlinePassed);
        if incarnation > INCARNATIONS_MAX {
            // Whatever makes it crash will do so again: the run decides, not the restarts.
            let reason = format!("the session crashed {} times", incarnation - 1).into();
            let end = ReportedEnd::Failed {
                class: FailureClass::Crash,
                reason,
                tried: turn.tried.clone(),
            };
            let attempt = order.attempt.clone();
            order.report.send(SessionReport { attempt, end });
            myself.stop(None);
        } else {
            myself.cast(SessionMessage::Begin)?;
        }
        let counted = definition
            .as_ref()
            .map(|agent| self.parts.definitions.count_session(&agent.name));
        Ok(SessionState {
            order,
            definition,
            turn,
            around,
            asking: None,
            calls: BTreeMap::new(),
            ending: None,
            resumes,
            since_snapshot: SinceSnapshot::default(),
            tape: None,
            memo: Memo::default(),
            spooled: Vec::new(),
            rest: None,
            _deadline: deadline,
            _counted: counted,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<SessionMessage>,
        message: SessionMessage,
        state: &mut SessionState,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.parts.clock.now();
        let mut local = Vec::new();
        let mut recalled = None;
        let event = match message {
            SessionMessage::Begin => {
                state.tape = SessionTape::open(&self.parts, &state.order).await?;
                state.around.replays = state.tape.as_ref().is_some_and(SessionTape::replays);
                if state.resumes || state.order.attempt.number > 1 {
                    self.bury(state.order.run).await?;
                }
                if let Some(exchange) = self.parts.store.exchange(state.order.run)?
                    && matches!(state.order.work, OrderWork::Agent { .. })
                {
                    let mut rules = state.turn.rules.clone();
                    take_exchange(&exchange, &state.order, &mut state.around, &mut rules);
                    state.turn = TurnState::new(rules);
                }
                if state.resumes {
                    (state.turn, state.spooled) = self.load(state.order.run, state.turn.rules.clone()).await?;
                }
                if !state.turn.accepted && !state.around.replays {
                    recalled = recalled_for(&self.parts, &state.order, state.definition.as_deref()).await;
                }
                Event::Begun
            }
            SessionMessage::AreYouThere { reply } => {
                reply.send(()).ok();
                return Ok(());
            }
            SessionMessage::Stop => {
                wind_down(&myself, state, Ending::Stopped);
                return Ok(());
            }
            SessionMessage::Suspend => {
                wind_down(&myself, state, Ending::Suspended);
                return Ok(());
            }
            SessionMessage::DeadlinePassed => {
                wind_down(&myself, state, Ending::Deadline);
                return Ok(());
            }
            SessionMessage::Asked { turn, result } => {
                state.asking = None;
                if result.is_ok() {
                    local.extend(state.tape.as_mut().and_then(|tape| tape.answered(turn)));
                }
                asked(turn, result)
            }
            SessionMessage::Called { ordinal, end } => {
                state.calls.remove(&ordinal);
                if matches!(end, WorkerEnd::Cancelled) && state.ending.is_none() {
                    // The workers went, and with them the call: how far it came is for the next incarnation to find out.
                    return Err("the workers were stopped under a call".into());
                }
                let incident = IncidentId::new(now, self.parts.entropy.u128());
                let evidence = |key| self.parts.skills.evidence(key);
                called(&state.turn, ordinal, end, now, incident, evidence, &mut local)
            }
            SessionMessage::Probed { ordinal, answer } => {
                state.calls.remove(&ordinal);
                match answer {
                    ProbeAnswer::Happened(outcome) => Event::CallEnded {
                        ordinal,
                        outcome: Arc::new(outcome),
                    },
                    ProbeAnswer::NotHappened => Event::NotHappened { ordinal },
                    ProbeAnswer::Unknown(evidence) => Event::CallLost {
                        ordinal,
                        evidence: evidence.into(),
                    },
                }
            }
            SessionMessage::RestDue => Event::Rested,
            SessionMessage::PlaceFree => Event::PlaceFree,
        };
        if state.ending.is_some() {
            return self.settle_while_ending(&myself, state, event, local, now);
        }
        let open = state.turn.open_turn;
        if let Some(fact) = &recalled {
            state.turn.fold(fact);
        }
        let mut reaction = react(&mut state.turn, event, now, &state.around);
        if let Some(fact) = recalled {
            // In one transaction with the first request, so that it is told the same after a crash.
            reaction.facts.insert(0, fact);
        }
        self.carry_out(&myself, state, reaction, open, local, now).await
    }
}

impl SessionActor {
    /// What crashed its worker again and again in earlier attempts is not made by this one.
    async fn bury(&self, run: RunId) -> Result<(), ActorProcessingErr> {
        self.parts.committer.barrier().await?;
        for stamped in self.parts.store.facts_for_state(run)? {
            if let Fact::CallDeadLettered { call, text, .. } = &stamped.fact {
                self.parts.skills.bury(run, &CallName(call.clone()), text);
            }
        }
        Ok(())
    }

    /// What an earlier incarnation journaled of this attempt, and the effects that may have left something in the spool.
    async fn load(&self, run: RunId, rules: TurnRules) -> Result<(TurnState, Vec<EffectKey>), ActorProcessingErr> {
        // What it submitted must be readable before it is folded.
        self.parts.committer.barrier().await?;
        let facts = self.parts.store.facts_for_state(run)?;
        let turn = TurnState::load(rules, facts.iter().map(|stamped| &stamped.fact));
        let open = turn.calls.iter().filter(|call| call.interrupted);
        let keys: Vec<EffectKey> = open.filter_map(|call| call.intent.map(|(_, key)| key)).collect();
        if !keys.is_empty() {
            // A call must not be made again beside its own earlier self.
            self.parts.skills.end_leftovers(keys).await;
        }
        let of_attempt = |fact: &&Fact| fact.attempt() == Some(&turn.rules.attempt);
        let intended = facts.iter().map(|stamped| &stamped.fact).filter(of_attempt);
        let spooled = intended.filter_map(|fact| match fact {
            Fact::CallIntended { key, .. } => Some(*key),
            _ => None,
        });
        let spooled: BTreeSet<EffectKey> = spooled.collect();
        Ok((turn, spooled.into_iter().collect()))
    }

    async fn carry_out(
        &self,
        myself: &ActorRef<SessionMessage>,
        state: &mut SessionState,
        mut reaction: Reaction,
        open: Option<OpenTurn>,
        local: Vec<Op>,
        now: UtcMillis,
    ) -> Result<(), ActorProcessingErr> {
        let (mut pending, bytes) = match self.submit(state, &reaction.facts, open, &local, now) {
            Ok(submitted) => submitted,
            Err(TreasuryError::Exhausted(exhausted)) => {
                // What happened before the refused reservation is journaled, with its effect on the store; the
                // request is not made.
                reaction.facts.retain(|fact| !matches!(fact, Fact::TurnIntended { .. }));
                let submitted = self.submit(state, &reaction.facts, open, &local, now)?;
                let reason = format!("a budget does not allow the next turn: {exhausted}").into();
                let end = SessionEnd::Failed {
                    class: FailureClass::Budget,
                    reason,
                };
                reaction.effects = vec![Effect::End(end)];
                submitted
            }
            Err(error) => return Err(error.into()),
        };
        if state.since_snapshot.add(reaction.facts.len(), bytes)
            && let Some(op) = self.parts.store.snapshot_of(state.order.run)?
        {
            self.parts.committer.submit(Batch::ops(vec![op]))?.detach();
        }
        for effect in reaction.effects {
            match effect {
                Effect::Ask { turn } => self.ask(myself, state, turn, now),
                Effect::Call {
                    ordinal,
                    skill,
                    arguments,
                    key,
                    durable_first,
                } => {
                    if durable_first && let Some(pending) = pending.take() {
                        pending.durable().await?;
                    }
                    if state.turn.call(ordinal).is_some_and(|call| call.intent.is_some()) {
                        state.spooled.push(key);
                    }
                    let order = call_order(&state.order, arguments, key, now, state.around.granted());
                    self.call(myself, state, ordinal, &skill, order);
                }
                Effect::Probe {
                    ordinal,
                    skill,
                    arguments,
                    key,
                } => {
                    let order = call_order(&state.order, arguments, key, now, state.around.granted());
                    self.probe(myself, state, ordinal, &skill, order);
                }
                Effect::Rest { until } => {
                    let wait = self.parts.clock.until(until);
                    state.rest = Some(Timer::after(myself, wait, || SessionMessage::RestDue));
                }
                Effect::End(end) => {
                    report(myself, state, end);
                    if !state.spooled.is_empty() {
                        // What the journal has for good, the spool need not keep.
                        if let Some(pending) = pending.take() {
                            pending.durable().await?;
                        } else {
                            self.parts.committer.barrier().await?;
                        }
                        self.parts.skills.forget(std::mem::take(&mut state.spooled));
                    }
                }
            }
        }
        if let Some(pending) = pending {
            pending.detach();
        }
        Ok(())
    }

    /// Queues facts with the bookings that follow from them; gives the bytes that they add to the journal.
    fn submit(
        &self,
        state: &SessionState,
        facts: &[Fact],
        open: Option<OpenTurn>,
        local: &[Op],
        now: UtcMillis,
    ) -> Result<(Option<Pending>, usize), TreasuryError> {
        if facts.is_empty() {
            return Ok((None, 0));
        }
        let bookings = bookings(&state.order, state.definition.as_deref(), facts, open);
        let mut batch = Batch::facts(state.order.run, now, facts.to_vec());
        for op in local {
            batch = batch.with(op.clone());
        }
        let bytes = batch.journal_bytes();
        let pending = self.parts.treasury.submit(batch, bookings)?;
        Ok((Some(pending), bytes))
    }

    fn ask(&self, myself: &ActorRef<SessionMessage>, state: &mut SessionState, turn: u32, now: UtcMillis) {
        let failed = |error: AskError| {
            myself
                .cast(SessionMessage::Asked {
                    turn,
                    result: Err(error),
                })
                .ok();
        };
        // Its place at the gate goes back when this returns without a request.
        let permit = state.around.take_permit();
        let request = state.around.request(&state.turn.asked, &state.turn);
        let conversation = match state.turn.compacting {
            Some(_) => Conversation::Apart,
            None => Conversation::Own(state.turn.messages.generation()),
        };
        // What a summary is made from is no part of what the conversation is remembered by.
        let memo = match conversation {
            Conversation::Apart => Memo::default(),
            Conversation::Own(_) => state.memo.clone(),
        };
        let tape = state.tape.as_mut();
        let model = match tape.and_then(|tape| tape.asks(turn, &request, conversation)) {
            Some(replayed) => replayed,
            None => match self.parts.models.get(&state.turn.asked) {
                Ok(model) => model,
                Err(error) => return failed(AskError::unspent(FailureClass::Config, error.to_string())),
            },
        };
        let deadline = Duration::from_millis(state.order.deadline.since(now));
        let hearing = Hearing::new(&self.parts, &state.order, turn, permit);
        if state.turn.asks > 1 {
            hearing.restart();
        }
        let to = myself.clone();
        let name = format!("{} turn {turn}", state.order.session_id());
        let spawned = self.parts.asking.spawn(
            name,
            async move {
                let asking = Asking {
                    deadline,
                    listener: hearing.clone(),
                    memo,
                };
                let result = model.ask(request, asking).await;
                hearing.ended(result.as_ref().err());
                result
            },
            move |exit| {
                let result = match exit {
                    TaskExit::Done(result) => result.map(Arc::new),
                    TaskExit::Panicked(text) => Err(AskError::unknown(
                        FailureClass::Transport,
                        format!("the client of the model crashed: {text}"),
                    )),
                    TaskExit::Cancelled => Err(AskError::unknown(FailureClass::Transport, "the request was stopped")),
                };
                to.cast(SessionMessage::Asked { turn, result }).ok();
            },
        );
        match spawned {
            Ok(task) => state.asking = Some(task),
            Err(refused) => failed(AskError::unspent(FailureClass::Overload, refused.to_string())),
        }
    }

    fn call(
        &self,
        myself: &ActorRef<SessionMessage>,
        state: &mut SessionState,
        ordinal: u32,
        skill: &SkillName,
        order: CallOrder,
    ) {
        let to = myself.clone();
        let started = self.parts.skills.call(skill, order, move |end| {
            to.cast(SessionMessage::Called { ordinal, end }).ok();
        });
        match started {
            Ok(ticket) => {
                state.calls.insert(ordinal, ticket);
            }
            Err(refused) => {
                // It was not started, so this is a result like any other.
                let outcome = CallOutcome::error(format!("it was not started: {}", in_one_line(&refused)));
                let end = WorkerEnd::Finished(Ok(outcome.into()));
                myself.cast(SessionMessage::Called { ordinal, end }).ok();
            }
        }
    }

    fn probe(
        &self,
        myself: &ActorRef<SessionMessage>,
        state: &mut SessionState,
        ordinal: u32,
        skill: &SkillName,
        order: CallOrder,
    ) {
        let to = myself.clone();
        let started = self.parts.skills.probe(skill, order, move |answer| {
            to.cast(SessionMessage::Probed { ordinal, answer }).ok();
        });
        match started {
            Ok(ticket) => {
                state.calls.insert(ordinal, ticket);
            }
            Err(refused) => {
                let answer = ProbeAnswer::Unknown(format!("it could not be asked: {}", in_one_line(&refused)));
                myself.cast(SessionMessage::Probed { ordinal, answer }).ok();
            }
        }
    }

    fn settle_while_ending(
        &self,
        myself: &ActorRef<SessionMessage>,
        state: &mut SessionState,
        event: Event,
        local: Vec<Op>,
        now: UtcMillis,
    ) -> Result<(), ActorProcessingErr> {
        let attempt = state.order.attempt.clone();
        let open = state.turn.open_turn;
        let fact = match event {
            Event::CallPoisoned {
                ordinal,
                call,
                text,
                lost,
            } => {
                let facts = poisoned(&state.turn, ordinal, call, &text, lost);
                for fact in &facts {
                    state.turn.fold(fact);
                }
                if let (Some(pending), _) = self.submit(state, &facts, open, &local, now)? {
                    pending.detach();
                }
                None
            }
            Event::Answered { turn, answer } => {
                let cost = state.around.price(&state.turn.asked).cost(answer.usage);
                Some(Fact::TurnFinished {
                    attempt,
                    turn,
                    answer,
                    cost,
                })
            }
            Event::AskFailed {
                turn,
                class,
                reason,
                unspent,
                ..
            } => open.map(|open| Fact::TurnFailed {
                attempt,
                turn,
                class,
                reason,
                charged: if unspent { 0 } else { open.reserved },
                cost: if unspent { MicroUsd::ZERO } else { open.reserved_cost },
                retry_at: None,
            }),
            Event::TooLong { turn, reason, unspent } => open.map(|open| Fact::TurnFailed {
                attempt,
                turn,
                class: FailureClass::Config,
                reason,
                charged: if unspent { 0 } else { open.reserved },
                cost: if unspent { MicroUsd::ZERO } else { open.reserved_cost },
                retry_at: None,
            }),
            Event::CallEnded { ordinal, outcome } => Some(Fact::CallFinished {
                attempt,
                ordinal,
                outcome,
            }),
            Event::CallLost { ordinal, evidence } => Some(Fact::CallUnknown {
                attempt,
                ordinal,
                evidence,
            }),
            Event::Begun | Event::Rested | Event::PlaceFree | Event::NotHappened { .. } => None,
        };
        if let Some(fact) = fact {
            state.turn.fold(&fact);
            if let (Some(pending), _) = self.submit(state, &[fact], open, &local, now)? {
                pending.detach();
            }
        }
        end_when_quiet(myself, state);
        Ok(())
    }
}

/// Tells everything that is under way to stop; the report follows when it has.
fn wind_down(myself: &ActorRef<SessionMessage>, state: &mut SessionState, ending: Ending) {
    if state.ending.is_some() {
        return;
    }
    state.ending = Some(ending);
    if let Some(asking) = &state.asking {
        asking.cancel();
    }
    // A call that ends by itself leaves an outcome; one that is cut off may have to stay unknown.
    if ending != Ending::Suspended {
        for call in state.calls.values() {
            call.cancel();
        }
    }
    end_when_quiet(myself, state);
}

/// Reports and ends the session that winds down, once nothing of it runs any more.
fn end_when_quiet(myself: &ActorRef<SessionMessage>, state: &SessionState) {
    if state.asking.is_some() || !state.calls.is_empty() {
        return;
    }
    let end = match (&state.turn.phase, state.ending) {
        (Phase::Unknown { evidence }, Some(Ending::Deadline)) => ReportedEnd::Unknown(evidence.clone()),
        (_, Some(Ending::Deadline)) => ReportedEnd::Failed {
            class: FailureClass::Deadline,
            reason: "the deadline of the step has passed".into(),
            tried: state.turn.tried.clone(),
        },
        (_, Some(Ending::Suspended)) => {
            myself.stop(None);
            return;
        }
        _ => ReportedEnd::Stopped,
    };
    send(state, end);
    myself.stop(None);
}

/// Hands the end of the loop to whoever gave the order; the session is done with that.
fn report(myself: &ActorRef<SessionMessage>, state: &SessionState, end: SessionEnd) {
    let tried = state.turn.tried.clone();
    let end = match end {
        SessionEnd::Answered { output } => ReportedEnd::Answered {
            output,
            tried,
            exit_code: state.turn.last_exit_code,
        },
        SessionEnd::Failed { class, reason } => ReportedEnd::Failed { class, reason, tried },
        SessionEnd::Unknown { evidence } => ReportedEnd::Unknown(evidence),
        SessionEnd::Asks(asks) => ReportedEnd::Asks(asks),
        SessionEnd::Rested { reason, until } => ReportedEnd::Rested { reason, until },
    };
    send(state, end);
    myself.stop(None);
}

fn send(state: &SessionState, end: ReportedEnd) {
    state.order.report.send(SessionReport {
        attempt: state.order.attempt.clone(),
        end,
    });
}
