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
use crate::domain::name::{SkillName, StepId};
use crate::domain::plan::{Input, Plan, Step, Work};
use crate::domain::resolution::Resolution;

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
    /// What the step was when the attempt began: a later plan may have another step of this name, or none.
    step: Option<Step>,
    next: u32,
    requests: BTreeMap<u32, (SkillName, Value)>,
    intended: BTreeMap<u32, SkillName>,
}

/// The run as it was at a fact.
#[derive(Default)]
struct Then {
    proposed: Option<Arc<Plan>>,
    plan: Option<Arc<Plan>>,
    outputs: BTreeMap<StepId, Arc<str>>,
    /// The last outputs of all: a step that needed only some of the steps before it may be told of the others.
    last: BTreeMap<StepId, Arc<str>>,
}

impl Then {
    fn output(&self, step: &StepId, pointer: &str) -> Option<Value> {
        let output = self.outputs.get(step).or_else(|| self.last.get(step))?;
        json::resolve(&value_of(output), pointer).cloned()
    }

    fn inputs(&self, step: &Step) -> Value {
        let inputs = step.inputs.iter().map(|(name, input)| {
            let value = match input {
                Input::Literal(value) => Some(value.clone()),
                Input::Output { step, pointer } => self.output(step, pointer),
            };
            (name.to_string(), value.unwrap_or(Value::Null))
        });
        Value::Object(inputs.collect::<Map<String, Value>>())
    }
}

/// What undoes the effects of the run, the last effect first. `undo_of` names the skill that undoes another one.
///
/// A plan's own word on a step goes before the word of the step's skill, and it is the word of the plan that was in force
/// when the effect was made. A call that failed has taken no effect; one that is unknown and was given up is not undone,
/// because nobody knows.
pub fn undo(facts: &[Stamped], undo_of: impl Fn(&SkillName) -> Option<SkillName>) -> Vec<Undo> {
    let outputs = facts.iter().filter_map(|stamped| match &stamped.fact {
        Fact::StepDone { attempt, output } => Some((attempt.step.clone(), output.clone())),
        _ => None,
    });
    let mut then = Then {
        last: outputs.collect(),
        ..Then::default()
    };
    let mut attempts: BTreeMap<Attempt, Calls> = BTreeMap::new();
    let mut found = Vec::new();
    for stamped in facts {
        match &stamped.fact {
            Fact::PlanProposed { plan, .. } => then.proposed = Some(plan.clone()),
            Fact::PlanRejected { .. } => then.proposed = None,
            Fact::PlanAccepted { .. } => then.plan = then.proposed.take().or(then.plan),
            _ => {}
        }
        let Some(attempt) = stamped.fact.attempt() else {
            continue;
        };
        let calls = attempts.entry(attempt.clone()).or_default();
        match &stamped.fact {
            // The command of a check looks at an effect and is none.
            Fact::CallFinished { ordinal, .. } | Fact::CallResolved { ordinal, .. }
                if check_of_call(*ordinal).is_some() => {}
            Fact::StepLeased { .. } if calls.step.is_none() => {
                let step = then.plan.as_ref().and_then(|plan| plan.step(&attempt.step));
                calls.step = step.cloned();
            }
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
                found.extend(of_call(&then, attempt, *ordinal, calls, &outcome.content, &undo_of));
            }
            Fact::CallResolved {
                ordinal,
                resolution: Resolution::Happened { output },
                ..
            } => found.extend(of_call(&then, attempt, *ordinal, calls, output, &undo_of)),
            Fact::StepDone { output, .. } => {
                // What a skill did was found with its call.
                let step = calls.step.as_ref();
                let step = step.filter(|step| matches!(step.work, Work::Agent(_)));
                found.extend(step.and_then(|step| by_plan(&then, step, attempt, None, output)));
                then.outputs.insert(attempt.step.clone(), output.clone());
            }
            _ => {}
        }
    }
    found.reverse();
    found
}

fn of_call(
    then: &Then,
    attempt: &Attempt,
    ordinal: u32,
    calls: &Calls,
    output: &str,
    undo_of: &impl Fn(&SkillName) -> Option<SkillName>,
) -> Option<Undo> {
    let of_skill = calls.step.as_ref().filter(|step| matches!(step.work, Work::Skill(_)));
    if let Some(step) = of_skill
        && step.undo.is_some()
    {
        return by_plan(then, step, attempt, Some(ordinal), output);
    }
    // What has no intent has no effect on the world.
    let skill = calls.intended.get(&ordinal)?;
    let arguments = match (calls.requests.get(&ordinal), of_skill) {
        (Some((_, arguments)), _) => arguments.clone(),
        (None, Some(step)) => then.inputs(step),
        (None, None) => return None,
    };
    Some(Undo {
        undoes: attempt.clone(),
        ordinal: Some(ordinal),
        skill: undo_of(skill)?,
        arguments,
    })
}

fn by_plan(then: &Then, step: &Step, attempt: &Attempt, ordinal: Option<u32>, output: &str) -> Option<Undo> {
    let undo = step.undo.as_ref()?;
    let own = value_of(output);
    let inputs = undo.inputs.iter().map(|(name, input): (&Arc<str>, &Input)| {
        let value = match input {
            Input::Literal(value) => Some(value.clone()),
            // The step may have failed its checks after it took effect: then there is no output of it.
            Input::Output { step: from, pointer } if *from == step.id => json::resolve(&own, pointer).cloned(),
            Input::Output { step: from, pointer } => then.output(from, pointer),
        };
        (name.to_string(), value.unwrap_or(Value::Null))
    });
    Some(Undo {
        undoes: attempt.clone(),
        ordinal,
        skill: undo.skill.clone(),
        arguments: Value::Object(inputs.collect::<Map<String, Value>>()),
    })
}

fn value_of(output: &str) -> Value {
    serde_json::from_str(output).unwrap_or_else(|_| Value::String(output.to_owned()))
}
