//! What a run's actor is told.

use std::sync::Arc;

use serde_json::Value;

use crate::agents::order::SessionReport;
use crate::domain::check::CheckReport;
use crate::domain::fact::Attempt;
use crate::domain::name::StepId;

/// Requests, then facts from others, then timers.
#[derive(Debug)]
pub enum RunMessage {
    /// Go.
    Begin,
    /// End the run.
    Cancel {
        /// In words.
        reason: Arc<str>,
    },
    /// A slot was granted.
    Granted {
        /// To which step.
        step: StepId,
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
