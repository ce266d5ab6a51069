//! Vectors that are made later, by embedders beside the built-in one: how far a shard is embedded, and what it lacks.
//!
//! Invariants: vectors and how far they go change in one transaction, so that work that was cut goes on where it was;
//! the text of a number never changes and numbers only grow, so that one cursor a shard and embedder is enough; the
//! vectors of an entry go with it.

use std::sync::Arc;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable};

use crate::domain::memory::{MemoryState, NewVectors, ShardName};

use super::codec;
use super::error::{StoreError, step};
use super::memory_read::{number, shard_record};
use super::memory_row::{EntryRow, embedded_row, entry_row, number_of};
use super::memory_tables::{CHANGED, MemoryTables};
use super::record::memory::{EntryRecord, ShardRecord, VectorRecord, read_shard_row};
use super::store::Store;
use super::table::{MEMORY_ENTRIES, MEMORY_NUMBERS, MEMORY_SHARDS};

/// Set in a cursor once it has reached the end of its shard: from then on the shard is searched by its vectors.
pub(super) const COMPLETE: u64 = 1 << 63;
/// Entries that one look goes through at most, whether they lack something or not.
const LOOK_MAX: usize = 4_096;

pub(super) fn embedder_name(embedder: &str) -> String {
    format!("embedder:{embedder}")
}

pub(super) fn cursor_name(shard: u32, embedder: u64) -> String {
    format!("embedded:{shard}:{embedder}")
}

pub(super) fn refused_name(shard: u32, embedder: u64) -> String {
    format!("refused:{shard}:{embedder}")
}

/// The embedders that are known to have made vectors of a shard, by number.
pub(super) fn embedders_of(transaction: &ReadTransaction, shard: u32) -> Result<Vec<u64>, StoreError> {
    let numbers = match transaction.open_table(MEMORY_NUMBERS) {
        Ok(numbers) => numbers,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(step("open the memory's numbers")(error)),
    };
    let (from, to) = cursors_of(shard);
    let mut found = Vec::new();
    let rows = numbers.range::<&str>(from.as_str()..to.as_str());
    for row in rows.map_err(step("read the memory's numbers"))? {
        let (name, _) = row.map_err(step("read the memory's numbers"))?;
        found.extend(name.value().strip_prefix(&from).and_then(|of| of.parse::<u64>().ok()));
    }
    Ok(found)
}

/// The names of all cursors of a shard lie from the first to before the second.
pub(super) fn cursors_of(shard: u32) -> (String, String) {
    // The colon ends the number, and a semicolon is the character behind it.
    (format!("embedded:{shard}:"), format!("embedded:{shard};"))
}

/// Entries of a shard that lack a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// Which shard.
    pub shard: ShardName,
    /// Their numbers and texts, in order.
    pub texts: Vec<(u64, Arc<str>)>,
    /// Up to this number nothing else is lacking.
    pub through: u64,
    /// Whether there is nothing behind it.
    pub is_end: bool,
}

/// How far an embedder is with the whole memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EmbeddedFigures {
    /// Shards with entries.
    pub shards: u64,
    /// Those of them that are searched by its vectors.
    pub complete: u64,
    /// Entries that it still has to look at; those that have gone meanwhile count too.
    pub due: u64,
    /// Texts that it has no vector for.
    pub refused: u64,
    /// Shards in which vectors of other embedders wait to be removed, or may serve until it has gone through them.
    pub earlier: u64,
}

impl MemoryTables<'_> {
    /// Removes all vectors of an entry.
    pub(super) fn remove_vectors(&mut self, row: &EntryRow) -> Result<(), StoreError> {
        self.vectors.remove(row).map_err(step("remove a vector"))?;
        let (from, to) = (embedded_row(row, 0), embedded_row(row, u32::MAX));
        // Most entries have none, and a look costs less than a removal of nothing.
        let rows = self.embedded.range::<&[u8; 16]>(&from..=&to);
        let mut found = Vec::new();
        for held in rows.map_err(step("read the vectors"))? {
            let (key, _) = held.map_err(step("read the vectors"))?;
            found.push(*key.value());
        }
        for row in found {
            self.embedded.remove(&row).map_err(step("remove a vector"))?;
        }
        Ok(())
    }

    /// Removes all that embedders made of a shard.
    pub(super) fn remove_embedded(&mut self, shard: u32) -> Result<(), StoreError> {
        let from = embedded_row(&entry_row(shard, 0), 0);
        let to = embedded_row(&entry_row(shard, u64::MAX), u32::MAX);
        self.embedded
            .retain_in::<&[u8; 16], _>(&from..=&to, |_, _| false)
            .map_err(step("remove the vectors"))?;
        let mut numbers = self.numbers()?;
        for prefix in [format!("embedded:{shard}:"), format!("refused:{shard}:")] {
            // The colon ends the number, and a semicolon is the character behind it.
            let end = format!("{};", &prefix[..prefix.len() - 1]);
            numbers
                .retain_in::<&str, _>(prefix.as_str()..end.as_str(), |_, _| false)
                .map_err(step("write the memory's numbers"))?;
        }
        Ok(())
    }

    /// Gives entries their vectors, and notes how far this goes. Entries that have gone meanwhile get none.
    pub(super) fn embed(&mut self, new: &NewVectors) -> Result<(), StoreError> {
        let Some((shard_row, mut shard)) = self.known_shard(&new.shard, new.at)? else {
            return Ok(());
        };
        let embedder = self.embedder(&new.embedder)?;
        let cursor = cursor_name(shard.number, embedder);
        let before = self.kept_number(&cursor)?;
        for (id, vector) in &new.vectors {
            let row = entry_row(shard.number, *id);
            let Some((entry, _)) = self.sound_entry(&mut shard, *id, new.at)? else {
                continue;
            };
            if matches!(entry.state, MemoryState::Superseded { .. }) {
                continue;
            }
            let record = codec::encode(&VectorRecord::from(vector));
            self.embedded
                .insert(&embedded_row(&row, embedder as u32), record.as_slice())
                .map_err(step("write a vector"))?;
            // Before the end is reached nobody searches these vectors; then an index is made anew anyway.
            if before & COMPLETE != 0 && entry.state == MemoryState::Live {
                self.log(&mut shard, *id, CHANGED)?;
            }
        }
        let complete = if new.is_end { COMPLETE } else { before & COMPLETE };
        let through = new.through.max(before & !COMPLETE);
        self.keep_number(&cursor, through | complete)?;
        if new.refused > 0 {
            let name = refused_name(shard.number, embedder);
            let refused = self.kept_number(&name)? + new.refused;
            self.keep_number(&name, refused)?;
        }
        self.keep_shard(shard_row, &shard);
        Ok(())
    }

    /// The number of an embedder, given at its first vector.
    fn embedder(&mut self, embedder: &str) -> Result<u64, StoreError> {
        let name = embedder_name(embedder);
        let known = self.kept_number(&name)?;
        if known > 0 {
            return Ok(known);
        }
        let next = self.kept_number("last_embedder")? + 1;
        self.keep_number("last_embedder", next)?;
        self.keep_number(&name, next)?;
        Ok(next)
    }
}

impl Store {
    /// The number of an embedder when a shard is searched by its vectors; none as long as some of them are missing
    /// that were due when it began.
    pub fn memory_served_by(&self, name: &ShardName, embedder: &str) -> Result<Option<u32>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(embedder) = number(&transaction, &embedder_name(embedder))? else {
            return Ok(None);
        };
        let Some(shard) = shard_record(&transaction, name)? else {
            return Ok(None);
        };
        let cursor = number(&transaction, &cursor_name(shard.number, embedder))?.unwrap_or(0);
        Ok((cursor & COMPLETE != 0).then_some(embedder as u32))
    }

    /// What lacks a vector of an embedder in the first shard where something does, at most `limit` texts; none when
    /// nothing does anywhere.
    pub fn memory_lacking(&self, embedder: &str, limit: usize) -> Result<Option<Lacking>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let shards = match transaction.open_table(MEMORY_SHARDS) {
            Ok(shards) => shards,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(step("open the memory")(error)),
        };
        let number_of_embedder = number(&transaction, &embedder_name(embedder))?.unwrap_or(0);
        for row in shards.iter().map_err(step("read the shards"))? {
            let (row, value) = row.map_err(step("read the shards"))?;
            // A damaged record of a shard is put aside by whoever writes to it.
            let record = codec::decode::<ShardRecord>(|| "a shard".into(), value.value());
            let (Ok(shard), Some(name)) = (record, read_shard_row(row.value())) else {
                continue;
            };
            let cursor = number(&transaction, &cursor_name(shard.number, number_of_embedder))?.unwrap_or(0);
            let through = cursor & !COMPLETE;
            if cursor & COMPLETE != 0 && through + 1 >= shard.next_id {
                continue;
            }
            let entries = transaction
                .open_table(MEMORY_ENTRIES)
                .map_err(step("open the memory"))?;
            let (from, to) = (entry_row(shard.number, through + 1), entry_row(shard.number, u64::MAX));
            let rows = entries
                .range::<&EntryRow>(&from..=&to)
                .map_err(step("read the entries"))?;
            let mut lacking = Lacking {
                shard: name,
                texts: Vec::new(),
                through,
                is_end: true,
            };
            for (looked, found) in rows.enumerate() {
                let (key, value) = found.map_err(step("read the entries"))?;
                if looked == LOOK_MAX || lacking.texts.len() == limit {
                    lacking.is_end = false;
                    break;
                }
                let id = number_of(key.value());
                lacking.through = id;
                // A damaged record is named by whoever lists or verifies the shard.
                let Ok(record) = codec::decode::<EntryRecord>(|| format!("memory entry {id}"), value.value()) else {
                    continue;
                };
                let entry = record.into_domain(id);
                if !matches!(entry.state, MemoryState::Superseded { .. }) {
                    lacking.texts.push((id, entry.text));
                }
            }
            if lacking.is_end {
                // The last numbers may have gone.
                lacking.through = lacking.through.max(shard.next_id - 1);
            }
            return Ok(Some(lacking));
        }
        Ok(None)
    }

    /// How far an embedder is with the whole memory.
    pub fn memory_embedded_figures(&self, embedder: &str) -> Result<EmbeddedFigures, StoreError> {
        let mut figures = EmbeddedFigures::default();
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let embedder = number(&transaction, &embedder_name(embedder))?.unwrap_or(0);
        let shards = match transaction.open_table(MEMORY_SHARDS) {
            Ok(shards) => shards,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(figures),
            Err(error) => return Err(step("open the memory")(error)),
        };
        for row in shards.iter().map_err(step("read the shards"))? {
            let (_, value) = row.map_err(step("read the shards"))?;
            let Ok(shard) = codec::decode::<ShardRecord>(|| "a shard".into(), value.value()) else {
                continue;
            };
            let cursor = number(&transaction, &cursor_name(shard.number, embedder))?.unwrap_or(0);
            figures.shards += 1;
            figures.complete += u64::from(cursor & COMPLETE != 0);
            figures.due += (shard.next_id - 1).saturating_sub(cursor & !COMPLETE);
            let mut others = embedders_of(&transaction, shard.number)?.into_iter();
            figures.earlier += u64::from(others.any(|other| other != embedder));
            figures.refused += number(&transaction, &refused_name(shard.number, embedder))?.unwrap_or(0);
        }
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::{Batch, Op};
    use super::super::memory_follow::Told;
    use super::super::memory_row::text_hash;
    use super::super::table::MEMORY_EMBEDDED;
    use super::super::writer::Writer;
    use super::*;
    use crate::domain::memory::{EarlierVectors, MemoryEdit, MemoryScope, MemorySource, MemoryVector, NewMemory};
    use crate::domain::time::UtcMillis;

    type VectorTable<'txn> = redb::Table<'txn, &'static [u8; 16], &'static [u8]>;

    fn shard() -> ShardName {
        ShardName {
            scope: MemoryScope::Global,
            namespace: "".into(),
        }
    }

    fn put(text: &str) -> Op {
        Op::MemoryPut(Box::new(NewMemory {
            shard: shard(),
            key: None,
            text: text.into(),
            hash: text_hash(text),
            tags: Vec::new(),
            source: MemorySource {
                by: "person:a".into(),
                run: None,
            },
            importance: 50,
            expires_at: None,
            vector: None,
            at: UtcMillis(1),
        }))
    }

    fn vectors(embedder: &str, ids: &[u64], through: u64, is_end: bool) -> Op {
        let vector = MemoryVector {
            embedder: embedder.into(),
            scale: 0.5,
            codes: Box::new([1, 2]),
        };
        Op::MemoryVectors(Box::new(NewVectors {
            shard: shard(),
            embedder: embedder.into(),
            vectors: ids.iter().map(|id| (*id, vector.clone())).collect(),
            refused: 0,
            through,
            is_end,
            at: UtcMillis(2),
        }))
    }

    /// A store, and what commits one change to it.
    fn opened() -> (tempfile::TempDir, Store, impl FnMut(Op)) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let mut writer = Writer::new(store.clone()).expect("a writer");
        let commit = move |op: Op| {
            let verdicts = writer.commit(&[Batch::ops(vec![op])]).expect("commits");
            assert!(verdicts.iter().all(Result::is_ok));
        };
        (folder, store, commit)
    }

    fn embedded_rows(store: &Store) -> usize {
        let transaction = store.database().begin_read().expect("begins");
        let table = transaction.open_table(MEMORY_EMBEDDED).expect("opens");
        table.iter().expect("reads").count()
    }

    #[test]
    fn vectors_serve_once_all_have_them_and_go_with_their_entries() {
        let (_folder, store, mut commit) = opened();
        let lacking = |embedder: &str| {
            let lacking = store.memory_lacking(embedder, 2).expect("readable");
            lacking.map(|lacking| {
                let ids: Vec<u64> = lacking.texts.iter().map(|(id, _)| *id).collect();
                (ids, lacking.through, lacking.is_end)
            })
        };
        let served = |embedder: &str| store.memory_served_by(&shard(), embedder).expect("readable");
        let rows = || embedded_rows(&store);
        assert_eq!(lacking("a"), None);
        for text in ["one", "two", "three"] {
            commit(put(text));
        }
        assert_eq!(lacking("a"), Some((vec![1, 2], 2, false)));
        commit(vectors("a", &[1, 2], 2, false));
        assert_eq!((lacking("a"), served("a")), (Some((vec![3], 3, true)), None));
        // A put that comes between a look and its commit is due afterwards.
        commit(put("four"));
        commit(vectors("a", &[3], 3, true));
        assert_eq!(
            (lacking("a"), served("a"), served("b")),
            (Some((vec![4], 4, true)), Some(1), None)
        );
        let follow = |after| {
            let mut told = Told::default();
            let stand = store.memory_follow(&shard(), after, Some(1), &mut told);
            (stand.expect("readable"), told)
        };
        let stand = follow(0).0.through;
        commit(vectors("a", &[4], 4, true));
        assert_eq!(lacking("a"), None);
        let (now, told) = follow(stand);
        assert!(!now.anew, "{now:?}");
        let expected = [(4, Some((0, Some("a".into()))))];
        assert_eq!(told.entries, expected, "an open index is told");
        commit(vectors("b", &[1, 2], 2, false));
        assert_eq!((served("a"), served("b"), rows()), (Some(1), None, 6));
        let forget = |id| Op::MemoryEdit {
            shard: shard(),
            id,
            edit: MemoryEdit::Forget,
            at: UtcMillis(3),
        };
        commit(forget(2));
        assert_eq!(rows(), 4, "both vectors of the entry have gone");
        // What went while its vector was made gets none.
        commit(vectors("b", &[2, 3], 3, false));
        assert_eq!(rows(), 5);
        for id in [1, 3, 4] {
            commit(forget(id));
        }
        commit(Op::MemoryShardDrop {
            shard: shard(),
            at: UtcMillis(4),
        });
        assert_eq!((rows(), served("a")), (0, None));
        assert_eq!(
            store.memory_embedded_figures("a").expect("readable"),
            EmbeddedFigures::default()
        );
    }

    #[test]
    fn earlier_vectors_go_once_another_embedder_serves_and_a_review_misses_none_of_its_own() {
        let (_folder, store, mut commit) = opened();
        let rows = || embedded_rows(&store);
        let served = |embedder: &str| store.memory_served_by(&shard(), embedder).expect("readable");
        let earlier = |embedder: &str| store.memory_earlier(embedder, None, UtcMillis(5)).expect("readable");
        let findings = || store.memory_review(&shard()).expect("readable").findings;
        for text in ["one", "two", "three"] {
            commit(put(text));
        }
        commit(vectors("a", &[1, 2, 3], 3, true));
        commit(vectors("b", &[1], 1, false));
        assert_eq!(earlier("b"), None, "the shard is still searched by the others");
        assert_eq!(findings(), [] as [String; 0]);
        commit(vectors("b", &[2, 3], 3, true));
        let (mut gone, place) = earlier("b").expect("something");
        assert_eq!(
            (gone.ids.as_slice(), gone.is_end, place),
            ([1, 2, 3].as_slice(), true, (1, 3))
        );
        // As if it were one of several batches, and the process were killed after it.
        gone.is_end = false;
        gone.ids.truncate(2);
        commit(Op::MemoryVectorsForget(Box::new(gone)));
        assert_eq!((rows(), served("a"), served("b")), (4, None, Some(2)));
        assert_eq!(findings(), [] as [String; 0]);
        let (rest, _) = earlier("b").expect("the rest");
        assert_eq!((rest.ids.as_slice(), rest.is_end), ([3].as_slice(), true));
        commit(Op::MemoryVectorsForget(Box::new(rest)));
        assert_eq!((rows(), earlier("b"), served("b")), (3, None, Some(2)));
        let lacking = store.memory_lacking("a", 9).expect("readable").expect("everything");
        assert_eq!(lacking.texts.len(), 3, "coming back makes them anew");
        let stale = EarlierVectors {
            shard: shard(),
            kept: "a".into(),
            ids: vec![1, 2, 3],
            is_end: true,
            at: UtcMillis(6),
        };
        commit(Op::MemoryVectorsForget(Box::new(stale)));
        assert_eq!(
            (rows(), served("b")),
            (3, Some(2)),
            "what does not serve supplants nobody"
        );

        let sabotage = |change: &dyn Fn(&mut VectorTable<'_>)| {
            let transaction = store.database().begin_write().expect("begins");
            change(&mut transaction.open_table(MEMORY_EMBEDDED).expect("opens"));
            transaction.commit().expect("commits");
        };
        let row = |id: u64, embedder: u32| embedded_row(&entry_row(1, id), embedder);
        let check = |what: &str| {
            let found = findings();
            assert!(found.len() == 1 && found[0].contains(what), "{what}: {found:?}");
        };
        let kept = {
            let transaction = store.database().begin_read().expect("begins");
            let table = transaction.open_table(MEMORY_EMBEDDED).expect("opens");
            let kept = table.get(&row(2, 2)).expect("reads").expect("there");
            kept.value().to_vec()
        };
        sabotage(&|table| drop(table.remove(&row(2, 2)).expect("removes")));
        check("1 entries have no vector of embedder 2");
        sabotage(&|table| drop(table.insert(&row(2, 2), kept.as_slice()).expect("writes")));
        assert_eq!(findings(), [] as [String; 0]);
        sabotage(&|table| drop(table.insert(&row(9, 2), kept.as_slice()).expect("writes")));
        check("belongs to entry 9");
        sabotage(&|table| drop(table.remove(&row(9, 2)).expect("removes")));
        for (embedder, bytes) in [(7, kept.as_slice()), (1, kept.as_slice()), (1, [1, 250, 3].as_slice())] {
            sabotage(&|table| drop(table.insert(&row(1, embedder), bytes).expect("writes")));
            check("cannot be used");
            sabotage(&|table| drop(table.remove(&row(1, embedder)).expect("removes")));
        }
    }
}
