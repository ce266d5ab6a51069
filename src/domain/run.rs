//! A run: one accepted piece of work, from any origin. It ends in exactly one outcome.

use std::sync::Arc;

use serde_json::Value;

use super::check::Check;
use super::id::RunId;
use super::money::MicroUsd;
use super::name::{AgentName, ModelAlias};
use super::plan::Plan;
use super::time::UtcMillis;

/// What was accepted. Everything that decides the run's course is in here or in later facts.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSpec {
    /// The task in words.
    pub task: Arc<str>,
    /// The agent that does it alone; none means that the planner splits it.
    pub agent: Option<AgentName>,
    /// A plan given with the submission; none means that one is made.
    pub plan: Option<Arc<Plan>>,
    /// Absolute path of the folder that the run's file skills may touch.
    pub workspace: Arc<str>,
    /// Checks on the run's result.
    pub checks: Vec<Check>,
    /// JSON Schema of the result of a run by one agent.
    pub output_schema: Option<Arc<Value>>,
    /// When the run expires, absolute.
    pub deadline: UtcMillis,
    /// Tokens that the run may use; none means the agents' own limits alone.
    pub tokens_max: Option<u64>,
    /// Money that the run may cost; none means the agents' own limits alone.
    pub cost_max: Option<MicroUsd>,
    /// A model for all agents of this run instead of their own.
    pub model: Option<ModelAlias>,
    /// Where it came from, in one word: `api`, `cli`, `schedule`, `event`, `retry`.
    pub origin: Arc<str>,
    /// The run that this one repeats.
    pub retry_of: Option<RunId>,
}

#[cfg(test)]
impl RunSpec {
    /// A task without anything declared beside it.
    pub(crate) fn plain() -> Self {
        Self {
            task: "task".into(),
            agent: None,
            plan: None,
            workspace: "/w".into(),
            checks: Vec::new(),
            output_schema: None,
            deadline: UtcMillis(u64::MAX),
            tokens_max: None,
            cost_max: None,
            model: None,
            origin: "api".into(),
            retry_of: None,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// All declared checks passed.
    Succeeded,
    /// A step or check failed for good.
    Failed,
    /// Somebody cancelled it, and its work has ended.
    Cancelled,
    /// Its deadline passed, and its work has ended.
    Expired,
    /// A side effect may or may not have happened; a person must say.
    Unknown,
}

impl Outcome {
    /// Every outcome, for tables and tests.
    pub const ALL: [Self; 5] = [
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Unknown,
    ];

    /// The stable word for journals, JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome of a word made by [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// Where a run stands, for lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunStatus {
    /// Accepted; not ended.
    Active,
    /// Taken out of work because recovery did not get it further; a person must look.
    Parked,
    /// Ended.
    Ended(Outcome),
}

impl RunStatus {
    /// The stable word for JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Parked => "parked",
            Self::Ended(outcome) => outcome.as_str(),
        }
    }

    /// The status of a word made by [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "active" => Some(Self::Active),
            "parked" => Some(Self::Parked),
            other => Outcome::from_word(other).map(Self::Ended),
        }
    }
}

/// One row of the list of runs: a projection of the journal, written in the same transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct RunHeader {
    /// The run.
    pub run: RunId,
    /// Where it stands.
    pub status: RunStatus,
    /// The task's beginning, one line.
    pub task: Arc<str>,
    /// The agent named at submission.
    pub agent: Option<AgentName>,
    /// When it was accepted.
    pub accepted_at: UtcMillis,
    /// When it ended or was parked.
    pub ended_at: Option<UtcMillis>,
    /// Tokens used so far.
    pub tokens: u64,
}
