//! How a session comes to its end: by itself with a report, or by winding down what is under way.

use ractor::{ActorProcessingErr, ActorRef};

use crate::agents::order::{ReportedEnd, SessionReport};
use crate::agents::turn::decision::{Event, SessionEnd, Surroundings as _, poisoned};
use crate::agents::turn::state::Phase;
use crate::domain::fact::Fact;
use crate::domain::failure::FailureClass;
use crate::domain::money::MicroUsd;
use crate::domain::time::UtcMillis;
use crate::storage::batch::Op;

use super::message::SessionMessage;
use super::shell::{Ending, SessionActor, SessionState};

impl SessionActor {
    /// Journals what ends while the session winds down; nothing new is begun.
    pub(super) fn settle_while_ending(
        &self,
        myself: &ActorRef<SessionMessage>,
        state: &mut SessionState,
        event: Event,
        local: Vec<Op>,
        now: UtcMillis,
    ) -> Result<(), ActorProcessingErr> {
        let attempt = state.order.attempt.clone();
        let open = state.turn.open_turn;
        let fact = match event {
            // The attempt goes on in the next life of the process, and a request that failed with nothing to follow would
            // be its end. One that is open in the journal is charged in full there, and made again.
            Event::AskFailed { .. } | Event::TooLong { .. } if state.ending == Some(Ending::Suspended) => None,
            Event::CallPoisoned {
                ordinal,
                call,
                text,
                lost,
            } => {
                let facts = poisoned(&state.turn, ordinal, call, &text, lost);
                for fact in &facts {
                    state.turn.fold(fact);
                }
                if let (Some(pending), _) = self.submit(state, &facts, open, &local, now)? {
                    pending.detach();
                }
                None
            }
            Event::Answered { turn, answer } => {
                let cost = state.around.price(&state.turn.asked).cost(answer.usage);
                Some(Fact::TurnFinished {
                    attempt,
                    turn,
                    answer,
                    cost,
                })
            }
            Event::AskFailed {
                turn,
                class,
                reason,
                unspent,
                ..
            } => open.map(|open| Fact::TurnFailed {
                attempt,
                turn,
                class,
                reason,
                charged: if unspent { 0 } else { open.reserved },
                cost: if unspent { MicroUsd::ZERO } else { open.reserved_cost },
                retry_at: None,
            }),
            Event::TooLong { turn, reason, unspent } => open.map(|open| Fact::TurnFailed {
                attempt,
                turn,
                class: FailureClass::Config,
                reason,
                charged: if unspent { 0 } else { open.reserved },
                cost: if unspent { MicroUsd::ZERO } else { open.reserved_cost },
                retry_at: None,
            }),
            Event::CallEnded { ordinal, outcome } => Some(Fact::CallFinished {
                attempt,
                ordinal,
                outcome,
            }),
            Event::CallLost { ordinal, evidence } => Some(Fact::CallUnknown {
                attempt,
                ordinal,
                evidence,
            }),
            Event::Begun | Event::Rested | Event::PlaceFree | Event::NotHappened { .. } | Event::Looked { .. } => None,
        };
        if let Some(fact) = fact {
            state.turn.fold(&fact);
            if let (Some(pending), _) = self.submit(state, &[fact], open, &local, now)? {
                pending.detach();
            }
        }
        end_when_quiet(myself, state);
        Ok(())
    }
}

/// Tells everything that is under way to stop; the report follows when it has.
pub(super) fn wind_down(myself: &ActorRef<SessionMessage>, state: &mut SessionState, ending: Ending) {
    if state.ending.is_some() {
        return;
    }
    state.ending = Some(ending);
    if let Some(asking) = &state.asking {
        asking.cancel();
    }
    // A call that ends by itself leaves an outcome; one that is cut off may have to stay unknown.
    if ending != Ending::Suspended {
        for call in state.calls.values() {
            call.cancel();
        }
    }
    end_when_quiet(myself, state);
}

/// Reports and ends the session that winds down, once nothing of it runs any more.
fn end_when_quiet(myself: &ActorRef<SessionMessage>, state: &SessionState) {
    if state.asking.is_some() || !state.calls.is_empty() {
        return;
    }
    let end = match (&state.turn.phase, state.ending) {
        (Phase::Unknown { evidence }, Some(Ending::Deadline)) => ReportedEnd::Unknown(evidence.clone()),
        (_, Some(Ending::Deadline)) => ReportedEnd::Failed {
            class: FailureClass::Deadline,
            reason: "the deadline of the step has passed".into(),
            tried: state.turn.tried.clone(),
        },
        (_, Some(Ending::Suspended)) => {
            myself.stop(None);
            return;
        }
        _ => ReportedEnd::Stopped,
    };
    send(state, end);
    myself.stop(None);
}

/// Hands the end of the loop to whoever gave the order; the session is done with that.
pub(super) fn report(myself: &ActorRef<SessionMessage>, state: &SessionState, end: SessionEnd) {
    let tried = state.turn.tried.clone();
    let end = match end {
        SessionEnd::Answered { output } => ReportedEnd::Answered {
            output,
            tried,
            exit_code: state.turn.last_exit_code,
        },
        SessionEnd::Failed { class, reason } => ReportedEnd::Failed { class, reason, tried },
        SessionEnd::Unknown { evidence } => ReportedEnd::Unknown(evidence),
        SessionEnd::Asks(asks) => ReportedEnd::Asks(asks),
        SessionEnd::Rested { reason, until } => ReportedEnd::Rested { reason, until },
    };
    send(state, end);
    myself.stop(None);
}

fn send(state: &SessionState, end: ReportedEnd) {
    state.order.report.send(SessionReport {
        attempt: state.order.attempt.clone(),
        end,
    });
}
