//! What an operator asks of memory: to prune, restore, promote, take copies in, and compare everything with everything.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::memory::{
    MemoryCopy, MemoryEdit, MemoryEntry, MemoryKey, MemoryScope, MemoryState, NewMemory, ShardCount, ShardName,
};
use crate::domain::time::UtcMillis;
use crate::storage::batch::Op;
use crate::storage::error::StoreError;
use crate::storage::memory_embed::EmbeddedFigures;
use crate::storage::memory_row::text_hash;
use crate::storage::memory_verify::ShardReview;
use crate::storage::store::Store;

use super::collect::actor::CollectorMessage;
use super::collect::round::Report;
use super::handle::{MemoryError, MemoryHandle, stored};
use super::keep::vector_of;
use super::shard::actor::ShardMessage;
use super::shard::index::IndexReview;

/// Longest wait for a prune; it goes on when nobody waits any more.
const PRUNE_MAX: Duration = Duration::from_secs(25);
/// Longest wait for one part's index.
const REVIEW_MAX: Duration = Duration::from_secs(60);
/// Looks at a part that changes while it is looked at.
const LOOKS_MAX: usize = 5;

/// What comparing one part found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Which part.
    pub shard: ShardName,
    /// What was found in the store, and where the index differs from it.
    pub review: ShardReview,
    /// Whether the index could be compared: not when every look found it changing, or too many parts are open.
    pub index_compared: bool,
}

impl Verified {
    /// Whether everything agrees.
    pub fn is_clean(&self) -> bool {
        self.review.is_clean()
    }
}

impl MemoryHandle {
    /// Archives what is of little value, in one part or in all; with `really` unset it only says what would go.
    ///
    /// **Cancel**: a prune goes on.
    pub async fn prune(&self, only: Option<ShardName>, really: bool) -> Result<Report, MemoryError> {
        if !really {
            let now = self.parts.clock.now();
            let report = tokio::time::timeout(PRUNE_MAX, self.rounds.prune(only.as_ref(), now, false)).await;
            let report = report.map_err(|_| MemoryError::TimedOut)?;
            return report.map_err(|error| MemoryError::Collect(Arc::new(error)));
        }
        let permit = self
            .collecting
            .try_admit()
            .map_err(|full| MemoryError::Overloaded { waiting: full.capacity })?;
        let ask = |reply| CollectorMessage::Prune { only, permit, reply };
        let report = self
            .collector
            .call(ask, PRUNE_MAX)
            .await
            .map_err(MemoryError::Unanswered)?;
        report.map_err(|error| MemoryError::Collect(Arc::new(error)))
    }

    /// Figures of all parts.
    pub async fn figures(&self) -> Result<Vec<ShardCount>, MemoryError> {
        let counts = self.rounds.shards().await;
        counts.map_err(|error| MemoryError::Collect(Arc::new(error)))
    }

    /// The configured embedder and how far it is; none when there is the built-in one alone.
    pub fn embedder(&self) -> Result<Option<(Arc<str>, EmbeddedFigures)>, MemoryError> {
        let Some(name) = self.parts.embedding.wanted() else {
            return Ok(None);
        };
        let figures = self.parts.store.memory_embedded_figures(&name).map_err(stored)?;
        Ok(Some((name, figures)))
    }

    /// Why the embedder made no vectors when it was last asked for some.
    pub fn embedder_failure(&self) -> Option<Arc<str>> {
        self.parts.embedding.failure()
    }

    /// Brings an archived entry back; none when there is no such entry. The answer's state says whether it is live
    /// now: it stays archived when a newer entry has its key or text.
    ///
    /// **Errors**: [`MemoryError::SessionEnded`]; [`MemoryError::Full`] when it no longer fits.
    pub async fn restore(&self, shard: &ShardName, id: u64) -> Result<Option<MemoryEntry>, MemoryError> {
        let Some(entry) = self.entry(shard, id).await? else {
            return Ok(None);
        };
        self.is_open(shard)?;
        if matches!(entry.state, MemoryState::Archived { .. }) {
            self.make_room(shard, entry.key.as_ref(), (1, entry.text.len() as u64))
                .await?;
        }
        self.edit(shard.clone(), id, MemoryEdit::Restore).await?;
        self.entry(shard, id).await
    }

    /// Forgets all that was ever kept under a key: the live entry, archived ones, and what lies behind each. Gives the
    /// number of the newest; none when nothing is there.
    pub async fn forget(&self, key: &MemoryKey) -> Result<Option<u64>, MemoryError> {
        // A record that cannot be read is told and put aside.
        self.look(key).await?;
        let wanted = key.clone();
        let held = self.read_blocking(move |store| {
            let mut ids = store.memory_archived(&wanted)?;
            ids.extend(store.memory_number(&wanted)?);
            Ok(ids)
        });
        let ids = held.await?;
        if ids.is_empty() {
            return Ok(None);
        }
        let at = self.parts.clock.now();
        let forget = |id: &u64| Op::MemoryEdit {
            shard: key.shard(),
            id: *id,
            edit: MemoryEdit::Forget,
            at,
        };
        self.commit_all(ids.iter().map(forget).collect()).await?;
        Ok(ids.into_iter().max())
    }

    /// An entry by its number, whatever its state.
    pub async fn entry(&self, shard: &ShardName, id: u64) -> Result<Option<MemoryEntry>, MemoryError> {
        self.parts.committer.settled().await.map_err(MemoryError::Commit)?;
        match self.parts.store.memory_entry(shard, id) {
            Err(StoreError::Corrupt { .. }) => self.put_aside(shard.clone(), id).await,
            read => read.map_err(stored),
        }
    }

    /// Copies an entry, live or archived, into another part, where it stays when its own part ends, with all who
    /// said it and its time to end, unless that has passed. The same again changes little: it joins what is there. None
    /// when there is no such entry, or it is superseded.
    pub async fn promote(&self, from: &ShardName, id: u64, to: &ShardName) -> Result<Option<()>, MemoryError> {
        let entry = self.entry(from, id).await?;
        let Some(entry) = entry.filter(|entry| !matches!(entry.state, MemoryState::Superseded { .. })) else {
            return Ok(None);
        };
        if entry.sources.is_empty() {
            return Ok(None);
        }
        self.is_open(to)?;
        self.make_room(to, entry.key.as_ref(), (1, entry.text.len() as u64))
            .await?;
        let at = self.parts.clock.now();
        let (hash, vector) = (text_hash(&entry.text), vector_of(&entry.text));
        // Each who said it puts it, in one commit: the later ones join the first.
        let puts = entry.sources.iter().map(|source| {
            Op::MemoryPut(Box::new(NewMemory {
                shard: to.clone(),
                hash,
                vector: vector.clone(),
                key: entry.key.clone(),
                text: entry.text.clone(),
                tags: entry.tags.clone(),
                source: source.clone(),
                importance: entry.importance,
                // As when it is restored: a time to end that has passed is taken from it.
                expires_at: entry.expires_at.filter(|end| *end > at),
                at,
            }))
        });
        self.commit_all(puts.collect()).await.map(Some)
    }

    /// Takes entries over from elsewhere, all in one commit; the same again changes nothing.
    ///
    /// **Errors**: [`MemoryError::SessionEnded`]; [`MemoryError::Full`] when they do not fit.
    pub async fn take(&self, shard: &ShardName, entries: Vec<MemoryEntry>) -> Result<(), MemoryError> {
        self.is_open(shard)?;
        let bytes: u64 = entries.iter().map(|entry| entry.text.len() as u64).sum();
        let wanted = entries.iter().map(|entry| (entry.key.clone(), text_hash(&entry.text)));
        let new = self
            .parts
            .store
            .memory_new(shard, &wanted.collect::<Vec<_>>())
            .map_err(stored)?;
        if new > 0 {
            self.make_room(shard, None, (new as u64, bytes)).await?;
        }
        let copies = entries.into_iter().map(|entry| {
            Op::MemoryTake(Box::new(MemoryCopy {
                shard: shard.clone(),
                hash: text_hash(&entry.text),
                vector: vector_of(&entry.text),
                entry,
            }))
        });
        self.commit_all(copies.collect()).await
    }

    /// Compares store and indexes, part by part: one part, or all. Records that cannot be read are put aside.
    pub async fn verify(&self, only: Option<&ShardName>) -> Result<Vec<Verified>, MemoryError> {
        let mut verified = Vec::new();
        if only.is_none() {
            for shard in self.read_blocking(Store::memory_damaged_shards).await? {
                let mut review = ShardReview::default();
                review.find("the record of the part itself cannot be read; it was put aside".into());
                self.parts.put_aside(&shard, &[0]);
                verified.push(Verified {
                    shard,
                    review,
                    index_compared: false,
                });
            }
        }
        let names: Vec<ShardName> = match only {
            Some(only) => vec![only.clone()],
            None => self.figures().await?.into_iter().map(|count| count.name).collect(),
        };
        for name in names {
            verified.push(self.verify_part(name).await?);
        }
        if only.is_none() {
            let stray = self.read_blocking(Store::memory_stray_due).await?;
            if !stray.is_empty() {
                let mut review = ShardReview::default();
                for finding in stray {
                    review.find(finding);
                }
                let shard = ShardName {
                    scope: MemoryScope::Global,
                    namespace: "".into(),
                };
                verified.push(Verified {
                    shard,
                    review,
                    index_compared: true,
                });
            }
        }
        Ok(verified)
    }

    async fn verify_part(&self, shard: ShardName) -> Result<Verified, MemoryError> {
        for look in 1..=LOOKS_MAX {
            self.parts.committer.settled().await.map_err(MemoryError::Commit)?;
            let name = shard.clone();
            let mut review = self.read_blocking(move |store| store.memory_review(&name)).await?;
            let asked = |permit, reply| ShardMessage::Review { permit, reply };
            let index = match self.ask(&shard, asked, REVIEW_MAX).await {
                Ok(index) => Some(index.map_err(MemoryError::Store)?),
                Err(MemoryError::Overloaded { .. } | MemoryError::NotOpened(_)) => None,
                Err(error) => return Err(error),
            };
            let is_same_moment = index.as_ref().is_some_and(|index| index.followed == review.last_change);
            if !is_same_moment && index.is_some() && look < LOOKS_MAX {
                continue;
            }
            if let Some(index) = index.filter(|_| is_same_moment) {
                compare(&mut review, &index);
            }
            if !review.damaged.is_empty() {
                self.parts.put_aside(&shard, &review.damaged);
            }
            return Ok(Verified {
                shard,
                review,
                index_compared: is_same_moment,
            });
        }
        unreachable!("the last look answers")
    }

    async fn read_blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, MemoryError> {
        let read = self.rounds.read(read).await;
        read.map_err(|error| MemoryError::Collect(Arc::new(error)))
    }

    /// Now, by the memory's clock.
    pub fn now(&self) -> UtcMillis {
        self.parts.clock.now()
    }
}

fn compare(review: &mut ShardReview, index: &IndexReview) {
    let some = |ids: BTreeSet<u64>| {
        ids.into_iter()
            .take(5)
            .map(|id| id.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let missing: BTreeSet<u64> = review.live.difference(&index.ids).copied().collect();
    let extra: BTreeSet<u64> = index.ids.difference(&review.live).copied().collect();
    if !missing.is_empty() {
        review.find(format!(
            "the index lacks {} live entries: {} …",
            missing.len(),
            some(missing)
        ));
    }
    if !extra.is_empty() {
        review.find(format!(
            "the index has {} entries that are not live: {} …",
            extra.len(),
            some(extra)
        ));
    }
    if index.documents != index.ids.len() {
        review.find(format!(
            "the index searches {} documents for {} entries",
            index.documents,
            index.ids.len()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_lacks_an_entry_or_has_one_too_many_is_told() {
        let check = |ids: &[u64], documents: usize, expected: &[&str]| {
            let mut review = ShardReview {
                live: BTreeSet::from([1, 2, 3]),
                ..ShardReview::default()
            };
            let index = IndexReview {
                followed: 0,
                ids: ids.iter().copied().collect(),
                documents,
            };
            compare(&mut review, &index);
            assert_eq!(review.findings, expected, "{ids:?}");
            assert_eq!(review.is_clean(), expected.is_empty(), "{ids:?}");
        };
        check(&[1, 2, 3], 3, &[]);
        check(&[1, 3], 2, &["the index lacks 1 live entries: 2 …"]);
        check(&[1, 2, 3, 9], 4, &["the index has 1 entries that are not live: 9 …"]);
        check(&[1, 2, 3], 4, &["the index searches 4 documents for 3 entries"]);
    }
}
