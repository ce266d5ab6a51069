//! From what came back of models and skills to events of the turn loop.

use std::sync::Arc;

use crate::agents::turn::decision::Event;
use crate::agents::turn::state::TurnState;
use crate::domain::conversation::ModelAnswer;
use crate::domain::effect::EffectClass;
use crate::domain::failure::FailureClass;
use crate::domain::fault::in_one_line;
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;
use crate::llm::model::{AskError, Spent};
use crate::skills::skill::{LocalEffect, SkillError};
use crate::skills::workers::WorkerEnd;
use crate::storage::batch::Op;

/// First wait before a model request is repeated, in milliseconds; doubles, with full jitter.
const ASK_BACKOFF_BASE_MS: u64 = 500;
/// Longest wait before a model request is repeated, the provider's own wish included, in milliseconds.
const ASK_BACKOFF_MAX_MS: u64 = 60_000;

/// Whether the provider refused the length of the conversation. The vendors and the many servers that speak like them say
/// so in words alone.
fn is_too_long(error: &AskError) -> bool {
    const WORDS: &[&str] = &[
        "prompt is too long",
        "maximum context length",
        "context window",
        "context_length_exceeded",
        "context length exceeded",
        "context size",
    ];
    let reason = error.reason.to_ascii_lowercase();
    error.class == FailureClass::Config && WORDS.iter().any(|words| reason.contains(words))
}

pub(super) fn asked(
    loop_state: &TurnState,
    turn: u32,
    result: Result<Arc<ModelAnswer>, AskError>,
    now: UtcMillis,
) -> Event {
    match result {
        Ok(answer) => Event::Answered { turn, answer },
        Err(error) if is_too_long(&error) => Event::TooLong {
            turn,
            reason: error.reason,
            unspent: error.spent == Spent::Nothing,
        },
        Err(error) => {
            let cap = ASK_BACKOFF_BASE_MS.saturating_mul(1 << loop_state.turn_failures.min(16));
            #[expect(
                clippy::disallowed_methods,
                reason = "jitter that repeats would keep requests in step"
            )]
            let backoff = fastrand::u64(0..=cap.min(ASK_BACKOFF_MAX_MS));
            let wait = error.retry_after_ms.unwrap_or(0).max(backoff).min(ASK_BACKOFF_MAX_MS);
            Event::AskFailed {
                turn,
                class: error.class,
                reason: error.reason,
                unspent: error.spent == Spent::Nothing,
                retry_at: now.plus_ms(wait),
            }
        }
    }
}

/// What the end of a call means. A call that may change the world once and whose worker vanished is unknown, not
/// failed: nobody saw whether it happened.
pub(super) fn called(
    loop_state: &TurnState,
    ordinal: u32,
    end: WorkerEnd,
    now: UtcMillis,
    local: &mut Vec<Op>,
) -> Event {
    let class = loop_state
        .call(ordinal)
        .and_then(|call| call.intent)
        .map(|(class, _)| class);
    let lost = |what: String| match class {
        Some(EffectClass::Once) => Event::CallLost {
            ordinal,
            evidence: what.into(),
        },
        _ => Event::CallEnded {
            ordinal,
            outcome: Arc::new(CallOutcome::error(what)),
        },
    };
    match end {
        WorkerEnd::Finished(Ok(end)) => {
            if let Some(LocalEffect::MemoryPut { key, text }) = end.local {
                local.push(Op::MemoryPut { key, text, at: now });
            }
            Event::CallEnded {
                ordinal,
                outcome: Arc::new(end.outcome),
            }
        }
        // Its turn never came, so nothing happened.
        WorkerEnd::Finished(Err(error @ SkillError::NotStarted { .. })) => Event::CallEnded {
            ordinal,
            outcome: Arc::new(CallOutcome::error(in_one_line(&error))),
        },
        WorkerEnd::Finished(Err(error)) => lost(format!("the skill failed: {}", in_one_line(&error))),
        WorkerEnd::Panicked(text) => lost(format!("the skill crashed: {text}")),
        WorkerEnd::TimedOut => lost("the skill did not end in its time".to_owned()),
        WorkerEnd::Cancelled => Event::CallEnded {
            ordinal,
            outcome: Arc::new(CallOutcome::error("stopped before it ended")),
        },
    }
}
