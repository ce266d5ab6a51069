//! The tables of memory in the writer's transaction, and what is kept of a shard beside its entries: its record, its
//! change log, its numbers.
//!
//! Invariant: the record of a shard is read at its first change in a transaction and written once before the commit,
//! whatever number of entries changes in between; so is its change log cut. A group of puts is often of one shard.

use std::collections::BTreeMap;

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use crate::domain::incident::Incident;
use crate::domain::memory::{CHANGES_KEPT, ShardName};
use crate::domain::time::UtcMillis;

use super::codec;
use super::error::{StoreError, step};
use super::memory_row::{EntryRow, entry_row};
use super::record::memory::{ShardRecord, shard_row};
use super::table::{
    MEMORY_CHANGES, MEMORY_DUE, MEMORY_EMBEDDED, MEMORY_ENTRIES, MEMORY_HASHES, MEMORY_KEYS, MEMORY_NUMBERS,
    MEMORY_SHARDS, MEMORY_VECTORS,
};

/// What a change log says happened to an entry.
pub(super) const CHANGED: u8 = 1;
/// The entry is not found any more.
pub(super) const GONE: u8 = 2;

/// The tables of memory, opened together.
pub(super) struct MemoryTables<'txn> {
    pub(super) transaction: &'txn WriteTransaction,
    /// What the transaction has to tell of damage.
    pub(super) told: Vec<Incident>,
    /// The records of the shards that this transaction has come to.
    pub(super) held: BTreeMap<String, Held>,
    pub(super) shards: Table<'txn, &'static str, &'static [u8]>,
    pub(super) entries: Table<'txn, &'static EntryRow, &'static [u8]>,
    pub(super) keys: Table<'txn, &'static [u8], u64>,
    pub(super) hashes: Table<'txn, &'static [u8; 20], u64>,
    pub(super) vectors: Table<'txn, &'static EntryRow, &'static [u8]>,
    pub(super) embedded: Table<'txn, &'static [u8; 16], &'static [u8]>,
    pub(super) due: Table<'txn, &'static [u8; 20], ()>,
    pub(super) changes: Table<'txn, &'static EntryRow, &'static [u8]>,
}

/// The record of a shard as this transaction has it so far.
#[derive(Debug)]
pub(super) struct Held {
    record: ShardRecord,
    /// Where the log stood when the transaction came to it.
    logged_before: u64,
    is_changed: bool,
}

impl Held {
    fn of(record: ShardRecord) -> Self {
        Self {
            record,
            logged_before: record.last_change,
            is_changed: false,
        }
    }
}

impl<'txn> MemoryTables<'txn> {
    pub(super) fn open(transaction: &'txn WriteTransaction) -> Result<Self, StoreError> {
        let what = "open the memory";
        Ok(Self {
            transaction,
            told: Vec::new(),
            held: BTreeMap::new(),
            shards: transaction.open_table(MEMORY_SHARDS).map_err(step(what))?,
            entries: transaction.open_table(MEMORY_ENTRIES).map_err(step(what))?,
            keys: transaction.open_table(MEMORY_KEYS).map_err(step(what))?,
            hashes: transaction.open_table(MEMORY_HASHES).map_err(step(what))?,
            vectors: transaction.open_table(MEMORY_VECTORS).map_err(step(what))?,
            embedded: transaction.open_table(MEMORY_EMBEDDED).map_err(step(what))?,
            due: transaction.open_table(MEMORY_DUE).map_err(step(what))?,
            changes: transaction.open_table(MEMORY_CHANGES).map_err(step(what))?,
        })
    }

    /// The shard of a name, when there is one. A damaged record of a shard is put aside: the shard begins anew under
    /// another number, and its entries stay where they are, for a person.
    pub(super) fn known_shard(
        &mut self,
        name: &ShardName,
        at: UtcMillis,
    ) -> Result<Option<(String, ShardRecord)>, StoreError> {
        let row = shard_row(name);
        if let Some(held) = self.held.get(&row) {
            return Ok(Some((row, held.record)));
        }
        let bytes = match self.shards.get(row.as_str()).map_err(step("read a shard"))? {
            Some(value) => value.value().to_vec(),
            None => return Ok(None),
        };
        match codec::decode(|| format!("shard {row}"), &bytes) {
            Ok(record) => {
                let held = Held::of(record);
                self.held.insert(row.clone(), held);
                Ok(Some((row, record)))
            }
            Err(StoreError::Corrupt { reason, .. }) => {
                // No entry has a row of zeros and a hash: shards are counted from 1.
                let hash = blake3::hash(row.as_bytes());
                let mut aside = [0; 12];
                aside[4..].copy_from_slice(&hash.as_bytes()[..8]);
                self.put_aside(aside, &bytes)?;
                self.shards.remove(row.as_str()).map_err(step("remove a shard"))?;
                self.tell(
                    at,
                    &bytes,
                    format!("the record of memory shard `{row}` cannot be read"),
                    &reason,
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The shard of a name, made when it is new. `at` is when, should its record be damaged.
    pub(super) fn shard(&mut self, name: &ShardName, at: UtcMillis) -> Result<(String, ShardRecord), StoreError> {
        if let Some(found) = self.known_shard(name, at)? {
            return Ok(found);
        }
        let mut numbers = self.numbers()?;
        let next = numbers.get("next_shard").map_err(step("read the memory's numbers"))?;
        // Stores from before the numbers were counted have removed no shard.
        let number = match next.map(|next| next.value()) {
            Some(next) => next,
            None => self.shards.len().map_err(step("count the shards"))? + 1,
        };
        numbers
            .insert("next_shard", number + 1)
            .map_err(step("write the memory's numbers"))?;
        let shard = ShardRecord {
            number: number as u32,
            next_id: 1,
            // An index of a shard of this name that was removed stands at a place that is not in this one's log.
            last_change: number << 32,
            live: 0,
            bytes: 0,
        };
        Ok((shard_row(name), shard))
    }

    /// Takes over what has become of a shard; [`Self::write_shards`] writes it.
    pub(super) fn keep_shard(&mut self, row: String, shard: &ShardRecord) {
        let held = self.held.entry(row).or_insert_with(|| Held::of(*shard));
        held.record = *shard;
        held.is_changed = true;
    }

    /// Removes the record of a shard.
    pub(super) fn remove_shard(&mut self, row: &str) -> Result<(), StoreError> {
        self.held.remove(row);
        self.shards.remove(row).map_err(step("remove a shard"))?;
        Ok(())
    }

    /// Writes the records of all shards that have changed, and cuts their logs: the last thing before a commit.
    pub(super) fn write_shards(&mut self) -> Result<(), StoreError> {
        for (row, held) in std::mem::take(&mut self.held) {
            let Held {
                record,
                logged_before,
                is_changed,
            } = held;
            if !is_changed {
                continue;
            }
            self.shards
                .insert(row.as_str(), codec::encode(&record).as_slice())
                .map_err(step("write a shard"))?;
            let Some(through) = record.last_change.checked_sub(CHANGES_KEPT) else {
                continue;
            };
            let from = entry_row(record.number, (logged_before + 1).saturating_sub(CHANGES_KEPT));
            let through = entry_row(record.number, through);
            if from <= through {
                self.changes
                    .retain_in::<&EntryRow, _>(&from..=&through, |_, _| false)
                    .map_err(step("remove a change"))?;
            }
        }
        Ok(())
    }

    pub(super) fn log(&mut self, shard: &mut ShardRecord, id: u64, kind: u8) -> Result<(), StoreError> {
        shard.last_change += 1;
        let mut change = [kind; 9];
        change[1..].copy_from_slice(&id.to_be_bytes());
        self.changes
            .insert(&entry_row(shard.number, shard.last_change), change.as_slice())
            .map_err(step("write a change"))?;
        Ok(())
    }

    pub(super) fn numbers(&self) -> Result<Table<'txn, &'static str, u64>, StoreError> {
        let numbers = self.transaction.open_table(MEMORY_NUMBERS);
        numbers.map_err(step("open the memory's numbers"))
    }

    /// Keeps a number of the memory.
    pub(super) fn keep_number(&mut self, name: &str, number: u64) -> Result<(), StoreError> {
        let mut numbers = self.numbers()?;
        numbers
            .insert(name, number)
            .map_err(step("write the memory's numbers"))?;
        Ok(())
    }

    pub(super) fn kept_number(&self, name: &str) -> Result<u64, StoreError> {
        let numbers = self.numbers()?;
        let found = numbers.get(name).map_err(step("read the memory's numbers"))?;
        Ok(found.map_or(0, |number| number.value()))
    }

    pub(super) fn count_archived(&mut self, shard: u32, more: i64) -> Result<(), StoreError> {
        let mut numbers = self.numbers()?;
        let row = format!("archived:{shard}");
        let count = numbers.get(row.as_str()).map_err(step("read the memory's numbers"))?;
        let count = count.map_or(0, |count| count.value()).saturating_add_signed(more);
        if count == 0 {
            numbers
                .remove(row.as_str())
                .map_err(step("write the memory's numbers"))?;
        } else {
            numbers
                .insert(row.as_str(), count)
                .map_err(step("write the memory's numbers"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::{Key, ReadableDatabase, TableDefinition, Value};

    use super::super::batch::{Batch, Op};
    use super::super::memory_row::text_hash;
    use super::super::store::Store;
    use super::super::writer::Writer;
    use super::*;
    use crate::domain::memory::{MemoryEdit, MemoryScope, MemorySource, NewMemory};

    /// All rows of a table; none when nothing was ever written to it.
    fn rows<K: Key, V: Value>(store: &Store, table: TableDefinition<'_, K, V>) -> Vec<String> {
        let transaction = store.database().begin_read().expect("begins");
        let Ok(table) = transaction.open_table(table) else {
            return Vec::new();
        };
        let row = |row: Result<(redb::AccessGuard<'_, K>, redb::AccessGuard<'_, V>), redb::StorageError>| {
            let (key, value) = row.expect("readable");
            format!("{:?} {:?}", key.value(), value.value())
        };
        table.iter().expect("readable").map(row).collect()
    }

    fn written(groups: &[&[Op]]) -> Vec<Vec<String>> {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let mut writer = Writer::new(store.clone()).expect("a writer");
        for group in groups {
            let batches: Vec<Batch> = group.iter().map(|op| Batch::ops(vec![op.clone()])).collect();
            let verdicts = writer.commit(&batches).expect("commits");
            assert!(verdicts.iter().all(Result::is_ok));
        }
        vec![
            rows(&store, MEMORY_SHARDS),
            rows(&store, MEMORY_ENTRIES),
            rows(&store, MEMORY_KEYS),
            rows(&store, MEMORY_HASHES),
            rows(&store, MEMORY_DUE),
            rows(&store, MEMORY_CHANGES),
            rows(&store, MEMORY_NUMBERS),
        ]
    }

    fn op((what, shard, id): (u8, u8, u64)) -> Op {
        let shard = ShardName {
            scope: MemoryScope::Project,
            namespace: format!("p{shard}").into(),
        };
        let at = UtcMillis(7);
        let edit = |edit| Op::MemoryEdit {
            shard: shard.clone(),
            id,
            edit,
            at,
        };
        match what {
            0..4 => {
                let text = format!("text {id}");
                Op::MemoryPut(Box::new(NewMemory {
                    hash: text_hash(&text),
                    key: (what == 0).then(|| "k".into()),
                    text: text.into(),
                    shard,
                    tags: Vec::new(),
                    source: MemorySource {
                        by: "person:a".into(),
                        run: None,
                    },
                    importance: 50,
                    expires_at: (what == 1).then_some(UtcMillis(90)),
                    vector: None,
                    at,
                }))
            }
            4..6 => edit(MemoryEdit::Forget),
            6 => edit(MemoryEdit::Archive {
                why: "a test".into(),
                until: UtcMillis(99),
                seen: None,
            }),
            7 => edit(MemoryEdit::Restore),
            _ => Op::MemoryShardDrop { shard, at },
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn changes_in_one_transaction_leave_what_they_leave_one_by_one(
            changes in prop::collection::vec((0u8..9, 0u8..2, 1u64..5), 1..24),
        ) {
            let ops: Vec<Op> = changes.iter().copied().map(op).collect();
            let single: Vec<&[Op]> = ops.chunks(1).collect();
            prop_assert_eq!(written(&[&ops]), written(&single), "{:?}", changes);
        }
    }
}
