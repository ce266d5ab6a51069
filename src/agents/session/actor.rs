//! The shell of a session: turns messages into events, submits the facts, carries the effects out. What it starts is in
//! `under_way`, how it winds down in `ending`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tracing::Instrument as _;

use crate::agents::order::{OrderWork, ReportedEnd, SessionOrder, SessionReport};
use crate::agents::treasury::TreasuryError;
use crate::agents::turn::decision::{Effect, Event, Reaction, SessionEnd, react};
use crate::agents::turn::state::{OpenTurn, TurnRules, TurnState};
use crate::domain::check::check_of_call;
use crate::domain::compaction::SinceSnapshot;
use crate::domain::effect::EffectKey;
use crate::domain::exchange::Exchange;
use crate::domain::fact::Fact;
use crate::domain::failure::FailureClass;
use crate::domain::id::{IncidentId, RunId};
use crate::domain::time::UtcMillis;
use crate::llm::wire::memo::Memo;
use crate::runtime::committer::Pending;
use crate::runtime::run_span::run_span;
use crate::runtime::timer::Timer;
use crate::skills::poison::CallName;
use crate::skills::skill::ProbeAnswer;
use crate::skills::workers::WorkerEnd;
use crate::storage::batch::{Batch, Op};
use crate::storage::error::StoreError;

use super::booking::bookings;
use super::ending::{report, wind_down};
use super::incoming::{asked, called};
use super::message::SessionMessage;
use super::preparing::{call_order, rules, surroundings, take_exchange};
use super::recalling::recalled_for;
use super::shell::{Ending, SessionActor, SessionStart, SessionState};
use super::tape::SessionTape;

/// Starts of one session before it is given up.
const INCARNATIONS_MAX: u64 = 5;

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
            spooled: BTreeSet::new(),
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
        let agent = state.definition.as_ref().map(|agent| &agent.name);
        let span = run_span(state.order.run, agent);
        self.take(myself, message, state).instrument(span).await
    }
}

impl SessionActor {
    async fn take(
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
                let came_with = state.order.came_with.as_ref();
                if came_with.is_none_or(|came_with| came_with.is_taped) {
                    state.tape = SessionTape::open(&self.parts, &state.order).await?;
                }
                state.around.replays = state.tape.as_ref().is_some_and(SessionTape::replays);
                if state.resumes || state.order.attempt.number > 1 {
                    self.bury(state.order.run).await?;
                }
                let mut is_bare = false;
                if let Some(exchange) = self.exchange(&state.order)?
                    && matches!(state.order.work, OrderWork::Agent { .. })
                {
                    let mut rules = state.turn.rules.clone();
                    take_exchange(&exchange, &state.order, &mut state.around, &mut rules);
                    state.turn = TurnState::new(rules);
                    is_bare = exchange.is_bare;
                }
                if state.resumes {
                    (state.turn, state.spooled) = self.load(state.order.run, state.turn.rules.clone()).await?;
                }
                // A model that is asked by its own name is told no memory: that is for agents.
                if !state.turn.accepted && !state.around.replays && !is_bare {
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
                state.around.seen.clear();
                if matches!(end, WorkerEnd::Cancelled { .. }) && state.ending.is_none() {
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
            SessionMessage::Looked { ordinal, key, seen } => {
                state.calls.remove(&ordinal);
                state.around.seen.insert(key, seen);
                Event::Looked { ordinal }
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

    /// What a client asked the run.
    fn exchange(&self, order: &SessionOrder) -> Result<Option<Arc<Exchange>>, StoreError> {
        match &order.came_with {
            Some(came_with) => Ok(came_with.exchange.clone()),
            None => Ok(self.parts.store.exchange(order.run)?.map(Arc::new)),
        }
    }

    /// What an earlier incarnation journaled of this attempt, and the effects that may have left something in the spool.
    async fn load(&self, run: RunId, rules: TurnRules) -> Result<(TurnState, BTreeSet<EffectKey>), ActorProcessingErr> {
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
            // What a check left there is for whoever makes the checks.
            Fact::CallIntended { key, ordinal, .. } if check_of_call(*ordinal).is_none() => Some(*key),
            _ => None,
        });
        let spooled = spooled.collect();
        Ok((turn, spooled))
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
                        state.spooled.insert(key);
                    }
                    let mut order = call_order(&state.order, arguments, key, now, state.around.granted());
                    let call = state.turn.call(ordinal);
                    order.agreed = call.is_some_and(|call| call.given.as_ref().is_some_and(|given| given.granted));
                    self.call(myself, state, ordinal, &skill, order).await;
                }
                Effect::Probe {
                    ordinal,
                    skill,
                    arguments,
                    key,
                } => {
                    let order = call_order(&state.order, arguments, key, now, state.around.granted());
                    self.probe(myself, state, ordinal, &skill, order).await;
                }
                Effect::Look {
                    ordinal,
                    skill,
                    arguments,
                    key,
                } => {
                    let order = call_order(&state.order, arguments, key, now, state.around.granted());
                    self.look(myself, state, ordinal, &skill, order).await;
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
    pub(super) fn submit(
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
}
