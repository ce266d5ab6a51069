//! Lets go what has been kept long enough.

use std::collections::BTreeSet;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::domain::effect::EffectKey;
use crate::domain::fact::Fact;
use crate::domain::fault::in_one_line;
use crate::domain::id::RunId;
use crate::domain::run::{Outcome, RunStatus};
use crate::domain::time::UtcMillis;
use crate::identity::audit::{AuditError, AuditLog};
use crate::runtime::clock::Clock;
use crate::runtime::committer::{CommitError, Committer};
use crate::runtime::room::handle::Room;
use crate::runtime::timer::Timer;
use crate::skills::handle::SkillsHandle;
use crate::skills::spool::SpoolError;
use crate::storage::batch::{Batch, Op};
use crate::storage::compaction::{CompactError, Compacted};
use crate::storage::error::StoreError;
use crate::storage::store::Store;

use super::decision::{Candidate, Fate, Limits, fate};

/// Between two rounds: what is kept may be more than its limit by what is written meanwhile.
const ROUND_EVERY: Duration = Duration::from_secs(600);
/// The first round comes soon after the start: a process that does not live long has one, too.
const FIRST_AFTER: Duration = Duration::from_secs(10);
/// Between two rounds while the disk is full: room that comes free within the file is given back by a round.
const ROUND_WHEN_FULL: Duration = Duration::from_secs(30);
/// Largest file that is compacted while new work is refused for want of room: some six seconds in which others wait.
const COMPACT_BYTES_MAX: u64 = 1 << 30;
/// Free bytes within the file that are worth it.
const SPARE_BYTES_MIN: u64 = 32 << 20;
/// What has lain in the spool for less is of a call that may be under way.
const SPOOLED_MIN: Duration = Duration::from_secs(3_600);
/// Runs of one transaction: few enough that nobody waits for it.
const GROUP: usize = 64;
/// Blobs of one transaction.
const BLOBS_GROUP: usize = 256;
/// Headers that are read at once.
const PAGE: usize = 1_000;

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The store cannot be read.
    #[error("read what is kept")]
    Store(#[source] StoreError),
    /// What goes cannot be written.
    #[error("let go what was kept long enough")]
    Commit(#[source] CommitError),
    /// The audit log cannot be cut.
    #[error("cut the audit log")]
    Audit(#[source] AuditError),
    /// The spool of programs cannot be swept.
    #[error("sweep the spool")]
    Spool(#[source] SpoolError),
    /// The file of the store cannot be made smaller.
    #[error("make the store smaller")]
    Compact(#[source] CompactError),
    /// The thread that read crashed.
    #[error("read what is kept: the reading crashed")]
    Crashed,
}

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionReport {
    /// Runs that went because of their age.
    pub old: u64,
    /// Runs that went because all took too much room.
    pub spare: u64,
    /// Payloads that nothing referred to any more.
    pub blobs: u64,
    /// Rows of the audit log.
    pub audit: u64,
    /// Files of the spool that no open call needs.
    pub spooled: u64,
    /// Bytes of the store's file that were given back, because the disk was full.
    pub given_back: u64,
}

/// Does the rounds.
#[derive(Clone)]
pub struct Retention {
    /// Reads.
    pub store: Store,
    /// Writes.
    pub committer: Committer,
    /// The audit log.
    pub audit: AuditLog,
    /// Tells the time.
    pub clock: Clock,
    /// How much is kept.
    pub limits: Limits,
    /// Whose spool is swept.
    pub skills: SkillsHandle,
    /// Whether the disk is full.
    pub room: Room,
}

/// The effects of all runs that may still ask what became of one: those that go on, are parked, or ended unknown.
fn open_keys(store: &Store) -> Result<BTreeSet<EffectKey>, StoreError> {
    let mut runs = store.active_runs()?;
    for status in [RunStatus::Parked, RunStatus::Ended(Outcome::Unknown)] {
        let headers = store.headers(None, usize::MAX, Some(status))?;
        runs.extend(headers.iter().map(|header| header.run));
    }
    let mut keys = BTreeSet::new();
    for run in runs {
        keys.extend(
            store
                .facts_for_state(run)?
                .iter()
                .filter_map(|stamped| match &stamped.fact {
                    Fact::CallIntended { key, .. } => Some(*key),
                    _ => None,
                }),
        );
    }
    Ok(keys)
}

async fn aside<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, RetentionError> {
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|_| RetentionError::Crashed)?
        .map_err(RetentionError::Store)
}

impl Retention {
    /// One round.
    pub async fn round(&self) -> Result<RetentionReport, RetentionError> {
        let now = self.clock.now();
        let mut report = RetentionReport::default();
        let store = self.store.clone();
        let limit = self.limits.bytes;
        let mut over = aside(move || {
            // Measuring reads every table; a file that is within the limit as a whole needs none.
            if store.file_bytes() <= limit {
                return Ok(0);
            }
            Ok(store.bytes_of_runs()?.saturating_sub(limit))
        })
        .await?;
        let mut after = None;
        loop {
            let store = self.store.clone();
            let page = aside(move || store.headers_before(now, after, PAGE)).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.run);
            let mut going = Vec::new();
            for header in &page {
                let candidate = Candidate {
                    run: header.run,
                    status: header.status,
                    ended_at: header.ended_at,
                };
                match fate(&candidate, &self.limits, now) {
                    Fate::Old => report.old += 1,
                    Fate::Spare if over > 0 => report.spare += 1,
                    Fate::Spare | Fate::Stays => continue,
                }
                let bytes = self.store.bytes_of_run(header.run).map_err(RetentionError::Store)?;
                over = over.saturating_sub(bytes);
                going.push(header.run);
            }
            self.drop_runs(&going).await?;
            let is_young = now.since(last.accepted_at) < self.limits.runs_ms;
            if is_young && over == 0 {
                // Whatever follows was accepted later, and did not end earlier.
                break;
            }
        }
        if report.old + report.spare > 0 {
            report.blobs = self.sweep().await?;
        }
        report.audit = self.cut_audit(now).await?;
        report.spooled = self.sweep_spool(now).await?;
        report.given_back = self.give_room_back().await?;
        Ok(report)
    }

    /// Makes the file of the store as small as what is in it while the disk is full. A file of redb keeps the room of what
    /// has gone for what comes, and while new work is refused nothing comes: without this it stays refused for ever.
    async fn give_room_back(&self) -> Result<u64, RetentionError> {
        let bytes = self.store.file_bytes();
        if !self.room.is_low() || bytes > COMPACT_BYTES_MAX {
            return Ok(0);
        }
        let store = self.store.clone();
        let spare = aside(move || store.spare_bytes()).await?;
        // With half of the file free no page of it needs another place than these: it does not grow on a full disk.
        if spare < SPARE_BYTES_MIN || spare < bytes / 2 {
            return Ok(0);
        }
        let store = self.store.clone();
        let compacted = tokio::task::spawn_blocking(move || store.compact(COMPACT_BYTES_MAX)).await;
        let Compacted { before, after } = compacted
            .map_err(|_| RetentionError::Crashed)?
            .map_err(RetentionError::Compact)?;
        tracing::warn!(before, after, "the disk is full; the store was made smaller");
        Ok(before.saturating_sub(after))
    }

    /// Lets go reports and traces that a session could not: of checks, of calls whose run ended meanwhile.
    async fn sweep_spool(&self, now: UtcMillis) -> Result<u64, RetentionError> {
        let skills = self.skills.clone();
        let looked = tokio::task::spawn_blocking(move || skills.old_in_spool(now, SPOOLED_MIN)).await;
        let old = looked.map_err(|_| RetentionError::Crashed)?;
        let old = old.map_err(RetentionError::Spool)?;
        if old.is_empty() {
            return Ok(0);
        }
        let store = self.store.clone();
        // After the look at the spool: a call that has a file there by now has an intent by now.
        let needed = aside(move || open_keys(&store)).await?;
        let skills = self.skills.clone();
        let swept = tokio::task::spawn_blocking(move || skills.sweep_spool(&old, &needed)).await;
        let swept = swept.map_err(|_| RetentionError::Crashed)?;
        Ok(swept.map_err(RetentionError::Spool)? as u64)
    }

    async fn drop_runs(&self, runs: &[RunId]) -> Result<(), RetentionError> {
        for group in runs.chunks(GROUP) {
            let set: BTreeSet<RunId> = group.iter().copied().collect();
            let store = self.store.clone();
            let keys = aside(move || store.submissions_of(&set)).await?;
            let ops = vec![Op::RunsDrop(group.to_vec()), Op::SubmissionsDrop(keys)];
            let committed = self.committer.commit(Batch::ops(ops)).await;
            committed.map_err(RetentionError::Commit)?;
        }
        Ok(())
    }

    async fn sweep(&self) -> Result<u64, RetentionError> {
        let marked = self.committer.commit(Batch::ops(vec![Op::BlobsMark])).await;
        marked.map_err(RetentionError::Commit)?;
        let store = self.store.clone();
        let unused = aside(move || store.unused_blobs()).await?;
        for group in unused.chunks(BLOBS_GROUP) {
            let sweep = Op::BlobsSweep(group.to_vec());
            let committed = self.committer.commit(Batch::ops(vec![sweep])).await;
            committed.map_err(RetentionError::Commit)?;
        }
        Ok(unused.len() as u64)
    }

    async fn cut_audit(&self, now: UtcMillis) -> Result<u64, RetentionError> {
        if self.limits.audit_ms == u64::MAX {
            return Ok(0);
        }
        let before = UtcMillis(now.0.saturating_sub(self.limits.audit_ms));
        self.audit.cut(before).await.map_err(RetentionError::Audit)
    }
}

/// What the collector is told.
#[derive(Debug)]
pub enum CollectorMessage {
    /// It is time.
    RoundDue,
}

/// The actor.
pub struct Collector(pub Retention);

impl Actor for Collector {
    type Msg = CollectorMessage;
    type State = Timer;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<CollectorMessage>, (): ()) -> Result<Timer, ActorProcessingErr> {
        Ok(Timer::after(&myself, FIRST_AFTER, || CollectorMessage::RoundDue))
    }

    async fn handle(
        &self,
        myself: ActorRef<CollectorMessage>,
        CollectorMessage::RoundDue: CollectorMessage,
        timer: &mut Timer,
    ) -> Result<(), ActorProcessingErr> {
        match self.0.round().await {
            Ok(report) if report == RetentionReport::default() => {}
            Ok(RetentionReport {
                old,
                spare,
                blobs,
                audit,
                spooled,
                given_back,
            }) => {
                tracing::info!(
                    old,
                    spare,
                    blobs,
                    audit,
                    spooled,
                    given_back,
                    "what was kept long enough is gone"
                );
            }
            // The next round finds what is left.
            Err(error) => tracing::warn!(error = in_one_line(&error), "a round of retention ended early"),
        }
        let next = if self.0.room.is_low() {
            ROUND_WHEN_FULL
        } else {
            ROUND_EVERY
        };
        *timer = Timer::after(&myself, next, || CollectorMessage::RoundDue);
        Ok(())
    }
}
