//! The keeper: sees to it that every schedule has an actor, and that what is left of removed ones is closed.
//!
//! Supervised by `automation` (permanent). A crash costs nothing: the next one looks again.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::ApiError;

use crate::runtime::timer::Timer;

use super::actor::retiring;
use super::parts::AutomationInside;

/// How often schedules are compared with actors.
const ROUND: Duration = Duration::from_secs(5);

/// What the keeper is told.
#[derive(Debug)]
pub enum KeeperMessage {
    /// Look.
    RoundDue,
}

/// The actor.
pub struct Keeper {
    /// What it shares with its layer.
    pub inside: AutomationInside,
}

impl Actor for Keeper {
    type Msg = KeeperMessage;
    type State = Option<Timer>;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<KeeperMessage>, (): ()) -> Result<Option<Timer>, ActorProcessingErr> {
        // Files that were removed while nobody looked.
        for name in self.inside.parts.store.schedules()? {
            if self.inside.book.get(&name).is_none() {
                tracing::info!(schedule = %name, "the schedule has no file any more; its ledger stays");
                self.inside
                    .parts
                    .committer
                    .commit(retiring(&self.inside, &name)?)
                    .await?;
            }
        }
        myself.cast(KeeperMessage::RoundDue)?;
        Ok(None)
    }

    async fn handle(
        &self,
        myself: ActorRef<KeeperMessage>,
        KeeperMessage::RoundDue: KeeperMessage,
        timer: &mut Option<Timer>,
    ) -> Result<(), ActorProcessingErr> {
        for schedule in self.inside.book.all() {
            let name = schedule.name.clone();
            if self.inside.actors.get(name.as_str()).is_some() {
                continue;
            }
            match self.inside.actors.start_child(name.as_str(), name.clone()).await {
                Ok(_) | Err(ApiError::AlreadyStarted { .. } | ApiError::Restarting(_)) => {}
                Err(error) => tracing::error!(schedule = %name, %error, "a schedule has no actor; it is tried again"),
            }
        }
        *timer = Some(Timer::after(&myself, ROUND, || KeeperMessage::RoundDue));
        Ok(())
    }
}
