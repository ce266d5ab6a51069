//! The shell of the dispatcher.

use std::collections::BTreeSet;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::domain::id::RunId;
use crate::domain::name::StepId;
use crate::runs::decision::SlotWish;
use crate::runs::message::{RunActors, RunMessage};

use super::state::{Dispatch, SlotLimits};

/// What the dispatcher is told.
#[derive(Debug)]
pub enum DispatchMessage {
    /// A step wants a slot.
    Want {
        /// Of which run.
        run: RunId,
        /// What it needs.
        wish: SlotWish,
    },
    /// A slot or wish is given up.
    Release {
        /// Of which run.
        run: RunId,
        /// Which step.
        step: StepId,
    },
    /// A run starts anew.
    Rejoin {
        /// Which.
        run: RunId,
        /// The steps whose sessions may be under way.
        running: BTreeSet<StepId>,
    },
}

/// Grants slots.
pub struct Dispatcher {
    /// The limits.
    pub limits: SlotLimits,
    /// Where the runs live.
    pub runs: RunActors,
}

impl Actor for Dispatcher {
    type Msg = DispatchMessage;
    type State = Dispatch;
    type Arguments = ();

    async fn pre_start(&self, _myself: ActorRef<DispatchMessage>, (): ()) -> Result<Dispatch, ActorProcessingErr> {
        Ok(Dispatch::new(self.limits.clone()))
    }

    async fn handle(
        &self,
        _myself: ActorRef<DispatchMessage>,
        message: DispatchMessage,
        state: &mut Dispatch,
    ) -> Result<(), ActorProcessingErr> {
        let mut granted = match message {
            DispatchMessage::Want { run, wish } => state.want(run, wish),
            DispatchMessage::Release { run, step } => state.release(run, &step),
            DispatchMessage::Rejoin { run, running } => state.rejoin(run, &running),
        };
        // A run that is down cannot take its slot: it goes to the next, and the run asks again when it is back.
        while let Some((run, step)) = granted.pop() {
            if !self.tell(run, step.clone()) {
                granted.extend(state.release(run, &step));
            }
        }
        Ok(())
    }
}

impl Dispatcher {
    fn tell(&self, run: RunId, step: StepId) -> bool {
        let actor = self.runs.get(run.to_string());
        actor.is_some_and(|actor| actor.cast(RunMessage::Granted { step }).is_ok())
    }
}
