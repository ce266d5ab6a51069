//! The work of a collection, batch by batch.
//!
//! Refuses to know: actors, timers. What is done is decided in `decision` and, for due times, within the transaction
//! that does it; here entries are read page by page and orders are given in small batches.

use std::sync::Arc;

use crate::domain::memory::{
    AsSeen, MemoryDue, MemoryEdit, MemoryEntry, MemoryScope, MemoryState, ShardCount, ShardName, run_of_session,
};
use crate::domain::run::{Outcome, RunStatus};
use crate::domain::time::UtcMillis;
use crate::memory::limits::WhenFull;
use crate::memory::parts::MemoryParts;
use crate::runtime::committer::CommitError;
use crate::runtime::telemetry::{MEMORY_ARCHIVED, MEMORY_DELETED};
use crate::storage::batch::{Batch, Op};
use crate::storage::error::StoreError;
use crate::storage::memory_read::MemoryPage;
use crate::storage::store::Store;

use super::decision::{Least, prune_reason};
use super::uses::Uses;

/// Orders of one commit: some milliseconds of the writer's time.
const BATCH_MAX: usize = 128;
/// Entries of one page.
const PAGE_MAX: usize = 512;
/// Entries that one call makes room by at most; further ones wait for the next call.
const EVICTED_MAX: u64 = 4_096;
/// Entries that a report names; the rest is counted.
pub const NAMED_MAX: usize = 500;

/// Why a round ended early. What it did until then stays done.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The store cannot be read.
    #[error("read the memory")]
    Store(#[source] StoreError),
    /// A batch was not committed.
    #[error("write the memory")]
    Commit(#[source] CommitError),
    /// A thread that read crashed.
    #[error("read the memory: the reading thread ended")]
    Thread(#[source] tokio::task::JoinError),
}

/// One entry that goes or would go.
#[derive(Debug, Clone, PartialEq)]
pub struct Going {
    /// Where it is.
    pub shard: ShardName,
    /// The entry.
    pub entry: MemoryEntry,
    /// Why.
    pub why: Arc<str>,
}

/// What a round did, or would do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Entries that were archived because they were of little value or their session had ended.
    pub archived: u64,
    /// Due times that were settled: entries whose time was over, and archived ones that were deleted.
    pub due: u64,
    /// Archived entries that were deleted because the archive was full.
    pub deleted: u64,
    /// Entries that made room.
    pub evicted: u64,
    /// Parts that held nothing any more.
    pub dropped: u64,
    /// Entries whose uses were written down.
    pub used: u64,
    /// Records that cannot be read; they were put aside.
    pub damaged: u64,
    /// The entries that were archived or evicted, at most [`NAMED_MAX`].
    pub going: Vec<Going>,
}

impl Report {
    fn name(&mut self, shard: &ShardName, entry: MemoryEntry, why: &Arc<str>) {
        if self.going.len() < NAMED_MAX {
            self.going.push(Going {
                shard: shard.clone(),
                entry,
                why: why.clone(),
            });
        }
    }
}

/// Does rounds. Cheap to clone.
#[derive(Clone)]
pub struct Rounds {
    /// What it stands on.
    pub parts: MemoryParts,
    /// What was used.
    pub uses: Uses,
}

impl Rounds {
    pub(in crate::memory) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, RoundError> {
        let store = self.parts.store.clone();
        let read = tokio::task::spawn_blocking(move || read(&store)).await;
        read.map_err(RoundError::Thread)?.map_err(RoundError::Store)
    }

    async fn commit(&self, ops: &mut Vec<Op>) -> Result<(), RoundError> {
        while !ops.is_empty() {
            let rest = ops.split_off(ops.len().min(BATCH_MAX));
            let batch = std::mem::replace(ops, rest);
            let committed = self.parts.committer.commit(Batch::ops(batch)).await;
            committed.map_err(RoundError::Commit)?;
        }
        Ok(())
    }

    async fn page(&self, shard: &ShardName, after: u64) -> Result<MemoryPage, RoundError> {
        let shard = shard.clone();
        self.read(move |store| store.memory_page(&shard, after, PAGE_MAX)).await
    }

    fn edit(shard: &ShardName, id: u64, edit: MemoryEdit, at: UtcMillis) -> Op {
        Op::MemoryEdit {
            shard: shard.clone(),
            id,
            edit,
            at,
        }
    }

    /// Takes an entry out of sight; with `seen` only as long as it is as it was then, because what is put, used or
    /// restored meanwhile was acknowledged.
    fn archive(&self, shard: &ShardName, (id, seen): (u64, Option<AsSeen>), why: &Arc<str>, now: UtcMillis) -> Op {
        let edit = MemoryEdit::Archive {
            why: why.clone(),
            until: self.until(now),
            seen,
        };
        Self::edit(shard, id, edit, now)
    }

    fn until(&self, now: UtcMillis) -> UtcMillis {
        now.plus_ms(self.parts.upkeep.archive_keep.as_millis() as u64)
    }

    /// All parts with their figures.
    pub async fn shards(&self) -> Result<Vec<ShardCount>, RoundError> {
        self.read(Store::memory_shards).await
    }

    /// One collection: uses are written down, due times settled, sessions whose run has ended archived, parts over
    /// their limit brought under it, empty ones removed.
    pub async fn collect(&self, now: UtcMillis) -> Result<Report, RoundError> {
        let mut report = Report::default();
        self.write_uses(now, &mut report).await?;
        self.settle_due(now, &mut report).await?;
        for count in self.shards().await? {
            if self.has_ended(&count.name).await? {
                let why: Arc<str> = "its session has ended".into();
                self.sweep((&count.name, true), now, true, &mut report, |_| Some(why.clone()))
                    .await?;
            }
            let entries_max = self.parts.upkeep.entries_max;
            // Where nothing more is taken, what is there was promised to stay.
            if count.live > entries_max && self.parts.upkeep.when_full == WhenFull::Evict {
                report.evicted += self.evict(&count.name, count.live - entries_max, now).await?;
            }
            if count.archived > entries_max {
                self.thin_archive(&count.name, count.archived - entries_max, now, &mut report)
                    .await?;
            }
            if count.live == 0 && count.archived == 0 {
                let mut drop = vec![Op::MemoryShardDrop {
                    shard: count.name.clone(),
                    at: now,
                }];
                self.commit(&mut drop).await?;
                report.dropped += 1;
            }
        }
        Ok(report)
    }

    async fn write_uses(&self, now: UtcMillis, report: &mut Report) -> Result<(), RoundError> {
        let uses = self.uses.take();
        report.used = uses.len() as u64;
        let ops = uses.into_iter();
        let mut ops: Vec<Op> = ops
            .map(|((shard, id), times)| Self::edit(&shard, id, MemoryEdit::Used { times }, now))
            .collect();
        self.commit(&mut ops).await
    }

    async fn settle_due(&self, now: UtcMillis, report: &mut Report) -> Result<(), RoundError> {
        loop {
            let due = self.read(move |store| store.memory_due(now, BATCH_MAX)).await?;
            if due.is_empty() {
                return Ok(());
            }
            report.due += due.len() as u64;
            let shards = self.shards().await?;
            let name_of = |number| {
                shards
                    .iter()
                    .find(|count| count.number == number)
                    .map(|count| count.name.clone())
            };
            let until = self.until(now);
            let op = |due: MemoryDue| Op::MemoryDue {
                due: MemoryDue {
                    name: name_of(due.shard),
                    ..due
                },
                now,
                until,
            };
            let mut ops: Vec<Op> = due.into_iter().map(op).collect();
            self.commit(&mut ops).await?;
        }
    }

    /// Whether a part is a session's whose run has ended for good. One that ended unknown may be taken up again.
    async fn has_ended(&self, shard: &ShardName) -> Result<bool, RoundError> {
        if shard.scope != MemoryScope::Session {
            return Ok(false);
        }
        let shard = shard.clone();
        self.read(move |store| session_has_ended(store, &shard)).await
    }

    /// Walks a shard and archives what `why` says.
    async fn sweep(
        &self,
        (shard, has_ended): (&ShardName, bool),
        now: UtcMillis,
        really: bool,
        report: &mut Report,
        mut why: impl FnMut(&MemoryEntry) -> Option<Arc<str>>,
    ) -> Result<(), RoundError> {
        let mut after = Some(0);
        while let Some(from) = after {
            let page = self.page(shard, from).await?;
            after = page.next;
            let (mut ops, before) = (Vec::new(), report.archived);
            for id in page.damaged {
                report.damaged += 1;
                ops.push(Self::edit(shard, id, MemoryEdit::Quarantine, now));
            }
            for entry in page
                .entries
                .into_iter()
                .filter(|entry| entry.state == MemoryState::Live)
            {
                if let Some(why) = why(&entry) {
                    let seen = (!has_ended).then(|| AsSeen::of(&entry));
                    ops.push(self.archive(shard, (entry.id, seen), &why, now));
                    report.archived += 1;
                    report.name(shard, entry, &why);
                }
            }
            if really {
                self.commit(&mut ops).await?;
                let telemetry = &self.parts.upkeep.telemetry;
                telemetry
                    .counter(&MEMORY_ARCHIVED, &[shard.scope.as_str(), "swept"])
                    .increment(report.archived - before);
            }
        }
        Ok(())
    }

    /// Archives what is of little value, in one part or in all. With `really` unset it only says what would go.
    pub async fn prune(&self, only: Option<&ShardName>, now: UtcMillis, really: bool) -> Result<Report, RoundError> {
        let mut report = Report::default();
        for count in self.shards().await? {
            if only.is_none_or(|only| *only == count.name) {
                let why = |entry: &MemoryEntry| prune_reason(entry, now).map(Into::into);
                self.sweep((&count.name, false), now, really, &mut report, why).await?;
            }
        }
        if really && only.is_none() {
            self.commit(&mut vec![Op::MemoryPruned(now)]).await?;
        }
        Ok(report)
    }

    /// Makes room for so many entries of so many bytes: a part over its limit gives entries, and for bytes the largest
    /// parts give, the largest first. Says how many went; none when nothing had to go, or when all that may go is not
    /// enough: then everything stays.
    pub async fn make_room(
        &self,
        shard: &ShardName,
        (entries, bytes): (u64, u64),
        now: UtcMillis,
    ) -> Result<u64, RoundError> {
        let mut shards = self.shards().await?;
        let upkeep = &self.parts.upkeep;
        let live = shards
            .iter()
            .find(|count| count.name == *shard)
            .map_or(0, |own| own.live);
        let held: u64 = shards.iter().map(|count| count.bytes).sum();
        let entries_over = live.saturating_add(entries).saturating_sub(upkeep.entries_max);
        let bytes_over = held.saturating_add(bytes).saturating_sub(upkeep.bytes_max);
        let mut gives = Vec::new();
        if entries_over > 0 {
            let least = self
                .least(shard, (entries_over + upkeep.entries_max / 100, 0), now)
                .await?;
            if least.may_go().0 < entries_over {
                return Ok(0);
            }
            gives.push((shard.clone(), least.found()));
        }
        shards.sort_by_key(|count| std::cmp::Reverse(count.bytes));
        // Some more than is missing, so that not every put has to make room again.
        let wanted = bytes_over.max(upkeep.bytes_max / 100);
        let mut found = 0;
        for count in shards.into_iter().filter(|count| count.bytes > 0) {
            if found >= bytes_over {
                break;
            }
            let least = self.least(&count.name, (0, wanted - found), now).await?;
            found += least.may_go().1;
            gives.push((count.name, least.found()));
        }
        if found < bytes_over {
            return Ok(0);
        }
        let mut evicted = 0;
        for (shard, ids) in gives {
            evicted += self.evict_these(&shard, ids, now).await?;
        }
        Ok(evicted)
    }

    /// Whether it is time for a prune. The first one comes a whole period after the memory was first looked at.
    pub async fn prune_is_due(&self, now: UtcMillis) -> Result<bool, RoundError> {
        let Some(period) = self.parts.upkeep.prune_every else {
            return Ok(false);
        };
        if let Some(last) = self.read(Store::memory_last_prune).await? {
            return Ok(u128::from(now.since(last)) >= period.as_millis());
        }
        self.commit(&mut vec![Op::MemoryPruned(now)]).await?;
        Ok(false)
    }

    /// Archives the least valuable entries of a part, some more than `surplus` so that not every put has to make room
    /// again, and says how many. Reads the whole part once.
    pub async fn evict(&self, shard: &ShardName, surplus: u64, now: UtcMillis) -> Result<u64, RoundError> {
        let wanted = surplus.max(1).saturating_add(self.parts.upkeep.entries_max / 100);
        let least = self.least(shard, (wanted, 0), now).await?;
        self.evict_these(shard, least.found(), now).await
    }

    /// The least valuable entries of a part, as few as make so many entries and bytes, and no more than go at once.
    async fn least(&self, shard: &ShardName, wanted: (u64, u64), now: UtcMillis) -> Result<Least, RoundError> {
        let mut least = Least::new(wanted, EVICTED_MAX as usize);
        let mut after = Some(0);
        while let Some(from) = after {
            let page = self.page(shard, from).await?;
            after = page.next;
            for entry in page.entries.iter().filter(|entry| entry.state == MemoryState::Live) {
                least.look(entry, now);
            }
        }
        Ok(least)
    }

    async fn evict_these(
        &self,
        shard: &ShardName,
        found: Vec<(u64, AsSeen)>,
        now: UtcMillis,
    ) -> Result<u64, RoundError> {
        let why: Arc<str> = "the least valuable when the memory was full".into();
        let evicted = found.len() as u64;
        let going = found.into_iter().map(|(id, seen)| (id, Some(seen)));
        let mut ops: Vec<Op> = going.map(|going| self.archive(shard, going, &why, now)).collect();
        self.commit(&mut ops).await?;
        let telemetry = &self.parts.upkeep.telemetry;
        telemetry
            .counter(&MEMORY_ARCHIVED, &[shard.scope.as_str(), "evicted"])
            .increment(evicted);
        Ok(evicted)
    }

    /// Deletes those that were archived first: an archive holds no more than a part may.
    async fn thin_archive(
        &self,
        shard: &ShardName,
        surplus: u64,
        now: UtcMillis,
        report: &mut Report,
    ) -> Result<(), RoundError> {
        let surplus = surplus.min(EVICTED_MAX) as usize;
        let mut oldest = std::collections::BinaryHeap::with_capacity(surplus + 1);
        let mut after = Some(0);
        while let Some(from) = after {
            let page = self.page(shard, from).await?;
            after = page.next;
            for entry in page.entries {
                if let MemoryState::Archived { at, .. } = entry.state {
                    oldest.push((at, entry.id));
                    if oldest.len() > surplus {
                        oldest.pop();
                    }
                }
            }
        }
        report.deleted += oldest.len() as u64;
        let telemetry = &self.parts.upkeep.telemetry;
        telemetry
            .counter(&MEMORY_DELETED, &[shard.scope.as_str()])
            .increment(oldest.len() as u64);
        let ids = oldest.into_iter().map(|(_, id)| id);
        let mut ops: Vec<Op> = ids.map(|id| Self::edit(shard, id, MemoryEdit::Forget, now)).collect();
        self.commit(&mut ops).await
    }
}

/// Whether the run of a session has ended for good; a session that is not named after a run never ends by itself. A run
/// that the store does not have has ended long ago: it is there before its first step can put anything.
pub fn session_has_ended(store: &Store, shard: &ShardName) -> Result<bool, StoreError> {
    let run = match shard.scope {
        MemoryScope::Session => run_of_session(&shard.namespace),
        MemoryScope::Project | MemoryScope::Global => None,
    };
    let Some(run) = run else { return Ok(false) };
    let status = store.header(run)?.map(|header| header.status);
    Ok(status.is_none_or(|status| matches!(status, RunStatus::Ended(outcome) if outcome != Outcome::Unknown)))
}
