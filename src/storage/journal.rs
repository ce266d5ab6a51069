//! Reading a run's journal: its snapshot, if there is one, and the entries after it.

use redb::ReadableDatabase;

use crate::domain::compaction::compact;
use crate::domain::fact::Stamped;
use crate::domain::id::RunId;

use super::batch::Op;
use super::codec;
use super::error::{StoreError, step};
use super::record::fact::{EntryRecord, SnapshotRecord};
use super::store::Store;
use super::table::{BLOBS, JOURNAL, JournalKey, SNAPSHOTS};

/// Marks an entry that is kept in the journal itself.
pub(super) const INLINE: u8 = 0;
/// Marks an entry whose bytes are in the blob of the hash that follows.
pub(super) const IN_BLOB: u8 = 1;

/// The key of the entry that starts at `seq`.
pub(super) fn journal_key(run: RunId, seq: u64) -> JournalKey {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&run.to_bytes());
    key[16..].copy_from_slice(&seq.to_be_bytes());
    key
}

fn seq_of(key: &JournalKey) -> u64 {
    u64::from_be_bytes(key[16..].try_into().expect("a journal key ends with 8 bytes"))
}

impl Store {
    /// The facts of a run after place `after` (0 for all), in order.
    ///
    /// An entry is one transaction, so `after` is expected to be the last place of an entry or 0; facts of an
    /// entry up to `after` are left out.
    pub fn facts(&self, run: RunId, after: u64) -> Result<Vec<Stamped>, StoreError> {
        self.facts_page(run, after, usize::MAX)
    }

    /// The same, no further than the entry with which there are `limit` of them: for who reads on later.
    pub fn facts_page(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<Stamped>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let journal = transaction.open_table(JOURNAL).map_err(step("open the journal"))?;
        let blobs = transaction.open_table(BLOBS).map_err(step("open the blobs"))?;
        let mut facts = Vec::new();
        // The entry that holds `after + 1` may start before it, so reading starts with the entry at or before it.
        let from = journal_key(run, 0);
        let start = journal_key(run, after.saturating_add(1));
        let first = if after == 0 {
            from
        } else {
            let mut before = journal
                .range::<&JournalKey>(&from..&start)
                .map_err(step("find the journal's entries"))?;
            match before.next_back() {
                Some(entry) => *entry.map_err(step("find the journal's entries"))?.0.value(),
                None => from,
            }
        };
        let to = journal_key(run, u64::MAX);
        for entry in journal
            .range::<&JournalKey>(&first..=&to)
            .map_err(step("read the journal"))?
        {
            let (key, value) = entry.map_err(step("read the journal"))?;
            let first_seq = seq_of(key.value());
            let what = || format!("entry {first_seq} of {run}");
            let corrupt = |reason: String| StoreError::Corrupt { what: what(), reason };
            let record: EntryRecord = match value.value().split_first() {
                Some((&INLINE, bytes)) => codec::decode(what, bytes)?,
                Some((&IN_BLOB, hash)) => {
                    let hash: [u8; 32] = hash
                        .try_into()
                        .map_err(|_| corrupt("its hash has a wrong length".into()))?;
                    let blob = blobs.get(&hash).map_err(step("read a blob"))?;
                    let blob = blob.ok_or_else(|| corrupt("its blob is missing".into()))?;
                    if *blake3::hash(blob.value()).as_bytes() != hash {
                        return Err(corrupt("its blob does not match its hash".into()));
                    }
                    codec::decode(what, blob.value())?
                }
                _ => return Err(corrupt("its place is not known".into())),
            };
            facts.extend(
                record
                    .into_domain(first_seq)
                    .map_err(corrupt)?
                    .into_iter()
                    .filter(|fact| fact.seq > after),
            );
            if facts.len() >= limit {
                break;
            }
        }
        Ok(facts)
    }

    /// The facts that a run's state is folded from: the snapshot's, then those after it.
    pub fn facts_for_state(&self, run: RunId) -> Result<Vec<Stamped>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let snapshots = transaction.open_table(SNAPSHOTS).map_err(step("open the snapshots"))?;
        let snapshot = snapshots.get(&run.to_bytes()).map_err(step("read a snapshot"))?;
        let Some(snapshot) = snapshot else {
            return self.facts(run, 0);
        };
        let what = || format!("snapshot of {run}");
        let record: SnapshotRecord = codec::decode(what, snapshot.value())?;
        let through = record.through;
        let mut facts = record
            .into_domain()
            .map_err(|reason| StoreError::Corrupt { what: what(), reason })?;
        facts.extend(self.facts(run, through)?);
        Ok(facts)
    }

    /// The snapshot that is due for a run: the shortest list of facts that folds to its present state. None when
    /// nothing was added since the last one.
    pub fn snapshot_of(&self, run: RunId) -> Result<Option<Op>, StoreError> {
        let facts = self.facts_for_state(run)?;
        let Some(through) = facts.last().map(|stamped| stamped.seq) else {
            return Ok(None);
        };
        Ok(Some(Op::Snapshot {
            run,
            through,
            facts: compact(facts),
        }))
    }
}
