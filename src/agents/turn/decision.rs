//! What a turn loop does next: a pure function of its state, the time and what the surroundings say.

mod asking;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::approval::Ask;
use crate::domain::code;
use crate::domain::conversation::{Arguments, CallRequest, ModelAnswer};
use crate::domain::effect::{EffectClass, EffectKey, Interrupted, cut_off, evidence_of};
use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::Finding;
use crate::domain::limits::CALLS_PER_TURN_MAX;
use crate::domain::money::{MicroUsd, Price};
use crate::domain::name::{ModelAlias, SkillName};
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;

use self::asking::{ask, rest, retry_at};
use super::agreement::{Agreed, Policy, agreed};
use super::compaction;
use super::state::{CallState, Phase, REPEATS_MAX, SessionWork, TurnRules, TurnState};
use super::summary::Compaction;

/// What the loop has to know of the world, asked without changing it.
pub trait Surroundings {
    /// Whether a call may be made, as what, with which arguments.
    fn judge_call(&self, call: &CallRequest) -> CallVerdict;
    /// The most that the next request can cost, in tokens.
    fn ceiling(&self, state: &TurnState) -> u64;
    /// The tokens that the next request is estimated to send.
    fn request_tokens(&self, state: &TurnState) -> u64;
    /// When and how the conversation is compacted.
    fn compaction(&self) -> Compaction;
    /// What a model charges.
    fn price(&self, model: &ModelAlias) -> Price;
    /// Whether a model may be asked now, with a request that can use so many tokens. The place of a request that may
    /// go is taken until it has ended. `waited` says that it comes at the time that it was told.
    fn admit(&self, model: &ModelAlias, tokens: u64, waited: bool, now: UtcMillis) -> Admission;
    /// The output that a final answer stands for, or what is wrong with it.
    fn judge_answer(&self, text: &str) -> Result<Value, Vec<Finding>>;
    /// The outcome that a call left behind although its intent has none in the journal.
    fn spooled(&self, key: EffectKey) -> Option<CallOutcome>;
    /// Why a call that was judged sound would be refused as things are: asked before its intent is written, so that a
    /// probe of it does not take what was there before for its effect.
    fn foreseen(&self, skill: &SkillName, arguments: &Value) -> Option<String> {
        let _ = (skill, arguments);
        None
    }
    /// What is known of a call that left no outcome.
    fn evidence(&self, key: EffectKey) -> Option<String> {
        let _ = key;
        None
    }
    /// Whether a call that was judged sound is made by itself, is shown to a person first, or is not made.
    fn policy(&self, skill: &SkillName, arguments: &Value, key: EffectKey) -> Policy {
        let _ = (skill, arguments, key);
        Policy::Auto
    }
}

/// Whether a model may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Now.
    Go,
    /// Not yet.
    Wait {
        /// When to try again.
        until: UtcMillis,
        /// In words.
        reason: Arc<str>,
        /// Whether it may be earlier; then [`Event::PlaceFree`] says so.
        early: bool,
    },
}

/// What becomes of a call that the model wants.
#[derive(Debug, Clone, PartialEq)]
pub enum CallVerdict {
    /// It is made.
    Make {
        /// The skill.
        skill: SkillName,
        /// Its class.
        class: EffectClass,
        /// The validated arguments.
        arguments: Value,
    },
    /// It is not made; the model reads why.
    Refuse(String),
}

/// What the shell has to do, in order, after the facts are submitted.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send the request; the answer comes back as an event.
    Ask {
        /// The turn.
        turn: u32,
    },
    /// Make a call. `durable_first`: not before the facts of this step are on disk.
    Call {
        /// Its number.
        ordinal: u32,
        /// The skill.
        skill: SkillName,
        /// The arguments.
        arguments: Value,
        /// The name of its effect.
        key: EffectKey,
        /// The wait rule.
        durable_first: bool,
    },
    /// Ask the skill whether an interrupted call happened.
    Probe {
        /// Its number.
        ordinal: u32,
        /// The skill.
        skill: SkillName,
        /// The arguments.
        arguments: Value,
        /// The name of its effect.
        key: EffectKey,
    },
    /// Find out what a call would do, for whoever has to agree to it.
    Look {
        /// Its number.
        ordinal: u32,
        /// The skill.
        skill: SkillName,
        /// The arguments.
        arguments: Value,
        /// The name of its effect.
        key: EffectKey,
    },
    /// Send the request at this time.
    Rest {
        /// When.
        until: UtcMillis,
    },
    /// The attempt is over.
    End(SessionEnd),
}

/// How an attempt ended, as far as the session can say; checks have the last word.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionEnd {
    /// There is an output.
    Answered {
        /// The output.
        output: Arc<Value>,
    },
    /// There is none.
    Failed {
        /// Why.
        class: FailureClass,
        /// In words.
        reason: Arc<str>,
    },
    /// A call may or may not have happened.
    Unknown {
        /// What is known.
        evidence: Arc<str>,
    },
    /// All that is left to do has to be agreed to by a person; the attempt goes on with the answers.
    Asks(Vec<Ask>),
    /// It has to wait so long that it gives its slot back. The same attempt goes on from its facts.
    Rested {
        /// Why.
        reason: Arc<str>,
        /// When it goes on.
        until: UtcMillis,
    },
}

/// Something that happened around the loop.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The session starts, or starts again after a crash.
    Begun,
    /// The model answered.
    Answered {
        /// Which turn.
        turn: u32,
        /// The answer.
        answer: Arc<ModelAnswer>,
    },
    /// The model did not answer.
    AskFailed {
        /// Which turn.
        turn: u32,
        /// Why.
        class: FailureClass,
        /// In words.
        reason: Arc<str>,
        /// Whether the provider surely did nothing.
        unspent: bool,
        /// How long the provider asks to wait, in milliseconds.
        retry_after_ms: Option<u64>,
        /// Any number, so that requests that failed together are not repeated together.
        jitter: u64,
    },
    /// The provider refused the request because the conversation is too long for the model.
    TooLong {
        /// Which turn.
        turn: u32,
        /// In words.
        reason: Arc<str>,
        /// Whether the provider surely did nothing.
        unspent: bool,
    },
    /// The time to send a request has come.
    Rested,
    /// A request that was put off may perhaps go earlier than it was told.
    PlaceFree,
    /// A call ended.
    CallEnded {
        /// Which.
        ordinal: u32,
        /// How.
        outcome: Arc<CallOutcome>,
    },
    /// Whether a call happened cannot be known.
    CallLost {
        /// Which.
        ordinal: u32,
        /// What is known.
        evidence: Arc<str>,
    },
    /// A call crashed its worker so often that it is not made any more.
    CallPoisoned {
        /// Which.
        ordinal: u32,
        /// Names it by skill and arguments.
        call: Arc<str>,
        /// What the worker said.
        text: Arc<str>,
        /// Whether it may have changed the world all the same.
        lost: bool,
    },
    /// A probe says that an interrupted call did not happen.
    NotHappened {
        /// Which.
        ordinal: u32,
    },
    /// It is known what a call would do, or that this cannot be known.
    Looked {
        /// Which.
        ordinal: u32,
    },
}

/// Facts to journal, then effects to carry out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reaction {
    /// In order, in one transaction.
    pub facts: Vec<Fact>,
    /// In order, after the facts are submitted.
    pub effects: Vec<Effect>,
}

/// Takes an event in and decides what follows, until the loop has to wait for the next event.
pub fn react(state: &mut TurnState, event: Event, now: UtcMillis, around: &dyn Surroundings) -> Reaction {
    let mut reaction = Reaction::default();
    let attempt = state.rules.attempt.clone();
    match event {
        Event::Begun => {
            let is_order = state.rules.work.is_of_agent();
            if is_order && !state.accepted {
                take(
                    state,
                    &mut reaction,
                    Fact::HandoffAccepted {
                        attempt: attempt.clone(),
                    },
                );
            }
            if let Some(open) = state.open_turn {
                // The process that asked is gone: what the provider used is unknown and charged in full.
                let fact = Fact::TurnFailed {
                    attempt,
                    turn: open.turn,
                    class: FailureClass::Crash,
                    reason: "the process ended while the model was being asked".into(),
                    charged: open.reserved,
                    cost: open.reserved_cost,
                    retry_at: Some(now),
                };
                take(state, &mut reaction, fact);
            }
        }
        Event::Answered { turn, answer } => {
            if !is_awaited(state, turn) {
                return reaction;
            }
            let cost = around.price(&state.asked).cost(answer.usage);
            let fact = Fact::TurnFinished {
                attempt,
                turn,
                answer,
                cost,
            };
            take(state, &mut reaction, fact);
        }
        Event::AskFailed {
            turn,
            class,
            reason,
            unspent,
            retry_after_ms,
            jitter,
        } => {
            let Some(open) = state
                .open_turn
                .filter(|open| open.turn == turn && state.phase == Phase::Asking)
            else {
                return reaction;
            };
            let retry_at = retry_at(state, class, retry_after_ms, jitter, now);
            let fact = Fact::TurnFailed {
                attempt,
                turn,
                class,
                reason,
                charged: if unspent { 0 } else { open.reserved },
                cost: if unspent { MicroUsd::ZERO } else { open.reserved_cost },
                retry_at,
            };
            take(state, &mut reaction, fact);
        }
        Event::TooLong { turn, reason, unspent } => {
            let Some(open) = state
                .open_turn
                .filter(|open| open.turn == turn && state.phase == Phase::Asking)
            else {
                return reaction;
            };
            let through = compaction::forced(state);
            // What cannot be made shorter may still fit another model.
            let retry_at = match through {
                Some(_) => Some(now),
                None => retry_at(state, FailureClass::Config, None, 0, now),
            };
            let fact = Fact::TurnFailed {
                attempt: attempt.clone(),
                turn,
                class: FailureClass::Config,
                reason,
                charged: if unspent { 0 } else { open.reserved },
                cost: if unspent { MicroUsd::ZERO } else { open.reserved_cost },
                retry_at,
            };
            take(state, &mut reaction, fact);
            if let Some(through) = through {
                begin_compaction(state, &mut reaction, through, around);
            }
        }
        Event::Rested => {}
        // Only the gate of a model put it off: a request that failed keeps its wait.
        Event::PlaceFree if state.deferred.is_some() && matches!(state.phase, Phase::Resting(_)) => {
            state.put_off(now, false);
        }
        Event::PlaceFree => return reaction,
        Event::CallEnded { ordinal, outcome } => {
            if state.call(ordinal).is_none_or(|call| !call.is_open()) {
                return reaction;
            }
            take(
                state,
                &mut reaction,
                Fact::CallFinished {
                    attempt,
                    ordinal,
                    outcome,
                },
            );
        }
        Event::CallLost { ordinal, evidence } => {
            if state.call(ordinal).is_none_or(|call| !call.is_open()) {
                return reaction;
            }
            take(
                state,
                &mut reaction,
                Fact::CallUnknown {
                    attempt,
                    ordinal,
                    evidence,
                },
            );
        }
        Event::CallPoisoned {
            ordinal,
            call,
            text,
            lost,
        } => {
            if state.call(ordinal).is_none_or(|call| !call.is_open()) {
                return reaction;
            }
            for fact in poisoned(state, ordinal, call, &text, lost) {
                take(state, &mut reaction, fact);
            }
        }
        Event::NotHappened { ordinal } => state.mark_not_happened(ordinal),
        Event::Looked { ordinal } => state.mark_looked_at(ordinal),
    }
    advance(state, &mut reaction, now, around);
    reaction
}

/// What is journaled of a call that is not made any more: that, and how it counts for its session.
pub fn poisoned(state: &TurnState, ordinal: u32, call: Arc<str>, text: &Arc<str>, lost: bool) -> Vec<Fact> {
    let attempt = state.rules.attempt.clone();
    let skill = state
        .call(ordinal)
        .and_then(|call| SkillName::new(&call.request.skill).ok());
    let dead = skill.map(|skill| Fact::CallDeadLettered {
        attempt: attempt.clone(),
        ordinal,
        skill,
        call,
        text: text.clone(),
    });
    let code = code::CALL_DEAD_LETTERED.id;
    let said = format!("it crashed its worker again and again and is not made any more: {text} [{code}]");
    let end = if lost {
        Fact::CallUnknown {
            attempt,
            ordinal,
            evidence: said.into(),
        }
    } else {
        Fact::CallFinished {
            attempt,
            ordinal,
            outcome: Arc::new(CallOutcome::error(said)),
        }
    };
    dead.into_iter().chain([end]).collect()
}

fn is_awaited(state: &TurnState, turn: u32) -> bool {
    state.phase == Phase::Asking && state.open_turn.is_some_and(|open| open.turn == turn)
}

fn take(state: &mut TurnState, reaction: &mut Reaction, fact: Fact) {
    state.fold(&fact);
    reaction.facts.push(fact);
}

/// Goes on until something outside has to answer.
fn advance(state: &mut TurnState, reaction: &mut Reaction, now: UtcMillis, around: &dyn Surroundings) {
    loop {
        match state.phase.clone() {
            Phase::Asking => return,
            Phase::Resting(until) if until > now => {
                reaction.effects.push(rest(state, until, now));
                return;
            }
            Phase::Resting(_) | Phase::Ready => {
                if let Some(end) = limit_reached(state) {
                    reaction.effects.push(Effect::End(end));
                    return;
                }
                if let Err(error) = state.messages.check() {
                    // Better a failed step with the reason than a request that every provider refuses.
                    let reason = format!("the conversation cannot be sent: {error}").into();
                    reaction.effects.push(Effect::End(SessionEnd::Failed {
                        class: FailureClass::Crash,
                        reason,
                    }));
                    return;
                }
                let request_tokens = around.request_tokens(state);
                if state.phase == Phase::Ready
                    && let Some(through) = compaction::due(state, around.compaction(), request_tokens)
                {
                    begin_compaction(state, reaction, through, around);
                    continue;
                }
                if ask(state, reaction, now, around) {
                    return;
                }
            }
            Phase::Compacting => {
                let fact = state.compacted().expect("the phase begins with what is to be replaced");
                take(state, reaction, fact);
            }
            Phase::Calling => {
                if !advance_calls(state, reaction, around) {
                    return;
                }
            }
            Phase::Answered { text, cut } => {
                if let Some(end) = judge(state, reaction, &text, cut, around) {
                    reaction.effects.push(Effect::End(end));
                    return;
                }
            }
            Phase::HandedOver => {
                // The calls are in the journal with the turn; the output only says that they are the answer.
                let output = Arc::new(json!({ "awaits": "the client's tools" }));
                reaction.effects.push(Effect::End(SessionEnd::Answered { output }));
                return;
            }
            Phase::Failed { class, reason } => {
                reaction.effects.push(Effect::End(SessionEnd::Failed { class, reason }));
                return;
            }
            Phase::Unknown { evidence } => {
                reaction.effects.push(Effect::End(SessionEnd::Unknown { evidence }));
                return;
            }
        }
    }
}

/// Asks for a summary next, or makes one at once where no model is asked for it.
fn begin_compaction(state: &mut TurnState, reaction: &mut Reaction, through: u32, around: &dyn Surroundings) {
    let attempt = state.rules.attempt.clone();
    let begun = Fact::CompactionBegun { attempt, through };
    take(state, reaction, begun);
    if !around.compaction().by_model
        && let Some(fact) = state.compacted()
    {
        take(state, reaction, fact);
    }
}

fn limit_reached(state: &TurnState) -> Option<SessionEnd> {
    let failed = |reason: String| SessionEnd::Failed {
        class: FailureClass::ToolError,
        reason: reason.into(),
    };
    if state.repeats >= REPEATS_MAX {
        return Some(failed(format!(
            "the same calls were made {} times in a row",
            state.repeats
        )));
    }
    if matches!(state.phase, Phase::Ready) && state.compacting.is_none() && !has_turns(state) {
        return Some(failed(format!("no answer after {} turns", own_turns(state))));
    }
    None
}

/// Turns of the work itself; those for summaries come on top, and each makes many messages go.
fn own_turns(state: &TurnState) -> u32 {
    state.turn.saturating_sub(state.summaries)
}

fn has_turns(state: &TurnState) -> bool {
    own_turns(state) < state.rules.turns_max
}

/// Settles or starts the open calls; true when the round closed without waiting.
fn advance_calls(state: &mut TurnState, reaction: &mut Reaction, around: &dyn Surroundings) -> bool {
    let rules = state.rules.clone();
    let mut asks = Vec::new();
    for index in 0..state.calls.len() {
        let ordinal = state.first_ordinal + index as u32;
        let call = state.calls[index].clone();
        if !call.is_open() || call.started {
            continue;
        }
        match next_of_call(&rules, index, ordinal, &call, around) {
            NextOfCall::Settle(fact) => {
                take(state, reaction, fact);
                if !matches!(state.phase, Phase::Calling) {
                    return true;
                }
            }
            NextOfCall::Do { intent, effect } => {
                if let Some(intent) = intent {
                    take(state, reaction, intent);
                }
                state.mark_started(ordinal);
                reaction.effects.push(effect);
            }
            NextOfCall::Ask(ask) => asks.push(ask),
        }
    }
    // What its siblings do is journaled before anybody waits for a person: it is not done again afterwards.
    let is_under_way = state.calls.iter().any(|call| call.started && call.is_open());
    if !asks.is_empty() && !is_under_way {
        reaction.effects.push(Effect::End(SessionEnd::Asks(asks)));
    }
    false
}

enum NextOfCall {
    Settle(Fact),
    Ask(Ask),
    Do { intent: Option<Fact>, effect: Effect },
}

fn next_of_call(
    rules: &TurnRules,
    index: usize,
    ordinal: u32,
    call: &CallState,
    around: &dyn Surroundings,
) -> NextOfCall {
    let attempt: Attempt = rules.attempt.clone();
    let finished = |outcome: CallOutcome| {
        NextOfCall::Settle(Fact::CallFinished {
            attempt: attempt.clone(),
            ordinal,
            outcome: Arc::new(outcome),
        })
    };
    if rules.work.is_of_client(&call.request) {
        let reason = match &call.request.arguments {
            Arguments::Malformed { reason, .. } => format!("not made: the arguments cannot be used: {reason}"),
            Arguments::Object(_) => "not made: the user's own tools are called in a turn without other calls; call it \
                                     again when those have their results"
                .to_owned(),
        };
        return finished(CallOutcome::error(reason));
    }
    if call.interrupted
        && let Some((_, key)) = call.intent
        && let Some(outcome) = around.spooled(key)
    {
        return finished(outcome);
    }
    if index >= CALLS_PER_TURN_MAX {
        return finished(CallOutcome::error(format!(
            "not made: at most {CALLS_PER_TURN_MAX} calls in one turn"
        )));
    }
    let (skill, class, arguments) = match around.judge_call(&call.request) {
        CallVerdict::Make {
            skill,
            class,
            arguments,
        } => (skill, class, arguments),
        CallVerdict::Refuse(reason) if call.interrupted => {
            let evidence = format!(
                "{} was started before a crash and cannot be judged now: {reason}",
                call.request.skill
            );
            return NextOfCall::Settle(Fact::CallUnknown {
                attempt,
                ordinal,
                evidence: evidence.into(),
            });
        }
        CallVerdict::Refuse(reason) => return finished(CallOutcome::error(reason)),
    };
    if call.interrupted {
        // The class of the intent counts, not today's: the manifest may have changed since.
        let (class, key) = call.intent.expect("an interrupted call has an intent");
        return match class.when_interrupted() {
            Interrupted::MakeAgain => NextOfCall::Do {
                intent: None,
                effect: Effect::Call {
                    ordinal,
                    skill,
                    arguments,
                    key,
                    durable_first: false,
                },
            },
            Interrupted::AskProbe => NextOfCall::Do {
                intent: None,
                effect: Effect::Probe {
                    ordinal,
                    skill,
                    arguments,
                    key,
                },
            },
            Interrupted::LeaveUnknown => NextOfCall::Settle(Fact::CallUnknown {
                attempt,
                ordinal,
                evidence: evidence_of(cut_off(&skill, key), around.evidence(key)),
            }),
        };
    }
    let derived = EffectKey::derive(rules.run, &attempt.step, attempt.number, ordinal);
    if call.intent.is_none() {
        match agreed(
            around.policy(&skill, &arguments, derived),
            ordinal,
            &skill,
            call.given.as_ref(),
        ) {
            Agreed::Make => {}
            Agreed::Settle(outcome) => return finished(outcome),
            Agreed::Ask(ask) => return NextOfCall::Ask(ask),
            Agreed::Look => {
                return NextOfCall::Do {
                    intent: None,
                    effect: Effect::Look {
                        ordinal,
                        skill,
                        arguments,
                        key: derived,
                    },
                };
            }
        }
    }
    let (intent, key) = if let Some((_, key)) = call.intent.filter(|_| !call.cleared) {
        // A probe said that it did not happen: its intent stands.
        (None, key)
    } else {
        if let Some(reason) = around.foreseen(&skill, &arguments) {
            return finished(CallOutcome::error(reason));
        }
        let key = call.intent.map_or(derived, |(_, key)| key);
        let intent = Fact::CallIntended {
            attempt,
            ordinal,
            skill: skill.clone(),
            class,
            key,
        };
        (class.waits_for_intent().then_some(intent), key)
    };
    let durable_first = intent.is_some();
    NextOfCall::Do {
        intent,
        effect: Effect::Call {
            ordinal,
            skill,
            arguments,
            key,
            durable_first,
        },
    }
}

/// Judges a final answer; none when it was sent back to the model.
fn judge(
    state: &mut TurnState,
    reaction: &mut Reaction,
    text: &Arc<str>,
    cut: bool,
    around: &dyn Surroundings,
) -> Option<SessionEnd> {
    // A skill may well have nothing to say; a model that says nothing has not answered.
    let is_agent = state.rules.work.is_of_agent();
    // A client that gave its answer no room gets what there is.
    let may_be_empty = cut && matches!(state.rules.work, SessionWork::Exchange { .. });
    let findings = match around.judge_answer(text) {
        Ok(_) if is_agent && !may_be_empty && text.trim().is_empty() => vec![Finding::new("", "the answer is empty")],
        Ok(output) => {
            return Some(SessionEnd::Answered {
                output: Arc::new(output),
            });
        }
        Err(findings) => findings,
    };
    // Only a model can be asked for another answer.
    if is_agent && state.rejections < state.rules.rejections_max && has_turns(state) {
        let attempt = state.rules.attempt.clone();
        take(
            state,
            reaction,
            Fact::AnswerRejected {
                attempt,
                turn: state.turn,
                findings: findings.into(),
            },
        );
        return None;
    }
    let words: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let (class, what) = if cut {
        (FailureClass::Malformed, "the answer was cut by the token ceiling")
    } else {
        (FailureClass::Schema, "the answer does not match")
    };
    Some(SessionEnd::Failed {
        class,
        reason: format!("{what}: {}", words.join("; ")).into(),
    })
}
