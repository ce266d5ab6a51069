//! One reaction in the making: the facts and effects so far, and what every part of the decision asks.

use crate::domain::fact::{Attempt, Fact};
use crate::domain::name::{AgentName, StepId};
use crate::domain::plan::{Step, Work};
use crate::domain::time::UtcMillis;
use crate::runs::state::{RunState, StepState};

use super::terms::{Effect, Reaction, RunLoop, Surroundings};

/// One reaction in the making.
pub(super) struct Turn<'a> {
    pub(super) run: &'a mut RunLoop,
    pub(super) reaction: &'a mut Reaction,
    pub(super) now: UtcMillis,
    pub(super) around: &'a dyn Surroundings,
}

impl Turn<'_> {
    pub(super) fn take(&mut self, fact: Fact) {
        self.run.state.fold(&fact, self.now);
        self.reaction.facts.push(fact);
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.reaction.effects.push(effect);
    }

    pub(super) fn definition(&self, id: &StepId) -> Option<Step> {
        self.run.state.definition(id).cloned()
    }

    /// Whether this life has the attempt under way, with its checks out or not: words about another attempt, or
    /// second words about the same, come too late.
    pub(super) fn is_live(&self, attempt: &Attempt, checking: bool) -> bool {
        self.run.live.contains_key(&attempt.step)
            && self.run.checking.contains(&attempt.step) == checking
            && self.run.state.attempt(&attempt.step).as_ref() == Some(attempt)
    }

    pub(super) fn leave_slot(&mut self, step: &StepId) {
        self.run.live.remove(step);
        self.run.checking.remove(step);
        self.effect(Effect::Release { step: step.clone() });
    }

    pub(super) fn deadline_of(&self, id: &StepId) -> UtcMillis {
        let started_at = self
            .run
            .state
            .step(id)
            .and_then(|step| step.started_at)
            .unwrap_or(self.now);
        let definition = self.definition(id);
        let agent = self.agent_of(definition.as_ref());
        let own = definition
            .and_then(|step| step.timeout_ms)
            .unwrap_or_else(|| self.around.timeout_ms(agent.as_ref()));
        let until = started_at.plus_ms(own).plus_ms(self.waited_ms(id));
        // What undoes has a time of its own: that of the run may be what has passed.
        if self.run.state.compensation(id).is_some() {
            until
        } else {
            until.min(self.run_deadline())
        }
    }

    /// How long the present attempt has waited for persons.
    pub(super) fn waited_ms(&self, id: &StepId) -> u64 {
        self.run.state.step(id).map_or(0, |step| step.waited_ms)
    }

    pub(super) fn run_deadline(&self) -> UtcMillis {
        self.run.state.deadline
    }

    /// The agent of a step; the planner for the planning step.
    pub(super) fn agent_of(&self, definition: Option<&Step>) -> Option<AgentName> {
        match definition.map(|step| &step.work) {
            Some(Work::Agent(agent)) => Some(agent.clone()),
            Some(Work::Skill(_)) => None,
            None => Some(self.around.planner()),
        }
    }

    pub(super) fn all_steps(&self) -> impl Iterator<Item = (&StepId, &StepState)> {
        let planning = self.run.state.planning.attempt > 0;
        let planning = planning.then_some((&*PLANNING, &self.run.state.planning));
        planning.into_iter().chain(self.run.state.steps.iter())
    }
}

static PLANNING: std::sync::LazyLock<StepId> = std::sync::LazyLock::new(RunState::planning_step);
