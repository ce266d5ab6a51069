//! Memory entries in the writer's transaction: entry, key, hash, vector, due time and change log change together, so
//! the store cannot disagree with itself.

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use crate::domain::memory::{
    CHANGES_KEPT, IMPORTANCE_DEFAULT, MemoryEdit, MemoryEntry, MemoryKey, MemoryScope, MemoryState, NewMemory,
    SOURCES_MAX, ShardName,
};
use crate::domain::time::UtcMillis;

use super::codec;
use super::error::{StoreError, step};
use super::record::memory::{EntryRecord, FirstMemoryRecord, ShardRecord, VectorRecord, shard_row};
use super::table::{
    MEMORY_CHANGES, MEMORY_DUE, MEMORY_ENTRIES, MEMORY_HASHES, MEMORY_KEYS, MEMORY_SHARDS, MEMORY_VECTORS,
};

/// Row of an entry or vector: 4 bytes shard, 8 bytes number.
pub(super) type EntryRow = [u8; 12];

/// What a change log says happened to an entry.
pub(super) const CHANGED: u8 = 1;
/// The entry is not found any more.
pub(super) const GONE: u8 = 2;

/// The tables of memory, opened together.
pub(super) struct MemoryTables<'txn> {
    shards: Table<'txn, &'static str, &'static [u8]>,
    entries: Table<'txn, &'static EntryRow, &'static [u8]>,
    keys: Table<'txn, &'static [u8], u64>,
    hashes: Table<'txn, &'static [u8; 20], u64>,
    vectors: Table<'txn, &'static EntryRow, &'static [u8]>,
    due: Table<'txn, &'static [u8; 20], ()>,
    changes: Table<'txn, &'static EntryRow, &'static [u8]>,
}

pub(super) fn entry_row(shard: u32, id: u64) -> EntryRow {
    let mut row = [0; 12];
    row[..4].copy_from_slice(&shard.to_be_bytes());
    row[4..].copy_from_slice(&id.to_be_bytes());
    row
}

pub(super) fn key_row(shard: u32, key: &str) -> Vec<u8> {
    let mut row = shard.to_be_bytes().to_vec();
    row.extend_from_slice(key.as_bytes());
    row
}

pub(super) fn hash_row(shard: u32, hash: [u8; 16]) -> [u8; 20] {
    let mut row = [0; 20];
    row[..4].copy_from_slice(&shard.to_be_bytes());
    row[4..].copy_from_slice(&hash);
    row
}

fn due_row(at: UtcMillis, shard: u32, id: u64) -> [u8; 20] {
    let mut row = [0; 20];
    row[..8].copy_from_slice(&at.0.to_be_bytes());
    row[8..].copy_from_slice(&entry_row(shard, id));
    row
}

/// Hash of a text without what makes no difference between two entries: case and white space.
pub fn text_hash(text: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for word in text.split_whitespace() {
        let lower: String = word.chars().flat_map(char::to_lowercase).collect();
        hasher.update(lower.as_bytes());
        hasher.update(b" ");
    }
    let hash = hasher.finalize();
    hash.as_bytes()[..16].try_into().expect("a hash has 32 bytes")
}

impl<'txn> MemoryTables<'txn> {
    pub(super) fn open(transaction: &'txn WriteTransaction) -> Result<Self, StoreError> {
        let what = "open the memory";
        Ok(Self {
            shards: transaction.open_table(MEMORY_SHARDS).map_err(step(what))?,
            entries: transaction.open_table(MEMORY_ENTRIES).map_err(step(what))?,
            keys: transaction.open_table(MEMORY_KEYS).map_err(step(what))?,
            hashes: transaction.open_table(MEMORY_HASHES).map_err(step(what))?,
            vectors: transaction.open_table(MEMORY_VECTORS).map_err(step(what))?,
            due: transaction.open_table(MEMORY_DUE).map_err(step(what))?,
            changes: transaction.open_table(MEMORY_CHANGES).map_err(step(what))?,
        })
    }

    /// Puts an entry: supersedes the one of its key, joins the one of its text, or adds a new one.
    pub(super) fn put(&mut self, new: &NewMemory) -> Result<(), StoreError> {
        let (row, mut shard) = self.shard(&new.shard)?;
        let holder = match &new.key {
            Some(key) => self.id_of_key(shard.number, key)?,
            None => self.id_of_hash(shard.number, new.hash)?,
        };
        let held = match holder {
            Some(id) => self.entry(shard.number, id)?,
            None => None,
        };
        match held {
            Some((entry, hash)) if hash == new.hash => self.join(&mut shard, entry, hash, new)?,
            held => self.add(&mut shard, held, new)?,
        }
        self.write_shard(&row, &shard)
    }

    /// An entry of the first layout: its version and time stay. Its vector is made when an index first wants it.
    pub(super) fn take_over(&mut self, key: MemoryKey, record: FirstMemoryRecord) -> Result<(), StoreError> {
        let (row, mut shard) = self.shard(&key.shard())?;
        let at = UtcMillis(record.updated_at);
        let hash = text_hash(&record.text);
        let entry = MemoryEntry {
            id: shard.next_id,
            key: Some(key.key),
            text: record.text.into(),
            tags: Vec::new(),
            sources: Vec::new(),
            importance: IMPORTANCE_DEFAULT,
            created_at: at,
            updated_at: at,
            used_at: at,
            uses: 0,
            expires_at: None,
            version: record.version,
            previous: None,
            state: MemoryState::Live,
        };
        shard.next_id += 1;
        self.show(&mut shard, &entry, hash)?;
        self.write_entry(shard.number, &entry, hash)?;
        self.log(&mut shard, entry.id, CHANGED)?;
        self.write_shard(&row, &shard)
    }

    /// The same text again: one entry, with all that is known of both.
    fn join(
        &mut self,
        shard: &mut ShardRecord,
        mut entry: MemoryEntry,
        hash: [u8; 16],
        new: &NewMemory,
    ) -> Result<(), StoreError> {
        entry.version += 1;
        entry.updated_at = new.at;
        entry.importance = entry.importance.max(new.importance);
        for tag in &new.tags {
            if !entry.tags.contains(tag) {
                entry.tags.push(tag.clone());
            }
        }
        if entry.sources.last() != Some(&new.source) {
            entry.sources.push(new.source.clone());
        }
        let surplus = entry.sources.len().saturating_sub(SOURCES_MAX);
        entry.sources.drain(..surplus);
        if entry.expires_at != new.expires_at {
            // The later of both: who wanted it longer still does.
            let later = entry.expires_at.and_then(|old| new.expires_at.map(|new| old.max(new)));
            self.move_due(shard.number, entry.id, entry.expires_at, later)?;
            entry.expires_at = later;
        }
        self.write_entry(shard.number, &entry, hash)?;
        self.log(shard, entry.id, CHANGED)
    }

    fn add(
        &mut self,
        shard: &mut ShardRecord,
        held: Option<(MemoryEntry, [u8; 16])>,
        new: &NewMemory,
    ) -> Result<(), StoreError> {
        let id = shard.next_id;
        shard.next_id += 1;
        let (mut version, mut previous) = (1, None);
        if let Some((mut old, hash)) = held {
            version = old.version + 1;
            previous = Some(old.id);
            old.state = MemoryState::Superseded { by: id, at: new.at };
            self.hide(shard, &old, hash)?;
            self.write_entry(shard.number, &old, hash)?;
            self.log(shard, old.id, GONE)?;
        }
        let entry = MemoryEntry {
            id,
            key: new.key.clone(),
            text: new.text.clone(),
            tags: new.tags.clone(),
            sources: vec![new.source.clone()],
            importance: new.importance,
            created_at: new.at,
            updated_at: new.at,
            used_at: new.at,
            uses: 0,
            expires_at: new.expires_at,
            version,
            previous,
            state: MemoryState::Live,
        };
        self.show(shard, &entry, new.hash)?;
        if let Some(vector) = &new.vector {
            let record = codec::encode(&VectorRecord::from(vector));
            self.vectors
                .insert(&entry_row(shard.number, id), record.as_slice())
                .map_err(step("write a vector"))?;
        }
        self.write_entry(shard.number, &entry, new.hash)?;
        self.log(shard, id, CHANGED)
    }

    /// Changes an entry that exists; one that does not is left alone.
    pub(super) fn edit(
        &mut self,
        name: &ShardName,
        id: u64,
        edit: &MemoryEdit,
        at: UtcMillis,
    ) -> Result<(), StoreError> {
        let (row, mut shard) = self.shard(name)?;
        let Some((mut entry, hash)) = self.entry(shard.number, id)? else {
            return Ok(());
        };
        let is_live = entry.state == MemoryState::Live;
        match edit {
            MemoryEdit::Forget => {
                if is_live {
                    self.hide(&mut shard, &entry, hash)?;
                    self.log(&mut shard, id, GONE)?;
                }
                self.forget(shard.number, entry)?;
            }
            MemoryEdit::Archive { why } if is_live => {
                self.hide(&mut shard, &entry, hash)?;
                entry.state = MemoryState::Archived { at, why: why.clone() };
                self.write_entry(shard.number, &entry, hash)?;
                self.log(&mut shard, id, GONE)?;
            }
            MemoryEdit::Restore if matches!(entry.state, MemoryState::Archived { .. }) => {
                // A newer entry may have the key or the text by now; it stays, and this one stays archived.
                let key_is_free = match &entry.key {
                    Some(key) => self.id_of_key(shard.number, key)?.is_none(),
                    None => self.id_of_hash(shard.number, hash)?.is_none(),
                };
                if key_is_free {
                    entry.state = MemoryState::Live;
                    entry.used_at = at;
                    self.show(&mut shard, &entry, hash)?;
                    self.write_entry(shard.number, &entry, hash)?;
                    self.log(&mut shard, id, CHANGED)?;
                }
            }
            MemoryEdit::Used { times } if is_live => {
                entry.uses = entry.uses.saturating_add(*times);
                entry.used_at = at;
                self.write_entry(shard.number, &entry, hash)?;
                self.log(&mut shard, id, CHANGED)?;
            }
            MemoryEdit::Archive { .. } | MemoryEdit::Restore | MemoryEdit::Used { .. } => {}
        }
        self.write_shard(&row, &shard)
    }

    /// Removes an entry and those that it superseded.
    fn forget(&mut self, shard: u32, entry: MemoryEntry) -> Result<(), StoreError> {
        let mut next = Some(entry);
        while let Some(entry) = next {
            let row = entry_row(shard, entry.id);
            self.move_due(shard, entry.id, entry.expires_at, None)?;
            self.entries.remove(&row).map_err(step("remove an entry"))?;
            self.vectors.remove(&row).map_err(step("remove a vector"))?;
            next = match entry.previous {
                Some(previous) => self.entry(shard, previous)?.map(|(entry, _)| entry),
                None => None,
            };
        }
        Ok(())
    }

    /// Makes an entry findable by key, text and due time.
    fn show(&mut self, shard: &mut ShardRecord, entry: &MemoryEntry, hash: [u8; 16]) -> Result<(), StoreError> {
        match &entry.key {
            Some(key) => self
                .keys
                .insert(key_row(shard.number, key).as_slice(), entry.id)
                .map_err(step("write a key"))?,
            None => self
                .hashes
                .insert(&hash_row(shard.number, hash), entry.id)
                .map_err(step("write a hash"))?,
        };
        self.move_due(shard.number, entry.id, None, entry.expires_at)?;
        shard.live += 1;
        shard.bytes += entry.text.len() as u64;
        Ok(())
    }

    fn hide(&mut self, shard: &mut ShardRecord, entry: &MemoryEntry, hash: [u8; 16]) -> Result<(), StoreError> {
        match &entry.key {
            Some(key) => self
                .keys
                .remove(key_row(shard.number, key).as_slice())
                .map_err(step("remove a key"))?,
            None => self
                .hashes
                .remove(&hash_row(shard.number, hash))
                .map_err(step("remove a hash"))?,
        };
        self.move_due(shard.number, entry.id, entry.expires_at, None)?;
        shard.live = shard.live.saturating_sub(1);
        shard.bytes = shard.bytes.saturating_sub(entry.text.len() as u64);
        Ok(())
    }

    fn move_due(
        &mut self,
        shard: u32,
        id: u64,
        from: Option<UtcMillis>,
        to: Option<UtcMillis>,
    ) -> Result<(), StoreError> {
        if let Some(at) = from {
            self.due
                .remove(&due_row(at, shard, id))
                .map_err(step("remove a due time"))?;
        }
        if let Some(at) = to {
            self.due
                .insert(&due_row(at, shard, id), ())
                .map_err(step("write a due time"))?;
        }
        Ok(())
    }

    fn log(&mut self, shard: &mut ShardRecord, id: u64, kind: u8) -> Result<(), StoreError> {
        shard.last_change += 1;
        let mut change = [kind; 9];
        change[1..].copy_from_slice(&id.to_be_bytes());
        self.changes
            .insert(&entry_row(shard.number, shard.last_change), change.as_slice())
            .map_err(step("write a change"))?;
        if let Some(old) = shard.last_change.checked_sub(CHANGES_KEPT) {
            self.changes
                .remove(&entry_row(shard.number, old))
                .map_err(step("remove a change"))?;
        }
        Ok(())
    }

    /// The shard of a name; a new one is counted from 1.
    fn shard(&mut self, name: &ShardName) -> Result<(String, ShardRecord), StoreError> {
        let row = shard_row(name);
        let found = match self.shards.get(row.as_str()).map_err(step("read a shard"))? {
            Some(value) => Some(codec::decode(|| format!("shard {row}"), value.value())?),
            None => None,
        };
        let shard = match found {
            Some(shard) => shard,
            None => ShardRecord {
                number: self.shards.len().map_err(step("count the shards"))? as u32 + 1,
                next_id: 1,
                last_change: 0,
                live: 0,
                bytes: 0,
            },
        };
        Ok((row, shard))
    }

    fn write_shard(&mut self, row: &str, shard: &ShardRecord) -> Result<(), StoreError> {
        self.shards
            .insert(row, codec::encode(shard).as_slice())
            .map_err(step("write a shard"))?;
        Ok(())
    }

    fn entry(&self, shard: u32, id: u64) -> Result<Option<(MemoryEntry, [u8; 16])>, StoreError> {
        let Some(value) = self.entries.get(&entry_row(shard, id)).map_err(step("read an entry"))? else {
            return Ok(None);
        };
        let record: EntryRecord = codec::decode(|| format!("memory entry {id} of shard {shard}"), value.value())?;
        let hash = record.hash;
        Ok(Some((record.into_domain(id), hash)))
    }

    fn write_entry(&mut self, shard: u32, entry: &MemoryEntry, hash: [u8; 16]) -> Result<(), StoreError> {
        let record = codec::encode(&EntryRecord::of(entry, hash));
        self.entries
            .insert(&entry_row(shard, entry.id), record.as_slice())
            .map_err(step("write an entry"))?;
        Ok(())
    }

    fn id_of_key(&self, shard: u32, key: &str) -> Result<Option<u64>, StoreError> {
        let found = self.keys.get(key_row(shard, key).as_slice());
        Ok(found.map_err(step("read a key"))?.map(|id| id.value()))
    }

    fn id_of_hash(&self, shard: u32, hash: [u8; 16]) -> Result<Option<u64>, StoreError> {
        let found = self.hashes.get(&hash_row(shard, hash));
        Ok(found.map_err(step("read a hash"))?.map(|id| id.value()))
    }
}

/// The key of a row of the first layout: scope, length of the name space, name space, key.
pub(super) fn first_memory_key(row: &str) -> Option<MemoryKey> {
    let mut parts = row.splitn(3, ':');
    let scope = MemoryScope::from_word(parts.next()?)?;
    let length: usize = parts.next()?.parse().ok()?;
    let rest = parts.next()?;
    let namespace = rest.get(..length)?;
    Some(MemoryKey {
        scope,
        namespace: namespace.into(),
        key: rest.get(length..)?.strip_prefix(':')?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::memory::{MemorySource, MemoryVector};
    use crate::storage::batch::{Batch, Op};
    use crate::storage::memory_read::Follow;
    use crate::storage::store::Store;
    use crate::storage::table::FIRST_MEMORY;
    use crate::storage::writer::Writer;

    fn shard(namespace: &str) -> ShardName {
        ShardName {
            scope: MemoryScope::Project,
            namespace: namespace.into(),
        }
    }

    fn new(namespace: &str, key: Option<&str>, text: &str, at: u64) -> NewMemory {
        NewMemory {
            shard: shard(namespace),
            key: key.map(Into::into),
            text: text.into(),
            hash: text_hash(text),
            tags: vec!["t".into()],
            source: MemorySource {
                by: format!("person:{at}").into(),
                run: None,
            },
            importance: 50,
            expires_at: Some(UtcMillis(1_000 + at)),
            vector: Some(MemoryVector {
                embedder: "e".into(),
                scale: 0.5,
                codes: Box::new([1, -2]),
            }),
            at: UtcMillis(at),
        }
    }

    struct Open {
        _folder: tempfile::TempDir,
        store: Store,
        writer: Writer,
    }

    impl Open {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
            let writer = Writer::new(store.clone()).expect("a writer");
            Self {
                _folder: folder,
                store,
                writer,
            }
        }

        fn put(&mut self, new: NewMemory) {
            self.commit(Op::MemoryPut(Box::new(new)));
        }

        fn edit(&mut self, id: u64, edit: MemoryEdit) {
            let shard = shard("a");
            let at = UtcMillis(77);
            self.commit(Op::MemoryEdit { shard, id, edit, at });
        }

        fn commit(&mut self, op: Op) {
            let verdicts = self.writer.commit(&[Batch::ops(vec![op])]).expect("commits");
            assert!(verdicts.iter().all(Result::is_ok));
        }

        fn get(&self, key: &str) -> Option<MemoryEntry> {
            let key = MemoryKey {
                scope: MemoryScope::Project,
                namespace: "a".into(),
                key: key.into(),
            };
            self.store.memory(&key).expect("readable")
        }

        fn live(&self) -> Vec<u64> {
            let Follow::Anew { entries, damaged } = self.store.memory_follow(&shard("a"), 0).expect("readable").1
            else {
                return Vec::new();
            };
            assert!(damaged.is_empty(), "{damaged:?}");
            assert!(entries.iter().all(|indexed| indexed.vector.is_some()));
            entries.iter().map(|indexed| indexed.entry.id).collect()
        }
    }

    #[test]
    fn a_key_that_is_put_again_supersedes_with_history_and_an_equal_text_joins() {
        let mut open = Open::new();
        open.put(new("a", Some("k"), "old", 1));
        open.put(new("a", Some("k"), "OLD ", 2));
        let joined = open.get("k").expect("there");
        assert_eq!((joined.id, joined.version, joined.sources.len()), (1, 2, 2));
        assert_eq!(&*joined.text, "old", "what was kept first stays as it was written");
        open.put(new("a", Some("k"), "new", 3));
        let newer = open.get("k").expect("there");
        assert_eq!((newer.id, newer.version, newer.previous), (2, 3, Some(1)));
        let older = open
            .store
            .memory_entry(&shard("a"), 1)
            .expect("readable")
            .expect("kept");
        assert_eq!(
            older.state,
            MemoryState::Superseded {
                by: 2,
                at: UtcMillis(3)
            }
        );
        assert_eq!(open.live(), [2]);
        open.put(new("a", None, "loose  text", 4));
        open.put(new("a", None, "Loose text", 5));
        assert_eq!(open.live(), [2, 3]);
        let figures = open.store.memory_figures(&shard("a")).expect("readable");
        assert_eq!((figures.live, figures.bytes), (2, 3 + 11));
        assert_eq!(open.get("nothing"), None);
        open.put(new("b", Some("k"), "elsewhere", 6));
        assert_eq!(
            &*open.get("k").expect("there").text,
            "new",
            "shards do not see each other"
        );
    }

    #[test]
    fn what_is_forgotten_is_gone_with_its_history_and_what_is_archived_comes_back() {
        let mut open = Open::new();
        open.put(new("a", Some("k"), "one", 1));
        open.put(new("a", Some("k"), "two", 2));
        open.put(new("a", None, "three", 3));
        open.edit(3, MemoryEdit::Archive { why: "old".into() });
        assert_eq!(open.live(), [2]);
        open.edit(3, MemoryEdit::Restore);
        assert_eq!(open.live(), [2, 3]);
        open.edit(3, MemoryEdit::Archive { why: "old".into() });
        open.put(new("a", None, "three", 4));
        open.edit(3, MemoryEdit::Restore);
        assert_eq!(open.live(), [2, 4], "the newer one of the same text stays the one");
        open.edit(2, MemoryEdit::Forget);
        assert_eq!((open.get("k"), open.live()), (None, vec![4]));
        assert_eq!(open.store.memory_entry(&shard("a"), 1).expect("readable"), None);
        open.edit(99, MemoryEdit::Forget);
        let due = open.store.memory_due(UtcMillis(u64::MAX), 10).expect("readable");
        assert_eq!(due, [(1, 4)], "only what is live ends by itself");
    }

    #[test]
    fn an_index_follows_by_changes_and_begins_anew_when_it_is_too_far_behind() {
        let mut open = Open::new();
        for number in 0..3u64 {
            open.put(new("a", None, &format!("text {number}"), number));
        }
        let (through, follow) = open.store.memory_follow(&shard("a"), 0).expect("readable");
        assert!(matches!(follow, Follow::Anew { entries, .. } if entries.len() == 3));
        open.edit(1, MemoryEdit::Forget);
        open.edit(2, MemoryEdit::Used { times: 2 });
        open.edit(2, MemoryEdit::Used { times: 1 });
        let (now, follow) = open.store.memory_follow(&shard("a"), through).expect("readable");
        let Follow::Changes(changes) = follow else {
            panic!("{follow:?}");
        };
        let seen: Vec<(u64, Option<u64>)> = changes
            .iter()
            .map(|(id, indexed)| (*id, indexed.as_ref().map(|indexed| indexed.entry.uses)))
            .collect();
        assert_eq!(seen, [(1, None), (2, Some(3))]);
        let again = open.store.memory_follow(&shard("a"), now).expect("readable");
        assert_eq!(again, (now, Follow::Nothing));
        let ops: Vec<Op> = (0..=CHANGES_KEPT)
            .map(|_| Op::MemoryEdit {
                shard: shard("a"),
                id: 2,
                edit: MemoryEdit::Used { times: 1 },
                at: UtcMillis(5),
            })
            .collect();
        open.writer.commit(&[Batch::ops(ops)]).expect("commits");
        let (_, follow) = open.store.memory_follow(&shard("a"), now).expect("readable");
        assert!(matches!(follow, Follow::Anew { .. }), "{follow:?}");
    }

    #[test]
    fn the_memory_of_the_first_layout_is_taken_over_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.redb");
        let store = Store::open(&path, 1 << 20).expect("opens");
        let transaction = store.database().begin_write().expect("begins");
        {
            let mut first = transaction.open_table(FIRST_MEMORY).expect("opens");
            let record = FirstMemoryRecord {
                text: "kept".into(),
                version: 7,
                updated_at: 5,
            };
            first
                .insert("project:1:a:with:colon", codec::encode(&record).as_slice())
                .expect("writes");
        }
        transaction.commit().expect("commits");
        for _ in 0..2 {
            drop(Writer::new(store.clone()).expect("a writer"));
            let key = MemoryKey {
                scope: MemoryScope::Project,
                namespace: "a".into(),
                key: "with:colon".into(),
            };
            let found = store.memory(&key).expect("readable").expect("there");
            assert_eq!(
                (&*found.text, found.version, found.updated_at),
                ("kept", 7, UtcMillis(5))
            );
        }
    }
}
