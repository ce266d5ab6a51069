//! Who does the work: agents as configured.

use std::sync::Arc;

use super::approval::ApprovalTable;
use super::budget::Limit;
use super::capability::CapabilitySet;
use super::name::{AgentName, ModelAlias, SkillName};

/// What an agent is for; decides its default prompt and skills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Splits a task into a plan.
    Planner,
    /// Writes and changes files.
    Coder,
    /// Judges results against what was asked.
    Reviewer,
    /// Finds causes of failures.
    Debugger,
    /// Does any other step.
    Executor,
}

impl Role {
    /// Every role, in the order in which they are listed to people.
    pub const ALL: [Self; 5] = [
        Self::Planner,
        Self::Coder,
        Self::Reviewer,
        Self::Debugger,
        Self::Executor,
    ];

    /// The stable word for configuration and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planner => "planner",
            Self::Coder => "coder",
            Self::Reviewer => "reviewer",
            Self::Debugger => "debugger",
            Self::Executor => "executor",
        }
    }

    /// The role of a word made by [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// One agent, complete: defaults are filled in by the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentDefinition {
    /// Its name.
    pub name: AgentName,
    /// Its role.
    pub role: Role,
    /// The model it asks.
    pub model: ModelAlias,
    /// The text of its prompt.
    pub prompt: Arc<str>,
    /// The version of that text (a tag, or the first digits of its hash).
    pub prompt_version: Arc<str>,
    /// The skills it may call.
    pub skills: Vec<SkillName>,
    /// What its calls may touch; none means whatever its skills need.
    pub capabilities: Option<CapabilitySet>,
    /// Sessions at once.
    pub concurrency: u32,
    /// Turns of one session.
    pub turns_max: u32,
    /// Further attempts after a failed one.
    pub retries_max: u32,
    /// Deadline of one step when the plan does not say, in milliseconds.
    pub timeout_ms: u64,
    /// Ceiling of one answer in tokens.
    pub output_tokens_max: u32,
    /// What it may use in a UTC day.
    pub daily_max: Limit,
    /// What it may use in one run.
    pub per_run_max: Limit,
    /// Estimated tokens of a request from which on its conversation is compacted; none means three quarters of what its
    /// model holds.
    pub compact_at: Option<u64>,
    /// Tokens of what memory tells it before its first turn; 0: it is not told anything and keeps no lessons.
    pub memory_tokens: u64,
    /// Who has to agree to its calls, before what holds for all agents.
    pub approvals: ApprovalTable,
}
