//! From what came back of models and skills to events of the turn loop.

use std::sync::Arc;

use crate::agents::hidden_text;
use crate::agents::turn::decision::Event;
use crate::agents::turn::state::TurnState;
use crate::domain::conversation::ModelAnswer;
use crate::domain::effect::{EffectClass, EffectKey, evidence_of};
use crate::domain::fault::in_one_line;
use crate::domain::id::IncidentId;
use crate::domain::incident::Incident;
use crate::domain::memory::{IMPORTANCE_DEFAULT, MemorySource};
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;
use crate::llm::dialect::failure::ContextExceeded;
use crate::llm::model::{AskError, Spent};
use crate::memory::keep::Wish;
use crate::skills::skill::LocalEffect;
use crate::skills::workers::WorkerEnd;
use crate::storage::batch::Op;

pub(super) fn asked(turn: u32, result: Result<Arc<ModelAnswer>, AskError>) -> Event {
    match result {
        Ok(answer) => Event::Answered { turn, answer },
        Err(error) if ContextExceeded::is_cause_of(&error) => Event::TooLong {
            turn,
            reason: error.reason,
            unspent: error.spent == Spent::Nothing,
        },
        Err(error) => {
            #[expect(
                clippy::disallowed_methods,
                reason = "jitter that repeats would keep requests in step"
            )]
            let jitter = fastrand::u64(..);
            Event::AskFailed {
                turn,
                class: error.class,
                reason: error.reason,
                unspent: error.spent == Spent::Nothing,
                retry_after_ms: error.retry_after_ms,
                jitter,
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
    incident: IncidentId,
    evidence: impl Fn(EffectKey) -> Option<String>,
    local: &mut Vec<Op>,
) -> Event {
    let intent = loop_state.call(ordinal).and_then(|call| call.intent);
    let class = intent.map(|(class, _)| class);
    let lost = |what: String| match intent {
        Some((EffectClass::Once, key)) => Event::CallLost {
            ordinal,
            evidence: evidence_of(what, evidence(key)),
        },
        _ => Event::CallEnded {
            ordinal,
            outcome: Arc::new(CallOutcome::error(what)),
        },
    };
    match end {
        WorkerEnd::Finished(Ok(end)) => {
            if let Some(LocalEffect::MemoryPut(note)) = end.local {
                let by = format!("agent:{}", loop_state.rules.agent).into();
                let run = Some(loop_state.rules.run);
                let wish = Wish {
                    shard: note.shard,
                    key: note.key,
                    text: note.text,
                    tags: note.tags,
                    source: MemorySource { by, run },
                    importance: note.importance.unwrap_or(IMPORTANCE_DEFAULT),
                    expires_at: note.expires_in_s.map(|s| now.plus_ms(s.saturating_mul(1_000))),
                };
                local.push(Op::MemoryPut(Box::new(wish.prepare(now))));
            }
            hidden_text::warn("skill", &end.outcome.content);
            Event::CallEnded {
                ordinal,
                outcome: Arc::new(end.outcome),
            }
        }
        // Its turn never came, or nobody was there to take it.
        WorkerEnd::Finished(Err(error)) if error.nothing_happened() => Event::CallEnded {
            ordinal,
            outcome: Arc::new(CallOutcome::error(in_one_line(&error))),
        },
        WorkerEnd::Finished(Err(error)) => lost(format!("the skill failed: {}", in_one_line(&error))),
        WorkerEnd::Panicked(text) => lost(format!("the skill crashed: {text}")),
        WorkerEnd::DeadLettered { call, text } => {
            let skill = loop_state.call(ordinal).map(|call| call.request.skill.clone());
            local.push(Op::IncidentOpen(Incident {
                id: incident,
                at: now,
                severity: "error".into(),
                what: format!(
                    "a call of {} crashed its worker again and again",
                    skill.as_deref().unwrap_or("?")
                )
                .into(),
                why: text.as_str().into(),
                action: "its run does not have it made any more".into(),
                run: Some(loop_state.rules.run),
            }));
            Event::CallPoisoned {
                ordinal,
                call: call.0,
                text: text.into(),
                lost: class == Some(EffectClass::Once),
            }
        }
        WorkerEnd::TimedOut => lost("the skill did not end in its time".to_owned()),
        // The deadline of the step comes a moment before the call's own, which would say the same.
        WorkerEnd::Cancelled { lost: true } if class == Some(EffectClass::Once) => {
            lost("it was stopped before it ended, and what it had sent may be done all the same".to_owned())
        }
        WorkerEnd::Cancelled { .. } => Event::CallEnded {
            ordinal,
            outcome: Arc::new(CallOutcome::error("stopped before it ended")),
        },
    }
}
