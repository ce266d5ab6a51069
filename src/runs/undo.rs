//! Which effects of a run can be undone, and by what: read from its journal. Pure.
//!
//! Invariants: only what surely took effect is undone, and once; what took effect last is undone first.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::check::check_of_call;
use crate::domain::conversation::Arguments;
use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::json;
use crate::domain::name::SkillName;
use crate::domain::plan::{Input, Step, Work};
use crate::domain::resolution::Resolution;

use super::state::RunState;

/// One effect and the call that undoes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Undo {
    /// Whose effect.
    pub undoes: Attempt,
    /// Which call of it; none for the step as a whole.
    pub ordinal: Option<u32>,
    /// The skill that undoes it.
    pub skill: SkillName,
    /// Its arguments, an object.
    pub arguments: Value,
}

/// What one attempt has called so far.
#[derive(Default)]
struct Calls {
    next: u32,
    requests: BTreeMap<u32, (SkillName, Value)>,
    intended: BTreeMap<u32, SkillName>,
}

/// What undoes the effects of the run, the last effect first. `undo_of` names the skill that undoes another one.
///
/// A plan's own word on a step goes before the word of the step's skill. A call that failed has taken no effect; one
/// that is unknown and was given up is not undone, because nobody knows.
pub fn undo(state: &RunState, facts: &[Stamped], undo_of: impl Fn(&SkillName) -> Option<SkillName>) -> Vec<Undo> {
    let mut attempts: BTreeMap<Attempt, Calls> = BTreeMap::new();
    let mut found = Vec::new();
    for stamped in facts {
        let Some(attempt) = stamped.fact.attempt() else {
            continue;
        };
        let calls = attempts.entry(attempt.clone()).or_default();
        match &stamped.fact {
            // The command of a check looks at an effect and is none.
            Fact::CallFinished { ordinal, .. } | Fact::CallResolved { ordinal, .. }
                if check_of_call(*ordinal).is_some() => {}
            Fact::TurnFinished { answer, .. } => {
                for (ordinal, call) in (calls.next..).zip(answer.calls.iter()) {
                    if let (Ok(skill), Arguments::Object(arguments)) = (SkillName::new(&call.skill), &call.arguments) {
                        calls.requests.insert(ordinal, (skill, (**arguments).clone()));
                    }
                }
                calls.next += answer.calls.len() as u32;
            }
            Fact::CallIntended { ordinal, skill, .. } => {
                calls.intended.insert(*ordinal, skill.clone());
            }
            Fact::CallFinished { ordinal, outcome, .. } if !outcome.is_error => {
                found.extend(of_call(state, attempt, *ordinal, calls, &outcome.content, &undo_of));
            }
            Fact::CallResolved {
                ordinal,
                resolution: Resolution::Happened { output },
                ..
            } => found.extend(of_call(state, attempt, *ordinal, calls, output, &undo_of)),
            Fact::StepDone { output, .. } => {
                let step = state.plan.as_ref().and_then(|plan| plan.step(&attempt.step));
                // What a skill did was found with its call.
                let step = step.filter(|step| matches!(step.work, Work::Agent(_)));
                found.extend(step.and_then(|step| by_plan(state, step, attempt, None, output)));
            }
            _ => {}
        }
    }
    found.reverse();
    found
}

fn of_call(
    state: &RunState,
    attempt: &Attempt,
    ordinal: u32,
    calls: &Calls,
    output: &str,
    undo_of: &impl Fn(&SkillName) -> Option<SkillName>,
) -> Option<Undo> {
    let step = state.plan.as_ref().and_then(|plan| plan.step(&attempt.step));
    let of_skill = step.and_then(|step| match &step.work {
        Work::Skill(skill) => Some((step, skill)),
        Work::Agent(_) => None,
    });
    if let Some((step, _)) = of_skill
        && step.undo.is_some()
    {
        return by_plan(state, step, attempt, Some(ordinal), output);
    }
    // What has no intent has no effect on the world.
    let skill = calls.intended.get(&ordinal)?;
    let arguments = match (calls.requests.get(&ordinal), of_skill) {
        (Some((_, arguments)), _) => arguments.clone(),
        (None, Some((step, _))) => state.inputs(step).into(),
        (None, None) => return None,
    };
    Some(Undo {
        undoes: attempt.clone(),
        ordinal: Some(ordinal),
        skill: undo_of(skill)?,
        arguments,
    })
}

fn by_plan(state: &RunState, step: &Step, attempt: &Attempt, ordinal: Option<u32>, output: &str) -> Option<Undo> {
    let undo = step.undo.as_ref()?;
    let own: Value = serde_json::from_str(output).unwrap_or_else(|_| Value::String(output.to_owned()));
    let inputs = undo.inputs.iter().map(|(name, input): (&Arc<str>, &Input)| {
        let value = match input {
            Input::Literal(value) => Some(value),
            // The step may have failed its checks after it took effect: then the state has no output of it.
            Input::Output { step: from, pointer } if *from == step.id => json::resolve(&own, pointer),
            Input::Output { step: from, pointer } => state.output(from, pointer),
        };
        (name.to_string(), value.cloned().unwrap_or(Value::Null))
    });
    Some(Undo {
        undoes: attempt.clone(),
        ordinal,
        skill: undo.skill.clone(),
        arguments: Value::Object(inputs.collect::<Map<String, Value>>()),
    })
}
