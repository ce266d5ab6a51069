//! Where a turn loop stands: the fold of the session's facts.
//!
//! **Invariant**: [`TurnState::messages`] always satisfies `conversation::check_history` when the phase is
//! [`Phase::Ready`]: a call without a result cannot reach a model, also after a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::domain::approval::Given;
use crate::domain::brief::with_memory;
use crate::domain::conversation::{Arguments, CallRequest, CallResult, Message, ModelAnswer, Stop};
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::Finding;
use crate::domain::id::RunId;
use crate::domain::json::canonical;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::money::MicroUsd;
use crate::domain::name::{AgentName, ModelAlias, SkillName};
use crate::domain::resolution::Resolution;
use crate::domain::skill::CallOutcome;
use crate::domain::text::{cut, preview};
use crate::domain::text_policy::shared_for_prompt;
use crate::domain::time::UtcMillis;

use super::history::History;
use super::summary::{Compacting, Ledger, summary_of};

/// Lines of "what was tried" that are kept for the next attempt.
const TRIED_MAX: usize = 12;
/// Equal rounds of calls in a row after which the loop is cut.
pub const REPEATS_MAX: u32 = 3;
/// Refusals for the rate that count as one failure: to wait cures them, and the gate sees to it that all wait.
const LIMITED_PER_RETRY: u32 = 4;

/// What the attempt does.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionWork {
    /// An agent converses with its model; this is the first message.
    Agent {
        /// The rendered hand-off.
        brief: Arc<str>,
    },
    /// An agent answers a conversation that a client leads.
    Exchange {
        /// The conversation.
        opening: Arc<Vec<Message>>,
        /// The names of the tools that the client has: a turn that calls nothing else is the answer.
        tools: Arc<[Arc<str>]>,
    },
    /// One call of a skill, without a model.
    Skill {
        /// The skill.
        skill: SkillName,
        /// Its arguments.
        arguments: Value,
    },
}

impl SessionWork {
    /// Whether a model does it.
    pub fn is_of_agent(&self) -> bool {
        !matches!(self, Self::Skill { .. })
    }

    /// What the conversation is about, in words that stay in it.
    pub(super) fn first_words(&self) -> Option<&str> {
        match self {
            Self::Agent { brief } => Some(brief),
            Self::Exchange { opening, .. } => opening.iter().find_map(|message| match message {
                Message::User(text) => Some(&**text),
                _ => None,
            }),
            Self::Skill { .. } => None,
        }
    }

    /// Whether the client makes this call.
    pub(super) fn is_of_client(&self, call: &CallRequest) -> bool {
        matches!(self, Self::Exchange { tools, .. } if tools.contains(&call.skill))
    }
}

/// What is fixed for the attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnRules {
    /// The run.
    pub run: RunId,
    /// The attempt.
    pub attempt: Attempt,
    /// Whose accounts are charged.
    pub agent: AgentName,
    /// Which model is asked.
    pub model: ModelAlias,
    /// Who is asked instead, in order, when it cannot be had.
    pub fallback: Vec<ModelAlias>,
    /// When the attempt must be done.
    pub deadline: UtcMillis,
    /// The longest wait, in milliseconds, for which the attempt keeps its slot; before a longer one it ends and goes
    /// on later.
    pub rest_over_ms: u64,
    /// The version of the agent's prompt.
    pub prompt: Arc<str>,
    /// What is done.
    pub work: SessionWork,
    /// Turns before the attempt fails.
    pub turns_max: u32,
    /// Repeats of one request before the attempt fails.
    pub turn_retries_max: u32,
    /// Answers that may be sent back because they do not match the schema.
    pub rejections_max: u32,
    /// Whether a check of the step judges the exit code of its program: then a code other than 0 is no failure by
    /// itself.
    pub exit_code_is_checked: bool,
}

/// Where the loop stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// The model is to be asked.
    Ready,
    /// A request is out.
    Asking,
    /// A request failed and is repeated at this time, or may not be sent before.
    Resting(UtcMillis),
    /// A summary was made, or will not be made by the model: the older part of the conversation gives way.
    Compacting,
    /// Calls of the last answer are being made.
    Calling,
    /// The answer is calls for the client to make, and nothing else.
    HandedOver,
    /// The model gave its final answer, or the skill its result.
    Answered {
        /// The text.
        text: Arc<str>,
        /// Whether the answer was cut by the token ceiling.
        cut: bool,
    },
    /// The attempt failed.
    Failed {
        /// Why.
        class: FailureClass,
        /// In words.
        reason: Arc<str>,
    },
    /// A call is unknown; a person must say.
    Unknown {
        /// What is known.
        evidence: Arc<str>,
    },
}

/// One call of the present turn.
#[derive(Debug, Clone, PartialEq)]
pub struct CallState {
    /// What the model asked for.
    pub request: CallRequest,
    /// The intent, once it is a fact.
    pub intent: Option<(EffectClass, EffectKey)>,
    /// The result, once it is a fact.
    pub outcome: Option<Arc<CallOutcome>>,
    /// Why its effect is unknown, once that is a fact.
    pub unknown: Option<Arc<str>>,
    /// Whether this life of the session has started it, or a look at what it would do. Not a fact: a new life has
    /// started nothing.
    pub started: bool,
    /// Whether its intent was found when the session was loaded: it may have happened.
    pub interrupted: bool,
    /// Whether a person said that it did not happen: its next try needs an intent of its own, or a crash could make
    /// it a third time.
    pub cleared: bool,
    /// The last answer to a question about it.
    pub given: Option<Given>,
}

/// A request that is out, with what was booked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTurn {
    /// The turn.
    pub turn: u32,
    /// Tokens booked.
    pub reserved: u64,
    /// Money booked.
    pub reserved_cost: MicroUsd,
    /// The UTC day of the booking.
    pub day: u32,
}

/// How one model failed a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    /// Refusals for the rate.
    pub limited: u32,
    /// Other failures that may pass.
    pub passing: u32,
    /// Whether it failed in a way that does not pass.
    pub lasting: bool,
}

/// The state of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnState {
    /// What is fixed.
    pub rules: TurnRules,
    /// Where it stands.
    pub phase: Phase,
    /// The conversation as it is sent.
    pub messages: History,
    /// The summary that is being made.
    pub compacting: Option<Compacting>,
    /// Turns that asked for one.
    pub summaries: u32,
    /// Whether the provider refused the length of the conversation since its last answer.
    pub was_forced: bool,
    /// What was done in messages that are gone.
    pub ledger: Ledger,
    /// Tokens of the last request as the provider counted them, and the cost of the messages then.
    pub measured: Option<(u64, (u64, u64))>,
    /// The last turn begun.
    pub turn: u32,
    /// Which model was asked last.
    pub asked: ModelAlias,
    /// How often the present request was sent.
    pub asks: u32,
    /// Failures of the present request in a row, by the model that was asked.
    pub failures: BTreeMap<ModelAlias, Failures>,
    /// Until when the present request waits by the last fact that says so; none when it was not put off.
    pub deferred: Option<UtcMillis>,
    /// Whether it waits for the time that it was told, and not for others to end.
    pub on_time: bool,
    /// Why it rests.
    pub rests_for: Arc<str>,
    /// Answers sent back.
    pub rejections: u32,
    /// The calls of the present turn.
    pub calls: Vec<CallState>,
    /// Number of the first of them.
    pub first_ordinal: u32,
    /// The request that is out.
    pub open_turn: Option<OpenTurn>,
    /// The exit code of the last program.
    pub last_exit_code: Option<i32>,
    /// What was tried, for the next attempt.
    pub tried: Vec<Arc<str>>,
    /// Whether the order is taken: journaled once, with the first turn.
    pub accepted: bool,
    /// How often the present round of calls was made in a row.
    pub repeats: u32,
    last_round: String,
}

impl TurnState {
    /// The state before any fact.
    pub fn new(rules: TurnRules) -> Self {
        let (phase, messages, calls) = match &rules.work {
            SessionWork::Agent { brief } => (Phase::Ready, vec![Message::User(shared_for_prompt(brief))], Vec::new()),
            SessionWork::Exchange { opening, .. } => {
                let opening = opening.iter().map(for_prompt);
                (Phase::Ready, opening.collect(), Vec::new())
            }
            SessionWork::Skill { skill, arguments } => {
                let request = CallRequest {
                    id: "call_0".into(),
                    skill: skill.as_str().into(),
                    arguments: Arguments::Object(arguments.clone().into()),
                };
                (Phase::Calling, Vec::new(), vec![CallState::new(request)])
            }
        };
        Self {
            asked: rules.model.clone(),
            rules,
            phase,
            messages: History::new(messages),
            compacting: None,
            summaries: 0,
            was_forced: false,
            ledger: Ledger::default(),
            measured: None,
            turn: 0,
            asks: 0,
            failures: BTreeMap::new(),
            deferred: None,
            on_time: true,
            rests_for: "".into(),
            rejections: 0,
            calls,
            first_ordinal: 0,
            open_turn: None,
            last_exit_code: None,
            tried: Vec::new(),
            accepted: false,
            repeats: 0,
            last_round: String::new(),
        }
    }

    /// The state after the facts of this attempt; others are passed over.
    pub fn load<'facts>(rules: TurnRules, facts: impl IntoIterator<Item = &'facts Fact>) -> Self {
        let mut state = Self::new(rules);
        for fact in facts {
            if fact.attempt() == Some(&state.rules.attempt) {
                state.fold(fact);
            }
        }
        for call in &mut state.calls {
            call.interrupted =
                call.intent.is_some() && call.outcome.is_none() && call.unknown.is_none() && !call.cleared;
        }
        state
    }

    /// Takes one fact in.
    pub fn fold(&mut self, fact: &Fact) {
        match fact {
            Fact::HandoffAccepted { .. } => self.accepted = true,
            Fact::MemoryRecalled { lines, .. } => match &self.rules.work {
                SessionWork::Agent { brief } => {
                    let message = with_memory(brief, lines);
                    self.messages = History::new([Message::User(shared_for_prompt(&message.into()))]);
                }
                SessionWork::Exchange { opening, .. } => {
                    let mut messages: Vec<Message> = opening.iter().map(for_prompt).collect();
                    // What the client said last: the beginning stays as it was, and with it what providers remember.
                    let said = messages.iter_mut().rev().find_map(|message| match message {
                        Message::User(text) => Some(text),
                        _ => None,
                    });
                    if let Some(text) = said {
                        *text = shared_for_prompt(&with_memory(text, lines).into());
                    }
                    self.messages = History::new(messages);
                }
                SessionWork::Skill { .. } => {}
            },
            Fact::TurnIntended {
                turn,
                model,
                reserved,
                reserved_cost,
                day,
                ..
            } => {
                self.begin_turn(*turn);
                self.asked = model.clone();
                self.asks += 1;
                self.deferred = None;
                self.open_turn = Some(OpenTurn {
                    turn: *turn,
                    reserved: *reserved,
                    reserved_cost: *reserved_cost,
                    day: *day,
                });
                self.phase = Phase::Asking;
            }
            Fact::TurnFinished { answer, .. } => match &mut self.compacting {
                Some(compacting) => {
                    compacting.summary = summary_of(answer);
                    self.open_turn = None;
                    self.failures.clear();
                    self.phase = Phase::Compacting;
                }
                None => self.fold_answer(answer),
            },
            Fact::TurnFailed {
                class,
                reason,
                retry_at,
                ..
            } => {
                self.open_turn = None;
                self.deferred = None;
                self.rests_for = reason.clone();
                let failures = self.failures.entry(self.asked.clone()).or_default();
                match class {
                    // A crash of this program says nothing about the request.
                    FailureClass::Crash => {}
                    FailureClass::Rate => failures.limited += 1,
                    class if class.retries_turn() => failures.passing += 1,
                    _ => failures.lasting = true,
                }
                self.phase = match retry_at {
                    Some(at) => Phase::Resting(*at),
                    // The work goes on without the model's summary.
                    None if self.compacting.is_some() => Phase::Compacting,
                    None => Phase::Failed {
                        class: *class,
                        reason: reason.clone(),
                    },
                };
            }
            Fact::CompactionBegun { through, .. } => {
                // A request that was refused for its length is what made it necessary.
                self.was_forced = matches!(self.phase, Phase::Resting(_));
                self.compacting = Some(Compacting {
                    through: *through,
                    summary: None,
                });
                self.failures.clear();
                self.phase = Phase::Ready;
            }
            Fact::HistoryCompacted { through, summary, .. } => self.fold_compaction(*through, summary),
            Fact::TurnDeferred {
                turn, until, reason, ..
            } => {
                self.begin_turn(*turn);
                self.deferred = Some(*until);
                self.rests_for = reason.clone();
                self.phase = Phase::Resting(*until);
            }
            Fact::AnswerRejected { findings, .. } => {
                self.rejections += 1;
                self.messages.push(Message::User(correction(findings).into()));
                self.phase = Phase::Ready;
            }
            Fact::CallIntended {
                ordinal, class, key, ..
            } => {
                if let Some(call) = self.call_mut(*ordinal) {
                    call.intent = Some((*class, *key));
                    call.cleared = false;
                }
            }
            Fact::CallFinished { ordinal, outcome, .. } => {
                if let Some(call) = self.call_mut(*ordinal)
                    && call.outcome.is_none()
                {
                    call.outcome = Some(outcome.clone());
                    self.last_exit_code = outcome.exit_code.or(self.last_exit_code);
                    self.close_round();
                }
            }
            Fact::CallUnknown { ordinal, evidence, .. } => {
                if let Some(call) = self.call_mut(*ordinal) {
                    call.unknown = Some(evidence.clone());
                    self.close_round();
                }
            }
            Fact::CallResolved {
                ordinal, resolution, ..
            } => self.fold_resolution(*ordinal, resolution),
            Fact::ApprovalGiven { ordinal, given, .. } => {
                if let Some(call) = self.call_mut(*ordinal) {
                    call.given = Some(given.clone());
                }
            }
            _ => {}
        }
    }

    /// The call of this number, when it belongs to the present turn.
    pub fn call(&self, ordinal: u32) -> Option<&CallState> {
        self.calls.get(ordinal.checked_sub(self.first_ordinal)? as usize)
    }

    fn call_mut(&mut self, ordinal: u32) -> Option<&mut CallState> {
        self.calls.get_mut(ordinal.checked_sub(self.first_ordinal)? as usize)
    }

    fn begin_turn(&mut self, turn: u32) {
        if turn != self.turn {
            if self.compacting.is_some() {
                self.summaries += 1;
            }
            self.turn = turn;
            self.asks = 0;
            self.failures.clear();
        }
    }

    /// The request that was put off may be tried now, or has to wait a little longer than the journal says. Not a
    /// fact: a new life asks again.
    pub fn put_off(&mut self, until: UtcMillis, on_time: bool) {
        self.phase = Phase::Resting(until);
        self.on_time = on_time;
    }

    /// The models that may be asked, the best first.
    pub fn all_models(&self) -> Vec<ModelAlias> {
        let all = [&self.rules.model].into_iter().chain(&self.rules.fallback);
        all.cloned().collect()
    }

    /// Those that may still be asked for the present answer.
    pub fn candidates(&self) -> Vec<ModelAlias> {
        let known = self.failures.get(&self.asked).copied().unwrap_or_default();
        self.candidates_with(known)
    }

    /// Those that may still be asked when the model that was asked last has failed so.
    pub fn candidates_with(&self, failed: Failures) -> Vec<ModelAlias> {
        let max = self.rules.turn_retries_max;
        let may_ask = |model: &ModelAlias| {
            let known = self.failures.get(model).copied().unwrap_or_default();
            let failures = if *model == self.asked { failed } else { known };
            !failures.lasting && failures.passing <= max && failures.limited <= max.saturating_mul(LIMITED_PER_RETRY)
        };
        let mut all = self.all_models();
        all.retain(may_ask);
        all
    }

    /// Marks a call as started by this life.
    pub fn mark_started(&mut self, ordinal: u32) {
        if let Some(call) = self.call_mut(ordinal) {
            call.started = true;
        }
    }

    /// Marks an interrupted call as one that did not happen, so that it may be made.
    pub fn mark_not_happened(&mut self, ordinal: u32) {
        if let Some(call) = self.call_mut(ordinal) {
            call.interrupted = false;
            call.started = false;
        }
    }

    /// Marks a call that was only looked at as one that has not been started.
    pub fn mark_looked_at(&mut self, ordinal: u32) {
        if let Some(call) = self.call_mut(ordinal).filter(|call| call.intent.is_none()) {
            call.started = false;
        }
    }

    fn fold_resolution(&mut self, ordinal: u32, resolution: &Resolution) {
        let Some(call) = self.call_mut(ordinal).filter(|call| call.unknown.is_some()) else {
            return;
        };
        match resolution {
            Resolution::Happened { output } => {
                call.unknown = None;
                call.outcome = Some(Arc::new(CallOutcome::ok(output.clone())));
                self.close_round();
            }
            Resolution::NotHappened => {
                call.unknown = None;
                call.cleared = true;
                self.phase = Phase::Calling;
            }
            // The step fails; no session goes on with it.
            Resolution::Abandoned => {}
        }
    }

    fn fold_answer(&mut self, answer: &ModelAnswer) {
        self.open_turn = None;
        self.failures.clear();
        self.was_forced = false;
        let usage = answer.usage;
        self.measured = (!usage.estimated && usage.input > 0).then(|| (usage.input, self.messages.cost()));
        self.messages.push(Message::Assistant {
            text: answer.text.clone(),
            calls: answer.calls.clone(),
            kept: answer.kept.clone(),
        });
        if answer.calls.is_empty() {
            self.phase = match answer.stop {
                Stop::Refused => Phase::Failed {
                    class: FailureClass::Refusal,
                    reason: format!("the model refused: {}", preview(&answer.text, 300)).into(),
                },
                stop => Phase::Answered {
                    text: answer.text.clone(),
                    cut: stop == Stop::Length,
                },
            };
            return;
        }
        let work = &self.rules.work;
        let may_hand_over = |call: &CallRequest| {
            work.is_of_client(call) && matches!(call.arguments, Arguments::Object(_)) && answer.stop != Stop::Length
        };
        if answer.calls.iter().all(may_hand_over) {
            self.phase = Phase::HandedOver;
            return;
        }
        self.first_ordinal += self.calls.len() as u32;
        self.calls = answer.calls.iter().cloned().map(CallState::new).collect();
        self.phase = Phase::Calling;
        let round = answer.calls.iter().map(describe_call).collect::<Vec<_>>().join("\n");
        self.repeats = if round == self.last_round { self.repeats + 1 } else { 1 };
        self.last_round = round;
        for call in &answer.calls {
            if self.tried.len() < TRIED_MAX {
                self.tried.push(preview(&describe_call(call), 160).into());
            }
        }
    }

    /// When every call of the turn is settled, the results go to the model, or the attempt ends.
    fn close_round(&mut self) {
        if self
            .calls
            .iter()
            .any(|call| call.outcome.is_none() && call.unknown.is_none())
        {
            return;
        }
        let unknown: Vec<&str> = self.calls.iter().filter_map(|call| call.unknown.as_deref()).collect();
        if !unknown.is_empty() {
            self.phase = Phase::Unknown {
                evidence: unknown.join("; ").into(),
            };
            return;
        }
        let outcomes = || {
            self.calls
                .iter()
                .filter_map(|call| Some((&call.request, call.outcome.as_ref()?)))
        };
        if let SessionWork::Skill { skill, .. } = &self.rules.work {
            let (_, outcome) = outcomes().next().expect("a skill step has one call, and it is settled");
            let is_judged = self.rules.exit_code_is_checked && outcome.exit_code.is_some();
            self.phase = if outcome.is_error && !is_judged {
                let reason = format!("{skill}: {}", preview(&outcome.content, 500));
                Phase::Failed {
                    class: FailureClass::ToolError,
                    reason: reason.into(),
                }
            } else {
                Phase::Answered {
                    text: outcome.content.clone(),
                    cut: false,
                }
            };
            return;
        }
        let results = outcomes().map(|(request, outcome)| {
            let content = shared_for_prompt(&outcome.content);
            CallResult {
                id: request.id.clone(),
                content: if content.len() > RESULT_BYTES_MAX {
                    cut(&content, RESULT_BYTES_MAX).into()
                } else {
                    content
                },
                is_error: outcome.is_error,
            }
        });
        let results = results.collect();
        self.messages.push(Message::Results(results));
        self.phase = Phase::Ready;
    }
}

impl CallState {
    fn new(request: CallRequest) -> Self {
        Self {
            request,
            intent: None,
            outcome: None,
            unknown: None,
            started: false,
            interrupted: false,
            cleared: false,
            given: None,
        }
    }

    /// Whether it has neither a result nor is unknown.
    pub fn is_open(&self) -> bool {
        self.outcome.is_none() && self.unknown.is_none()
    }
}

/// A message of a client without what hides in it.
fn for_prompt(message: &Message) -> Message {
    match message {
        Message::User(text) => Message::User(shared_for_prompt(text)),
        Message::Results(results) => {
            let results = results.iter().map(|result| CallResult {
                content: shared_for_prompt(&result.content),
                ..result.clone()
            });
            Message::Results(results.collect())
        }
        said @ Message::Assistant { .. } => said.clone(),
    }
}

fn describe_call(call: &CallRequest) -> String {
    match &call.arguments {
        Arguments::Object(value) => format!("{} {}", call.skill, canonical(value)),
        Arguments::Malformed { preview, .. } => format!("{} (malformed) {preview}", call.skill),
    }
}

/// What the model is told when its answer does not match.
fn correction(findings: &[Finding]) -> String {
    let mut text = "Your answer does not match what was asked. Answer again, with JSON that matches:\n".to_owned();
    for finding in findings {
        text.push_str("- ");
        text.push_str(&finding.to_string());
        text.push('\n');
    }
    text
}
