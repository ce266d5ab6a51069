//! Whether and when a model is asked: retries, waits, and who is asked instead. Pure, like the decision it belongs to.
//!
//! **Invariants**: nothing is asked of a model that its gate does not let through; a wait that is longer than a slot
//! may be kept ends the session, and one that passes the deadline fails it early, with the reason; every model of the
//! chain gets its own number of tries for one answer, and the next answer begins with the first model again.

use std::sync::Arc;

use crate::domain::fact::Fact;
use crate::domain::failure::FailureClass;
use crate::domain::name::ModelAlias;
use crate::domain::time::UtcMillis;

use super::super::state::{Phase, TurnState};
use super::{Admission, Effect, Reaction, SessionEnd, Surroundings, take};

/// First wait before a model request is repeated, in milliseconds; doubles, with full jitter.
const BACKOFF_BASE_MS: u64 = 500;
/// Longest wait before a model request is repeated when the provider asks for none, in milliseconds.
const BACKOFF_MAX_MS: u64 = 8_000;
/// Longest wait for the first choice, in milliseconds, when another model may be asked at once.
const FALLBACK_OVER_MS: u64 = 3_000;
/// By how much a wait must grow to be journaled again, in milliseconds.
const DEFERRED_STEP_MS: u64 = 10_000;

/// When a failed request is repeated, at the same model or at another; none when no model is left to ask.
///
/// A request is safe to repeat whether it failed before or after the first piece of its answer: it changes nothing, and
/// only complete answers count. What it may have cost is charged.
pub(super) fn retry_at(
    state: &TurnState,
    class: FailureClass,
    retry_after_ms: Option<u64>,
    jitter: u64,
    now: UtcMillis,
) -> Option<UtcMillis> {
    // Without a key, or without credit, a model cannot be asked at all; what else it refuses, another would refuse too.
    let is_lasting = matches!(class, FailureClass::Config | FailureClass::Budget);
    let is_curable = class.retries_turn() || is_lasting;
    if !is_curable {
        return None;
    }
    let mut failures = state.failures.get(&state.asked).copied().unwrap_or_default();
    let count = failures.passing + failures.limited;
    match class {
        FailureClass::Rate => failures.limited += 1,
        _ if is_lasting => failures.lasting = true,
        _ => failures.passing += 1,
    }
    let left = state.candidates_with(failures);
    let first = left.first()?;
    if *first != state.asked {
        return Some(now);
    }
    let cap = BACKOFF_BASE_MS.saturating_mul(1 << count.min(16)).min(BACKOFF_MAX_MS);
    let wait = jitter % (cap + 1);
    // Where another model may answer, the gate of this one knows of the wait: it decides who is asked.
    let wished = if left.len() > 1 { 0 } else { retry_after_ms.unwrap_or(0) };
    Some(now.plus_ms(wait.max(wished)))
}

/// Waits, or ends: before a wait that is longer than a slot may be kept for nothing, or than there is time.
pub(super) fn rest(state: &TurnState, until: UtcMillis, now: UtcMillis) -> Effect {
    let wait_ms = until.since(now);
    if until >= state.rules.deadline {
        let reason = format!(
            "the next request may be sent in {} s only, after the deadline of the step: {}",
            wait_ms.div_ceil(1_000),
            state.rests_for
        );
        return Effect::End(SessionEnd::Failed {
            class: FailureClass::Deadline,
            reason: reason.into(),
        });
    }
    if wait_ms > state.rules.rest_over_ms {
        return Effect::End(SessionEnd::Rested {
            reason: state.rests_for.clone(),
            until,
        });
    }
    Effect::Rest { until }
}

/// Asks the first model that may be asked now; false when the request was put off.
pub(super) fn ask(state: &mut TurnState, reaction: &mut Reaction, now: UtcMillis, around: &dyn Surroundings) -> bool {
    let turn = match state.phase {
        Phase::Ready => state.turn + 1,
        _ => state.turn.max(1),
    };
    // One that is called before its time has no place of its own.
    let waited = state.deferred.is_some() && state.on_time;
    let reserved = around.ceiling(state);
    let mut candidates = match state.phase {
        Phase::Ready => state.all_models(),
        _ => state.candidates(),
    };
    if candidates.is_empty() {
        // Its failures would have ended the attempt: there is one model at least.
        candidates.push(state.rules.model.clone());
    }
    let mut shortest: Option<(UtcMillis, bool, ModelAlias, Arc<str>)> = None;
    let mut chosen = None;
    for model in candidates {
        match around.admit(&model, reserved, waited, now) {
            Admission::Go => {
                chosen = Some(model);
                break;
            }
            Admission::Wait { until, reason, early } => {
                // A wait for others may well be shorter: only the deadline itself ends it.
                let latest = UtcMillis(state.rules.deadline.0.saturating_sub(1));
                let until = if early { until.min(latest) } else { until };
                let is_short = until.since(now) <= FALLBACK_OVER_MS;
                if shortest.as_ref().is_none_or(|(known, ..)| until < *known) {
                    shortest = Some((until, early, model, reason));
                }
                // The first choice is worth a short wait.
                if is_short {
                    break;
                }
            }
        }
    }
    let attempt = state.rules.attempt.clone();
    if let Some(model) = chosen {
        let reserved_cost = around.price(&model).ceiling(reserved);
        let fact = Fact::TurnIntended {
            attempt,
            turn,
            agent: state.rules.agent.clone(),
            model,
            reserved,
            reserved_cost,
            day: now.day(),
            prompt: state.rules.prompt.clone(),
        };
        take(state, reaction, fact);
        reaction.effects.push(Effect::Ask { turn });
        return true;
    }
    let (until, early, model, reason) = shortest.expect("a model that may not be asked says until when");
    // At least a moment, so that the loop comes to rest whatever it is told.
    let until = until.max(now.plus_ms(1));
    let is_told = state
        .deferred
        .is_some_and(|told| until <= told.plus_ms(DEFERRED_STEP_MS));
    if !is_told {
        let fact = Fact::TurnDeferred {
            attempt,
            turn,
            model,
            reason,
            until,
        };
        take(state, reaction, fact);
    }
    state.put_off(until, !early);
    false
}
