//! What a run's actor is told, and how it starts.

use std::sync::Arc;

use serde_json::Value;
use supervisors::DynamicRef;
use tokio::sync::oneshot;

use crate::agents::order::{CameWith, SessionReport};
use crate::domain::approval::Given;
use crate::domain::check::CheckReport;
use crate::domain::fact::Attempt;
use crate::domain::id::RunId;
use crate::domain::name::StepId;
use crate::domain::resolution::Resolution;

use super::decision::AnswerRefused;
use super::state::RunState;
use super::undo::Undo;

/// The supervisor of all run actors.
pub type RunActors = DynamicRef<RunArgument, RunMessage>;

/// How a run's actor starts; kept by its supervisor for restarts.
#[derive(Clone)]
pub struct RunArgument {
    /// The run.
    pub run: RunId,
    /// The state of a run that was just accepted; none means that the journal is read, as after a crash.
    pub fresh: Option<Arc<RunState>>,
    /// What came with the acceptance of such a run.
    pub came_with: Option<CameWith>,
}

impl RunArgument {
    /// Of a run that is in the journal.
    pub fn found(run: RunId) -> Self {
        Self {
            run,
            fresh: None,
            came_with: None,
        }
    }
}

/// Requests, then facts from others, then timers.
#[derive(Debug)]
pub enum RunMessage {
    /// Go.
    Begin,
    /// End the run; the reply comes when the wish is on disk.
    Cancel {
        /// In words.
        reason: Arc<str>,
        /// Whether it counts.
        reply: oneshot::Sender<Result<(), AnswerRefused>>,
    },
    /// A person answers a question; the reply comes when it is on disk.
    Agree {
        /// The answer.
        given: Given,
        /// Whether it counts.
        reply: oneshot::Sender<Result<(), AnswerRefused>>,
    },
    /// A person says what became of an unknown call; the reply comes when it is on disk.
    Resolve {
        /// Which attempt.
        attempt: Attempt,
        /// Which call.
        ordinal: u32,
        /// What became of it.
        resolution: Resolution,
        /// Who says so.
        by: Arc<str>,
        /// Whether it counts.
        reply: oneshot::Sender<Result<(), AnswerRefused>>,
    },
    /// A slot was granted.
    Granted {
        /// To which step.
        step: StepId,
    },
    /// The journal was looked through for effects that can be undone.
    LookedBack {
        /// What undoes them.
        undo: Vec<Undo>,
    },
    /// A session ended.
    Reported(SessionReport),
    /// The checks of an attempt were made.
    Checked {
        /// Which attempt.
        attempt: Attempt,
        /// The output that was checked.
        output: Arc<Value>,
        /// What they found.
        reports: Vec<CheckReport>,
        /// What was tried.
        tried: Vec<Arc<str>>,
    },
    /// A time that was asked for has come.
    WakeDue,
}
