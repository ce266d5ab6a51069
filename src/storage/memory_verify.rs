//! Compares the tables of a memory shard with each other: what is in one has to be in the others.
//!
//! Reads one snapshot, so that writers go on meanwhile; walks the tables row by row, so that it needs the memory of one
//! row and of what it finds. It changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase};

use crate::domain::memory::{CHANGES_KEPT, MemoryState, MemoryVector, ShardName};

use super::codec;
use super::error::{StoreError, step};
use super::memory_embed::{COMPLETE, cursor_name, embedder_name, embedders_of, refused_name};
use super::memory_read::{number, shard_record};
use super::memory_row::{
    EntryRow, due_row, embedded_row, entry_row, hash_row, key_row, number_of, read_due_row, read_embedded_row,
};
use super::memory_write::due_of;
use super::record::memory::{EntryRecord, ShardRecord, VectorRecord};
use super::store::Store;
use super::table::{
    MEMORY_CHANGES, MEMORY_DUE, MEMORY_EMBEDDED, MEMORY_ENTRIES, MEMORY_HASHES, MEMORY_KEYS, MEMORY_NUMBERS,
    MEMORY_QUARANTINE, MEMORY_VECTORS,
};

/// Findings that are told of one shard; the rest is counted.
pub const FINDINGS_MAX: usize = 100;

/// What was compared, and what does not agree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShardReview {
    /// Entries read, whatever their state.
    pub entries: u64,
    /// Numbers of the live ones, for comparing with an index.
    pub live: BTreeSet<u64>,
    /// The place of the last change that the snapshot has.
    pub last_change: u64,
    /// Numbers of records that cannot be read.
    pub damaged: Vec<u64>,
    /// Records of this shard that were put aside earlier.
    pub quarantined: u64,
    /// What does not agree, in words; at most [`FINDINGS_MAX`].
    pub findings: Vec<String>,
    /// Findings beyond that.
    pub findings_more: u64,
}

impl ShardReview {
    /// Whether everything agrees and can be read.
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty() && self.findings.is_empty()
    }

    /// Adds what does not agree.
    pub fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_more += 1;
        }
    }
}

struct Tables {
    entries: ReadOnlyTable<&'static EntryRow, &'static [u8]>,
    keys: ReadOnlyTable<&'static [u8], u64>,
    hashes: ReadOnlyTable<&'static [u8; 20], u64>,
    vectors: ReadOnlyTable<&'static EntryRow, &'static [u8]>,
    due: ReadOnlyTable<&'static [u8; 20], ()>,
    changes: ReadOnlyTable<&'static EntryRow, &'static [u8]>,
}

impl Tables {
    fn open(transaction: &ReadTransaction) -> Result<Self, StoreError> {
        let what = "open the memory";
        Ok(Self {
            entries: transaction.open_table(MEMORY_ENTRIES).map_err(step(what))?,
            keys: transaction.open_table(MEMORY_KEYS).map_err(step(what))?,
            hashes: transaction.open_table(MEMORY_HASHES).map_err(step(what))?,
            vectors: transaction.open_table(MEMORY_VECTORS).map_err(step(what))?,
            due: transaction.open_table(MEMORY_DUE).map_err(step(what))?,
            changes: transaction.open_table(MEMORY_CHANGES).map_err(step(what))?,
        })
    }

    fn record(&self, shard: u32, id: u64) -> Result<Option<EntryRecord>, StoreError> {
        let found = self.entries.get(&entry_row(shard, id)).map_err(step("read an entry"))?;
        // A damaged one was counted where the entries were walked.
        Ok(found.and_then(|value| codec::decode(|| "an entry".into(), value.value()).ok()))
    }
}

impl Store {
    /// Compares the tables of a shard. A shard that does not exist is clean.
    pub fn memory_review(&self, name: &ShardName) -> Result<ShardReview, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let mut review = ShardReview::default();
        let Some(shard) = shard_record(&transaction, name)? else {
            return Ok(review);
        };
        let tables = Tables::open(&transaction)?;
        review.last_change = shard.last_change;
        entries(&tables, &shard, &mut review)?;
        pointers(&tables, shard.number, &mut review)?;
        vectors(&tables, shard.number, &mut review)?;
        embedded(&transaction, shard.number, &mut review)?;
        changes(&tables, &shard, &mut review)?;
        review.quarantined = quarantined(&transaction, shard.number)?;
        Ok(review)
    }

    /// Due times of all shards that belong to no entry, in words, at most [`FINDINGS_MAX`].
    pub fn memory_stray_due(&self) -> Result<Vec<String>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        match transaction.open_table(MEMORY_DUE) {
            Ok(_) => {}
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(step("open the memory")(error)),
        }
        let tables = Tables::open(&transaction)?;
        let mut stray = Vec::new();
        for row in tables.due.range::<&[u8; 20]>(..).map_err(step("read the due times"))? {
            let (row, _) = row.map_err(step("read the due times"))?;
            let due = read_due_row(row.value());
            let found = tables.entries.get(&entry_row(due.shard, due.id));
            let belongs = found.map_err(step("read an entry"))?.is_some_and(|value| {
                let record = codec::decode::<EntryRecord>(|| "an entry".into(), value.value());
                // One that cannot be read is told where the entries are walked.
                record.map_or(true, |record| due_of(&record.into_domain(due.id)) == Some(due.at))
            });
            if !belongs && stray.len() < FINDINGS_MAX {
                stray.push(format!(
                    "a due time points to entry {} of shard {}, which does not have it",
                    due.id, due.shard
                ));
            }
        }
        Ok(stray)
    }
}

fn entries(tables: &Tables, shard: &ShardRecord, review: &mut ShardReview) -> Result<(), StoreError> {
    let number = shard.number;
    let (from, to) = (entry_row(number, 0), entry_row(number, u64::MAX));
    let rows = tables.entries.range::<&EntryRow>(&from..=&to);
    let (mut bytes, mut greatest) = (0, 0);
    for row in rows.map_err(step("read the entries"))? {
        let (row, value) = row.map_err(step("read the entries"))?;
        let id = number_of(row.value());
        review.entries += 1;
        greatest = id;
        let record = codec::decode::<EntryRecord>(|| format!("memory entry {id}"), value.value());
        let Ok(record) = record else {
            review.damaged.push(id);
            continue;
        };
        let hash = record.hash;
        let entry = record.into_domain(id);
        if let Some(at) = due_of(&entry)
            && tables
                .due
                .get(&due_row(at, number, id))
                .map_err(step("read a due time"))?
                .is_none()
        {
            review.find(format!("entry {id} has no row among the due times"));
        }
        if entry.state != MemoryState::Live {
            continue;
        }
        review.live.insert(id);
        bytes += entry.text.len() as u64;
        let holder = match &entry.key {
            Some(key) => tables.keys.get(key_row(number, key).as_slice()),
            None => tables.hashes.get(&hash_row(number, hash)),
        };
        let holder = holder.map_err(step("read a key"))?.map(|holder| holder.value());
        if holder != Some(id) {
            review.find(format!("entry {id} is live, but its key or text belongs to {holder:?}"));
        }
    }
    if greatest >= shard.next_id {
        review.find(format!(
            "the next number is {}, but entry {greatest} is there",
            shard.next_id
        ));
    }
    let live = review.live.len() as u64;
    if review.damaged.is_empty() && (shard.live, shard.bytes) != (live, bytes) {
        review.find(format!(
            "{} live entries of {} bytes are counted, {live} of {bytes} bytes are there",
            shard.live, shard.bytes
        ));
    }
    Ok(())
}

/// Keys, hashes and due times that point to nothing, or to what they do not belong to.
fn pointers(tables: &Tables, shard: u32, review: &mut ShardReview) -> Result<(), StoreError> {
    let damaged: BTreeSet<u64> = review.damaged.iter().copied().collect();
    let prefix = shard.to_be_bytes();
    let keys = tables.keys.range::<&[u8]>(key_row(shard, "").as_slice()..);
    for row in keys.map_err(step("read the keys"))? {
        let (row, id) = row.map_err(step("read the keys"))?;
        let (Some(key), id) = (row.value().strip_prefix(&prefix), id.value()) else {
            break;
        };
        let record = tables.record(shard, id)?;
        let entry = record.map(|record| record.into_domain(id));
        let belongs = entry.is_some_and(|entry| {
            entry.state == MemoryState::Live && entry.key.as_deref().map(str::as_bytes) == Some(key)
        });
        if !belongs && !damaged.contains(&id) {
            review.find(format!("a key points to entry {id}, which does not have it"));
        }
    }
    let mut from = [0; 20];
    from[..4].copy_from_slice(&prefix);
    for row in tables
        .hashes
        .range::<&[u8; 20]>(&from..)
        .map_err(step("read the hashes"))?
    {
        let (row, id) = row.map_err(step("read the hashes"))?;
        let (Some(hash), id) = (row.value().strip_prefix(&prefix), id.value()) else {
            break;
        };
        let record = tables.record(shard, id)?;
        let belongs = record.is_some_and(|record| {
            let is_own = record.hash == hash;
            let entry = record.into_domain(id);
            is_own && entry.key.is_none() && entry.state == MemoryState::Live
        });
        if !belongs && !damaged.contains(&id) {
            review.find(format!("a hash points to entry {id}, which does not have it"));
        }
    }
    Ok(())
}

fn vectors(tables: &Tables, shard: u32, review: &mut ShardReview) -> Result<(), StoreError> {
    let (from, to) = (entry_row(shard, 0), entry_row(shard, u64::MAX));
    let rows = tables.vectors.range::<&EntryRow>(&from..=&to);
    for row in rows.map_err(step("read the vectors"))? {
        let (row, value) = row.map_err(step("read the vectors"))?;
        let id = number_of(row.value());
        let known = tables.entries.get(row.value()).map_err(step("read an entry"))?;
        if known.is_none() {
            review.find(format!("a vector belongs to entry {id}, which is not there"));
        }
        let vector = codec::decode::<VectorRecord>(|| "a vector".into(), value.value());
        if !vector.is_ok_and(|vector| vector.is_usable()) {
            review.find(format!(
                "the vector of entry {id} cannot be used; it is made anew from the text"
            ));
        }
    }
    Ok(())
}

/// What embedders made of a shard: each vector belongs to an entry, and an embedder that the shard is searched by has
/// one of every entry but those that it refused.
fn embedded(transaction: &ReadTransaction, shard: u32, review: &mut ShardReview) -> Result<(), StoreError> {
    let table = match transaction.open_table(MEMORY_EMBEDDED) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(step("open the memory")(error)),
    };
    let names = embedder_names(transaction)?;
    let mut made: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let from = embedded_row(&entry_row(shard, 0), 0);
    let to = embedded_row(&entry_row(shard, u64::MAX), u32::MAX);
    let rows = table.range::<&[u8; 16]>(&from..=&to);
    for row in rows.map_err(step("read the vectors"))? {
        let (row, value) = row.map_err(step("read the vectors"))?;
        let (id, embedder) = read_embedded_row(row.value());
        let name = names.get(&u64::from(embedder));
        let vector = codec::decode::<VectorRecord>(|| "a vector".into(), value.value());
        let vector = vector.ok().filter(VectorRecord::is_usable).map(MemoryVector::from);
        if name.is_none() || vector.is_none_or(|vector| Some(&*vector.embedder) != name.map(String::as_str)) {
            review.find(format!(
                "the vector that embedder {embedder} made of entry {id} cannot be used; the entry is found by its words"
            ));
            continue;
        }
        made.entry(embedder.into()).or_default().insert(id);
    }
    let nothing = BTreeSet::new();
    for (embedder, has) in &made {
        // A superseded entry has no vectors, so these are the live ones and the archived.
        for id in has.difference(&review.live).copied().collect::<Vec<_>>() {
            let entries = transaction
                .open_table(MEMORY_ENTRIES)
                .map_err(step("open the memory"))?;
            let known = entries.get(&entry_row(shard, id)).map_err(step("read an entry"))?;
            let record = known.map(|value| codec::decode::<EntryRecord>(|| "an entry".into(), value.value()));
            let is_kept = match record {
                // A damaged one was counted where the entries were walked.
                Some(Err(_)) => true,
                Some(Ok(record)) => !matches!(record.into_domain(id).state, MemoryState::Superseded { .. }),
                None => false,
            };
            if !is_kept {
                review.find(format!(
                    "a vector of embedder {embedder} belongs to entry {id}, which nobody searches or restores"
                ));
            }
        }
    }
    for embedder in embedders_of(transaction, shard)? {
        let cursor = number(transaction, &cursor_name(shard, embedder))?.unwrap_or(0);
        if cursor & COMPLETE == 0 {
            continue;
        }
        let refused = number(transaction, &refused_name(shard, embedder))?.unwrap_or(0);
        let has = made.get(&embedder).unwrap_or(&nothing);
        let due = review.live.range(..=cursor & !COMPLETE);
        let lacking = due.filter(|id| !has.contains(id)).count() as u64;
        if lacking > refused {
            review.find(format!(
                "{lacking} entries have no vector of embedder {embedder}, which searches them and refused {refused}"
            ));
        }
    }
    Ok(())
}

fn embedder_names(transaction: &ReadTransaction) -> Result<BTreeMap<u64, String>, StoreError> {
    let numbers = match transaction.open_table(MEMORY_NUMBERS) {
        Ok(numbers) => numbers,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        Err(error) => return Err(step("open the memory's numbers")(error)),
    };
    let prefix = embedder_name("");
    let mut names = BTreeMap::new();
    for row in numbers
        .range::<&str>(prefix.as_str()..)
        .map_err(step("read the memory's numbers"))?
    {
        let (row, number) = row.map_err(step("read the memory's numbers"))?;
        let Some(name) = row.value().strip_prefix(&prefix) else {
            break;
        };
        names.insert(number.value(), name.to_owned());
    }
    Ok(names)
}

/// The log has to reach to the last change without a gap, as far back as it is kept.
fn changes(tables: &Tables, shard: &ShardRecord, review: &mut ShardReview) -> Result<(), StoreError> {
    let (from, to) = (entry_row(shard.number, 0), entry_row(shard.number, u64::MAX));
    let rows = tables.changes.range::<&EntryRow>(&from..=&to);
    let mut last = None;
    let mut count = 0;
    for row in rows.map_err(step("read the changes"))? {
        let (row, value) = row.map_err(step("read the changes"))?;
        let place = number_of(row.value());
        if value.value().len() != 9 || last.is_some_and(|last: u64| last + 1 != place) {
            review.find(format!("the log of changes has a gap or damage before place {place}"));
        }
        last = Some(place);
        count += 1;
    }
    if last.is_some_and(|last| last != shard.last_change) {
        review.find(format!(
            "the log of changes ends at {last:?}, the last change is {}",
            shard.last_change
        ));
    }
    if count > CHANGES_KEPT {
        review.find(format!("the log has {count} changes, it keeps {CHANGES_KEPT}"));
    }
    Ok(())
}

fn quarantined(transaction: &ReadTransaction, shard: u32) -> Result<u64, StoreError> {
    let aside = match transaction.open_table(MEMORY_QUARANTINE) {
        Ok(aside) => aside,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(0),
        Err(error) => return Err(step("open the quarantine")(error)),
    };
    let (from, to) = (entry_row(shard, 0), entry_row(shard, u64::MAX));
    let rows = aside.range::<&EntryRow>(&from..=&to);
    Ok(rows.map_err(step("read the quarantine"))?.count() as u64)
}
