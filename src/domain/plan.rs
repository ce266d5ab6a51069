//! A plan: the run's steps and which step needs which; a directed acyclic graph, kept as a document.
//!
//! Reading and writing the document is in `plan_document`; what makes a plan acceptable is in `plan_admission`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::check::Check;
use super::name::{AgentName, SkillName, StepId};

/// The version of the document form.
pub const PLAN_VERSION: u64 = 1;

/// A run's steps and their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What the plan is for, in one line.
    pub goal: Arc<str>,
    /// The steps; ids are unique.
    pub steps: Vec<Step>,
    /// The step whose output is the run's result; none means the last step listed.
    pub result: Option<StepId>,
}

/// What one agent or one skill does within a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its id within the plan.
    pub id: StepId,
    /// Who does it.
    pub work: Work,
    /// What is to be done; for a skill, a line for people.
    pub task: Arc<str>,
    /// The steps it waits for.
    pub needs: Vec<Need>,
    /// How many needs must be met.
    pub join: Join,
    /// Named inputs; the arguments of a skill.
    pub inputs: BTreeMap<Arc<str>, Input>,
    /// Rules that the result must keep.
    pub constraints: Vec<Arc<str>>,
    /// Longest time from start to end, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Estimated time in milliseconds, for priority and for impossible deadlines.
    pub estimated_ms: u64,
    /// Estimated tokens.
    pub estimated_tokens: u64,
    /// What a final failure means for the rest.
    pub on_failure: OnFailure,
    /// Further attempts after a failed one; none takes the agent's setting.
    pub retries: Option<u32>,
    /// What decides success.
    pub checks: Vec<Check>,
    /// JSON Schema of the output.
    pub output_schema: Option<Arc<Value>>,
    /// Names of things that only one step at a time may use, over all runs.
    pub resources: Vec<Arc<str>>,
    /// The skills it may use, out of those of its agent; none means all of them.
    pub skills: Option<Vec<SkillName>>,
    /// What undoes it when the run ends without success after it took effect.
    pub undo: Option<StepUndo>,
}

/// The call that undoes a step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepUndo {
    /// The skill.
    pub skill: SkillName,
    /// Its arguments; they may come from the output of this step too.
    pub inputs: BTreeMap<Arc<str>, Input>,
}

/// Who does a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// An agent, with turns and calls.
    Agent(AgentName),
    /// One call of a skill; no model is asked.
    Skill(SkillName),
}

/// One dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Which step.
    pub step: StepId,
    /// In which state it counts as met.
    pub on: NeedState,
}

/// The state of a step that meets a need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeedState {
    /// It succeeded.
    Ok,
    /// It ended, however.
    Done,
    /// It failed.
    Failed,
    /// It was skipped.
    Skipped,
}

/// How many needs must be met before a step starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// All of them.
    All,
    /// One of them; the others are cancelled when nobody else wants them.
    Any,
    /// At least this many.
    AtLeast(u32),
}

/// One named input.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A value.
    Literal(Value),
    /// The output of another step.
    Output {
        /// Which step; it must be among those that this step needs, directly or not.
        step: StepId,
        /// JSON Pointer into its output; empty is the whole.
        pointer: Arc<str>,
    },
}

/// What the final failure of a step means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Start nothing new; the run fails when what runs has ended.
    FailFast,
    /// Skip what needs this step; the rest goes on; the run fails at the end.
    SkipSubtree,
    /// Go on as if it had not been there; the run may succeed.
    Continue,
    /// Ask the planner for an amended plan; finished steps stay.
    Replan,
}

impl Plan {
    /// The step of this id.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == *id)
    }

    /// The step whose output is the result.
    pub fn result_step(&self) -> Option<&StepId> {
        self.result.as_ref().or_else(|| self.steps.last().map(|step| &step.id))
    }
}

impl Step {
    /// A step with defaults for everything but who and what.
    pub fn new(id: StepId, work: Work, task: impl Into<Arc<str>>) -> Self {
        Self {
            id,
            work,
            task: task.into(),
            needs: Vec::new(),
            join: Join::All,
            inputs: BTreeMap::new(),
            constraints: Vec::new(),
            timeout_ms: None,
            estimated_ms: 0,
            estimated_tokens: 0,
            on_failure: OnFailure::FailFast,
            retries: None,
            checks: Vec::new(),
            output_schema: None,
            resources: Vec::new(),
            skills: None,
            undo: None,
        }
    }
}
