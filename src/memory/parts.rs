//! What memory stands on, handed in once by the composition root.

use std::time::Duration;

use crate::domain::id::IncidentId;
use crate::domain::incident::Incident;
use crate::domain::memory::ShardName;
use crate::runtime::clock::Clock;
use crate::runtime::committer::{Committer, Pending};
use crate::runtime::entropy::Entropy;
use crate::storage::batch::{Batch, Op};
use crate::storage::store::Store;

use super::indexing::Indexing;

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
    /// How shards are indexed.
    pub indexing: Indexing,
}

impl MemoryParts {
    /// Says that entries cannot be read. They stay in the store for inspection and are not found.
    pub(super) fn report_damage(&self, name: &ShardName, damaged: &[u64]) {
        tracing::error!(
            scope = name.scope.as_str(),
            namespace = &*name.namespace,
            entries = ?damaged,
            "memory entries cannot be read; they are left out"
        );
        let now = self.clock.now();
        let incident = Incident {
            id: IncidentId::new(now, self.entropy.u128()),
            at: now,
            severity: "error".into(),
            what: format!("{} memory entries cannot be read", damaged.len()).into(),
            why: format!(
                "scope {}, name space `{}`, entries {damaged:?}: their records are damaged",
                name.scope.as_str(),
                name.namespace
            )
            .into(),
            action: "they are kept as they are and left out of every answer".into(),
            run: None,
        };
        if let Err(error) = self
            .committer
            .submit(Batch::ops(vec![Op::IncidentOpen(incident)]))
            .map(Pending::detach)
        {
            tracing::error!(%error, "the incident was not recorded");
        }
    }
}
