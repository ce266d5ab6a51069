//! What persons are asked and what they say: calls that need a yes, calls of which nobody knows whether they happened.
//!
//! **Invariants**: the first answer wins; no answer in time is a no; a question holds no slot.

use std::sync::Arc;

use crate::domain::approval::{Ask, Given, TIMED_OUT};
use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::FailureClass;
use crate::domain::name::StepId;
use crate::domain::resolution::Resolution;
use crate::domain::time::UtcMillis;
use crate::runs::state::{OpenAsk, RunState, StepPhase};

use super::terms::Event;
use super::turn::Turn;

/// What an answer comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    /// It is the first one.
    Take(Event),
    /// The same was said before.
    Same,
}

/// Why an answer does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerRefused {
    /// Nothing of this kind is asked: it never was, it has changed, or it is no longer waited for.
    #[error("no such question is open: it has changed, or the run went on without it")]
    NotAsked,
    /// Somebody else was first and said something else.
    #[error("it was answered before, differently: {said}")]
    Contradicts {
        /// What was said, and by whom.
        said: String,
    },
}

/// Holds an answer to a question against what is asked.
pub fn judge_approval(state: &RunState, given: &Given) -> Result<Judged, AnswerRefused> {
    let planning = RunState::planning_step();
    let steps = state.steps.iter().chain([(&planning, &state.planning)]);
    let mut asks = steps.flat_map(|(id, step)| step.asks.values().map(move |open| (id, step, open)));
    let (id, step, open) = asks
        .find(|(_, _, open)| open.ask.hash == given.hash)
        .ok_or(AnswerRefused::NotAsked)?;
    match &open.given {
        Some(said) => same_answer(said, given),
        None if step.phase == StepPhase::Asking => Ok(Judged::Take(Event::Agreed {
            attempt: Attempt {
                step: id.clone(),
                number: step.attempt,
            },
            ordinal: open.ask.ordinal,
            given: given.clone(),
        })),
        None => Err(AnswerRefused::NotAsked),
    }
}

/// Whether two answers to one question say the same. The words count only for a yes: there they may be the answer.
pub fn same_answer(said: &Given, again: &Given) -> Result<Judged, AnswerRefused> {
    let is_same = said.granted == again.granted && (!said.granted || said.reason == again.reason);
    if is_same {
        return Ok(Judged::Same);
    }
    let word = if said.granted { "yes" } else { "no" };
    Err(AnswerRefused::Contradicts {
        said: format!("{word}, by {}", said.by),
    })
}

/// Holds what a person says of an unknown call against what waits for it.
pub fn judge_resolution(
    state: &RunState,
    attempt: &Attempt,
    ordinal: u32,
    resolution: Resolution,
    by: Arc<str>,
) -> Result<Judged, AnswerRefused> {
    let step = state.step(&attempt.step).filter(|step| step.attempt == attempt.number);
    let step = step.ok_or(AnswerRefused::NotAsked)?;
    if step.phase == StepPhase::Unknown && !step.is_abandoned() {
        return Ok(Judged::Take(Event::Resolved {
            attempt: attempt.clone(),
            ordinal,
            resolution,
            by,
        }));
    }
    match step.resolved.get(&ordinal) {
        Some(said) if *said == resolution => Ok(Judged::Same),
        Some(said) => Err(AnswerRefused::Contradicts {
            said: said.as_str().to_owned(),
        }),
        None => Err(AnswerRefused::NotAsked),
    }
}

impl Turn<'_> {
    pub(super) fn agreed(&mut self, attempt: Attempt, ordinal: u32, given: Given) {
        self.take(Fact::ApprovalGiven {
            attempt,
            ordinal,
            given,
        });
    }

    pub(super) fn resolved(&mut self, attempt: Attempt, ordinal: u32, resolution: Resolution, by: Arc<str>) {
        self.take(Fact::CallResolved {
            attempt,
            ordinal,
            resolution,
            by,
        });
    }

    /// A session ended because all that is left needs a yes.
    pub(super) fn asks(&mut self, attempt: &Attempt, asks: Vec<Ask>) {
        for ask in asks {
            let until = self.now.plus_ms(ask.timeout_ms);
            // One that was asked before and is still open keeps its time.
            let known = self
                .run
                .state
                .step(&attempt.step)
                .and_then(|step| step.asks.get(&ask.ordinal));
            let until = known
                .filter(|open| open.given.is_none() && open.ask.hash == ask.hash)
                .map_or(until, |open| open.until);
            self.take(Fact::ApprovalAsked {
                attempt: attempt.clone(),
                ask,
                until,
            });
        }
    }

    /// What persons did not say in time, and what they gave up.
    pub(super) fn settle_waits(&mut self) {
        let overdue: Vec<(StepId, OpenAsk)> = self
            .all_steps()
            .flat_map(|(id, step)| step.open_asks().map(move |open| (id.clone(), open.clone())))
            .filter(|(_, open)| open.until <= self.now)
            .collect();
        for (id, open) in overdue {
            let given = Given {
                hash: open.ask.hash,
                granted: false,
                by: TIMED_OUT.into(),
                reason: "".into(),
            };
            let attempt = self.run.state.attempt(&id).expect("a step that asks is known");
            self.agreed(attempt, open.ask.ordinal, given);
        }
        let abandoned: Vec<StepId> = self
            .all_steps()
            .filter(|(_, step)| step.is_abandoned())
            .map(|(id, _)| id.clone())
            .collect();
        for id in abandoned {
            let attempt = self.run.state.attempt(&id).expect("a step that waits is known");
            self.take(Fact::StepFailed {
                attempt,
                class: FailureClass::UnknownEffect,
                reason: "whether a call happened is not known, and a person gave it up".into(),
                tried: Arc::new([]),
                retry_at: None,
            });
        }
    }

    /// When the next question turns into a no.
    pub(super) fn next_overdue(&self) -> Option<UtcMillis> {
        self.all_steps()
            .flat_map(|(_, step)| step.open_asks().map(|open| open.until))
            .min()
    }
}
