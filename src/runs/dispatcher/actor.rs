//! The shell of the dispatcher.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{TaskRef, Tasks};

use crate::domain::id::RunId;
use crate::domain::name::StepId;
use crate::runs::decision::SlotWish;
use crate::runs::message::{RunActors, RunMessage};
use crate::runtime::room::handle::Room;

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
    /// There is too little room on the disk, or enough again.
    RoomChanged {
        /// Whether there is too little.
        is_low: bool,
    },
    /// The configuration says how many steps may run.
    SlotsChanged,
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
    /// The limits, as configured now.
    pub limits: Arc<ArcSwap<SlotLimits>>,
    /// Where the runs live.
    pub runs: RunActors,
    /// Room on the disk.
    pub room: Room,
    /// Where it is watched.
    pub watching: Tasks,
}

/// Slots, and the watch over the room, which ends with the actor.
pub struct DispatcherState {
    dispatch: Dispatch,
    watch: TaskRef,
}

impl Drop for DispatcherState {
    fn drop(&mut self) {
        self.watch.cancel();
    }
}

impl Actor for Dispatcher {
    type Msg = DispatchMessage;
    type State = DispatcherState;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<DispatchMessage>,
        (): (),
    ) -> Result<DispatcherState, ActorProcessingErr> {
        let mut room = self.room.clone();
        let mut is_low = room.is_low();
        let mut dispatch = Dispatch::new(SlotLimits::clone(&self.limits.load()));
        dispatch.withhold(is_low);
        let watch = async move {
            loop {
                is_low = room.other_than(is_low).await;
                if myself.cast(DispatchMessage::RoomChanged { is_low }).is_err() {
                    return;
                }
            }
        };
        Ok(DispatcherState {
            dispatch,
            watch: self.watching.spawn("watch the room on the disk", watch, |_| {})?,
        })
    }

    async fn handle(
        &self,
        _myself: ActorRef<DispatchMessage>,
        message: DispatchMessage,
        state: &mut DispatcherState,
    ) -> Result<(), ActorProcessingErr> {
        let state = &mut state.dispatch;
        let mut granted = match message {
            DispatchMessage::Want { run, wish } => state.want(run, wish),
            DispatchMessage::Release { run, step } => state.release(run, &step),
            DispatchMessage::RoomChanged { is_low } => state.withhold(is_low),
            DispatchMessage::SlotsChanged => state.limit(SlotLimits::clone(&self.limits.load())),
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
