//! Reading memory: by key, by number, by page, and what is counted of it.

use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable};

use crate::domain::memory::{
    HISTORY_MAX, MemoryDue, MemoryEntry, MemoryKey, MemoryState, MemoryVector, NewMemory, ShardCount, ShardName,
};
use crate::domain::time::UtcMillis;

use super::codec;
use super::error::{StoreError, step};
use super::memory_row::{EntryRow, beside_hash, entry_row, hash_row, key_row, number_of, read_due_row, words_hash};
use super::memory_write::NEAR;
use super::record::memory::{EntryRecord, ShardRecord, VectorRecord, read_shard_row, shard_row};
use super::store::Store;
use super::table::{
    MEMORY_DUE, MEMORY_ENTRIES, MEMORY_HASHES, MEMORY_KEYS, MEMORY_NUMBERS, MEMORY_SHARDS, MEMORY_VECTORS,
};

/// What is counted of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardFigures {
    /// Live entries.
    pub live: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// The place of the last change; 0 when there was none.
    pub last_change: u64,
}

/// When the memory was last pruned, among its numbers.
pub(super) const LAST_PRUNE: &str = "last_prune";
/// Bytes of texts in one page; a page has at least one entry.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Some of a shard's entries, in the order of their numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemoryPage {
    /// The entries, whatever their state.
    pub entries: Vec<MemoryEntry>,
    /// Numbers whose records cannot be read.
    pub damaged: Vec<u64>,
    /// The number after which the next page begins; none when this is the last.
    pub next: Option<u64>,
}

struct Tables {
    entries: ReadOnlyTable<&'static EntryRow, &'static [u8]>,
}

impl Tables {
    fn open(transaction: &ReadTransaction) -> Result<Option<Self>, StoreError> {
        let entries = match transaction.open_table(MEMORY_ENTRIES) {
            Ok(entries) => entries,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(step("open the memory")(error)),
        };
        Ok(Some(Self { entries }))
    }

    fn entry(&self, shard: u32, id: u64) -> Result<Option<MemoryEntry>, StoreError> {
        let found = self.entries.get(&entry_row(shard, id)).map_err(step("read an entry"))?;
        found.map(|value| entry(shard, id, value.value())).transpose()
    }

    /// A damaged record counts as none: whoever lists or verifies the shard names it.
    fn sound(&self, shard: u32, id: u64) -> Result<Option<MemoryEntry>, StoreError> {
        match self.entry(shard, id) {
            Err(StoreError::Corrupt { .. }) => Ok(None),
            read => read,
        }
    }
}

fn entry(shard: u32, id: u64, bytes: &[u8]) -> Result<MemoryEntry, StoreError> {
    let record: EntryRecord = codec::decode(|| format!("memory entry {id} of shard {shard}"), bytes)?;
    Ok(record.into_domain(id))
}

impl Store {
    /// The live entry of a key.
    pub fn memory(&self, key: &MemoryKey) -> Result<Option<MemoryEntry>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(shard) = shard_record(&transaction, &key.shard())? else {
            return Ok(None);
        };
        let keys = transaction.open_table(MEMORY_KEYS).map_err(step("open the memory"))?;
        let id = keys
            .get(key_row(shard.number, &key.key).as_slice())
            .map_err(step("read a key"))?
            .map(|id| id.value());
        let Some(id) = id else { return Ok(None) };
        let entries = transaction
            .open_table(MEMORY_ENTRIES)
            .map_err(step("open the memory"))?;
        let found = entries
            .get(&entry_row(shard.number, id))
            .map_err(step("read an entry"))?;
        found.map(|value| entry(shard.number, id, value.value())).transpose()
    }

    /// An entry by its number, whatever its state.
    pub fn memory_entry(&self, shard: &ShardName, id: u64) -> Result<Option<MemoryEntry>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        match (shard_record(&transaction, shard)?, Tables::open(&transaction)?) {
            (Some(shard), Some(tables)) => tables.entry(shard.number, id),
            _ => Ok(None),
        }
    }

    /// The live ones of these entries, in the order given; one transaction for all.
    pub fn memory_entries(&self, shard: &ShardName, ids: &[u64]) -> Result<Vec<MemoryEntry>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let (Some(shard), Some(tables)) = (shard_record(&transaction, shard)?, Tables::open(&transaction)?) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let entry = tables.sound(shard.number, *id)?;
            found.extend(entry.filter(|entry| entry.state == MemoryState::Live));
        }
        Ok(found)
    }

    /// The live entry that a text is in after it was put: the one of its key, or without a key the one that says the
    /// same, as the writer finds it. None when it has gone again meanwhile, or cannot be read.
    pub fn memory_put(&self, new: &NewMemory) -> Result<Option<MemoryEntry>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let (Some(shard), Some(tables)) = (shard_record(&transaction, &new.shard)?, Tables::open(&transaction)?) else {
            return Ok(None);
        };
        let number = shard.number;
        let of = |id: Option<u64>| match id {
            Some(id) => tables.sound(number, id),
            None => Ok(None),
        };
        if let Some(key) = &new.key {
            let keys = transaction.open_table(MEMORY_KEYS).map_err(step("open the memory"))?;
            let id = keys.get(key_row(number, key).as_slice()).map_err(step("read a key"))?;
            return of(id.map(|id| id.value()));
        }
        let hashes = transaction.open_table(MEMORY_HASHES).map_err(step("open the memory"))?;
        let by = |hash| {
            let id = hashes.get(&hash_row(number, hash)).map_err(step("read a hash"))?;
            of(id.map(|id| id.value()))
        };
        let words = words_hash(&new.text);
        let Some(held) = by(new.hash)? else { return by(words) };
        if words_hash(&held.text) == words {
            return Ok(Some(held));
        }
        let vectors = transaction
            .open_table(MEMORY_VECTORS)
            .map_err(step("open the vectors"))?;
        let own = vectors
            .get(&entry_row(number, held.id))
            .map_err(step("read a vector"))?;
        let own = own.and_then(|value| codec::decode::<VectorRecord>(|| "a vector".into(), value.value()).ok());
        let is_near = own
            .zip(new.vector.as_ref())
            .is_some_and(|(own, new)| MemoryVector::from(own).cosine(new) >= NEAR);
        if is_near {
            Ok(Some(held))
        } else {
            by(beside_hash(words))
        }
    }

    /// What is counted of a shard.
    pub fn memory_figures(&self, shard: &ShardName) -> Result<ShardFigures, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let record = shard_record(&transaction, shard)?;
        Ok(record.map_or_else(ShardFigures::default, |record| ShardFigures {
            live: record.live,
            bytes: record.bytes,
            last_change: record.last_change,
        }))
    }

    /// Entries of a shard after a number, oldest first, at most `limit` and some megabytes.
    pub fn memory_page(&self, shard: &ShardName, after: u64, limit: usize) -> Result<MemoryPage, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let (Some(shard), Some(tables)) = (shard_record(&transaction, shard)?, Tables::open(&transaction)?) else {
            return Ok(MemoryPage::default());
        };
        let number = shard.number;
        let (from, to) = (entry_row(number, after.saturating_add(1)), entry_row(number, u64::MAX));
        let rows = tables
            .entries
            .range::<&EntryRow>(&from..=&to)
            .map_err(step("read the entries"))?;
        let (mut page, mut bytes) = (MemoryPage::default(), 0);
        for row in rows {
            let (key, value) = row.map_err(step("read the entries"))?;
            let id = number_of(key.value());
            match entry(number, id, value.value()) {
                Ok(entry) => {
                    bytes += entry.text.len();
                    page.entries.push(entry);
                }
                Err(_) => page.damaged.push(id),
            }
            if page.entries.len() + page.damaged.len() >= limit || bytes >= PAGE_BYTES_MAX {
                page.next = Some(id);
                break;
            }
        }
        Ok(page)
    }

    /// The number of the entry that has a key, without reading it.
    pub fn memory_number(&self, key: &MemoryKey) -> Result<Option<u64>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(shard) = shard_record(&transaction, &key.shard())? else {
            return Ok(None);
        };
        let keys = transaction.open_table(MEMORY_KEYS).map_err(step("open the memory"))?;
        let id = keys.get(key_row(shard.number, &key.key).as_slice());
        Ok(id.map_err(step("read a key"))?.map(|id| id.value()))
    }

    /// Numbers of the archived entries of a key, oldest first. Reads the whole shard when anything is archived in it.
    pub fn memory_archived(&self, key: &MemoryKey) -> Result<Vec<u64>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let (Some(shard), Some(tables)) = (shard_record(&transaction, &key.shard())?, Tables::open(&transaction)?)
        else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        if number(&transaction, &format!("archived:{}", shard.number))?.unwrap_or(0) == 0 {
            return Ok(found);
        }
        let (from, to) = (entry_row(shard.number, 0), entry_row(shard.number, u64::MAX));
        let rows = tables.entries.range::<&EntryRow>(&from..=&to);
        for row in rows.map_err(step("read the entries"))? {
            let (row, value) = row.map_err(step("read the entries"))?;
            let id = number_of(row.value());
            // One that cannot be read is nobody's; whoever verifies the shard names it.
            let Ok(entry) = entry(shard.number, id, value.value()) else {
                continue;
            };
            if entry.key.as_ref() == Some(&key.key) && matches!(entry.state, MemoryState::Archived { .. }) {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// What lies behind an entry under its key, newest first.
    pub fn memory_history(&self, shard: &ShardName, entry: &MemoryEntry) -> Result<Vec<MemoryEntry>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let (Some(shard), Some(tables)) = (shard_record(&transaction, shard)?, Tables::open(&transaction)?) else {
            return Ok(Vec::new());
        };
        let (mut found, mut next) = (Vec::new(), entry.previous);
        while let Some(id) = next
            && found.len() < HISTORY_MAX
        {
            let Some(entry) = tables.sound(shard.number, id)? else {
                break;
            };
            next = entry.previous;
            found.push(entry);
        }
        Ok(found)
    }

    /// What is counted of all shards. A shard whose record cannot be read is left out and told to the log.
    pub fn memory_shards(&self) -> Result<Vec<ShardCount>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let shards = match transaction.open_table(MEMORY_SHARDS) {
            Ok(shards) => shards,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(step("open the memory")(error)),
        };
        let mut found = Vec::new();
        for row in shards.iter().map_err(step("read the shards"))? {
            let (row, value) = row.map_err(step("read the shards"))?;
            let record: Result<ShardRecord, StoreError> = codec::decode(|| "a shard".into(), value.value());
            let (Ok(record), Some(name)) = (record, read_shard_row(row.value())) else {
                tracing::error!(shard = row.value(), "the record of a memory shard cannot be read");
                continue;
            };
            found.push(ShardCount {
                name,
                number: record.number,
                live: record.live,
                bytes: record.bytes,
                archived: number(&transaction, &format!("archived:{}", record.number))?.unwrap_or(0),
            });
        }
        Ok(found)
    }

    /// Shards whose own record cannot be read.
    pub fn memory_damaged_shards(&self) -> Result<Vec<ShardName>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let shards = match transaction.open_table(MEMORY_SHARDS) {
            Ok(shards) => shards,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(step("open the memory")(error)),
        };
        let mut damaged = Vec::new();
        for row in shards.iter().map_err(step("read the shards"))? {
            let (row, value) = row.map_err(step("read the shards"))?;
            if codec::decode::<ShardRecord>(|| "a shard".into(), value.value()).is_err() {
                damaged.extend(read_shard_row(row.value()));
            }
        }
        Ok(damaged)
    }

    /// How many of these would be new to a shard: neither their key, nor without a key their text is there.
    pub fn memory_new(&self, shard: &ShardName, wanted: &[(Option<Arc<str>>, [u8; 16])]) -> Result<usize, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(shard) = shard_record(&transaction, shard)? else {
            return Ok(wanted.len());
        };
        let keys = transaction.open_table(MEMORY_KEYS).map_err(step("open the memory"))?;
        let hashes = transaction.open_table(MEMORY_HASHES).map_err(step("open the memory"))?;
        let mut new = 0;
        for (key, hash) in wanted {
            let held = match key {
                Some(key) => keys.get(key_row(shard.number, key).as_slice()),
                None => hashes.get(&hash_row(shard.number, *hash)),
            };
            new += usize::from(held.map_err(step("read a key"))?.is_none());
        }
        Ok(new)
    }

    /// When the memory was last pruned.
    pub fn memory_last_prune(&self) -> Result<Option<UtcMillis>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        Ok(number(&transaction, LAST_PRUNE)?.map(UtcMillis))
    }

    /// Due times that have come, earliest first. The names of their shards are for the caller to fill in.
    pub fn memory_due(&self, now: UtcMillis, limit: usize) -> Result<Vec<MemoryDue>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let due = match transaction.open_table(MEMORY_DUE) {
            Ok(due) => due,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(step("open the memory")(error)),
        };
        let mut end = [0xff; 20];
        end[..8].copy_from_slice(&now.0.to_be_bytes());
        let rows = due.range::<&[u8; 20]>(..=&end).map_err(step("read the due times"))?;
        let mut found = Vec::new();
        for row in rows.take(limit) {
            let (key, _) = row.map_err(step("read the due times"))?;
            found.push(read_due_row(key.value()));
        }
        Ok(found)
    }
}

/// One of the memory's numbers.
pub(super) fn number(transaction: &ReadTransaction, name: &str) -> Result<Option<u64>, StoreError> {
    let numbers = match transaction.open_table(MEMORY_NUMBERS) {
        Ok(numbers) => numbers,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(step("open the memory's numbers")(error)),
    };
    let found = numbers.get(name).map_err(step("read the memory's numbers"))?;
    Ok(found.map(|number| number.value()))
}

pub(super) fn shard_record(transaction: &ReadTransaction, name: &ShardName) -> Result<Option<ShardRecord>, StoreError> {
    let shards = match transaction.open_table(MEMORY_SHARDS) {
        Ok(shards) => shards,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(step("open the memory")(error)),
    };
    let row = shard_row(name);
    let found = shards.get(row.as_str()).map_err(step("read a shard"))?;
    found
        .map(|value| codec::decode(|| format!("shard {row}"), value.value()))
        .transpose()
}
