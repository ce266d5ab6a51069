//! What a run waits for persons to say, read from its journal. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::domain::check::{Check, check_of_call};
use crate::domain::conversation::Arguments;
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::plan::Work;
use crate::domain::time::UtcMillis;

use super::check_call::{COMMAND_SKILL, command_arguments};
use super::state::{RunState, StepPhase};

/// What kind of answer is waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum QuestionKind {
    /// A yes or a no to a call that is not made yet.
    Approval {
        /// Names the call with all that it would do.
        hash: Arc<str>,
        /// No answer by then is a no.
        until: UtcMillis,
    },
    /// Whether a call happened.
    Unknown {
        /// The name of its effect.
        key: Option<EffectKey>,
        /// Its class, as it was then.
        class: Option<EffectClass>,
        /// When it was started.
        started_at: Option<UtcMillis>,
    },
}

/// One open question.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What is waited for.
    pub kind: QuestionKind,
    /// Of which attempt.
    pub attempt: Attempt,
    /// Which call of it.
    pub ordinal: u32,
    /// The skill.
    pub skill: Arc<str>,
    /// What it was or would be called with.
    pub arguments: Value,
    /// For an approval what would be done; for an unknown call what is known.
    pub text: Arc<str>,
    /// Since when it is open.
    pub asked_at: UtcMillis,
    /// Place of the fact that asks: a call that is unknown again asks anew.
    pub seq: u64,
}

#[derive(Default)]
struct Calls {
    next: u32,
    requests: BTreeMap<u32, (Arc<str>, Value)>,
    intents: BTreeMap<u32, (EffectClass, EffectKey, UtcMillis)>,
    open: BTreeMap<u32, Question>,
}

/// The open questions, by step and call.
pub fn questions(state: &RunState, facts: &[Stamped]) -> Vec<Question> {
    let mut attempts: BTreeMap<Attempt, Calls> = BTreeMap::new();
    for stamped in facts {
        let Some(attempt) = stamped.fact.attempt() else {
            continue;
        };
        let calls = attempts.entry(attempt.clone()).or_default();
        match &stamped.fact {
            Fact::TurnFinished { answer, .. } => {
                for (ordinal, call) in (calls.next..).zip(answer.calls.iter()) {
                    let arguments = match &call.arguments {
                        Arguments::Object(value) => (**value).clone(),
                        Arguments::Malformed { preview, .. } => Value::String(preview.to_string()),
                    };
                    calls.requests.insert(ordinal, (call.skill.clone(), arguments));
                }
                calls.next += answer.calls.len() as u32;
            }
            Fact::CallIntended {
                ordinal, class, key, ..
            } => {
                calls.intents.insert(*ordinal, (*class, *key, stamped.at));
            }
            Fact::CallUnknown { ordinal, evidence, .. } => {
                let intent = calls.intents.get(ordinal).copied();
                let kind = QuestionKind::Unknown {
                    key: intent.map(|(_, key, _)| key),
                    class: intent.map(|(class, _, _)| class),
                    started_at: intent.map(|(_, _, at)| at),
                };
                let question = question(state, calls, attempt, *ordinal, kind, evidence, stamped);
                calls.open.insert(*ordinal, question);
            }
            Fact::ApprovalAsked { ask, until, .. } => {
                let kind = QuestionKind::Approval {
                    hash: ask.hash.clone(),
                    until: *until,
                };
                let question = question(state, calls, attempt, ask.ordinal, kind, &ask.shown, stamped);
                calls.open.insert(ask.ordinal, question);
            }
            Fact::CallFinished { ordinal, .. }
            | Fact::CallResolved { ordinal, .. }
            | Fact::ApprovalGiven { ordinal, .. } => {
                calls.open.remove(ordinal);
            }
            _ => {}
        }
    }
    let is_waited_for = |question: &Question| {
        let step = state.step(&question.attempt.step);
        let step = step.filter(|step| step.attempt == question.attempt.number);
        let wanted = match question.kind {
            QuestionKind::Approval { .. } => StepPhase::Asking,
            QuestionKind::Unknown { .. } => StepPhase::Unknown,
        };
        step.is_some_and(|step| step.phase == wanted)
    };
    let open = attempts.into_values().flat_map(|calls| calls.open.into_values());
    open.filter(is_waited_for).collect()
}

fn question(
    state: &RunState,
    calls: &Calls,
    attempt: &Attempt,
    ordinal: u32,
    kind: QuestionKind,
    text: &Arc<str>,
    stamped: &Stamped,
) -> Question {
    let (skill, arguments) = calls
        .requests
        .get(&ordinal)
        .cloned()
        .or_else(|| of_check(state, attempt, ordinal))
        .or_else(|| of_skill_step(state, attempt))
        .unwrap_or_else(|| ("?".into(), Value::Null));
    Question {
        kind,
        attempt: attempt.clone(),
        ordinal,
        skill,
        arguments,
        text: text.clone(),
        asked_at: stamped.at,
        seq: stamped.seq,
    }
}

/// The command of a check.
fn of_check(state: &RunState, attempt: &Attempt, ordinal: u32) -> Option<(Arc<str>, Value)> {
    let position = check_of_call(ordinal)? as usize;
    let checks = state.checks(state.definition(&attempt.step)?);
    match &checks.get(position)?.0 {
        Check::Command { argv, timeout_ms, .. } => Some((COMMAND_SKILL.into(), command_arguments(argv, *timeout_ms))),
        _ => None,
    }
}

/// The one call of a step that a skill does.
fn of_skill_step(state: &RunState, attempt: &Attempt) -> Option<(Arc<str>, Value)> {
    let step = state.definition(&attempt.step)?;
    match &step.work {
        Work::Skill(skill) => Some((skill.as_str().into(), state.inputs(step).into())),
        Work::Agent(_) => None,
    }
}
