//! The committer: one thread of its own that owns all writes of the main store.
//!
//! It takes what is queued, applies it in one durable transaction, then answers every waiter and tells the bus.
//! While a transaction syncs, the next one gathers: group commit by natural batching. What somebody waits for is
//! written at once; what nobody waits for gathers for [`GATHER`], so that it need not have a transaction of its own.
//!
//! **Invariants**: nobody is answered before the disk has it; batches are applied in the order of submission;
//! after a failed commit nothing is written any more, every waiter gets the failure, and [`Committer::failed`]
//! resolves so that the process can be given up.
//!
//! **Limits**: [`COMMIT_QUEUE_MAX`] batches may wait; the next is refused at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::domain::fault::Fault;
use crate::domain::limits::COMMIT_QUEUE_MAX;
use crate::domain::statistics::Happening;
use crate::storage::batch::{Batch, Receipt, Refused};
use crate::storage::error::StoreError;
use crate::storage::store::Store;
use crate::storage::writer::Writer;

use super::bus::Bus;
use super::commit_queue::{CommitQueue, Door, NotQueued, Taker};
use super::crash_point::CrashPoint;
use super::metering::Meter;
use super::panicking::text_of;
use super::telemetry::Telemetry;

/// Batches of one transaction: enough to carry a burst, few enough to bound the wait of the first.
const GROUP_MAX: usize = 512;
/// How long what nobody waits for may gather. A crash costs what gathers: it is what no client has been told of and what
/// no call to the world has followed from.
pub const GATHER: Duration = Duration::from_millis(2);

/// Why a batch was not committed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The queue is full.
    #[error("queue a batch: {COMMIT_QUEUE_MAX} are waiting")]
    Overloaded,
    /// The batch itself was refused; nothing of it was written.
    #[error("apply a batch")]
    Refused(#[source] Refused),
    /// The store failed; it is unknown to the caller whether the batch is durable.
    #[error("commit")]
    Failed(#[source] Arc<StoreError>),
    /// The committer has ended.
    #[error("commit: the store is closed")]
    Closed,
    /// The disk did not answer in time; the batch may still be committed.
    #[error("commit: no answer in {0:?}")]
    TimedOut(Duration),
}

impl CommitError {
    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Overloaded | Self::Refused(Refused::TooManyActive { .. }) => Fault::Overloaded,
            Self::Refused(_) => Fault::Conflict,
            Self::Failed(_) | Self::Closed => Fault::Unavailable,
            Self::TimedOut(_) => Fault::TimedOut,
        }
    }
}

struct Submitted {
    batch: Batch,
    waits: Waits,
}

/// Who is told what became of a batch.
struct Waits {
    follows: Follows,
    reply: oneshot::Sender<Result<Receipt, CommitError>>,
}

/// Is told the last row of the audit log.
type Announce = Box<dyn FnOnce(u64, [u8; 32]) + Send>;
/// Is called.
type Then = Box<dyn FnOnce() + Send>;

/// What a batch takes along.
#[derive(Default)]
struct Follows {
    /// Called before the transaction is committed, if the audit log grows by it.
    announce: Option<Announce>,
    /// What follows from it, once it is durable.
    then: Option<Then>,
}

impl std::fmt::Debug for Submitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submitted")
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

impl Waits {
    /// Before the transaction that the batch is part of is committed.
    fn announce(&mut self, seq: u64, hash: [u8; 32]) {
        if let Some(announce) = self.follows.announce.take()
            && catch_unwind(AssertUnwindSafe(|| announce(seq, hash))).is_err()
        {
            tracing::error!("what is told before a commit panicked");
        }
    }

    /// First what follows from the batch, then whoever waits for both.
    fn tell(self, verdict: Result<Receipt, CommitError>) {
        if let Some(then) = self.follows.then.filter(|_| verdict.is_ok()) {
            // The batch is durable and others wait for theirs: the one that panicked is not told to be done.
            if catch_unwind(AssertUnwindSafe(then)).is_err() {
                tracing::error!("what follows from a commit panicked");
            }
        }
        // Whoever asked may be gone; the batch is committed all the same.
        self.reply.send(verdict).ok();
    }
}

/// Figures of the committer, for status and metrics.
#[derive(Debug, Default)]
pub struct CommitFigures {
    /// Transactions committed.
    pub commits: AtomicU64,
    /// Batches committed.
    pub batches: AtomicU64,
    /// Batches taken in, committed or not.
    pub submitted: AtomicU64,
    /// Microseconds of the last transaction.
    pub last_micros: AtomicU64,
    /// Told of each transaction when it is durable.
    durable: watch::Sender<()>,
}

/// The handle that everybody writes with. Cheap to clone; the thread ends with the last handle.
#[derive(Debug, Clone)]
pub struct Committer {
    door: Arc<Door<Submitted>>,
    failure: watch::Receiver<Option<Arc<StoreError>>>,
    figures: Arc<CommitFigures>,
}

/// A batch that is queued. Wait for it where the wait rule asks for it, else [`Pending::detach`] it.
#[must_use = "wait for the commit, or detach it where nothing may wait for the disk"]
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Result<Receipt, CommitError>>,
    queue: Arc<CommitQueue<Submitted>>,
}

/// Longest wait for one commit; beyond it the disk counts as stuck.
const COMMIT_DEADLINE: Duration = Duration::from_secs(60);

impl Pending {
    /// Has the batch written at once and waits until it is durable.
    ///
    /// **Cancel**: the batch is committed all the same.
    pub async fn durable(self) -> Result<Receipt, CommitError> {
        self.queue.want();
        self.carried().await
    }

    /// Waits until the batch is durable, without a hurry: at the latest when it has gathered for [`GATHER`].
    ///
    /// **Cancel**: the batch is committed all the same.
    pub async fn carried(self) -> Result<Receipt, CommitError> {
        match tokio::time::timeout(COMMIT_DEADLINE, self.answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CommitError::Closed),
            Err(_) => Err(CommitError::TimedOut(COMMIT_DEADLINE)),
        }
    }

    /// Lets it be committed without waiting. A failure ends the process anyway; see [`Committer::failed`].
    pub fn detach(self) {}
}

impl Committer {
    /// Starts the thread.
    pub fn start(store: Store, bus: Bus) -> Result<Self, StoreError> {
        Self::start_with(store, bus, CrashPoint::NONE, Telemetry::default())
    }

    /// Starts the thread with a crash point and metrics that somebody reads, for the daemon alone.
    pub fn start_with(
        store: Store,
        bus: Bus,
        crash_point: CrashPoint,
        telemetry: Telemetry,
    ) -> Result<Self, StoreError> {
        let queue = Arc::new(CommitQueue::new(COMMIT_QUEUE_MAX));
        let taker = Taker(queue.clone());
        let (failed, failure) = watch::channel(None);
        let figures = Arc::new(CommitFigures::default());
        let writer = Writer::new(store.clone())?;
        let path = store.path_buf();
        let counts = figures.clone();
        std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || {
                let meter = Meter::new(telemetry);
                commit_all(writer, &taker.0, &bus, &failed, (&counts, meter), crash_point);
            })
            .map_err(|source| StoreError::Folder { path, source })?;
        Ok(Self {
            door: Arc::new(Door(queue)),
            failure,
            figures,
        })
    }

    /// Queues a batch. The order of calls is the order of the journal.
    pub fn submit(&self, batch: Batch) -> Result<Pending, CommitError> {
        self.queue(batch, false, Follows::default())
    }

    /// Queues a batch that is written at once, with what follows from it in memory: `then` is called when it is durable
    /// and before anybody is told so, also when nobody waits any more. A batch that is not committed drops it.
    ///
    /// **Limits**: it is called on the committer's own thread, which writes nothing meanwhile; it must be short, and
    /// never wait for a commit.
    pub fn submit_then(&self, batch: Batch, then: impl FnOnce() + Send + 'static) -> Result<Pending, CommitError> {
        let then: Then = Box::new(then);
        let (announce, then) = (None, Some(then));
        self.queue(batch, true, Follows { announce, then })
    }

    /// The same for a batch that appends to the audit log: `announce` is told the place and the hash of the last row of its
    /// transaction before that is committed. What it writes a crash leaves, with the rows or without them. The limits are
    /// those of [`Committer::submit_then`].
    pub fn submit_announced(
        &self,
        batch: Batch,
        announce: impl FnOnce(u64, [u8; 32]) + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<Pending, CommitError> {
        let announce: Announce = Box::new(announce);
        let then: Then = Box::new(then);
        let (announce, then) = (Some(announce), Some(then));
        self.queue(batch, true, Follows { announce, then })
    }

    fn queue(&self, batch: Batch, is_wanted: bool, follows: Follows) -> Result<Pending, CommitError> {
        let (reply, answer) = oneshot::channel();
        let waits = Waits { follows, reply };
        let queue = self.door.0.clone();
        // Counted before it is queued: it must not be counted as committed first.
        self.figures.submitted.fetch_add(1, Ordering::AcqRel);
        let error = match queue.push(Submitted { batch, waits }, is_wanted) {
            Ok(()) => return Ok(Pending { answer, queue }),
            Err(NotQueued::Full) => CommitError::Overloaded,
            Err(NotQueued::Closed) => CommitError::Closed,
        };
        self.figures.submitted.fetch_sub(1, Ordering::AcqRel);
        Err(error)
    }

    /// Queues a batch and waits until it is durable.
    pub async fn commit(&self, batch: Batch) -> Result<Receipt, CommitError> {
        self.queue(batch, true, Follows::default())?.carried().await
    }

    /// Waits until everything that was submitted before is durable.
    pub async fn barrier(&self) -> Result<(), CommitError> {
        self.commit(Batch::default()).await.map(drop)
    }

    /// Waits until the store has shown that it commits: until the next transaction is durable, whosever it is. With many
    /// batches waiting that is much sooner than a [barrier](Self::barrier) behind all of them.
    pub async fn commits(&self) -> Result<(), CommitError> {
        let mut next = self.figures.durable.subscribe();
        tokio::select! {
            changed = next.changed() => changed.map_err(|_| CommitError::Closed),
            barrier = self.barrier() => barrier,
        }
    }

    /// Waits until a reader sees everything that was submitted before; waits for nothing when it is so already.
    pub async fn settled(&self) -> Result<(), CommitError> {
        let committed = self.figures.batches.load(Ordering::Acquire);
        if committed == self.figures.submitted.load(Ordering::Acquire) {
            return Ok(());
        }
        self.barrier().await
    }

    /// Resolves when a commit has failed; from then on nothing is written.
    pub async fn failed(&self) -> Arc<StoreError> {
        let mut failure = self.failure.clone();
        loop {
            if let Some(error) = &*failure.borrow_and_update() {
                return error.clone();
            }
            if failure.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Figures for status and metrics.
    pub fn figures(&self) -> &CommitFigures {
        &self.figures
    }

    /// Batches that wait.
    pub fn depth(&self) -> usize {
        self.door.0.len()
    }
}

/// The thread: gathers, commits, answers, until the last handle is gone or a commit fails.
fn commit_all(
    mut writer: Writer,
    queue: &CommitQueue<Submitted>,
    bus: &Bus,
    failed: &watch::Sender<Option<Arc<StoreError>>>,
    (figures, mut meter): (&CommitFigures, Meter),
    crash_point: CrashPoint,
) {
    let mut number = 0;
    let mut batches = Vec::with_capacity(GROUP_MAX);
    let mut waiting = Vec::with_capacity(GROUP_MAX);
    let mut group = Vec::with_capacity(GROUP_MAX);
    // A crash at a commit stands for a crash between any two batches, so then each is written as it comes.
    let gather = if crash_point.is_armed() { Duration::ZERO } else { GATHER };
    while queue.take(&mut group, GROUP_MAX, gather) {
        for submitted in group.drain(..) {
            batches.push(submitted.batch);
            waiting.push(submitted.waits);
        }
        number += 1;
        crash_point.before(number);
        #[expect(
            clippy::disallowed_methods,
            reason = "how long a commit takes is a figure; it decides nothing"
        )]
        let began = std::time::Instant::now();
        let announce = |seq, hash| waiting.iter_mut().for_each(|waits| waits.announce(seq, hash));
        // A page of a damaged file that cannot be right: a panic of the store's library, and a failure like any other.
        let committed = catch_unwind(AssertUnwindSafe(|| writer.commit_announced(&batches, announce)));
        let committed = committed.unwrap_or_else(|panic| {
            Err(StoreError::Corrupt {
                what: "the store".into(),
                reason: text_of(&*panic),
            })
        });
        match committed {
            Ok(verdicts) => {
                crash_point.after(number);
                figures.commits.fetch_add(1, Ordering::Relaxed);
                figures.durable.send_replace(());
                figures.batches.fetch_add(batches.len() as u64, Ordering::AcqRel);
                let took = began.elapsed();
                figures.last_micros.store(took.as_micros() as u64, Ordering::Relaxed);
                let size = batches.len();
                for ((batch, waits), verdict) in batches.drain(..).zip(waiting.drain(..)).zip(verdicts) {
                    if let (Some(run), Ok(receipt)) = (batch.run(), &verdict) {
                        bus.committed(run, receipt.last_seq);
                    }
                    waits.tell(verdict.map_err(CommitError::Refused));
                }
                // After the answers: nobody waits for what is counted.
                meter.committed(took.as_secs_f64(), size, writer.happened());
                for happening in writer.happened() {
                    if let Happening::RunEnded { run, .. } = happening {
                        bus.ended(*run);
                    }
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                tracing::error!(error = %error, "a commit failed; nothing is written any more");
                failed.send_replace(Some(error.clone()));
                queue.close();
                for waits in waiting.drain(..) {
                    waits.tell(Err(CommitError::Failed(error.clone())));
                }
                while queue.take(&mut group, GROUP_MAX, Duration::ZERO) {
                    for late in group.drain(..) {
                        late.waits.tell(Err(CommitError::Failed(error.clone())));
                    }
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
