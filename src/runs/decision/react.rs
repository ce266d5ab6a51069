//! The decision itself.

use crate::domain::fact::Fact;
use crate::domain::run::Outcome;
use crate::domain::time::UtcMillis;

use super::terms::{Effect, Event, Reaction, RunLoop, Surroundings};
use super::turn::Turn;

/// Takes an event in and decides what follows.
pub fn react(run: &mut RunLoop, event: Event, now: UtcMillis, around: &dyn Surroundings) -> Reaction {
    let mut reaction = Reaction::default();
    if run.state.done.is_some() || run.state.parked.is_some() {
        reaction.effects.push(Effect::Leave);
        return reaction;
    }
    let mut turn = Turn {
        run,
        reaction: &mut reaction,
        now,
        around,
    };
    match event {
        Event::Taken { after } => turn.taken(after),
        Event::Granted { step } => turn.granted(&step),
        Event::Refused { attempt, findings } => turn.refused(attempt, findings),
        Event::Ended { attempt, end } => turn.ended(attempt, end),
        Event::Checked {
            attempt,
            output,
            reports,
            tried,
        } => turn.checked(attempt, &output, reports, &tried),
        Event::Agreed {
            attempt,
            ordinal,
            given,
        } => turn.agreed(attempt, ordinal, given),
        Event::Resolved {
            attempt,
            ordinal,
            resolution,
            by,
        } => turn.resolved(attempt, ordinal, resolution, by),
        Event::LookedBack { undo } => turn.looked_back(undo),
        Event::CancelWanted { reason } => {
            if turn.run.state.cancel.is_none() {
                turn.take(Fact::CancelRequested {
                    outcome: Outcome::Cancelled,
                    reason,
                });
            }
        }
        Event::Woken => turn.run.woken_for = None,
    }
    turn.advance();
    reaction
}
