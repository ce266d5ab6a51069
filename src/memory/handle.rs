//! What everybody else holds of memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use ractor::RpcReplyPort;
use supervisors::{Admission, ApiError, CallError, ChildRef, DynamicRef, Permit};

use crate::domain::fault::Fault;
use crate::domain::memory::{MemoryEdit, MemoryEntry, MemoryKey, NewMemory, ShardName};
use crate::domain::time::UtcMillis;
use crate::runtime::committer::CommitError;
use crate::storage::batch::{Batch, Op};
use crate::storage::error::StoreError;

use super::collect::actor::CollectorMessage;
use super::collect::round::{RoundError, Rounds, session_has_ended};
use super::counted::Counted;
use super::parts::MemoryParts;
use super::question::{Found, FoundEntry, Question};
use super::shard::actor::ShardMessage;

/// Questions to one shard that may wait.
const WAITING_MAX: usize = 256;
/// Times that a shard is opened for one question.
const OPENS_MAX: usize = 3;
/// Places that are freed for one shard: others may take each of them first.
const PLACES_MAX: usize = 64;
/// Prunes and puts that wait for room at once.
const COLLECTING_MAX: usize = 256;
/// Shards of which something is known, open or not, before those that are closed are looked for.
const KNOWN_MAX: usize = 1_024;

/// The supervisor of the shards.
pub type Shards = DynamicRef<ShardName, ShardMessage>;

/// A cheap clone; resolves the actors at each call.
#[derive(Clone)]
pub struct MemoryHandle {
    pub(super) parts: MemoryParts,
    shards: Shards,
    used: Arc<Mutex<HashMap<ShardName, Used>>>,
    pub(super) rounds: Rounds,
    pub(super) collector: ChildRef<CollectorMessage>,
    pub(super) collecting: Admission,
    pub(super) counted: Counted,
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
    /// A collection failed; what it did until then stays done.
    #[error("collect the memory")]
    Collect(#[source] Arc<RoundError>),
    /// No more fits, and nothing may make room.
    #[error("keep a text: {what} holds {held} {unit}, at most {limit} are allowed")]
    Full {
        /// A part, or the memory as a whole.
        what: &'static str,
        /// How many it holds.
        held: u64,
        /// How many it may.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The session is over, and nothing more is kept in it.
    #[error("keep a text: its session has ended")]
    SessionEnded,
    /// It took longer than anybody waits.
    #[error("look through the memory: it took too long")]
    TimedOut,
    /// The record cannot be read; it was put aside.
    #[error("read the memory: the record of entry {0} is damaged and was put aside")]
    Damaged(u64),
}

impl MemoryError {
    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Commit(error) => error.fault(),
            Self::Overloaded { .. } | Self::Full { .. } | Self::NotOpened(ApiError::TooManyChildren(_)) => {
                Fault::Overloaded
            }
            Self::SessionEnded => Fault::Conflict,
            Self::Damaged(_) => Fault::Corrupt,
            Self::Collect(error) => match &**error {
                RoundError::Commit(error) => error.fault(),
                RoundError::Store(_) | RoundError::Thread(_) => Fault::Unavailable,
            },
            Self::TimedOut | Self::Unanswered(CallError::TimedOut { .. }) => Fault::TimedOut,
            Self::Store(_) | Self::NotOpened(_) | Self::Unanswered(_) => Fault::Unavailable,
        }
    }
}

impl MemoryHandle {
    pub(super) fn new(
        parts: MemoryParts,
        shards: Shards,
        collector: ChildRef<CollectorMessage>,
        rounds: Rounds,
    ) -> Self {
        Self {
            parts,
            shards,
            used: Arc::default(),
            rounds,
            collector,
            collecting: Admission::new(COLLECTING_MAX),
            counted: Counted::default(),
        }
    }

    /// The live entry of a key for somebody who works with it: the look counts as a use.
    ///
    /// **Errors**: as [`Self::look`].
    pub async fn get(&self, key: &MemoryKey) -> Result<Option<MemoryEntry>, MemoryError> {
        let found = self.look(key).await?;
        if let Some(entry) = &found {
            self.rounds.uses.count(&key.shard(), entry.id);
        }
        Ok(found)
    }

    /// The live entry of a key: one look into the store, without an index, and no use. What was put before is seen,
    /// also when its commit is still on the way.
    ///
    /// **Errors**: a record that cannot be read is put aside, and the next call finds nothing.
    pub async fn look(&self, key: &MemoryKey) -> Result<Option<MemoryEntry>, MemoryError> {
        let _asked = self.parts.indexing.asks_by_key();
        self.parts.committer.settled().await.map_err(MemoryError::Commit)?;
        let shard = key.shard();
        if session_has_ended(&self.parts.store, &shard).map_err(stored)? {
            return Ok(None);
        }
        let now = self.parts.clock.now();
        let found = match self.parts.store.memory(key) {
            Err(StoreError::Corrupt { .. }) => {
                // None when the record of the part itself is damaged; no entry has number 0.
                let id = self.parts.store.memory_number(key).unwrap_or_default().unwrap_or(0);
                return self.put_aside(shard, id).await;
            }
            found => found.map_err(stored)?,
        };
        Ok(found.filter(|entry| entry.expires_at.is_none_or(|at| at > now)))
    }

    /// Has a record put aside that cannot be read, and says so.
    pub(super) async fn put_aside<T>(&self, shard: ShardName, id: u64) -> Result<T, MemoryError> {
        self.edit(shard, id, MemoryEdit::Quarantine).await?;
        Err(MemoryError::Damaged(id))
    }

    /// Puts an entry; when this returns it is on disk, and every later question sees it. Gives the entry that the text
    /// is in; none when it has gone again meanwhile.
    ///
    /// **Errors**: [`MemoryError::SessionEnded`]; [`MemoryError::Full`] when a limit is reached and nothing may make
    /// room.
    pub async fn put(&self, new: NewMemory) -> Result<Option<MemoryEntry>, MemoryError> {
        self.is_open(&new.shard)?;
        self.make_room(&new.shard, new.key.as_ref(), (1, new.text.len() as u64))
            .await?;
        self.commit(Op::MemoryPut(Box::new(new.clone()))).await?;
        self.parts.store.memory_put(&new).map_err(stored)
    }

    /// Refuses what would be kept in a session whose run has ended: nobody would find it, and the next collection
    /// would archive it.
    pub(super) fn is_open(&self, shard: &ShardName) -> Result<(), MemoryError> {
        if session_has_ended(&self.parts.store, shard).map_err(stored)? {
            return Err(MemoryError::SessionEnded);
        }
        Ok(())
    }

    /// Changes an entry; one that does not exist is left alone.
    pub async fn edit(&self, shard: ShardName, id: u64, edit: MemoryEdit) -> Result<(), MemoryError> {
        let at = self.parts.clock.now();
        self.commit(Op::MemoryEdit { shard, id, edit, at }).await
    }

    async fn commit(&self, op: Op) -> Result<(), MemoryError> {
        self.commit_all(vec![op]).await
    }

    pub(super) async fn commit_all(&self, ops: Vec<Op>) -> Result<(), MemoryError> {
        let committed = self.parts.committer.commit(Batch::ops(ops)).await;
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
        let found = self.answer(name, question, deadline).await?;
        Ok(found.entries)
    }

    /// The same, and says when the embedder that serves the shard did not answer and only words were compared.
    ///
    /// **Limits**: the embedder is waited for two seconds, and never longer than half of the deadline.
    pub async fn answer(&self, name: &ShardName, question: Question, deadline: Duration) -> Result<Found, MemoryError> {
        let _asked = self.parts.indexing.asks_by_meaning();
        if session_has_ended(&self.parts.store, name).map_err(stored)? {
            return Ok(Found::default());
        }
        let (direction, failure) = self
            .parts
            .embedding
            .direction(&self.parts.store, name, &question.text, deadline)
            .await
            .map_err(stored)?;
        let asked = |permit, reply| ShardMessage::Query {
            question: question.clone(),
            direction: direction.clone(),
            permit,
            reply,
        };
        let mut found = self.ask(name, asked, deadline).await?.map_err(MemoryError::Store)?;
        if found.words_alone.is_some() && failure.is_some() {
            found.words_alone = failure;
        }
        Ok(found)
    }

    /// Asks the actor of a shard, which is opened when it is not. One that closed under the question, because nobody had
    /// asked it for long or to make room for another, is opened again.
    pub(super) async fn ask<R: Send + 'static>(
        &self,
        name: &ShardName,
        question: impl Fn(Permit, RpcReplyPort<R>) -> ShardMessage,
        deadline: Duration,
    ) -> Result<R, MemoryError> {
        let admission = self.use_shard(name);
        for opens_left in (0..OPENS_MAX).rev() {
            let permit = admission
                .try_admit()
                .map_err(|full| MemoryError::Overloaded { waiting: full.capacity })?;
            self.parts.committer.settled().await.map_err(MemoryError::Commit)?;
            let shard = self.open(name).await?;
            let asked = shard.call(|reply| question(permit, reply), deadline);
            match asked.await {
                Err(CallError::Down(_) | CallError::Unanswered(_)) if opens_left > 0 && self.is_closed(name) => {}
                answered => return answered.map_err(MemoryError::Unanswered),
            }
        }
        unreachable!("the last try answers")
    }

    /// A crash leaves a shard in the tree, to be started again; closing takes it out.
    fn is_closed(&self, name: &ShardName) -> bool {
        self.shards.get(child_id(name).as_str()).is_none()
    }

    /// Says that entries were found and given to somebody who works with them.
    pub fn note_used(&self, found: &[FoundEntry]) {
        for found in found {
            self.rounds.uses.count(&found.shard, found.entry.id);
        }
    }

    fn use_shard(&self, name: &ShardName) -> Admission {
        let at = self.parts.clock.now();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= KNOWN_MAX {
            // Each step that asks its session is a part of its own.
            self.forget_closed(&mut used, name);
        }
        let entry = used.entry(name.clone()).or_insert_with(|| Used {
            admission: Admission::new(WAITING_MAX),
            at,
        });
        entry.at = at;
        entry.admission.clone()
    }

    async fn open(&self, name: &ShardName) -> Result<ChildRef<ShardMessage>, MemoryError> {
        let id = child_id(name);
        for places_left in (0..PLACES_MAX).rev() {
            let opened = self.shards.start_or_get(id.as_str(), name.clone()).await;
            if places_left == 0 || !matches!(opened, Err(ApiError::TooManyChildren(_))) {
                return opened.map_err(MemoryError::NotOpened);
            }
            let Some(unused) = self.longest_unused(name) else {
                return opened.map_err(MemoryError::NotOpened);
            };
            // It may have closed by itself meanwhile; and whoever comes first takes the place.
            self.shards.terminate_child(child_id(&unused).as_str()).await.ok();
        }
        unreachable!("the last try answers")
    }

    /// Lets go of what is known of shards that are closed and that nobody waits for.
    fn forget_closed(&self, used: &mut HashMap<ShardName, Used>, but: &ShardName) {
        used.retain(|name, entry| {
            entry.admission.depth() > 0 || name == but || self.shards.get(child_id(name).as_str()).is_some()
        });
    }

    /// The open shard that nobody has asked for longest and nobody waits for.
    fn longest_unused(&self, but: &ShardName) -> Option<ShardName> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget_closed(&mut used, but);
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

    /// Bytes of the vectors in the indexes of open shards, and of the graphs over them.
    pub fn index_bytes(&self) -> (u64, u64) {
        self.parts.indexing.index_bytes()
    }

    /// The open shards that do not say within a deadline that they live. It opens none and keeps none open; one that is
    /// being restarted is its supervisor's concern.
    pub async fn silent(&self, deadline: Duration) -> Vec<ShardName> {
        let names: Vec<ShardName> = {
            let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.keys().cloned().collect()
        };
        let asked = names.into_iter().filter_map(|name| {
            let shard = self.shards.get(child_id(&name).as_str())?;
            Some(async move {
                let answered = shard.call(|reply| ShardMessage::Ping { reply }, deadline).await;
                matches!(answered, Err(CallError::TimedOut { .. })).then_some(name)
            })
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Shards that are open.
    pub fn open_count(&self) -> usize {
        self.shards.count()
    }
}

pub(super) fn stored(error: StoreError) -> MemoryError {
    MemoryError::Store(Arc::new(error))
}

/// The shard's name in the tree. A name space may hold anything, so it is told apart by its hash.
pub(super) fn child_id(name: &ShardName) -> String {
    let hash = blake3::hash(name.namespace.as_bytes()).to_hex();
    format!("{}-{}", name.scope.as_str(), &hash[..16])
}
