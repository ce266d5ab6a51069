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
use crate::storage::batch::{Batch, Op};
use crate::storage::reserve::Reserve;

use super::decision::{Disk, judge};
use super::handle::{RoomState, RoomTeller};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    /// Writes incidents.
    pub committer: Committer,
    /// Tells the time.
    pub clock: Clock,
    /// For ids of incidents.
    pub entropy: Entropy,
}

impl Actor for RoomWatcher {
    type Msg = WatcherMessage;
    type State = Option<Timer>;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<WatcherMessage>, (): ()) -> Result<Option<Timer>, ActorProcessingErr> {
        // Before anything to the right starts: a process that begins on a full disk takes nothing up.
        self.look();
        Ok(Some(Timer::after(&myself, LOOK_EVERY, || WatcherMessage::LookDue)))
    }

    async fn handle(
        &self,
        myself: ActorRef<WatcherMessage>,
        WatcherMessage::LookDue: WatcherMessage,
        timer: &mut Option<Timer>,
    ) -> Result<(), ActorProcessingErr> {
        self.look();
        *timer = Some(Timer::after(&myself, LOOK_EVERY, || WatcherMessage::LookDue));
        Ok(())
    }
}

impl RoomWatcher {
    fn look(&self) {
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
        if state.is_low != was.is_low {
            self.changed(state);
        }
    }

    fn changed(&self, state: RoomState) {
        let megabytes = |bytes: u64| bytes / (1 << 20);
        let (free, wanted) = (megabytes(state.disk.free), megabytes(self.free_min));
        let (severity, what, action) = if state.is_low {
            tracing::error!(
                free_mb = free,
                wanted_mb = wanted,
                "the disk is full; new work is refused"
            );
            (
                "error",
                "the disk of the state folder is full",
                "new work is refused, runs start no further step; both go on by themselves when there is room",
            )
        } else {
            tracing::info!(free_mb = free, "there is room on the disk again");
            (
                "warning",
                "there is room on the disk of the state folder again",
                "new work is taken and runs go on",
            )
        };
        let at = self.clock.now();
        let incident = Incident {
            id: IncidentId::new(at, self.entropy.u128()),
            at,
            severity: severity.into(),
            what: what.into(),
            why: format!("{free} MiB are free, store.minFreeBytes asks for {wanted} MiB").into(),
            action: action.into(),
            run: None,
        };
        match self.committer.submit(Batch::ops(vec![Op::IncidentOpen(incident)])) {
            Ok(pending) => pending.detach(),
            Err(error) => tracing::warn!(%error, "the incident of the disk was not written"),
        }
    }
}
