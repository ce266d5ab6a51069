//! The tables of the main file. A table's name carries the version of its key layout.

use redb::{Key, TableDefinition, Value};

use super::error::StoreError;

/// The layout of the file as a whole; a file with a higher number is refused.
pub const LAYOUT_VERSION: u64 = 2;

/// Journal key: 16 bytes run, 8 bytes place of the entry's first fact, most significant first.
pub type JournalKey = [u8; 24];

/// Numbers of the file: `layout`, `next_seq`.
pub const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Entries: all facts of one batch of one run.
pub const JOURNAL: TableDefinition<'_, &JournalKey, &[u8]> = TableDefinition::new("journal-1");
/// Payloads over the inline limit, by the BLAKE3 hash of their bytes.
pub const BLOBS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("blobs-1");
/// The shortest list of facts that folds to a run's state up to a place.
pub const SNAPSHOTS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("snapshots-1");
/// One header for each run.
pub const RUNS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("runs-1");
/// The runs that recovery takes up: accepted, neither ended nor parked.
pub const ACTIVE: TableDefinition<'_, &[u8; 16], ()> = TableDefinition::new("active-1");
/// Submissions by the hash of who submitted and the idempotency key.
pub const SUBMISSIONS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("submissions-1");
/// Balances of token accounts.
pub const BUDGETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("budgets-1");
/// Memory entries of the first layout, by scope, name space and key; taken over by the tables below on the way to the
/// second.
pub const FIRST_MEMORY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("memory-1");
/// Memory shards by scope and name space.
pub const MEMORY_SHARDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("memory-shards-1");
/// Memory entries: 4 bytes shard, 8 bytes number of the entry, most significant first.
pub const MEMORY_ENTRIES: TableDefinition<'_, &[u8; 12], &[u8]> = TableDefinition::new("memory-entries-1");
/// Live entries by key: 4 bytes shard, then the key.
pub const MEMORY_KEYS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("memory-keys-1");
/// Live entries without a key by the hash of their text: 4 bytes shard, 16 bytes hash.
pub const MEMORY_HASHES: TableDefinition<'_, &[u8; 20], u64> = TableDefinition::new("memory-hashes-1");
/// Vectors of entries, by the row of the entry.
pub const MEMORY_VECTORS: TableDefinition<'_, &[u8; 12], &[u8]> = TableDefinition::new("memory-vectors-1");
/// Entries that end by themselves: 8 bytes milliseconds, then the row of the entry.
pub const MEMORY_DUE: TableDefinition<'_, &[u8; 20], ()> = TableDefinition::new("memory-due-1");
/// The last changes of each shard: 4 bytes shard, 8 bytes place of the change.
pub const MEMORY_CHANGES: TableDefinition<'_, &[u8; 12], &[u8]> = TableDefinition::new("memory-changes-1");
/// Vectors by embedders beside the built-in one: 4 bytes shard, 8 bytes entry, 4 bytes number of the embedder.
pub const MEMORY_EMBEDDED: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("memory-embedded-1");
/// Numbers of the memory: `next_shard`, `last_prune`, `archived:` with the number of a shard, and by embedder its
/// number (`embedder:`), how far a shard is embedded (`embedded:`) and how many texts were refused (`refused:`).
pub const MEMORY_NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("memory-numbers-1");
/// Records of memory that cannot be read, as they were found, by the row of the entry.
pub const MEMORY_QUARANTINE: TableDefinition<'_, &[u8; 12], &[u8]> = TableDefinition::new("memory-quarantine-1");
/// What a run does with its model traffic; runs without a row keep nothing.
pub const TAPES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("tapes-1");
/// Answered requests of runs that are recorded, at the place of the fact that has the answer.
pub const TRAFFIC: TableDefinition<'_, &JournalKey, &[u8]> = TableDefinition::new("traffic-1");
/// What is kept of each schedule, by its name.
pub const SCHEDULES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("schedules-1");
/// The ledger of slots: the schedule's name, a zero byte, 8 bytes milliseconds of the slot, most significant first.
pub const SLOTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("slots-1");
/// What the client of a vendor's protocol asked, by the run that answers it.
pub const EXCHANGES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("exchanges-1");
/// Events that were shown to such clients, at the number of the first of them.
pub const SHOWN: TableDefinition<'_, &JournalKey, &[u8]> = TableDefinition::new("shown-1");
/// API keys by their public id.
pub const KEYS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("keys-1");
/// Terms of keys by their public id.
pub const KEY_TERMS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("key-terms-1");
/// When keys were last used, in milliseconds since 1970, by their public id.
pub const KEY_USES: TableDefinition<'_, &[u8; 16], u64> = TableDefinition::new("key-uses-1");
/// The audit log by place.
pub const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit-1");
/// Issued certificates by serial number.
pub const CERTIFICATES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("certificates-1");
/// Sealed secrets by name.
pub const SECRETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("secrets-1");
/// Incidents.
pub const INCIDENTS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("incidents-1");
/// How incidents went on, by their id.
pub const INCIDENT_STATES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("incident-states-1");
/// Incidents that somebody still has to look at.
pub const INCIDENTS_OPEN: TableDefinition<'_, &[u8; 16], ()> = TableDefinition::new("incidents-open-1");
/// Messages on their way to people, by their id.
pub const DELIVERIES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("deliveries-1");
/// Figures of agents, days and runs.
pub const STATISTICS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("statistics-1");

/// Which program brought the store to a layout, by the layout; none for the layout that the store was made with.
pub const LAYOUTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("layouts-1");

/// Does one thing with tables of any types.
pub(super) trait EachTable {
    /// Does it with one table.
    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), StoreError>;
}

/// Does one thing with every table that a file may have, the numbers of the file last: a copy that was cut off has no
/// layout and is no store.
pub(super) fn each_table(each: &mut impl EachTable) -> Result<(), StoreError> {
    each.table(JOURNAL)?;
    each.table(BLOBS)?;
    each.table(SNAPSHOTS)?;
    each.table(RUNS)?;
    each.table(ACTIVE)?;
    each.table(SUBMISSIONS)?;
    each.table(BUDGETS)?;
    each.table(FIRST_MEMORY)?;
    each.table(MEMORY_SHARDS)?;
    each.table(MEMORY_ENTRIES)?;
    each.table(MEMORY_KEYS)?;
    each.table(MEMORY_HASHES)?;
    each.table(MEMORY_VECTORS)?;
    each.table(MEMORY_DUE)?;
    each.table(MEMORY_CHANGES)?;
    each.table(MEMORY_EMBEDDED)?;
    each.table(MEMORY_NUMBERS)?;
    each.table(MEMORY_QUARANTINE)?;
    each.table(TAPES)?;
    each.table(TRAFFIC)?;
    each.table(SCHEDULES)?;
    each.table(SLOTS)?;
    each.table(EXCHANGES)?;
    each.table(SHOWN)?;
    each.table(KEYS)?;
    each.table(KEY_TERMS)?;
    each.table(KEY_USES)?;
    each.table(AUDIT)?;
    each.table(CERTIFICATES)?;
    each.table(SECRETS)?;
    each.table(INCIDENTS)?;
    each.table(INCIDENT_STATES)?;
    each.table(INCIDENTS_OPEN)?;
    each.table(DELIVERIES)?;
    each.table(STATISTICS)?;
    each.table(LAYOUTS)?;
    each.table(META)
}
