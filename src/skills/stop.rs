//! Why work of a call ends early, and the switch that makes it end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::skill::SkillError;

/// Why work on files stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// A refusal in words for the model.
    Refused(String),
    /// The machinery failed.
    Failed(SkillError),
    /// Nobody waits for it any more.
    Unwanted,
}

impl From<SkillError> for Stop {
    fn from(error: SkillError) -> Self {
        Self::Failed(error)
    }
}

impl Stop {
    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }
}

/// Says whether the work is still wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Goes on, or stops the work.
    pub(super) fn look(&self) -> Result<(), Stop> {
        if self.0.load(Ordering::Relaxed) {
            Err(Stop::Unwanted)
        } else {
            Ok(())
        }
    }

    /// Stops the work at its next look.
    pub(super) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Halt {
    /// The halt of work that nobody waits for, for tests.
    pub(super) fn of_unwanted_work() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}
