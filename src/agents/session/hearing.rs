//! What a session hears while a model answers: pieces for whoever watches, and what the gate has to know.
//!
//! **Invariant**: it never waits, and what nobody watches costs one look at a counter.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::agents::order::SessionOrder;
use crate::agents::parts::AgentsParts;
use crate::domain::fact::Attempt;
use crate::domain::id::RunId;
use crate::llm::gate::shared::Permit;
use crate::llm::model::{AskError, Delta, Listener, RateLimits};
use crate::runtime::clock::Clock;
use crate::runtime::live::{Live, LivePiece, PieceKind};

/// Hears one request.
pub(super) struct Hearing {
    live: Live,
    clock: Clock,
    run: RunId,
    attempt: Attempt,
    turn: u32,
    heard: AtomicBool,
    /// Bytes of text so far.
    said: AtomicU64,
    permit: Mutex<Option<Permit>>,
}

impl Hearing {
    /// Of this turn; the permit is held until the request has ended or is dropped.
    pub(super) fn new(parts: &AgentsParts, order: &SessionOrder, turn: u32, permit: Option<Permit>) -> Arc<Self> {
        Arc::new(Self {
            live: parts.live.clone(),
            clock: parts.clock.clone(),
            run: order.run,
            attempt: order.attempt.clone(),
            turn,
            heard: AtomicBool::new(false),
            said: AtomicU64::new(0),
            permit: Mutex::new(permit),
        })
    }

    fn with_permit(&self, act: impl FnOnce(&mut Permit)) {
        let mut permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(permit) = &mut *permit {
            act(permit);
        }
    }

    fn show(&self, kind: PieceKind, text: &Arc<str>) {
        let offset = match kind {
            PieceKind::Text => self.said.fetch_add(text.len() as u64, Ordering::Relaxed),
            _ => 0,
        };
        self.live.push(self.run, || LivePiece {
            step: self.attempt.step.clone(),
            attempt: self.attempt.number,
            turn: self.turn,
            kind,
            offset,
            text: text.clone(),
        });
    }

    /// What was shown of this turn before does not count any more.
    pub(super) fn restart(&self) {
        self.show(PieceKind::Restart, &Arc::from(""));
    }

    /// The request is over.
    pub(super) fn ended(&self, error: Option<&AskError>) {
        let permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(permit) = permit {
            permit.ended(error, self.clock.now());
        }
    }
}

impl Listener for Hearing {
    fn delta(&self, delta: Delta) {
        if !self.heard.swap(true, Ordering::Relaxed) {
            self.with_permit(|permit| permit.heard(self.clock.now()));
        }
        match &delta {
            Delta::Text(text) => self.show(PieceKind::Text, text),
            Delta::Thinking(text) => self.show(PieceKind::Thinking, text),
            Delta::CallBegun { index, skill } => self.show(PieceKind::Call { index: *index }, skill),
            Delta::CallArguments { index, json } => self.show(PieceKind::Arguments { index: *index }, json),
        }
    }

    fn limits(&self, limits: RateLimits) {
        self.with_permit(|permit| permit.limits(limits, self.clock.now()));
    }
}
