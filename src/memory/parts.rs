//! What memory stands on, handed in once by the composition root.

use std::time::Duration;

use crate::domain::memory::{MemoryEdit, ShardName};
use crate::runtime::clock::Clock;
use crate::runtime::committer::{Committer, Pending};
use crate::runtime::entropy::Entropy;
use crate::storage::batch::{Batch, Op};
use crate::storage::store::Store;

use super::embedding::Embedding;
use super::indexing::Indexing;
use super::limits::Upkeep;

/// Everything below that memory uses.
#[derive(Clone)]
pub struct MemoryParts {
    /// Tells the time.
    pub clock: Clock,
    /// Reads.
    pub store: Store,
    /// Writes.
    pub committer: Committer,
    /// Gives ids.
    pub entropy: Entropy,
    /// How long a shard that nobody asks stays open.
    pub idle: Duration,
    /// Shards open at once.
    pub open_max: usize,
    /// How it is kept in bounds.
    pub upkeep: Upkeep,
    /// What makes vectors beside the built-in embedder, if anything does.
    pub embedding: Embedding,
    /// How shards are indexed.
    pub indexing: Indexing,
}

impl MemoryParts {
    /// Has records put aside that cannot be read; the writer looks at each again and opens an incident for it.
    pub(super) fn put_aside(&self, name: &ShardName, damaged: &[u64]) {
        let at = self.clock.now();
        let ops = damaged.iter().map(|id| Op::MemoryEdit {
            shard: name.clone(),
            id: *id,
            edit: MemoryEdit::Quarantine,
            at,
        });
        if let Err(error) = self.committer.submit(Batch::ops(ops.collect())).map(Pending::detach) {
            tracing::error!(%error, "damaged memory entries were not put aside");
        }
    }
}
