//! Memory in the writer's transaction: what keeps it in order. Due times, copies from elsewhere, shards that are empty,
//! and records that cannot be read.
//!
//! **Invariant**: a damaged record never fails a transaction. Its bytes go to the quarantine with an incident, what
//! pointed to it is removed, and everything else goes on.

use redb::ReadableTable;

use crate::domain::id::IncidentId;
use crate::domain::incident::Incident;
use crate::domain::memory::{
    HISTORY_MAX, MemoryCopy, MemoryDue, MemoryEdit, MemoryEntry, MemoryState, ShardName, TEXT_BYTES_MAX,
};
use crate::domain::time::UtcMillis;

use super::codec;
use super::error::{StoreError, step};
use super::memory_row::{EntryRow, due_row, entry_row, key_row};
use super::memory_tables::{CHANGED, GONE, MemoryTables};
use super::memory_write::{Kept, join_sources, join_tags};
use super::record::memory::{EntryRecord, ShardRecord};
use super::table::MEMORY_QUARANTINE;

/// The least and the greatest number of a row.
const ALL_NUMBERS: (u64, u64) = (0, u64::MAX);

impl MemoryTables<'_> {
    /// The entry of a number; one that cannot be read is put aside and counts as none.
    pub(super) fn sound_entry(
        &mut self,
        shard: &mut ShardRecord,
        id: u64,
        at: UtcMillis,
    ) -> Result<Option<(MemoryEntry, [u8; 16])>, StoreError> {
        match self.entry(shard.number, id) {
            Err(StoreError::Corrupt { reason, .. }) => {
                self.quarantine(shard, id, &reason, at)?;
                Ok(None)
            }
            read => read,
        }
    }

    /// Puts a record that cannot be read aside, with what points to it.
    ///
    /// Walks the whole shard, because the record cannot say what its key was: some hundred milliseconds for a hundred
    /// thousand entries, which the few damaged records of a disk's life are worth.
    fn quarantine(&mut self, shard: &mut ShardRecord, id: u64, reason: &str, at: UtcMillis) -> Result<(), StoreError> {
        let (row, number) = (entry_row(shard.number, id), shard.number);
        let Some(bytes) = self
            .entries
            .remove(&row)
            .map_err(step("remove an entry"))?
            .map(|value| value.value().to_vec())
        else {
            return Ok(());
        };
        self.put_aside(row, &bytes)?;
        self.remove_vectors(&row)?;
        self.unname(number, id)?;
        (shard.live, shard.bytes) = self.recount(number)?;
        self.log(shard, id, GONE)?;
        let what = format!("entry {id} of memory shard {number} cannot be read");
        self.tell(at, &bytes, what, reason);
        Ok(())
    }

    pub(super) fn put_aside(&self, row: EntryRow, bytes: &[u8]) -> Result<(), StoreError> {
        let aside = self.transaction.open_table(MEMORY_QUARANTINE);
        let mut aside = aside.map_err(step("open the quarantine"))?;
        aside.insert(&row, bytes).map_err(step("put a record aside"))?;
        Ok(())
    }

    /// Removes the keys, hashes and due times of an entry that cannot say what they were.
    fn unname(&mut self, shard: u32, id: u64) -> Result<(), StoreError> {
        let (from, to) = (key_row(shard, ""), key_row(shard + 1, ""));
        self.keys
            .retain_in::<&[u8], _>(from.as_slice()..to.as_slice(), |_, holder| holder != id)
            .map_err(step("remove a key"))?;
        let (mut from, mut to) = ([0; 20], [0xff; 20]);
        from[..4].copy_from_slice(&shard.to_be_bytes());
        to[..4].copy_from_slice(&shard.to_be_bytes());
        self.hashes
            .retain_in::<&[u8; 20], _>(&from..=&to, |_, holder| holder != id)
            .map_err(step("remove a hash"))?;
        let own = entry_row(shard, id);
        self.due
            .retain(|row, ()| row[8..] != own)
            .map_err(step("remove a due time"))?;
        Ok(())
    }

    fn recount(&self, shard: u32) -> Result<(u64, u64), StoreError> {
        let (from, to) = (entry_row(shard, ALL_NUMBERS.0), entry_row(shard, ALL_NUMBERS.1));
        let rows = self.entries.range::<&EntryRow>(&from..=&to);
        let (mut live, mut bytes) = (0, 0);
        for row in rows.map_err(step("read the entries"))? {
            let (_, value) = row.map_err(step("read the entries"))?;
            // Another one that cannot be read is put aside when it is looked at.
            let Ok(record) = codec::decode::<EntryRecord>(|| "an entry".into(), value.value()) else {
                continue;
            };
            let entry = record.into_domain(0);
            if entry.state == MemoryState::Live {
                live += 1;
                bytes += entry.text.len() as u64;
            }
        }
        Ok((live, bytes))
    }

    /// Opens an incident. Its id comes from the bytes, so that the same damage is told once.
    pub(super) fn tell(&mut self, at: UtcMillis, bytes: &[u8], what: String, reason: &str) {
        tracing::error!(what, reason, "a record of the memory is put aside");
        let hash = blake3::hash(bytes);
        let random = hash.as_bytes()[..16].try_into().map_or(0, u128::from_be_bytes);
        let incident = Incident {
            id: IncidentId::new(at, random),
            at,
            severity: "error".into(),
            what: what.into(),
            why: format!("its record is damaged: {reason}").into(),
            action: "its bytes are kept aside in the store and nothing finds it any more; everything else goes on"
                .into(),
            run: None,
        };
        // The writer writes it: the incidents may be open in this transaction already.
        self.told.push(incident);
    }

    /// Does what a due time asks for: a live entry whose time is over is archived until `until`, an archived one whose
    /// time is over is forgotten. A due time that belongs to nothing is removed.
    pub(super) fn settle_due(&mut self, due: &MemoryDue, now: UtcMillis, until: UtcMillis) -> Result<(), StoreError> {
        let stray = due_row(due.at, due.shard, due.id);
        let known = match &due.name {
            Some(name) => self.known_shard(name, now)?,
            None => None,
        };
        let known = known.filter(|(_, shard)| shard.number == due.shard);
        if let Some((row, mut shard)) = known {
            let found = self.sound_entry(&mut shard, due.id, now)?;
            let edit = found.as_ref().and_then(|(entry, _)| match &entry.state {
                MemoryState::Live if entry.expires_at == Some(due.at) && due.at <= now => Some(MemoryEdit::Archive {
                    why: "its time was over".into(),
                    until,
                    seen: None,
                }),
                MemoryState::Archived { until, .. } if *until == due.at && due.at <= now => Some(MemoryEdit::Forget),
                _ => None,
            });
            if let (Some((entry, hash)), Some(edit)) = (found, edit) {
                self.edit_entry(&mut shard, entry, hash, &edit, now)?;
            }
            self.keep_shard(row, &shard);
        }
        // Whatever was done above has moved it, unless it was nobody's.
        self.due.remove(&stray).map_err(step("remove a due time"))?;
        Ok(())
    }

    /// Takes over an entry from elsewhere. The same again changes nothing. Of two texts under a key the one that was put
    /// later counts, at one time the one that comes later; the other one is kept as an earlier text of the key.
    pub(super) fn take(&mut self, copy: &MemoryCopy) -> Result<(), StoreError> {
        debug_assert!(copy.entry.text.len() <= TEXT_BYTES_MAX, "checked where it came in");
        let at = copy.entry.updated_at;
        let (row, mut shard) = self.shard(&copy.shard, at)?;
        let mut entry = MemoryEntry {
            id: shard.next_id,
            previous: None,
            state: MemoryState::Live,
            ..copy.entry.clone()
        };
        let (held, own_hash) = match &entry.key {
            Some(key) => match self.id_of_key(shard.number, key)? {
                Some(id) => (self.sound_entry(&mut shard, id, at)?, copy.hash),
                None => (None, copy.hash),
            },
            None => match self.same(&mut shard, (&entry.text, copy.hash, copy.vector.as_ref()), at)? {
                Ok(held) => (Some(held), copy.hash),
                Err(hash) => (None, hash),
            },
        };
        match held {
            Some((own, hash)) if own.key.is_none() || own.text == entry.text => {
                let joined = joined(own.clone(), &entry);
                if joined != own {
                    if joined.expires_at != own.expires_at {
                        self.move_due(shard.number, own.id, own.expires_at, joined.expires_at)?;
                    }
                    self.write_entry(shard.number, &joined, hash)?;
                    self.log(&mut shard, own.id, CHANGED)?;
                }
            }
            Some((own, hash)) if own.updated_at >= entry.updated_at => {
                let behind = self.behind(shard.number, &own)?;
                let is_known = behind.iter().any(|(earlier, _)| earlier.text == entry.text);
                if is_known {
                    // It was taken before.
                } else if own.updated_at > entry.updated_at {
                    self.insert_behind(&mut shard, (own, hash), behind, entry, own_hash)?;
                } else {
                    self.replace(&mut shard, (own, hash), entry, copy)?;
                }
            }
            Some(held) => self.replace(&mut shard, held, entry, copy)?,
            None => {
                entry.id = shard.next_id;
                self.insert(&mut shard, &entry, own_hash, copy.vector.as_ref())?;
            }
        }
        self.keep_shard(row, &shard);
        Ok(())
    }

    fn replace(
        &mut self,
        shard: &mut ShardRecord,
        (own, hash): Kept,
        mut entry: MemoryEntry,
        copy: &MemoryCopy,
    ) -> Result<(), StoreError> {
        entry.version = entry.version.max(own.version + 1);
        entry.previous = Some(own.id);
        self.supersede(shard, own, hash, copy.entry.updated_at)?;
        self.insert(shard, &entry, copy.hash, copy.vector.as_ref())
    }

    /// What lies behind the newest of a key, newest first, as far as it can be read.
    fn behind(&self, shard: u32, own: &MemoryEntry) -> Result<Vec<Kept>, StoreError> {
        let (mut behind, mut next) = (Vec::new(), own.previous);
        while let Some(id) = next
            && behind.len() < HISTORY_MAX
        {
            match self.entry(shard, id) {
                Ok(Some(kept)) => {
                    next = kept.0.previous;
                    behind.push(kept);
                }
                Ok(None) | Err(StoreError::Corrupt { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(behind)
    }

    /// Puts an entry among the earlier texts of a key, by its time. One that is older than all that are kept is left out.
    fn insert_behind(
        &mut self,
        shard: &mut ShardRecord,
        own: Kept,
        behind: Vec<Kept>,
        mut entry: MemoryEntry,
        hash: [u8; 16],
    ) -> Result<(), StoreError> {
        let newer = behind
            .iter()
            .take_while(|(earlier, _)| earlier.updated_at > entry.updated_at);
        let at = newer.count();
        if at >= HISTORY_MAX {
            return Ok(());
        }
        let chain: Vec<Kept> = std::iter::once(own).chain(behind).collect();
        let first_behind = chain.get(1).map(|(earlier, _)| earlier.clone());
        let (mut newer, newer_hash) = chain.into_iter().nth(at).expect("one more than those behind");
        entry.state = MemoryState::Superseded {
            by: newer.id,
            at: newer.updated_at,
        };
        entry.version = entry.version.min(newer.version.saturating_sub(1)).max(1);
        entry.previous = newer.previous.replace(entry.id);
        shard.next_id = entry.id + 1;
        self.write_entry(shard.number, &entry, hash)?;
        self.write_entry(shard.number, &newer, newer_hash)?;
        if newer.state == MemoryState::Live {
            self.log(shard, newer.id, CHANGED)?;
            return self.trim_history(shard.number, entry);
        }
        match first_behind.map(|first| self.entry(shard.number, first.id)) {
            Some(Ok(Some((first, _)))) => self.trim_history(shard.number, first),
            Some(Err(error)) => Err(error),
            Some(Ok(None)) | None => Ok(()),
        }
    }

    /// Removes a shard that holds nothing, with its log. One that holds anything stays.
    pub(super) fn drop_shard(&mut self, name: &ShardName, at: UtcMillis) -> Result<(), StoreError> {
        let Some((row, shard)) = self.known_shard(name, at)? else {
            return Ok(());
        };
        let (from, to) = (
            entry_row(shard.number, ALL_NUMBERS.0),
            entry_row(shard.number, ALL_NUMBERS.1),
        );
        let mut held = self
            .entries
            .range::<&EntryRow>(&from..=&to)
            .map_err(step("read the entries"))?;
        if held.next().is_some() {
            return Ok(());
        }
        drop(held);
        self.changes
            .retain_in::<&EntryRow, _>(&from..=&to, |_, _| false)
            .map_err(step("remove the changes"))?;
        self.vectors
            .retain_in::<&EntryRow, _>(&from..=&to, |_, _| false)
            .map_err(step("remove the vectors"))?;
        self.remove_embedded(shard.number)?;
        self.remove_shard(&row)?;
        let mut numbers = self.numbers()?;
        let count = format!("archived:{}", shard.number);
        numbers
            .remove(count.as_str())
            .map_err(step("write the memory's numbers"))?;
        Ok(())
    }
}

/// What is known of both; whatever the one has already stays as it is.
fn joined(mut own: MemoryEntry, other: &MemoryEntry) -> MemoryEntry {
    join_tags(&mut own.tags, &other.tags);
    let known = |source: &crate::domain::memory::MemorySource| own.sources.contains(source);
    if !other.sources.iter().all(known) {
        join_sources(&mut own.sources, &other.sources);
    }
    own.importance = own.importance.max(other.importance);
    own.created_at = own.created_at.min(other.created_at);
    own.updated_at = own.updated_at.max(other.updated_at);
    if other.uses > 0 {
        // What was never used has been taken in at that time, and this one is here already.
        own.used_at = own.used_at.max(other.used_at);
    }
    own.uses = own.uses.max(other.uses);
    own.version = own.version.max(other.version);
    own.expires_at = own
        .expires_at
        .and_then(|own| other.expires_at.map(|other| own.max(other)));
    own
}
