//! A gate as many sessions share it, and the place that one request takes.
//!
//! Nothing here waits or tells the time: whoever has to wait is told until when, and is called when it may be earlier.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::failure::FailureClass;
use crate::domain::time::UtcMillis;
use crate::llm::model::{AskError, RateLimits};

use super::state::{End, GateState, GateView, Ticket, Wait};

/// Callers that are remembered; the one that has waited longest is forgotten first and comes at its own time.
const WAITING_MAX: usize = 8192;

/// Called once when somebody who waits may ask again; returns at once.
pub type Wake = Box<dyn FnOnce() + Send>;

/// A gate; a cheap clone.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    state: GateState,
    waiting: VecDeque<Wake>,
    /// The latest time that anybody told.
    seen: UtcMillis,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.with(UtcMillis(0), |inner| inner.state.fmt(f))
    }
}

impl Gate {
    fn with<T>(&self, now: UtcMillis, act: impl FnOnce(&mut Inner) -> T) -> T {
        // Every change is whole before anything can panic.
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.seen = inner.seen.max(now);
        act(&mut inner)
    }

    /// Changes the state, then calls those who may ask again because of it.
    fn change(&self, now: UtcMillis, act: impl FnOnce(&mut GateState, UtcMillis)) {
        let woken: Vec<Wake> = self.with(now, |inner| {
            let now = inner.seen;
            act(&mut inner.state, now);
            let count = inner.state.room().min(inner.waiting.len());
            inner.waiting.drain(..count).collect()
        });
        for wake in woken {
            wake();
        }
    }

    /// Takes a place for one request, or says when to ask again; `wake` is kept when it may be earlier. See
    /// [`GateState::admit`].
    pub fn admit(
        &self,
        tokens: u64,
        waited: bool,
        now: UtcMillis,
        wake: impl FnOnce() -> Wake,
    ) -> Result<Permit, Wait> {
        let admitted = self.with(now, |inner| {
            let admitted = inner.state.admit(tokens, waited, now);
            if let Err(wait) = &admitted
                && wait.early
            {
                if inner.waiting.len() >= WAITING_MAX {
                    inner.waiting.pop_front();
                }
                inner.waiting.push_back(wake());
            }
            admitted
        });
        admitted.map(|ticket| Permit {
            gate: self.clone(),
            ticket: Some(ticket),
        })
    }

    /// How it stands.
    pub fn view(&self, now: UtcMillis) -> GateView {
        self.with(now, |inner| inner.state.view(now))
    }
}

/// The place of one request. Dropping it gives the place back and says nothing about the model.
#[derive(Debug)]
pub struct Permit {
    gate: Gate,
    ticket: Option<Ticket>,
}

impl Permit {
    /// The first sign of life came.
    pub fn heard(&mut self, now: UtcMillis) {
        if let Some(ticket) = &mut self.ticket {
            self.gate.change(now, |state, now| state.heard(ticket, now));
        }
    }

    /// The headers came.
    pub fn limits(&self, limits: RateLimits, now: UtcMillis) {
        self.gate.change(now, |state, now| state.limits(limits, now));
    }

    /// The request is over.
    pub fn ended(mut self, error: Option<&AskError>, now: UtcMillis) {
        let end = match error {
            None => End::Answered,
            Some(error) => end_of(error),
        };
        self.end(end, now);
    }

    fn end(&mut self, end: End, now: UtcMillis) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.change(now, |state, now| state.ended(ticket, end, now));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.end(End::Dropped, UtcMillis(0));
    }
}

/// What a failed request says about the model.
fn end_of(error: &AskError) -> End {
    let retry_after_ms = error.retry_after_ms;
    match error.class {
        FailureClass::Rate => End::Limited { retry_after_ms },
        FailureClass::Transport | FailureClass::Overload | FailureClass::Timeout => End::Failed { retry_after_ms },
        _ => End::Answered,
    }
}
