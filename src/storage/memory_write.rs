//! Memory entries in the writer's transaction: entry, key, hash, vector, due time and change log change together, so
//! the store cannot disagree with itself.

use std::sync::Arc;

use redb::ReadableTable;

use crate::domain::memory::{
    AsSeen, HISTORY_MAX, IMPORTANCE_DEFAULT, MemoryEdit, MemoryEntry, MemoryKey, MemoryScope, MemorySource,
    MemoryState, MemoryVector, NewMemory, SOURCES_MAX, ShardName, TAGS_MAX,
};
use crate::domain::time::UtcMillis;

use super::codec;
use super::error::{StoreError, step};
use super::memory_row::{beside_hash, due_row, entry_row, hash_row, key_row, text_hash, words_hash};
use super::memory_tables::{CHANGED, GONE, MemoryTables};
use super::record::memory::{EntryRecord, FirstMemoryRecord, ShardRecord, VectorRecord};

/// An entry and the hash that its text is found by.
pub(super) type Kept = (MemoryEntry, [u8; 16]);

/// From this cosine on, two texts with the same core are one entry.
pub(super) const NEAR: f32 = 0.9;

/// The time at which the store is to look at an entry again.
pub(super) fn due_of(entry: &MemoryEntry) -> Option<UtcMillis> {
    match &entry.state {
        MemoryState::Live => entry.expires_at,
        MemoryState::Archived { until, .. } => Some(*until),
        MemoryState::Superseded { .. } => None,
    }
}

/// The sources of both, each once, the oldest dropped.
pub(super) fn join_sources(sources: &mut Vec<MemorySource>, more: &[MemorySource]) {
    for source in more {
        if !sources.contains(source) {
            sources.push(source.clone());
        }
    }
    let surplus = sources.len().saturating_sub(SOURCES_MAX);
    sources.drain(..surplus);
}

/// The tags of both, each once. Of more than [`TAGS_MAX`] those that came first stay.
pub(super) fn join_tags(tags: &mut Vec<Arc<str>>, more: &[Arc<str>]) {
    for tag in more {
        if tags.len() >= TAGS_MAX {
            return;
        }
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
}

impl MemoryTables<'_> {
    /// Puts an entry: supersedes the one of its key, joins the one of its text, or adds a new one.
    pub(super) fn put(&mut self, new: &NewMemory) -> Result<(), StoreError> {
        let (row, mut shard) = self.shard(&new.shard, new.at)?;
        let Some(key) = &new.key else {
            match self.same(&mut shard, (&new.text, new.hash, new.vector.as_ref()), new.at)? {
                // What was kept first stays.
                Ok((entry, hash)) => self.join(&mut shard, entry, hash, new)?,
                Err(hash) => self.add(&mut shard, None, new, hash)?,
            }
            self.keep_shard(row, &shard);
            return Ok(());
        };
        let held = match self.id_of_key(shard.number, key)? {
            Some(id) => self.sound_entry(&mut shard, id, new.at)?,
            None => None,
        };
        match held {
            // What is under a key is what was put last, to the letter.
            Some((entry, hash)) if entry.text == new.text => self.join(&mut shard, entry, hash, new)?,
            held => self.add(&mut shard, held, new, new.hash)?,
        }
        self.keep_shard(row, &shard);
        Ok(())
    }

    /// The entry without a key that says the same, with its hash; or the hash under which the new text is found again.
    pub(super) fn same(
        &mut self,
        shard: &mut ShardRecord,
        (text, hash, vector): (&str, [u8; 16], Option<&MemoryVector>),
        at: UtcMillis,
    ) -> Result<Result<Kept, [u8; 16]>, StoreError> {
        let words = words_hash(text);
        if let Some(id) = self.id_of_hash(shard.number, hash)?
            && let Some(held) = self.sound_entry(shard, id, at)?
        {
            if words_hash(&held.0.text) == words || self.is_near(shard.number, id, vector)? {
                return Ok(Ok(held));
            }
            // The core is taken by what says something else.
            let beside = beside_hash(words);
            let held = match self.id_of_hash(shard.number, beside)? {
                Some(id) => self.sound_entry(shard, id, at)?,
                None => None,
            };
            return Ok(held.ok_or(beside));
        }
        if words != hash
            && let Some(id) = self.id_of_hash(shard.number, words)?
            && let Some(held) = self.sound_entry(shard, id, at)?
        {
            return Ok(Ok(held));
        }
        Ok(Err(hash))
    }

    /// Whether an entry's vector is near to another one by the same embedder.
    fn is_near(&self, shard: u32, id: u64, vector: Option<&MemoryVector>) -> Result<bool, StoreError> {
        let Some(vector) = vector else { return Ok(false) };
        let found = self.vectors.get(&entry_row(shard, id)).map_err(step("read a vector"))?;
        let own = found.and_then(|value| codec::decode::<VectorRecord>(|| "a vector".into(), value.value()).ok());
        Ok(own.is_some_and(|own| MemoryVector::from(own).cosine(vector) >= NEAR))
    }

    /// An entry of the first layout: its version and time stay. Its vector is made when an index first wants it.
    pub(super) fn take_over(&mut self, key: MemoryKey, record: FirstMemoryRecord) -> Result<(), StoreError> {
        let at = UtcMillis(record.updated_at);
        let (row, mut shard) = self.shard(&key.shard(), at)?;
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
        self.keep_shard(row, &shard);
        Ok(())
    }

    /// The same text again: one entry, with all who said it. Under a key what was put last counts, as it does for
    /// another text; without one, all that is known of both.
    fn join(
        &mut self,
        shard: &mut ShardRecord,
        mut entry: MemoryEntry,
        hash: [u8; 16],
        new: &NewMemory,
    ) -> Result<(), StoreError> {
        entry.version += 1;
        entry.updated_at = new.at;
        join_sources(&mut entry.sources, std::slice::from_ref(&new.source));
        let end = if new.key.is_some() {
            entry.importance = new.importance;
            entry.tags.clone_from(&new.tags);
            new.expires_at
        } else {
            entry.importance = entry.importance.max(new.importance);
            join_tags(&mut entry.tags, &new.tags);
            // The later of both: who wanted it longer still does.
            entry.expires_at.and_then(|old| new.expires_at.map(|new| old.max(new)))
        };
        if entry.expires_at != end {
            self.move_due(shard.number, entry.id, entry.expires_at, end)?;
            entry.expires_at = end;
        }
        self.write_entry(shard.number, &entry, hash)?;
        self.log(shard, entry.id, CHANGED)
    }

    fn add(
        &mut self,
        shard: &mut ShardRecord,
        held: Option<Kept>,
        new: &NewMemory,
        own_hash: [u8; 16],
    ) -> Result<(), StoreError> {
        let mut entry = MemoryEntry {
            id: shard.next_id,
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
            version: 1,
            previous: None,
            state: MemoryState::Live,
        };
        if let Some((old, hash)) = held {
            entry.version = old.version + 1;
            entry.previous = Some(old.id);
            if hash == own_hash {
                // Said again in other words: who said it first still counts.
                let mut sources = old.sources.clone();
                join_sources(&mut sources, &entry.sources);
                entry.sources = sources;
            }
            self.supersede(shard, old, hash, new.at)?;
        }
        self.insert(shard, &entry, own_hash, new.vector.as_ref())
    }

    /// Puts an entry behind the one that gets the next number.
    pub(super) fn supersede(
        &mut self,
        shard: &mut ShardRecord,
        mut old: MemoryEntry,
        hash: [u8; 16],
        at: UtcMillis,
    ) -> Result<(), StoreError> {
        self.hide(shard, &old, hash)?;
        let by = shard.next_id;
        old.state = MemoryState::Superseded { by, at };
        self.write_entry(shard.number, &old, hash)?;
        // Nothing searches what is superseded.
        let row = entry_row(shard.number, old.id);
        self.remove_vectors(&row)?;
        self.log(shard, old.id, GONE)?;
        self.trim_history(shard.number, old)
    }

    /// Removes what lies further behind the newest of a key than the history reaches.
    pub(super) fn trim_history(&mut self, shard: u32, mut last: MemoryEntry) -> Result<(), StoreError> {
        for _ in 1..HISTORY_MAX {
            let Some(previous) = last.previous else { return Ok(()) };
            match self.entry(shard, previous) {
                Ok(Some((entry, _))) => last = entry,
                Ok(None) | Err(StoreError::Corrupt { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // The one before is named, and found to be gone.
        while let Some(previous) = last.previous {
            let entry = match self.entry(shard, previous) {
                Ok(Some((entry, _))) => entry,
                Ok(None) | Err(StoreError::Corrupt { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            let row = entry_row(shard, previous);
            self.entries.remove(&row).map_err(step("remove an entry"))?;
            self.remove_vectors(&row)?;
            last = entry;
        }
        Ok(())
    }

    /// Writes a new live entry under the shard's next number.
    pub(super) fn insert(
        &mut self,
        shard: &mut ShardRecord,
        entry: &MemoryEntry,
        hash: [u8; 16],
        vector: Option<&MemoryVector>,
    ) -> Result<(), StoreError> {
        shard.next_id = entry.id + 1;
        self.show(shard, entry, hash)?;
        if let Some(vector) = vector {
            let record = codec::encode(&VectorRecord::from(vector));
            self.vectors
                .insert(&entry_row(shard.number, entry.id), record.as_slice())
                .map_err(step("write a vector"))?;
        }
        self.write_entry(shard.number, entry, hash)?;
        self.log(shard, entry.id, CHANGED)
    }

    /// Changes an entry that exists; one that does not is left alone.
    pub(super) fn edit(
        &mut self,
        name: &ShardName,
        id: u64,
        edit: &MemoryEdit,
        at: UtcMillis,
    ) -> Result<(), StoreError> {
        let Some((row, mut shard)) = self.known_shard(name, at)? else {
            return Ok(());
        };
        if let Some((entry, hash)) = self.sound_entry(&mut shard, id, at)? {
            self.edit_entry(&mut shard, entry, hash, edit, at)?;
        }
        self.keep_shard(row, &shard);
        Ok(())
    }

    pub(super) fn edit_entry(
        &mut self,
        shard: &mut ShardRecord,
        mut entry: MemoryEntry,
        hash: [u8; 16],
        edit: &MemoryEdit,
        at: UtcMillis,
    ) -> Result<(), StoreError> {
        let id = entry.id;
        let is_live = entry.state == MemoryState::Live;
        let is_archived = matches!(entry.state, MemoryState::Archived { .. });
        match edit {
            MemoryEdit::Forget => {
                if is_live {
                    self.hide(shard, &entry, hash)?;
                    self.log(shard, id, GONE)?;
                } else if is_archived {
                    self.count_archived(shard.number, -1)?;
                }
                self.forget(shard.number, entry)?;
            }
            MemoryEdit::Archive { why, until, seen }
                if is_live && seen.is_none_or(|seen| seen == AsSeen::of(&entry)) =>
            {
                self.hide(shard, &entry, hash)?;
                entry.state = MemoryState::Archived {
                    at,
                    why: why.clone(),
                    until: *until,
                };
                self.move_due(shard.number, id, None, Some(*until))?;
                self.count_archived(shard.number, 1)?;
                self.write_entry(shard.number, &entry, hash)?;
                self.log(shard, id, GONE)?;
            }
            MemoryEdit::Restore if is_archived => {
                // A newer entry may have the key or the text by now; it stays, and this one stays archived.
                let is_free = match &entry.key {
                    Some(key) => self.id_of_key(shard.number, key)?.is_none(),
                    None => self.id_of_hash(shard.number, hash)?.is_none(),
                };
                if is_free {
                    self.move_due(shard.number, id, due_of(&entry), None)?;
                    self.count_archived(shard.number, -1)?;
                    entry.state = MemoryState::Live;
                    entry.used_at = at;
                    // It would end again at once.
                    entry.expires_at = entry.expires_at.filter(|end| *end > at);
                    self.show(shard, &entry, hash)?;
                    self.write_entry(shard.number, &entry, hash)?;
                    self.log(shard, id, CHANGED)?;
                }
            }
            MemoryEdit::Used { times } if is_live => {
                entry.uses = entry.uses.saturating_add(*times);
                entry.used_at = entry.used_at.max(at);
                self.write_entry(shard.number, &entry, hash)?;
                self.log(shard, id, CHANGED)?;
            }
            MemoryEdit::Archive { .. } | MemoryEdit::Restore | MemoryEdit::Used { .. } | MemoryEdit::Quarantine => {}
        }
        Ok(())
    }

    /// Removes an entry and those that it superseded.
    fn forget(&mut self, shard: u32, entry: MemoryEntry) -> Result<(), StoreError> {
        let mut next = Some(entry);
        while let Some(entry) = next {
            let row = entry_row(shard, entry.id);
            self.move_due(shard, entry.id, due_of(&entry), None)?;
            self.entries.remove(&row).map_err(step("remove an entry"))?;
            self.remove_vectors(&row)?;
            next = match entry.previous.map(|previous| self.entry(shard, previous)) {
                Some(Ok(previous)) => previous.map(|(entry, _)| entry),
                // What lies behind a record that cannot be read stays until it is looked for.
                None | Some(Err(StoreError::Corrupt { .. })) => None,
                Some(Err(error)) => return Err(error),
            };
        }
        Ok(())
    }

    /// Makes an entry findable by key, text and due time.
    pub(super) fn show(
        &mut self,
        shard: &mut ShardRecord,
        entry: &MemoryEntry,
        hash: [u8; 16],
    ) -> Result<(), StoreError> {
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

    pub(super) fn hide(
        &mut self,
        shard: &mut ShardRecord,
        entry: &MemoryEntry,
        hash: [u8; 16],
    ) -> Result<(), StoreError> {
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

    pub(super) fn move_due(
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

    pub(super) fn entry(&self, shard: u32, id: u64) -> Result<Option<(MemoryEntry, [u8; 16])>, StoreError> {
        let Some(value) = self.entries.get(&entry_row(shard, id)).map_err(step("read an entry"))? else {
            return Ok(None);
        };
        let record: EntryRecord = codec::decode(|| format!("memory entry {id} of shard {shard}"), value.value())?;
        let hash = record.hash;
        Ok(Some((record.into_domain(id), hash)))
    }

    pub(super) fn write_entry(&mut self, shard: u32, entry: &MemoryEntry, hash: [u8; 16]) -> Result<(), StoreError> {
        let record = codec::encode(&EntryRecord::of(entry, hash));
        self.entries
            .insert(&entry_row(shard, entry.id), record.as_slice())
            .map_err(step("write an entry"))?;
        Ok(())
    }

    pub(super) fn id_of_key(&self, shard: u32, key: &str) -> Result<Option<u64>, StoreError> {
        let found = self.keys.get(key_row(shard, key).as_slice());
        Ok(found.map_err(step("read a key"))?.map(|id| id.value()))
    }

    pub(super) fn id_of_hash(&self, shard: u32, hash: [u8; 16]) -> Result<Option<u64>, StoreError> {
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
#[path = "memory_tests.rs"]
mod tests;
