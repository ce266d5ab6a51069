//! The steward: sees to it that every active run has an actor.
//!
//! It takes up all active runs when the layer starts, which is how a killed process resumes, and looks again at
//! an interval, so that a run whose actor could not be started is not forgotten. Supervised by `runs` (permanent).

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::ApiError;
use tokio::sync::watch;

use crate::runtime::timer::Timer;

use super::message::RunArgument;
use super::parts::RunsInside;

/// How often the active runs are compared with the actors.
const ROUND: Duration = Duration::from_secs(5);

/// What the steward is told.
#[derive(Debug)]
pub enum StewardMessage {
    /// Look.
    RoundDue,
}

/// The actor.
pub struct Steward {
    /// What it shares with its layer.
    pub inside: RunsInside,
    /// Says when the first round is done.
    pub recovered: watch::Sender<bool>,
}

impl Actor for Steward {
    type Msg = StewardMessage;
    type State = Option<Timer>;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<StewardMessage>, (): ()) -> Result<Option<Timer>, ActorProcessingErr> {
        myself.cast(StewardMessage::RoundDue)?;
        Ok(None)
    }

    async fn handle(
        &self,
        myself: ActorRef<StewardMessage>,
        StewardMessage::RoundDue: StewardMessage,
        timer: &mut Option<Timer>,
    ) -> Result<(), ActorProcessingErr> {
        let mut taken = 0;
        if self.inside.parts.room.is_low() {
            // They wait where they are; the daemon itself is as ready as it can be.
            self.recovered.send_replace(true);
            *timer = Some(Timer::after(&myself, ROUND, || StewardMessage::RoundDue));
            return Ok(());
        }
        for run in self.inside.parts.store.active_runs()? {
            if self.inside.actors.get(run.to_string()).is_some() {
                continue;
            }
            let argument = RunArgument::found(run);
            match self.inside.actors.start_child(run.to_string(), argument).await {
                Ok(_) => taken += 1,
                Err(ApiError::AlreadyStarted { .. } | ApiError::Restarting(_)) => {}
                Err(error) => tracing::warn!(%run, %error, "a run could not be taken up; it is tried again"),
            }
        }
        if taken > 0 {
            tracing::info!(runs = taken, "runs taken up");
        }
        self.recovered.send_replace(true);
        *timer = Some(Timer::after(&myself, ROUND, || StewardMessage::RoundDue));
        Ok(())
    }
}
