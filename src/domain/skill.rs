//! What a skill says of itself.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::approval::Approval;
use super::effect::EffectClass;
use super::json::canonical;
use super::name::SkillName;

/// Bytes of an example that models are shown.
pub const EXAMPLE_BYTES_MAX: usize = 160;

/// The declaration of one skill; agents and models see exactly this.
#[derive(Debug, Clone, PartialEq)]
pub struct SkillManifest {
    /// The name that agents call it by.
    pub name: SkillName,
    /// What it does and when to use it, for the model; at most 1,024 characters.
    pub description: Arc<str>,
    /// JSON Schema (2020-12) of the arguments; always an object schema.
    pub input_schema: Arc<Value>,
    /// What it does to the world.
    pub class: EffectClass,
    /// Deadline of one call, in milliseconds.
    pub timeout_ms: u64,
    /// Bytes of output that are kept; the rest is cut with a marker.
    pub output_bytes_max: usize,
    /// Calls at once over all runs.
    pub concurrency: u32,
    /// Who has to agree to a call when the operator does not say.
    pub approval: Approval,
    /// The arguments that name what a call works on: two calls with the same value of one of them never run at the same
    /// time, whichever skills they are of.
    pub resources: Arc<[Arc<str>]>,
    /// The skill that undoes a call of this one; it is called with the same arguments.
    pub undo: Option<SkillName>,
    /// Arguments as they may look, for people and models; each matches the schema.
    pub examples: Arc<[Value]>,
}

impl SkillManifest {
    /// What a model is told of it: the description, with the first example where that is short.
    ///
    /// **Limits**: an example of more than [`EXAMPLE_BYTES_MAX`] bytes is left out; it costs tokens with every request.
    pub fn told(&self) -> Cow<'_, str> {
        let example = self.examples.first().map(canonical);
        match example.filter(|example| example.len() <= EXAMPLE_BYTES_MAX) {
            Some(example) => Cow::Owned(format!("{} Example: {example}", self.description)),
            None => Cow::Borrowed(&self.description),
        }
    }
}

/// What one call gave back.
#[derive(Debug, Clone, PartialEq)]
pub struct CallOutcome {
    /// Text for the model (and for `steps.x.out` when it is JSON).
    pub content: Arc<str>,
    /// Whether the skill reports an error.
    pub is_error: bool,
    /// The exit code, for skills that run a program.
    pub exit_code: Option<i32>,
}

impl CallOutcome {
    /// A result without error.
    pub fn ok(content: impl Into<Arc<str>>) -> Self {
        Self {
            content: content.into(),
            is_error: false,
            exit_code: None,
        }
    }

    /// An error as the model should read it.
    pub fn error(content: impl Into<Arc<str>>) -> Self {
        Self {
            content: content.into(),
            is_error: true,
            exit_code: None,
        }
    }
}
