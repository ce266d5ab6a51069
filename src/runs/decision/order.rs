//! The orders that go to agents.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::handoff::{ContextEntry, ContextSource, HANDOFF_VERSION, Handoff, Lesson};
use crate::domain::name::StepId;
use crate::domain::plan::{Input, Work};
use crate::domain::plan_admission::PLANNING_STEP;
use crate::domain::plan_document::{plan_schema, write_plan};
use crate::runs::state::StepPhase;

use super::turn::Turn;

impl Turn<'_> {
    /// The order for the next attempt of a step; none for a step done by a skill.
    pub(super) fn order(&self, id: &StepId) -> Option<Handoff> {
        let state = &self.run.state;
        let spec = state.spec.as_ref()?;
        let lessons: Vec<Lesson> = state.step(id)?.lessons.clone();
        if id.as_str() == PLANNING_STEP {
            return Some(self.planning_order(&spec.task, lessons));
        }
        let step = self.definition(id)?;
        let Work::Agent(agent) = &step.work else { return None };
        let context = step.inputs.iter().map(|(name, input)| ContextEntry {
            name: name.clone(),
            source: match input {
                Input::Literal(value) => ContextSource::Literal(value.clone()),
                Input::Output { step, pointer } => ContextSource::Output {
                    step: step.clone(),
                    pointer: pointer.clone(),
                },
            },
        });
        let own_ms = step.timeout_ms.unwrap_or_else(|| self.around.timeout_ms(Some(agent)));
        Some(Handoff {
            version: HANDOFF_VERSION,
            from: state.planned_by_agent().then(|| self.around.planner()),
            to: agent.clone(),
            task: step.task.clone(),
            context: context.collect(),
            constraints: step.constraints.clone(),
            deadline: self.now.plus_ms(own_ms).min(self.run_deadline()),
            output_schema: step.output_schema.clone(),
            lessons,
        })
    }

    pub(super) fn planning_order(&self, task: &Arc<str>, lessons: Vec<Lesson>) -> Handoff {
        let state = &self.run.state;
        let planner = self.around.planner();
        let literal = |name: &str, value: Value| ContextEntry {
            name: name.into(),
            source: ContextSource::Literal(value),
        };
        let mut context = self.around.planning_context();
        if !state.findings.is_empty() {
            let findings: Vec<String> = state.findings.iter().map(ToString::to_string).collect();
            context.push(literal("findings", json!(findings)));
        }
        if state.plan.is_some() {
            let of = |phase: &StepPhase| -> Value {
                let steps = state.planned().filter(|(_, step)| step.phase == *phase);
                let digest = steps.map(|(step, state)| {
                    json!({ "id": step.id.as_str(), "task": &*step.task, "reason": state.reason.as_deref() })
                });
                digest.collect()
            };
            let plan = state.plan.as_deref().map(write_plan).unwrap_or_default();
            context.push(literal("plan", plan));
            context.push(literal("failed", of(&StepPhase::Failed)));
            context.push(literal("finished", of(&StepPhase::Done)));
        }
        Handoff {
            version: HANDOFF_VERSION,
            from: None,
            deadline: self
                .now
                .plus_ms(self.around.timeout_ms(Some(&planner)))
                .min(self.run_deadline()),
            to: planner,
            task: task.clone(),
            context,
            constraints: Vec::new(),
            output_schema: Some(Arc::new(plan_schema())),
            lessons,
        }
    }
}
