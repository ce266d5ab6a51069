//! A wrapper around an actor that sees what ractor's events do not tell: whether a failure was a panic or an error, and
//! which children the actor leaves behind when it fails.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use futures_util::FutureExt;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::{ExitReason, Ignore, address::Address};

const PANICKED: u8 = 1;
const FAILED: u8 = 2;
const IGNORED: u8 = 4;
const STOPPED: u8 = 8;

/// What the wrapper saw of one incarnation.
#[derive(Default)]
pub(crate) struct Probe {
    flags: AtomicU8,
    cell: OnceLock<ActorCell>,
    orphans: Mutex<Vec<ActorCell>>,
    /// Where the incarnation is published; none for an actor that was made elsewhere.
    place: Option<(Arc<Address>, u64)>,
}

impl Probe {
    pub(crate) fn of(address: Arc<Address>, incarnation: u64) -> Self {
        Self {
            place: Some((address, incarnation)),
            ..Self::default()
        }
    }

    fn publish(&self, cell: ActorCell) {
        if let Some((address, incarnation)) = &self.place {
            address.publish(cell, *incarnation);
        }
    }

    pub(crate) fn withdraw(&self) {
        if let Some((address, incarnation)) = &self.place {
            address.withdraw(*incarnation);
        }
    }

    fn set(&self, flag: u8) {
        self.flags.fetch_or(flag, Ordering::AcqRel);
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Acquire) & flag != 0
    }

    pub(crate) fn panicked(&self) -> bool {
        self.has(PANICKED)
    }

    pub(crate) fn ignored(&self) -> bool {
        self.has(IGNORED)
    }

    /// What the flags say about the end of an actor whose event nobody received.
    pub(crate) fn exit_reason(&self) -> ExitReason {
        if self.panicked() {
            ExitReason::Panicked(String::from("while its supervisor was stopping"))
        } else if self.has(FAILED) {
            ExitReason::Error(String::from("while its supervisor was stopping"))
        } else if self.has(STOPPED) {
            ExitReason::Shutdown
        } else {
            ExitReason::Killed
        }
    }

    /// The children that a failed or stopped actor left behind; ractor kills them but waits for none.
    pub(crate) fn take_orphans(&self) -> Vec<ActorCell> {
        std::mem::take(&mut *self.orphans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds actors that must have ended before the next incarnation starts.
    pub(crate) fn add_orphans(&self, cells: Vec<ActorCell>) {
        if !cells.is_empty() {
            self.orphans
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(cells);
        }
    }

    fn keep_orphans(&self) {
        if let Some(cell) = self.cell.get() {
            self.add_orphans(cell.get_children());
        }
    }
}

/// Notices a panic that unwinds through it.
struct PanicWatch<'a>(&'a Probe);

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set(PANICKED);
            self.0.keep_orphans();
        }
    }
}

/// The wrapped actor: the same messages, state and arguments.
pub(crate) struct Probed<A> {
    pub(crate) actor: A,
    pub(crate) probe: Arc<Probe>,
}

impl<A: Actor> Probed<A> {
    fn seen<T>(&self, result: Result<T, ActorProcessingErr>) -> Result<T, ActorProcessingErr> {
        if result.is_err() {
            self.probe.set(FAILED);
            self.probe.keep_orphans();
        }
        result
    }
}

impl<A: Actor> Actor for Probed<A> {
    type Msg = A::Msg;
    type State = A::State;
    type Arguments = A::Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        args: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let _ = self.probe.cell.set(myself.get_cell());
        let _watch = PanicWatch(&self.probe);
        let result = self.actor.pre_start(myself.clone(), args).await;
        if let Err(error) = &result
            && error.is::<Ignore>()
        {
            self.probe.set(IGNORED);
        }
        if result.is_ok() {
            // Before its first message is handled: whoever it writes to may look for it to answer. The supervisor
            // only hears of the start afterwards, and another thread may be faster.
            self.probe.publish(myself.get_cell());
        }
        self.seen(result)
    }

    async fn post_start(&self, myself: ActorRef<Self::Msg>, state: &mut Self::State) -> Result<(), ActorProcessingErr> {
        let _watch = PanicWatch(&self.probe);
        let result = self.actor.post_start(myself, state).await;
        self.seen(result)
    }

    async fn post_stop(&self, myself: ActorRef<Self::Msg>, state: &mut Self::State) -> Result<(), ActorProcessingErr> {
        let result = AssertUnwindSafe(self.actor.post_stop(myself, state))
            .catch_unwind()
            .await;
        self.probe.keep_orphans();
        match result {
            Ok(Ok(())) => {
                self.probe.set(STOPPED);
                Ok(())
            }
            Ok(failed) => self.seen(failed),
            Err(panic) => {
                self.probe.set(PANICKED);
                std::panic::resume_unwind(panic)
            }
        }
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        crate::stall::pass(myself.get_id()).await;
        let _watch = PanicWatch(&self.probe);
        let result = self.actor.handle(myself, message, state).await;
        self.seen(result)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        message: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let _watch = PanicWatch(&self.probe);
        let result = self.actor.handle_supervisor_evt(myself, message, state).await;
        self.seen(result)
    }
}
