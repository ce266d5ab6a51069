//! The tables of one write transaction, each opened when it is first needed and then kept.
//!
//! A transaction applies hundreds of batches; opening a table looks its root up in the file's own table and closing
//! it writes the root back, which cost more than the small writes themselves.

use redb::{Key, Table, TableDefinition, Value, WriteTransaction};

use crate::domain::incident::Incident;

use super::error::{StoreError, step};
use super::memory_tables::MemoryTables;
use super::table::{
    ACTIVE, AUDIT, BLOBS, BUDGETS, CERTIFICATES, DELIVERIES, EXCHANGES, INCIDENT_STATES, INCIDENTS, INCIDENTS_OPEN,
    JOURNAL, JournalKey, KEY_TERMS, KEY_USES, KEYS, META, RUNS, SCHEDULES, SECRETS, SHOWN, SLOTS, SNAPSHOTS,
    STATISTICS, SUBMISSIONS, TAPES, TRAFFIC,
};

type Bytes<'txn, K> = Table<'txn, K, &'static [u8]>;
type Id = &'static [u8; 16];
type Hash = &'static [u8; 32];

/// Open tables. Dropped before the transaction commits.
pub(super) struct Tables<'txn> {
    transaction: &'txn WriteTransaction,
    meta: Option<Table<'txn, &'static str, u64>>,
    journal: Option<Bytes<'txn, &'static JournalKey>>,
    blobs: Option<Bytes<'txn, Hash>>,
    snapshots: Option<Bytes<'txn, Id>>,
    runs: Option<Bytes<'txn, Id>>,
    active: Option<Table<'txn, Id, ()>>,
    submissions: Option<Bytes<'txn, Hash>>,
    budgets: Option<Bytes<'txn, &'static str>>,
    memory: Option<MemoryTables<'txn>>,
    keys: Option<Bytes<'txn, Id>>,
    exchanges: Option<Bytes<'txn, Id>>,
    shown: Option<Bytes<'txn, &'static JournalKey>>,
    key_terms: Option<Bytes<'txn, Id>>,
    key_uses: Option<Table<'txn, Id, u64>>,
    audit: Option<Bytes<'txn, u64>>,
    certificates: Option<Bytes<'txn, Id>>,
    secrets: Option<Bytes<'txn, &'static str>>,
    tapes: Option<Bytes<'txn, Id>>,
    traffic: Option<Bytes<'txn, &'static JournalKey>>,
    incidents: Option<Bytes<'txn, Id>>,
    incident_states: Option<Bytes<'txn, Id>>,
    incidents_open: Option<Table<'txn, Id, ()>>,
    deliveries: Option<Bytes<'txn, Id>>,
    schedules: Option<Bytes<'txn, &'static str>>,
    slots: Option<Bytes<'txn, &'static [u8]>>,
    statistics: Option<Bytes<'txn, &'static str>>,
}

fn open<'table, 'txn, K: Key + 'static, V: Value + 'static>(
    transaction: &'txn WriteTransaction,
    slot: &'table mut Option<Table<'txn, K, V>>,
    definition: TableDefinition<'_, K, V>,
    what: &'static str,
) -> Result<&'table mut Table<'txn, K, V>, StoreError> {
    Ok(match slot {
        Some(table) => table,
        None => slot.insert(transaction.open_table(definition).map_err(step(what))?),
    })
}

impl<'txn> Tables<'txn> {
    /// None of them is open yet.
    pub(super) fn of(transaction: &'txn WriteTransaction) -> Self {
        Self {
            transaction,
            meta: None,
            journal: None,
            blobs: None,
            snapshots: None,
            runs: None,
            active: None,
            submissions: None,
            budgets: None,
            memory: None,
            keys: None,
            exchanges: None,
            shown: None,
            key_terms: None,
            key_uses: None,
            audit: None,
            certificates: None,
            secrets: None,
            tapes: None,
            traffic: None,
            incidents: None,
            incident_states: None,
            incidents_open: None,
            deliveries: None,
            schedules: None,
            slots: None,
            statistics: None,
        }
    }

    pub(super) fn meta(&mut self) -> Result<&mut Table<'txn, &'static str, u64>, StoreError> {
        open(self.transaction, &mut self.meta, META, "open the numbers")
    }

    pub(super) fn journal(&mut self) -> Result<&mut Bytes<'txn, &'static JournalKey>, StoreError> {
        open(self.transaction, &mut self.journal, JOURNAL, "open the journal")
    }

    pub(super) fn blobs(&mut self) -> Result<&mut Bytes<'txn, Hash>, StoreError> {
        open(self.transaction, &mut self.blobs, BLOBS, "open the blobs")
    }

    pub(super) fn snapshots(&mut self) -> Result<&mut Bytes<'txn, Id>, StoreError> {
        open(self.transaction, &mut self.snapshots, SNAPSHOTS, "open the snapshots")
    }

    pub(super) fn runs(&mut self) -> Result<&mut Bytes<'txn, Id>, StoreError> {
        open(self.transaction, &mut self.runs, RUNS, "open the runs")
    }

    pub(super) fn active(&mut self) -> Result<&mut Table<'txn, Id, ()>, StoreError> {
        open(self.transaction, &mut self.active, ACTIVE, "open the active runs")
    }

    pub(super) fn submissions(&mut self) -> Result<&mut Bytes<'txn, Hash>, StoreError> {
        open(
            self.transaction,
            &mut self.submissions,
            SUBMISSIONS,
            "open the submissions",
        )
    }

    pub(super) fn budgets(&mut self) -> Result<&mut Bytes<'txn, &'static str>, StoreError> {
        open(self.transaction, &mut self.budgets, BUDGETS, "open the budgets")
    }

    /// Writes what memory holds back until the commit.
    pub(super) fn write_memory_shards(&mut self) -> Result<(), StoreError> {
        self.memory.as_mut().map_or(Ok(()), MemoryTables::write_shards)
    }

    /// What the memory has to tell of damage, once.
    pub(super) fn told_by_memory(&mut self) -> Vec<Incident> {
        self.memory
            .as_mut()
            .map(|memory| std::mem::take(&mut memory.told))
            .unwrap_or_default()
    }

    pub(super) fn memory(&mut self) -> Result<&mut MemoryTables<'txn>, StoreError> {
        Ok(match &mut self.memory {
            Some(tables) => tables,
            slot => slot.insert(MemoryTables::open(self.transaction)?),
        })
    }

    pub(super) fn keys(&mut self) -> Result<&mut Bytes<'txn, Id>, StoreError> {
        open(self.transaction, &mut self.keys, KEYS, "open the keys")
    }

    pub(super) fn exchanges(&mut self) -> Result<&mut Bytes<'txn, Id>, StoreError> {
        open(self.transaction, &mut self.exchanges, EXCHANGES, "open the exchanges")
    }

    pub(super) fn shown(&mut self) -> Result<&mut Bytes<'txn, &'static JournalKey>, StoreError> {
        open(self.transaction, &mut self.shown, SHOWN, "open the shown events")
    }

    pub(super) fn key_terms(&mut self) -> Result<&mut Bytes<'txn, Id>, StoreError> {
        open(
            self.transaction,
            &mut self.key_terms,
            KEY_TERMS,
            "open the terms of keys",
        )
    }

    pub(super) fn key_uses(&mut self) -> Result<&mut Table<'txn, Id, u64>, StoreError> {
        open(self.transaction, &mut self.key_uses, KEY_USES, "open the uses of keys")
    }

    pub(super) fn audit(&mut self) -> Result<&mut Bytes<'txn, u64>, StoreError> {
        open(self.transaction, &mut self.audit, AUDIT, "open the audit log")
    }

    pub(super) fn certificates(&mut self) -> Result<&mut Bytes<'txn, Id>, StoreError> {
        open(
            self.transaction,
            &mut self.certificates,
            CERTIFICATES,
            "open the certificates",
        )
    }

    pub(super) fn secrets(&mut self) -> Result<&mut Bytes<'txn, &'static str>, StoreError> {
        open(self.transaction, &mut self.secrets, SECRETS, "open the secrets")
    }

    pub(super) fn tapes(&mut self) -> Result<&mut Bytes<'txn, Id>, StoreError> {
        open(self.transaction, &mut self.tapes, TAPES, "open the tapes")
    }

    pub(super) fn traffic(&mut self) -> Result<&mut Bytes<'txn, &'static JournalKey>, StoreError> {
        open(self.transaction, &mut self.traffic, TRAFFIC, "open the traffic")
    }

    pub(super) fn incidents(&mut self) -> Result<&mut Bytes<'txn, Id>, StoreError> {
        open(self.transaction, &mut self.incidents, INCIDENTS, "open the incidents")
    }

    pub(super) fn incident_states(&mut self) -> Result<&mut Bytes<'txn, Id>, StoreError> {
        let what = "open the states of incidents";
        open(self.transaction, &mut self.incident_states, INCIDENT_STATES, what)
    }

    pub(super) fn incidents_open(&mut self) -> Result<&mut Table<'txn, Id, ()>, StoreError> {
        let what = "open the open incidents";
        open(self.transaction, &mut self.incidents_open, INCIDENTS_OPEN, what)
    }

    pub(super) fn deliveries(&mut self) -> Result<&mut Bytes<'txn, Id>, StoreError> {
        open(self.transaction, &mut self.deliveries, DELIVERIES, "open the messages")
    }

    pub(super) fn schedules(&mut self) -> Result<&mut Bytes<'txn, &'static str>, StoreError> {
        open(self.transaction, &mut self.schedules, SCHEDULES, "open the schedules")
    }

    pub(super) fn slots(&mut self) -> Result<&mut Bytes<'txn, &'static [u8]>, StoreError> {
        open(self.transaction, &mut self.slots, SLOTS, "open the slots")
    }

    pub(super) fn statistics(&mut self) -> Result<&mut Bytes<'txn, &'static str>, StoreError> {
        open(self.transaction, &mut self.statistics, STATISTICS, "open the figures")
    }
}
