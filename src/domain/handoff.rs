//! The structured order from one agent to another: `{task, context, constraints, deadline}` and an output schema.

use std::sync::Arc;

use serde_json::Value;

use super::failure::FailureClass;
use super::name::{AgentName, StepId};
use super::time::UtcMillis;

/// The version of the form; a receiver refuses any other.
pub const HANDOFF_VERSION: u32 = 1;

/// One order. Both sides validate it: the sender before it is journaled, the receiver before it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Handoff {
    /// Version of the form.
    pub version: u32,
    /// Who orders; none for the person or program that submitted the run.
    pub from: Option<AgentName>,
    /// Who shall do it.
    pub to: AgentName,
    /// What is to be done.
    pub task: Arc<str>,
    /// Named inputs; a reference is resolved when the session starts and never copied into the journal.
    pub context: Vec<ContextEntry>,
    /// Rules that the result must keep.
    pub constraints: Vec<Arc<str>>,
    /// When it must be done, absolute.
    pub deadline: UtcMillis,
    /// JSON Schema of the answer; none means free text.
    pub output_schema: Option<Arc<Value>>,
    /// What earlier attempts taught.
    pub lessons: Vec<Lesson>,
}

/// One named input of a hand-off.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextEntry {
    /// The name under which the receiver sees it.
    pub name: Arc<str>,
    /// Where it comes from.
    pub source: ContextSource,
}

/// Where an input comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum ContextSource {
    /// Given in the plan.
    Literal(Value),
    /// The output of an earlier step.
    Output {
        /// Which step.
        step: StepId,
        /// JSON Pointer into its output; empty is the whole.
        pointer: Arc<str>,
    },
}

/// What a failed attempt taught; goes to the next one and into memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// Which attempt.
    pub attempt: u32,
    /// Why it failed.
    pub class: FailureClass,
    /// In words.
    pub reason: Arc<str>,
    /// What was tried, in one line each.
    pub tried: Vec<Arc<str>>,
}

/// One thing wrong with a document, with the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// JSON Pointer to the place.
    pub pointer: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl Finding {
    /// Makes a finding.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.pointer.is_empty() {
            "(root)"
        } else {
            &self.pointer
        };
        write!(f, "{place}: {}", self.message)
    }
}
