//! Vectors of embedders from before the one that is configured: they go once that one has gone through their shard.
//!
//! Invariants: what a shard is searched by is never touched; from the first vector that goes, its embedder counts as
//! one that has made nothing there, so that coming back to it makes all of them anew; work that was cut goes on,
//! because the embedder is forgotten last.

use redb::{ReadTransaction, ReadableDatabase, ReadableTable};

use crate::domain::memory::{EarlierVectors, ShardName};
use crate::domain::time::UtcMillis;

use super::codec;
use super::error::{StoreError, step};
use super::memory_embed::{COMPLETE, cursor_name, cursors_of, embedder_name, embedders_of, refused_name};
use super::memory_read::number;
use super::memory_row::{embedded_row, entry_row, read_embedded_row};
use super::memory_tables::MemoryTables;
use super::record::memory::{ShardRecord, read_shard_row};
use super::store::Store;
use super::table::{MEMORY_EMBEDDED, MEMORY_SHARDS};

/// Rows that one look goes through at most.
const LOOK_MAX: usize = 8_192;

/// Where a look for earlier vectors goes on: a shard's number and the number of an entry in it.
pub type EarlierPlace = (u32, u64);

impl MemoryTables<'_> {
    /// Removes vectors of other embedders than the one that is kept, if that one serves the shard.
    pub(super) fn forget_earlier(&mut self, earlier: &EarlierVectors) -> Result<(), StoreError> {
        let Some((_, shard)) = self.known_shard(&earlier.shard, earlier.at)? else {
            return Ok(());
        };
        let kept = self.kept_number(&embedder_name(&earlier.kept))?;
        if kept == 0 || self.kept_number(&cursor_name(shard.number, kept))? & COMPLETE == 0 {
            return Ok(());
        }
        for id in &earlier.ids {
            let row = entry_row(shard.number, *id);
            let (from, to) = (embedded_row(&row, 0), embedded_row(&row, u32::MAX));
            self.embedded
                .retain_in::<&[u8; 16], _>(&from..=&to, |row, _| u64::from(read_embedded_row(row).1) == kept)
                .map_err(step("remove a vector"))?;
        }
        let (from, to) = cursors_of(shard.number);
        let mut numbers = self.numbers()?;
        let mut others = Vec::new();
        let rows = numbers.range::<&str>(from.as_str()..to.as_str());
        for row in rows.map_err(step("read the memory's numbers"))? {
            let (name, _) = row.map_err(step("read the memory's numbers"))?;
            let of = name.value().strip_prefix(&from).and_then(|of| of.parse::<u64>().ok());
            others.extend(of.filter(|of| *of != kept));
        }
        for other in others {
            let cursor = cursor_name(shard.number, other);
            let changed = if earlier.is_end {
                numbers.remove(cursor.as_str()).map(drop)
            } else {
                numbers.insert(cursor.as_str(), 0).map(drop)
            };
            changed.map_err(step("write the memory's numbers"))?;
            let refused = refused_name(shard.number, other);
            let removed = numbers.remove(refused.as_str()).map(drop);
            removed.map_err(step("write the memory's numbers"))?;
        }
        Ok(())
    }
}

impl Store {
    /// Vectors that can go because this embedder has gone through their shard since, and where to look on; none when
    /// there are no more. `after` is what the last look gave.
    pub fn memory_earlier(
        &self,
        embedder: &str,
        after: Option<EarlierPlace>,
        at: UtcMillis,
    ) -> Result<Option<(EarlierVectors, EarlierPlace)>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(kept) = number(&transaction, &embedder_name(embedder))? else {
            return Ok(None);
        };
        let shards = match transaction.open_table(MEMORY_SHARDS) {
            Ok(shards) => shards,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(step("open the memory")(error)),
        };
        for row in shards.iter().map_err(step("read the shards"))? {
            let (row, value) = row.map_err(step("read the shards"))?;
            let record = codec::decode::<ShardRecord>(|| "a shard".into(), value.value());
            let (Ok(shard), Some(name)) = (record, read_shard_row(row.value())) else {
                continue;
            };
            let cursor = number(&transaction, &cursor_name(shard.number, kept))?.unwrap_or(0);
            let others = embedders_of(&transaction, shard.number)?;
            if cursor & COMPLETE != 0 && others.iter().any(|of| *of != kept) {
                let from = after.filter(|(of, _)| *of == shard.number).map_or(0, |(_, id)| id + 1);
                return look(&transaction, (&name, shard.number), (embedder, kept), from, at).map(Some);
            }
        }
        Ok(None)
    }
}

fn look(
    transaction: &ReadTransaction,
    (name, shard): (&ShardName, u32),
    (embedder, kept): (&str, u64),
    from: u64,
    at: UtcMillis,
) -> Result<(EarlierVectors, EarlierPlace), StoreError> {
    let embedded = transaction
        .open_table(MEMORY_EMBEDDED)
        .map_err(step("open the memory"))?;
    let first = embedded_row(&entry_row(shard, from), 0);
    let last = embedded_row(&entry_row(shard, u64::MAX), u32::MAX);
    let mut earlier = EarlierVectors {
        shard: name.clone(),
        kept: embedder.into(),
        ids: Vec::new(),
        is_end: true,
        at,
    };
    let mut through = from;
    let rows = embedded.range::<&[u8; 16]>(&first..=&last);
    for (looked, row) in rows.map_err(step("read the vectors"))?.enumerate() {
        let (row, _) = row.map_err(step("read the vectors"))?;
        let (id, of) = read_embedded_row(row.value());
        // All rows of one entry are in one look.
        if looked >= LOOK_MAX && id != through {
            earlier.is_end = false;
            break;
        }
        through = id;
        if u64::from(of) != kept && earlier.ids.last() != Some(&id) {
            earlier.ids.push(id);
        }
    }
    Ok((earlier, (shard, through)))
}
