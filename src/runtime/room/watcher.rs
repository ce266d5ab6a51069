//! Looks at the disk every second, and keeps the reserve of the store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::domain::id::IncidentId;
use crate::domain::incident::Incident;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::entropy::Entropy;
use crate::runtime::timer::Timer;
use crate::storage::batch::Batch;
use crate::storage::incidents::follow;
use crate::storage::reserve::Reserve;
use crate::storage::store::Store;

use super::decision::{Disk, judge};
use super::handle::{RoomState, RoomTeller};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What the incident of a full disk is called.
const FINGERPRINT: &str = "disk:state";

/// What the file system of a folder says.
pub fn disk_of(folder: &Path) -> io::Result<Disk> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(Disk {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        total: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

/// What the watcher is told.
#[derive(Debug)]
pub enum WatcherMessage {
    /// Look.
    LookDue,
}

/// The actor.
#[derive(Clone)]
pub struct RoomWatcher {
    /// The folder whose disk counts.
    pub folder: PathBuf,
    /// Free bytes below which new work is refused.
    pub free_min: u64,
    /// The reserve of the store.
    pub reserve: Arc<Reserve>,
    /// Where it is said.
    pub teller: RoomTeller,
    /// Finds the incident that is open.
    pub store: Store,
    /// Writes incidents.
    pub committer: Committer,
    /// Tells the time.
    pub clock: Clock,
    /// For ids of incidents.
    pub entropy: Entropy,
}

/// What it holds.
#[derive(Debug)]
pub struct WatcherState {
    /// The incident of the full disk.
    open: Option<IncidentId>,
    /// Whether the incident does not say yet how the disk is: nothing was told in this life, or it was not written.
    is_owed: bool,
    timer: Option<Timer>,
}

impl Actor for RoomWatcher {
    type Msg = WatcherMessage;
    type State = WatcherState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<WatcherMessage>, (): ()) -> Result<WatcherState, ActorProcessingErr> {
        // What the incarnation before has sent is on disk or refused before this one reads.
        self.committer.settled().await?;
        let mut state = WatcherState {
            open: self.store.open_incident_of(FINGERPRINT)?,
            is_owed: true,
            timer: None,
        };
        // Before anything to the right starts: a process that begins on a full disk takes nothing up.
        self.look(&mut state);
        state.timer = Some(Timer::after(&myself, LOOK_EVERY, || WatcherMessage::LookDue));
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<WatcherMessage>,
        WatcherMessage::LookDue: WatcherMessage,
        state: &mut WatcherState,
    ) -> Result<(), ActorProcessingErr> {
        self.look(state);
        state.timer = Some(Timer::after(&myself, LOOK_EVERY, || WatcherMessage::LookDue));
        Ok(())
    }
}

impl RoomWatcher {
    fn look(&self, known: &mut WatcherState) {
        let disk = match disk_of(&self.folder) {
            Ok(disk) => disk,
            Err(error) => {
                tracing::warn!(%error, "the disk of the state folder cannot be looked at");
                return;
            }
        };
        let was = self.teller.told();
        let given_up = (!self.reserve.is_held()).then(|| self.reserve.bytes());
        let mut verdict = judge(disk, self.free_min, was.is_low, given_up);
        if verdict.refills
            && let Err(error) = self.reserve.make()
        {
            tracing::warn!(%error, "the reserve of the store cannot be made");
            verdict.is_low = true;
        }
        let state = RoomState {
            disk,
            is_low: verdict.is_low,
        };
        self.teller.tell(state);
        if state.is_low != was.is_low || known.is_owed {
            self.changed(known, state, was.is_low);
        }
    }

    /// One incident from the moment when the disk is full until there is room, also over a restart.
    fn changed(&self, known: &mut WatcherState, state: RoomState, was_low: bool) {
        let megabytes = |bytes: u64| bytes / (1 << 20);
        let (free, wanted) = (megabytes(state.disk.free), megabytes(self.free_min));
        match (state.is_low, was_low) {
            (true, false) => tracing::error!(
                free_mb = free,
                wanted_mb = wanted,
                "the disk is full; new work is refused"
            ),
            (false, true) => tracing::info!(free_mb = free, "there is room on the disk again"),
            _ => {}
        }
        let figures = format!("{free} MiB are free, store.minFreeBytes asks for {wanted} MiB");
        let told = if state.is_low {
            Err(figures.into())
        } else {
            Ok(format!("there is room again: {figures}").into())
        };
        let at = self.clock.now();
        let begun = IncidentId::new(at, self.entropy.u128());
        let ops = follow(known.open, FINGERPRINT, told, at, |why| Incident {
            id: begun,
            at,
            severity: "error".into(),
            what: "the disk of the state folder is full".into(),
            why,
            action: "new work is refused, runs start no further step; both go on by themselves when there is room"
                .into(),
            run: None,
        });
        known.is_owed = false;
        if ops.is_empty() {
            return;
        }
        match self.committer.submit(Batch::ops(ops)) {
            Ok(pending) => {
                pending.detach();
                known.open = state.is_low.then(|| known.open.unwrap_or(begun));
            }
            Err(error) => {
                known.is_owed = true;
                tracing::warn!(%error, "the incident of the disk was not written; it is tried again");
            }
        }
    }
}
