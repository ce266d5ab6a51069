//! What a session is told to do, and how it says what came of it.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::approval::Ask;
use crate::domain::budget::Limit;
use crate::domain::capability::CapabilitySet;
use crate::domain::exchange::Exchange;
use crate::domain::fact::Attempt;
use crate::domain::failure::FailureClass;
use crate::domain::handoff::{Finding, Handoff};
use crate::domain::id::RunId;
use crate::domain::name::{AgentName, ModelAlias, SkillName};
use crate::domain::time::UtcMillis;

/// One attempt at one step.
#[derive(Clone)]
pub struct SessionOrder {
    /// The run.
    pub run: RunId,
    /// The attempt.
    pub attempt: Attempt,
    /// What is done.
    pub work: OrderWork,
    /// The folder that file skills may touch.
    pub workspace: Arc<Path>,
    /// When it must be done.
    pub deadline: UtcMillis,
    /// What the run may use.
    pub run_limit: Limit,
    /// A model instead of the agent's own.
    pub model: Option<ModelAlias>,
    /// The skills that may be used, out of the agent's own; none means all of them.
    pub skills: Option<Vec<SkillName>>,
    /// What its calls may touch at most, by whoever submitted the run; none means that nothing was said.
    pub grant: Option<CapabilitySet>,
    /// The agent whose plan the step is of; none when it was submitted. What it may not do itself it cannot have done.
    pub planned_by: Option<AgentName>,
    /// Whether a check of the step judges the exit code of its program.
    pub exit_code_is_checked: bool,
    /// Whether facts of this attempt may be in the journal already.
    pub resume: bool,
    /// What came with the run's acceptance, when that is known; else it is read from the store.
    pub came_with: Option<CameWith>,
    /// Where the report goes. It resolves its receiver at each call, so it stays good over restarts.
    pub report: ReportTo,
}

/// What an attempt does.
#[derive(Clone)]
pub enum OrderWork {
    /// An agent converses with its model.
    Agent {
        /// The order.
        handoff: Arc<Handoff>,
        /// Its inputs, resolved.
        context: Map<String, Value>,
    },
    /// One call of a skill.
    Skill {
        /// The skill.
        skill: SkillName,
        /// Its arguments.
        arguments: Value,
    },
}

/// What came with the acceptance of a run. It never changes, so whoever has it need not read it, and the run can begin
/// while its acceptance is on its way to the disk.
#[derive(Debug, Clone, Default)]
pub struct CameWith {
    /// What a client asked.
    pub exchange: Option<Arc<Exchange>>,
    /// Whether it keeps its model traffic, or plays another run's.
    pub is_taped: bool,
}

/// Takes the report of a session.
#[derive(Clone)]
pub struct ReportTo(Arc<dyn Fn(SessionReport) + Send + Sync>);

impl ReportTo {
    /// A receiver.
    pub fn new(receive: impl Fn(SessionReport) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receive))
    }

    /// Hands the report over.
    pub fn send(&self, report: SessionReport) {
        (self.0)(report);
    }
}

/// What came of an attempt.
#[derive(Debug, Clone)]
pub struct SessionReport {
    /// The attempt.
    pub attempt: Attempt,
    /// How it ended.
    pub end: ReportedEnd,
}

/// How a session ended.
#[derive(Debug, Clone)]
pub enum ReportedEnd {
    /// The agent refused the order.
    Refused(Arc<[Finding]>),
    /// There is an output.
    Answered {
        /// The output.
        output: Arc<Value>,
        /// What was tried.
        tried: Vec<Arc<str>>,
        /// The exit code of the last program.
        exit_code: Option<i32>,
    },
    /// There is none.
    Failed {
        /// Why.
        class: FailureClass,
        /// In words.
        reason: Arc<str>,
        /// What was tried.
        tried: Vec<Arc<str>>,
    },
    /// A call may or may not have happened.
    Unknown(Arc<str>),
    /// Calls wait for a person's yes; a session that resumes the attempt goes on with the answers.
    Asks(Vec<Ask>),
    /// It waits so long that it gives its slot back; the same attempt goes on from its facts.
    Rested {
        /// Why.
        reason: Arc<str>,
        /// When it goes on.
        until: UtcMillis,
    },
    /// It was told to stop; nothing of it runs any more.
    Stopped,
}

impl SessionOrder {
    /// The name of the session among all sessions.
    pub fn session_id(&self) -> String {
        session_id(self.run, &self.attempt)
    }

    /// Whether it is known that a model is asked by its own name, without an agent's prompt and skills.
    pub fn is_bare(&self) -> bool {
        let exchange = self
            .came_with
            .as_ref()
            .and_then(|came_with| came_with.exchange.as_ref());
        exchange.is_some_and(|exchange| exchange.is_bare)
    }

    /// The agent, when one does the work.
    pub fn handoff(&self) -> Option<&Arc<Handoff>> {
        match &self.work {
            OrderWork::Agent { handoff, .. } => Some(handoff),
            OrderWork::Skill { .. } => None,
        }
    }
}

/// The name of the session of an attempt.
pub fn session_id(run: RunId, attempt: &Attempt) -> String {
    format!("{run}/{attempt}")
}
