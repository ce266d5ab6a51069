//! Backups that are made by themselves: a schedule of the daemon's own.
//!
//! Supervised by `automation` (permanent). When the next one is due follows from the newest that there is, so that a
//! restart neither skips nor doubles one; a crash costs the backup under way, whose half the next one removes. One that
//! cannot be made is an incident until one is made again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::domain::fault::in_one_line;
use crate::domain::id::IncidentId;
use crate::domain::incident::Incident;
use crate::domain::time::UtcMillis;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::entropy::Entropy;
use crate::runtime::timer::Timer;
use crate::storage::backup::create::Places;
use crate::storage::backup::error::BackupError;
use crate::storage::backup::keep;
use crate::storage::backup::making::{Terms, make};
use crate::storage::batch::Batch;
use crate::storage::incidents::follow;
use crate::storage::store::Store;

/// What the incident of a backup that was not made is called.
const FINGERPRINT: &str = "backup:scheduled";
/// After one that was not made.
const AGAIN_AFTER_MS: u64 = 10 * 60_000;
/// The longest time between two looks at the clock, so that one that was set is noticed.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// Right after a start there is other work.
const FIRST_AFTER: Duration = Duration::from_secs(5);

/// What it works with.
#[derive(Clone)]
pub struct Backups {
    /// Between two backups.
    pub every: Duration,
    /// Backups that are kept, as configured now.
    pub keep: Arc<AtomicUsize>,
    /// Bytes that are to stay free on the disk of the state.
    pub free_min: u64,
    /// Where files are that belong into one, and where they go.
    pub places: Places,
    /// Reads.
    pub store: Store,
    /// Writes incidents.
    pub committer: Committer,
    /// Tells the time of the wall.
    pub clock: Clock,
    /// For ids.
    pub entropy: Entropy,
}

/// When the next one is due: so long after the newest, at once when there is none, or when the newest is of a time that
/// has not come; and some time after one that failed.
fn due(newest: Option<UtcMillis>, failed: Option<UtcMillis>, every_ms: u64, now: UtcMillis) -> UtcMillis {
    let regular = match newest.filter(|newest| *newest <= now) {
        Some(newest) => newest.plus_ms(every_ms),
        None => now,
    };
    let again = failed.filter(|failed| *failed <= now);
    regular.max(again.map_or(UtcMillis(0), |failed| failed.plus_ms(AGAIN_AFTER_MS.min(every_ms))))
}

/// What the actor is told.
#[derive(Debug)]
pub enum BackupsMessage {
    /// Look at the clock.
    LookDue,
}

/// The actor.
pub struct BackupsActor(pub Backups);

/// What it holds.
pub struct BackupsState {
    failed: Option<UtcMillis>,
    timer: Timer,
}

impl Actor for BackupsActor {
    type Msg = BackupsMessage;
    type State = BackupsState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<BackupsMessage>, (): ()) -> Result<BackupsState, ActorProcessingErr> {
        Ok(BackupsState {
            failed: None,
            timer: Timer::after(&myself, FIRST_AFTER, || BackupsMessage::LookDue),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<BackupsMessage>,
        BackupsMessage::LookDue: BackupsMessage,
        state: &mut BackupsState,
    ) -> Result<(), ActorProcessingErr> {
        self.look(&mut state.failed).await?;
        // The wall clock may be set, so that a long wait is cut into short ones.
        let wait = LOOK_MAX.min(self.0.every);
        state.timer = Timer::after(&myself, wait, || BackupsMessage::LookDue);
        Ok(())
    }
}

impl BackupsActor {
    /// Makes one when it is due. `failed` is when the last one was not made.
    async fn look(&self, failed: &mut Option<UtcMillis>) -> Result<(), ActorProcessingErr> {
        let Backups { every, clock, .. } = &self.0;
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        let look = self.newest(clock.now()).await;
        let now = clock.now();
        let result = match look {
            Ok(newest) if due(newest, *failed, every_ms, now) > now => return Ok(()),
            Ok(_) => self.make(now).await,
            Err(error) if due(None, *failed, every_ms, now) > now => {
                tracing::debug!(error = in_one_line(&error), "the backups cannot be listed");
                return Ok(());
            }
            Err(error) => Err(error),
        };
        if let Err(error @ BackupError::Busy { .. }) = &result {
            // A person makes one just now, or the incarnation before: the next look sees what came of it.
            tracing::debug!(error = in_one_line(error), "a backup that is due waits for another one");
            return Ok(());
        }
        *failed = result.is_err().then_some(now);
        match &result {
            Ok(name) => tracing::info!(name, "a backup was made"),
            Err(error) => tracing::error!(error = in_one_line(error), "a backup was not made"),
        }
        self.tell(&result, now).await
    }

    /// When the newest was made. One of a time that has not come was made before the clock was set back, and is not it.
    async fn newest(&self, now: UtcMillis) -> Result<Option<UtcMillis>, BackupError> {
        let folder = self.0.places.backups.clone();
        let listed = tokio::task::spawn_blocking(move || keep::list(&folder)).await;
        let found = listed.map_err(|_| BackupError::Crashed)??;
        let times = found.iter().map(|(_, manifest)| manifest.made_at);
        Ok(times.filter(|made_at| *made_at <= now).max())
    }

    /// Makes one, then removes the oldest over the limit; gives its name.
    async fn make(&self, now: UtcMillis) -> Result<String, BackupError> {
        let Backups { store, places, .. } = self.0.clone();
        let terms = Terms {
            keys: true,
            keep: self.0.keep.load(Ordering::Relaxed),
            free_min: self.0.free_min,
        };
        let made = tokio::task::spawn_blocking(move || {
            let (made, _) = make(&store, &places, terms, now)?;
            Ok::<_, BackupError>(made.path.display().to_string())
        });
        made.await.map_err(|_| BackupError::Crashed)?
    }

    /// One incident for as long as none can be made.
    async fn tell(&self, result: &Result<String, BackupError>, at: UtcMillis) -> Result<(), ActorProcessingErr> {
        let open = self.0.store.open_incident_of(FINGERPRINT)?;
        let told = match result {
            Ok(name) => Ok(format!("{name} was made").into()),
            Err(error) => Err(format!("{}: {}", error.code().id, in_one_line(error)).into()),
        };
        let ops = follow(open, FINGERPRINT, told, at, |why| Incident {
            id: IncidentId::new(at, self.0.entropy.u128()),
            at,
            severity: "error".into(),
            what: "a backup that was due was not made".into(),
            why,
            action: "it is tried again every ten minutes; `openclaw backup create` tries it now".into(),
            run: None,
        });
        if ops.is_empty() {
            return Ok(());
        }
        self.0.committer.commit(Batch::ops(ops)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::bus::Bus;

    #[tokio::test]
    async fn one_that_somebody_else_makes_is_waited_for_and_one_without_room_is_an_incident() {
        let (_folder, store, places) = Places::of_empty_home();
        let mut backups = Backups {
            every: Duration::from_secs(86_400),
            keep: Arc::new(AtomicUsize::new(2)),
            free_min: 0,
            places: places.clone(),
            store: store.clone(),
            committer: Committer::start(store.clone(), Bus::default()).expect("starts"),
            clock: Clock::manual(UtcMillis(1_767_225_600_000)),
            entropy: Entropy::seeded(1),
        };
        let listed = || keep::list(&places.backups).expect("listed").len();
        let open = || store.open_incident_of(FINGERPRINT).expect("read");
        let mut failed = None;

        std::fs::create_dir_all(&places.backups).expect("made");
        let held = std::fs::File::create(places.backups.join(".lock")).expect("made");
        held.lock().expect("locked");
        BackupsActor(backups.clone()).look(&mut failed).await.expect("looked");
        assert_eq!((listed(), failed, open()), (0, None, None));
        held.unlock().expect("unlocked");

        backups.free_min = u64::MAX;
        BackupsActor(backups.clone()).look(&mut failed).await.expect("looked");
        assert_eq!((listed(), failed), (0, Some(backups.clock.now())));
        assert!(open().is_some());

        backups.free_min = 0;
        failed = None;
        BackupsActor(backups).look(&mut failed).await.expect("looked");
        assert_eq!((listed(), failed, open()), (1, None, None));
    }

    #[test]
    fn the_next_one_is_due_by_the_newest_and_a_failed_one_is_tried_again() {
        const DAY: u64 = 86_400_000;
        let check = |newest: Option<u64>, failed: Option<u64>, every: u64, now: u64, wanted: u64| {
            let at = |ms: Option<u64>| ms.map(UtcMillis);
            let found = due(at(newest), at(failed), every, UtcMillis(now));
            assert_eq!(found, UtcMillis(wanted), "{newest:?} {failed:?} {every} {now}");
        };
        check(None, None, DAY, 5, 5);
        check(Some(5), None, DAY, 6, DAY + 5);
        // It was due long ago: at once, and only one.
        check(Some(5), None, DAY, 9 * DAY, DAY + 5);
        // The clock was set back behind the newest.
        check(Some(9 * DAY), None, DAY, DAY, DAY);
        check(None, Some(5), DAY, 6, 5 + AGAIN_AFTER_MS);
        check(None, Some(5), 1_000, 6, 1_005);
        check(Some(5), Some(DAY + 5), DAY, DAY + 6, DAY + 5 + AGAIN_AFTER_MS);
    }
}
