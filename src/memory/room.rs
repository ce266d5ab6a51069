//! Room for what is to be kept: the limits of entries and bytes, and who makes room at them.
//!
//! Invariants: what can never fit is refused before anything is archived for it; whoever asks for room has its bytes
//! counted when it gets it, whatever it does with it, and the store is counted before anybody is refused.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::memory::{MemoryKey, ShardName};
use crate::domain::time::UtcMillis;

use super::collect::actor::CollectorMessage;
use super::handle::{MemoryError, MemoryHandle, stored};
use super::limits::WhenFull;

/// Longest wait for room.
const EVICTING_MAX: Duration = Duration::from_secs(10);
/// Calls that one put makes room by: each archives some thousand entries at most.
const EVICTIONS_MAX: usize = 4;

impl MemoryHandle {
    /// Makes room for so many entries of so many bytes where a limit is reached, by the policy of the configuration.
    ///
    /// Several that come at once may pass together and go over a limit of entries by as many; the next collection
    /// brings it down again.
    ///
    /// **Errors**: [`MemoryError::Full`] when so much never fits, or nothing may make room; then nothing was archived,
    /// unless limits were lowered below what is kept.
    pub async fn make_room(
        &self,
        shard: &ShardName,
        key: Option<&Arc<str>>,
        more: (u64, u64),
    ) -> Result<(), MemoryError> {
        self.fits_at_all(more)?;
        for evictions_left in (0..=EVICTIONS_MAX).rev() {
            let Some(full) = self.full(shard, key, more).await? else {
                self.counted.add(more.1);
                return Ok(());
            };
            if evictions_left == 0 || self.parts.upkeep.when_full == WhenFull::Refuse {
                return Err(full);
            }
            let permit = self
                .collecting
                .try_admit()
                .map_err(|full| MemoryError::Overloaded { waiting: full.capacity })?;
            let part = shard.clone();
            let evicted = self.collector.call(
                |reply| CollectorMessage::Evict {
                    shard: part,
                    more,
                    permit,
                    reply,
                },
                EVICTING_MAX,
            );
            let evicted = evicted.await.map_err(MemoryError::Unanswered)?;
            let evicted = evicted.map_err(|error| MemoryError::Collect(Arc::new(error)))?;
            self.counted.forget();
            if evicted == 0 && self.full(shard, key, more).await?.is_some() {
                return Err(full);
            }
        }
        Ok(())
    }

    /// Refuses what no eviction could make room for.
    fn fits_at_all(&self, (entries, bytes): (u64, u64)) -> Result<(), MemoryError> {
        let upkeep = &self.parts.upkeep;
        for (held, limit, unit) in [
            (entries, upkeep.entries_max, "entries"),
            (bytes, upkeep.bytes_max, "bytes of text"),
        ] {
            if held > limit {
                let what = "what is to be kept";
                return Err(MemoryError::Full {
                    what,
                    held,
                    limit,
                    unit,
                });
            }
        }
        Ok(())
    }

    /// The limit that so much more would pass.
    async fn full(
        &self,
        shard: &ShardName,
        key: Option<&Arc<str>>,
        (entries, bytes): (u64, u64),
    ) -> Result<Option<MemoryError>, MemoryError> {
        let upkeep = &self.parts.upkeep;
        let fits = |held: u64| held.saturating_add(bytes) <= upkeep.bytes_max;
        let now = self.parts.clock.now();
        let held = match self.counted.lately(now).filter(|held| fits(*held)) {
            Some(held) => held,
            None => self.count(now).await?,
        };
        if !fits(held) {
            return Ok(Some(MemoryError::Full {
                what: "the memory",
                held,
                limit: upkeep.bytes_max,
                unit: "bytes of text",
            }));
        }
        let live = self.parts.store.memory_figures(shard).map_err(stored)?.live;
        if live.saturating_add(entries) <= upkeep.entries_max {
            return Ok(None);
        }
        if let Some(key) = key {
            let key = MemoryKey {
                scope: shard.scope,
                namespace: shard.namespace.clone(),
                key: key.clone(),
            };
            if self.parts.store.memory_number(&key).map_err(stored)?.is_some() {
                // It takes the place of another.
                return Ok(None);
            }
        }
        Ok(Some(MemoryError::Full {
            what: "this part of the memory",
            held: live,
            limit: upkeep.entries_max,
            unit: "entries",
        }))
    }

    /// Counts the store, with what is on its way to it.
    async fn count(&self, now: UtcMillis) -> Result<u64, MemoryError> {
        self.parts.committer.settled().await.map_err(MemoryError::Commit)?;
        let counts = self.parts.store.memory_shards().map_err(stored)?;
        let held = counts.iter().map(|count| count.bytes).sum();
        self.counted.set(held, now);
        Ok(held)
    }
}
