//! What everybody else holds of memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use supervisors::{Admission, ApiError, CallError, ChildRef, DynamicRef};

use crate::domain::fault::Fault;
use crate::domain::memory::{MemoryEdit, MemoryEntry, MemoryKey, NewMemory, ShardName};
use crate::domain::time::UtcMillis;
use crate::runtime::committer::CommitError;
use crate::storage::batch::{Batch, Op};
use crate::storage::error::StoreError;

use super::parts::MemoryParts;
use super::question::{FoundEntry, Question};
use super::shard::actor::ShardMessage;

/// Questions to one shard that may wait.
const WAITING_MAX: usize = 256;

/// The supervisor of the shards.
pub type Shards = DynamicRef<ShardName, ShardMessage>;

/// A cheap clone; resolves the actors at each call.
#[derive(Clone)]
pub struct MemoryHandle {
    parts: MemoryParts,
    shards: Shards,
    used: Arc<Mutex<HashMap<ShardName, Used>>>,
}

/// An open shard as its callers see it.
#[derive(Debug, Clone)]
struct Used {
    admission: Admission,
    at: UtcMillis,
}

/// Why memory did not answer or keep.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The store failed.
    #[error("read the memory")]
    Store(#[source] Arc<StoreError>),
    /// The change was not committed.
    #[error("write the memory")]
    Commit(#[source] CommitError),
    /// Too many questions wait for this shard.
    #[error("ask the memory: {waiting} questions wait already")]
    Overloaded {
        /// How many may.
        waiting: usize,
    },
    /// All shards that may be open are in use.
    #[error("open a part of the memory")]
    NotOpened(#[source] ApiError),
    /// The shard did not answer in time or crashed over the question.
    #[error("ask the memory")]
    Unanswered(#[source] CallError),
}

impl MemoryError {
    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Commit(error) => error.fault(),
            Self::Overloaded { .. } | Self::NotOpened(ApiError::TooManyChildren(_)) => Fault::Overloaded,
            Self::Unanswered(CallError::TimedOut { .. }) => Fault::TimedOut,
            Self::Store(_) | Self::NotOpened(_) | Self::Unanswered(_) => Fault::Unavailable,
        }
    }
}

impl MemoryHandle {
    pub(super) fn new(parts: MemoryParts, shards: Shards) -> Self {
        Self {
            parts,
            shards,
            used: Arc::default(),
        }
    }

    /// The live entry of a key: one look into the store, without an index. What was put before is seen, also when its
    /// commit is still on the way.
    pub async fn get(&self, key: &MemoryKey) -> Result<Option<MemoryEntry>, MemoryError> {
        self.parts.committer.settled().await.map_err(MemoryError::Commit)?;
        let found = self.parts.store.memory(key);
        let now = self.parts.clock.now();
        let found = found.map_err(|error| MemoryError::Store(Arc::new(error)))?;
        Ok(found.filter(|entry| entry.expires_at.is_none_or(|at| at > now)))
    }

    /// Puts an entry; when this returns it is on disk, and every later question sees it.
    pub async fn put(&self, new: NewMemory) -> Result<(), MemoryError> {
        self.commit(Op::MemoryPut(Box::new(new))).await
    }

    /// Changes an entry; one that does not exist is left alone.
    pub async fn edit(&self, shard: ShardName, id: u64, edit: MemoryEdit) -> Result<(), MemoryError> {
        let at = self.parts.clock.now();
        self.commit(Op::MemoryEdit { shard, id, edit, at }).await
    }

    async fn commit(&self, op: Op) -> Result<(), MemoryError> {
        let committed = self.parts.committer.commit(Batch::ops(vec![op])).await;
        committed.map(drop).map_err(MemoryError::Commit)
    }

    /// Asks one shard. What was put before is found.
    ///
    /// **Limits**: 256 questions to a shard may wait, `open_max` shards may be open; a shard that nobody
    /// has asked for longest is closed for a new one.
    pub async fn query(
        &self,
        name: &ShardName,
        question: Question,
        deadline: Duration,
    ) -> Result<Vec<FoundEntry>, MemoryError> {
        let permit = self
            .use_shard(name)
            .try_admit()
            .map_err(|full| MemoryError::Overloaded { waiting: full.capacity })?;
        self.parts.committer.settled().await.map_err(MemoryError::Commit)?;
        let shard = self.open(name).await?;
        let asked = shard.call(
            |reply| ShardMessage::Query {
                question,
                permit,
                reply,
            },
            deadline,
        );
        let answer = asked.await.map_err(MemoryError::Unanswered)?;
        answer.map_err(MemoryError::Store)
    }

    fn use_shard(&self, name: &ShardName) -> Admission {
        let at = self.parts.clock.now();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = used.entry(name.clone()).or_insert_with(|| Used {
            admission: Admission::new(WAITING_MAX),
            at,
        });
        entry.at = at;
        entry.admission.clone()
    }

    async fn open(&self, name: &ShardName) -> Result<ChildRef<ShardMessage>, MemoryError> {
        let id = child_id(name);
        match self.shards.start_or_get(id.as_str(), name.clone()).await {
            Err(ApiError::TooManyChildren(_)) => {
                if let Some(unused) = self.longest_unused(name) {
                    // It may have closed by itself meanwhile.
                    self.shards.terminate_child(child_id(&unused).as_str()).await.ok();
                }
                let opened = self.shards.start_or_get(id.as_str(), name.clone()).await;
                opened.map_err(MemoryError::NotOpened)
            }
            opened => opened.map_err(MemoryError::NotOpened),
        }
    }

    /// The open shard that nobody has asked for longest and nobody waits for.
    fn longest_unused(&self, but: &ShardName) -> Option<ShardName> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|name, entry| {
            entry.admission.depth() > 0 || name == but || self.shards.get(child_id(name).as_str()).is_some()
        });
        let idle = used
            .iter()
            .filter(|(name, entry)| *name != but && entry.admission.depth() == 0);
        let found = idle.min_by_key(|(_, entry)| entry.at).map(|(name, _)| name.clone());
        if let Some(found) = &found {
            used.remove(found);
        }
        found
    }

    #[cfg(test)]
    pub(super) fn shards_for_tests(&self) -> Shards {
        self.shards.clone()
    }

    /// Shards that are open.
    pub fn open_count(&self) -> usize {
        self.shards.count()
    }
}

/// The shard's name in the tree. A name space may hold anything, so it is told apart by its hash.
pub(super) fn child_id(name: &ShardName) -> String {
    let hash = blake3::hash(name.namespace.as_bytes()).to_hex();
    format!("{}-{}", name.scope.as_str(), &hash[..16])
}
