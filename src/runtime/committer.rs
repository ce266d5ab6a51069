//! The committer: one thread of its own that owns all writes of the main store.
//!
//! It takes what is queued, applies it in one durable transaction, then answers every waiter and tells the bus.
//! While a transaction syncs, the next one gathers: group commit by natural batching, without a timer.
//!
//! **Invariants**: nobody is answered before the disk has it; batches are applied in the order of submission;
//! after a failed commit nothing is written any more, every waiter gets the failure, and [`Committer::failed`]
//! resolves so that the process can be given up.
//!
//! **Limits**: [`COMMIT_QUEUE_MAX`] batches may wait; the next is refused at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::fault::Fault;
use crate::domain::limits::COMMIT_QUEUE_MAX;
use crate::storage::batch::{Batch, Receipt, Refused};
use crate::storage::error::StoreError;
use crate::storage::store::Store;
use crate::storage::writer::Writer;

use super::bus::Bus;
use super::crash_point::CrashPoint;
use super::metering::Meter;
use super::telemetry::Telemetry;

/// Batches of one transaction: enough to carry a burst, few enough to bound the wait of the first.
const GROUP_MAX: usize = 512;

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
    reply: oneshot::Sender<Result<Receipt, CommitError>>,
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
}

/// The handle that everybody writes with. Cheap to clone; the thread ends with the last handle.
#[derive(Debug, Clone)]
pub struct Committer {
    queue: mpsc::Sender<Submitted>,
    failure: watch::Receiver<Option<Arc<StoreError>>>,
    figures: Arc<CommitFigures>,
}

/// A batch that is queued. Wait for it where the wait rule asks for it, else [`Pending::detach`] it.
#[must_use = "wait for the commit, or detach it where nothing may wait for the disk"]
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Receipt, CommitError>>);

/// Longest wait for one commit; beyond it the disk counts as stuck.
const COMMIT_DEADLINE: Duration = Duration::from_secs(60);

impl Pending {
    /// Waits until the batch is durable.
    ///
    /// **Cancel**: the batch is committed all the same.
    pub async fn durable(self) -> Result<Receipt, CommitError> {
        match tokio::time::timeout(COMMIT_DEADLINE, self.0).await {
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
        let (queue, receiver) = mpsc::channel(COMMIT_QUEUE_MAX);
        let (failed, failure) = watch::channel(None);
        let figures = Arc::new(CommitFigures::default());
        let writer = Writer::new(store.clone())?;
        let path = store.path_buf();
        let for_thread = figures.clone();
        std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || {
                let meter = Meter::new(telemetry);
                commit_all(writer, receiver, &bus, &failed, (&for_thread, meter), crash_point);
            })
            .map_err(|source| StoreError::Folder { path, source })?;
        Ok(Self {
            queue,
            failure,
            figures,
        })
    }

    /// Queues a batch. The order of calls is the order of the journal.
    pub fn submit(&self, batch: Batch) -> Result<Pending, CommitError> {
        let (reply, answer) = oneshot::channel();
        // Counted before it is queued: it must not be counted as committed first.
        self.figures.submitted.fetch_add(1, Ordering::AcqRel);
        let error = match self.queue.try_send(Submitted { batch, reply }) {
            Ok(()) => return Ok(Pending(answer)),
            Err(mpsc::error::TrySendError::Full(_)) => CommitError::Overloaded,
            Err(mpsc::error::TrySendError::Closed(_)) => CommitError::Closed,
        };
        self.figures.submitted.fetch_sub(1, Ordering::AcqRel);
        Err(error)
    }

    /// Queues a batch and waits until it is durable.
    pub async fn commit(&self, batch: Batch) -> Result<Receipt, CommitError> {
        self.submit(batch)?.durable().await
    }

    /// Waits until everything that was submitted before is durable.
    pub async fn barrier(&self) -> Result<(), CommitError> {
        self.commit(Batch::default()).await.map(drop)
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
        self.queue.max_capacity() - self.queue.capacity()
    }
}

/// The thread: gathers, commits, answers, until the last handle is gone or a commit fails.
fn commit_all(
    mut writer: Writer,
    mut queue: mpsc::Receiver<Submitted>,
    bus: &Bus,
    failed: &watch::Sender<Option<Arc<StoreError>>>,
    (figures, mut meter): (&CommitFigures, Meter),
    crash_point: CrashPoint,
) {
    let mut number = 0;
    let mut batches = Vec::with_capacity(GROUP_MAX);
    let mut replies = Vec::with_capacity(GROUP_MAX);
    let mut group = Vec::with_capacity(GROUP_MAX);
    while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        for submitted in group.drain(..) {
            batches.push(submitted.batch);
            replies.push(submitted.reply);
        }
        number += 1;
        crash_point.before(number);
        #[expect(
            clippy::disallowed_methods,
            reason = "how long a commit takes is a figure; it decides nothing"
        )]
        let began = std::time::Instant::now();
        match writer.commit(&batches) {
            Ok(verdicts) => {
                crash_point.after(number);
                figures.commits.fetch_add(1, Ordering::Relaxed);
                figures.batches.fetch_add(batches.len() as u64, Ordering::AcqRel);
                let took = began.elapsed();
                figures.last_micros.store(took.as_micros() as u64, Ordering::Relaxed);
                let size = batches.len();
                for ((batch, reply), verdict) in batches.drain(..).zip(replies.drain(..)).zip(verdicts) {
                    if let (Some(run), Ok(receipt)) = (batch.run(), &verdict) {
                        bus.committed(run, receipt.last_seq);
                    }
                    // Whoever asked may be gone; the batch is committed all the same.
                    reply.send(verdict.map_err(CommitError::Refused)).ok();
                }
                // After the answers: nobody waits for what is counted.
                meter.committed(took.as_secs_f64(), size, writer.happened());
            }
            Err(error) => {
                let error = Arc::new(error);
                tracing::error!(error = %error, "a commit failed; nothing is written any more");
                failed.send_replace(Some(error.clone()));
                queue.close();
                for reply in replies.drain(..) {
                    reply.send(Err(CommitError::Failed(error.clone()))).ok();
                }
                while let Some(late) = queue.blocking_recv() {
                    late.reply.send(Err(CommitError::Failed(error.clone()))).ok();
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::memory::{MemoryKey, MemoryScope, MemorySource, NewMemory};
    use crate::domain::time::UtcMillis;
    use crate::storage::batch::Op;

    fn put(text: &str) -> Batch {
        let key = MemoryKey {
            scope: MemoryScope::Global,
            namespace: "".into(),
            key: "k".into(),
        };
        Batch::ops(vec![Op::MemoryPut(Box::new(NewMemory {
            shard: key.shard(),
            key: Some(key.key),
            text: text.into(),
            hash: [0; 16],
            tags: Vec::new(),
            source: MemorySource {
                by: "person:test".into(),
                run: None,
            },
            importance: 50,
            expires_at: None,
            vector: None,
            at: UtcMillis(1),
        }))])
    }

    #[tokio::test]
    async fn an_answer_means_that_a_reader_sees_it_and_a_barrier_covers_all_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let committer = Committer::start(store.clone(), Bus::default()).expect("starts");
        let key = MemoryKey {
            scope: MemoryScope::Global,
            namespace: "".into(),
            key: "k".into(),
        };
        committer.commit(put("one")).await.expect("commits");
        assert_eq!(store.memory(&key).expect("reads").expect("there").version, 1);
        for _ in 0..100 {
            committer.submit(put("more")).expect("queued").detach();
        }
        committer.barrier().await.expect("commits");
        assert_eq!(store.memory(&key).expect("reads").expect("there").version, 101);
        committer.settled().await.expect("nothing waits");
        let commits = committer.figures().commits.load(Ordering::Relaxed);
        for version in 102..120 {
            committer.submit(put("again")).expect("queued").detach();
            committer.settled().await.expect("commits");
            assert_eq!(store.memory(&key).expect("reads").expect("there").version, version);
        }
        let settled = committer.figures().commits.load(Ordering::Relaxed);
        committer.settled().await.expect("nothing waits");
        assert_eq!(
            settled,
            committer.figures().commits.load(Ordering::Relaxed),
            "no commit of nothing"
        );
        assert!(settled > commits);
        assert!(commits < 102, "batches share transactions");
    }

    #[tokio::test]
    async fn a_failed_commit_stops_all_writing_and_is_told_to_everybody() {
        let backend = crate::storage::power_loss::Backend::failing_at(8, Vec::new());
        let store = Store::open_backend(backend).expect("opens");
        let committer = Committer::start(store, Bus::default()).expect("starts");
        let mut failed = None;
        for _ in 0..10 {
            if let Err(error) = committer.commit(put("x")).await {
                failed = Some(error);
                break;
            }
        }
        assert!(matches!(failed, Some(CommitError::Failed(_))), "{failed:?}");
        committer.failed().await;
        let later = committer.commit(put("y")).await.expect_err("closed");
        assert!(
            matches!(later, CommitError::Failed(_) | CommitError::Closed),
            "{later:?}"
        );
    }
}
