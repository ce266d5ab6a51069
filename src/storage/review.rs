//! Reads every row of the main file and says what cannot be read, and what does not fit together.
//!
//! Reads one snapshot, so that writers go on meanwhile, and changes nothing. What redb itself keeps (checksums of its
//! pages) is checked by [`check_pages`], which needs the file alone.

use std::collections::BTreeSet;
use std::path::Path;

use redb::{
    Database, Key, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable as _, TableDefinition, Value,
};

use crate::domain::id::RunId;

use super::codec;
use super::error::{StoreError, step};
use super::journal::{IN_BLOB, INLINE};
use super::overlay::Overlay;
use super::record::alert::DeliveryRecord;
use super::record::audit::AuditRecord;
use super::record::balance::read_balance;
use super::record::certificate::CertificateRecord;
use super::record::exchange::{ExchangeRecord, ShownRecord};
use super::record::fact::{EntryRecord, SnapshotRecord};
use super::record::header::HeaderRecord;
use super::record::incident::IncidentRecord;
use super::record::incident_state::IncidentStateRecord;
use super::record::key::{KeyRecord, KeyTermsRecord};
use super::record::layout::LayoutRecord;
use super::record::memory::{EntryRecord as MemoryRecord, ShardRecord, VectorRecord};
use super::record::schedule::{read_kept, read_slot};
use super::record::secret::SecretRecord;
use super::record::submission::SubmissionRecord;
use super::record::traffic::{TapeRecord, TrafficRecord};
use super::statistics;
use super::store::{CACHE_BYTES_DEFAULT, Store};
use super::table::{
    ACTIVE, AUDIT, BLOBS, BUDGETS, CERTIFICATES, DELIVERIES, EXCHANGES, INCIDENT_STATES, INCIDENTS, JOURNAL, KEY_TERMS,
    KEYS, LAYOUTS, MEMORY_ENTRIES, MEMORY_SHARDS, MEMORY_VECTORS, RUNS, SCHEDULES, SECRETS, SHOWN, SLOTS, SNAPSHOTS,
    STATISTICS, SUBMISSIONS, TAPES, TRAFFIC,
};
use super::tape::open;

/// Findings that are told; the rest is counted.
const FINDINGS_MAX: usize = 100;

/// What was read, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreReview {
    /// Rows read.
    pub rows: u64,
    /// Blobs that nothing refers to; they cost room and nothing else.
    pub blobs_unused: u64,
    /// What is wrong, in words; at most a hundred.
    pub findings: Vec<String>,
    /// Findings beyond that.
    pub findings_more: u64,
}

impl StoreReview {
    /// Whether everything can be read and fits together.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.findings_more += 1;
        }
    }

    fn rows<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: Option<ReadOnlyTable<K, V>>,
        mut look: impl FnMut(&mut Self, K::SelfType<'_>, V::SelfType<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Some(table) = table else { return Ok(()) };
        for row in table.iter().map_err(step("read a table"))? {
            let (key, value) = row.map_err(step("read a table"))?;
            self.rows += 1;
            match look(self, key.value(), value.value()) {
                Err(damaged @ StoreError::Corrupt { .. }) => self.find(damaged.to_string()),
                other => other?,
            }
        }
        Ok(())
    }

    /// Rows that only have to decode.
    fn decode<K: Key + 'static, R: bincode::Decode<()>>(
        &mut self,
        transaction: &ReadTransaction,
        definition: TableDefinition<'static, K, &'static [u8]>,
        what: &'static str,
    ) -> Result<(), StoreError> {
        self.rows(open(transaction, definition, "open a table")?, |review, _, value| {
            codec::decode::<R>(|| format!("row {} ({what})", review.rows), value).map(drop)
        })
    }
}

fn corrupt(what: String, reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt {
        what,
        reason: reason.into(),
    }
}

/// Reads everything that a transaction sees.
pub fn review(transaction: &ReadTransaction) -> Result<StoreReview, StoreError> {
    let mut found = StoreReview::default();
    let mut used = BTreeSet::new();
    let mut with_journal = BTreeSet::new();
    let journal = open(transaction, JOURNAL, "open the journal")?;
    let blobs = open(transaction, BLOBS, "open the blobs")?;
    found.rows(journal, |_, key, value| {
        let run = RunId::from_bytes(key[..16].try_into().expect("a key starts with 16 bytes"));
        with_journal.insert(run);
        let first = u64::from_be_bytes(key[16..].try_into().expect("a key ends with 8 bytes"));
        let what = || format!("entry {first} of {run}");
        let read = |bytes: &[u8]| {
            let record: EntryRecord = codec::decode(what, bytes)?;
            let read = record.into_domain(first).map(drop);
            read.map_err(|reason| corrupt(what(), reason))
        };
        match value.split_first() {
            Some((&INLINE, bytes)) => read(bytes),
            Some((&IN_BLOB, hash)) => {
                let hash: [u8; 32] = hash
                    .try_into()
                    .map_err(|_| corrupt(what(), "its hash has a wrong length"))?;
                used.insert(hash);
                let blob = match &blobs {
                    Some(blobs) => blobs.get(&hash).map_err(step("read a blob"))?,
                    None => None,
                };
                read(blob.ok_or_else(|| corrupt(what(), "its blob is missing"))?.value())
            }
            _ => Err(corrupt(what(), "its place is not known")),
        }
    })?;
    found.rows(open(transaction, TAPES, "open the tapes")?, |_, key, value| {
        let record: TapeRecord = codec::decode(|| format!("tape of {}", RunId::from_bytes(*key)), value)?;
        used.extend(record.replay);
        Ok(())
    })?;
    found.rows(blobs, |review, hash, value| {
        review.blobs_unused += u64::from(!used.contains(hash));
        let is = *blake3::hash(value).as_bytes() == *hash;
        let name = || format!("blob {}", blake3::Hash::from_bytes(*hash).to_hex());
        is.then_some(())
            .ok_or_else(|| corrupt(name(), "it does not match its hash"))
    })?;
    let mut headers = BTreeSet::new();
    found.rows(open(transaction, RUNS, "open the runs")?, |_, key, value| {
        let run = RunId::from_bytes(*key);
        headers.insert(run);
        let record: HeaderRecord = codec::decode(|| format!("header of {run}"), value)?;
        record.into_domain(run).map(drop)
    })?;
    for run in with_journal.difference(&headers) {
        found.find(format!("read {run}: it has a journal and no header"));
    }
    for run in headers.difference(&with_journal) {
        found.find(format!("read {run}: it has a header and no journal"));
    }
    found.rows(open(transaction, ACTIVE, "open the active runs")?, |_, key, ()| {
        let run = RunId::from_bytes(*key);
        let known = headers.contains(&run).then_some(());
        known.ok_or_else(|| corrupt(run.to_string(), "it is active and has no header"))
    })?;
    found.rows(open(transaction, BUDGETS, "open the budgets")?, |_, key, value| {
        read_balance(key, value).map(drop)
    })?;
    found.rows(open(transaction, SCHEDULES, "open the schedules")?, |_, key, value| {
        read_kept(key, value).map(drop)
    })?;
    found.rows(open(transaction, SLOTS, "open the slots")?, |_, key, value| {
        read_slot(key, value).map(drop)
    })?;
    found.rows(open(transaction, STATISTICS, "open the figures")?, |_, key, value| {
        statistics::read(key, value).map(drop)
    })?;
    found.decode::<_, SnapshotRecord>(transaction, SNAPSHOTS, "a snapshot")?;
    found.decode::<_, SubmissionRecord>(transaction, SUBMISSIONS, "a submission")?;
    found.decode::<_, ShardRecord>(transaction, MEMORY_SHARDS, "a shard of memory")?;
    found.decode::<_, MemoryRecord>(transaction, MEMORY_ENTRIES, "a memory entry")?;
    found.decode::<_, VectorRecord>(transaction, MEMORY_VECTORS, "a vector")?;
    found.decode::<_, TrafficRecord>(transaction, TRAFFIC, "traffic")?;
    found.decode::<_, ExchangeRecord>(transaction, EXCHANGES, "an exchange")?;
    found.decode::<_, ShownRecord>(transaction, SHOWN, "shown events")?;
    found.decode::<_, KeyRecord>(transaction, KEYS, "a key")?;
    found.decode::<_, KeyTermsRecord>(transaction, KEY_TERMS, "the terms of a key")?;
    found.decode::<_, CertificateRecord>(transaction, CERTIFICATES, "a certificate")?;
    found.decode::<_, SecretRecord>(transaction, SECRETS, "a secret")?;
    found.decode::<_, IncidentRecord>(transaction, INCIDENTS, "an incident")?;
    found.decode::<_, IncidentStateRecord>(transaction, INCIDENT_STATES, "the state of an incident")?;
    found.decode::<_, DeliveryRecord>(transaction, DELIVERIES, "a message")?;
    found.decode::<_, LayoutRecord>(transaction, LAYOUTS, "a layout")?;
    found.decode::<_, AuditRecord>(transaction, AUDIT, "an audit row")?;
    Ok(found)
}

/// Reads a file that nobody has open, without changing it.
pub fn review_file(path: &Path) -> Result<StoreReview, StoreError> {
    let opened = Database::builder().open_read_only(path);
    let opened = opened.map_err(StoreError::opening(path))?;
    review(&opened.begin_read().map_err(step("begin reading"))?)
}

/// Reads a file that a kill left, as the next opening for writing would repair it; the file itself stays as it is.
pub fn review_unrepaired(path: &Path) -> Result<StoreReview, StoreError> {
    let overlay = Overlay::open(path).map_err(StoreError::opening(path))?;
    let mut builder = Database::builder();
    let opened = builder.set_cache_size(CACHE_BYTES_DEFAULT).create_with_backend(overlay);
    let opened = opened.map_err(StoreError::opening(path))?;
    review(&opened.begin_read().map_err(step("begin reading"))?)
}

/// Holds every page of a file that nobody has open against its checksum; false when some were wrong and redb went back
/// to the last state that holds.
pub fn check_pages(path: &Path) -> Result<bool, StoreError> {
    let mut opened = Database::builder().open(path).map_err(StoreError::opening(path))?;
    opened.check_integrity().map_err(StoreError::opening(path))
}

impl Store {
    /// Reads everything that is committed now.
    pub fn review(&self) -> Result<StoreReview, StoreError> {
        review(&self.database().begin_read().map_err(step("begin reading"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fact::Fact;
    use crate::domain::run::RunSpec;
    use crate::domain::time::UtcMillis;
    use crate::storage::batch::{Batch, Submission};
    use crate::storage::writer::Writer;

    fn check(what: &str, damage: impl FnOnce(&redb::WriteTransaction), wanted: &[&str]) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let mut writer = Writer::new(store.clone()).expect("a writer");
        let submission = Submission {
            idempotency: None,
            body: [0; 32],
            active_max: 9,
        };
        let spec = RunSpec {
            task: "t".repeat(100_000).into(),
            ..RunSpec::plain()
        };
        let run = RunId::new(UtcMillis(1), 1);
        let accept = Batch::accept(run, UtcMillis(1), vec![Fact::RunAccepted(spec.into())], submission);
        writer.commit(&[accept]).expect("committed");
        let transaction = store.database().begin_write().expect("begins");
        damage(&transaction);
        transaction.commit().expect("committed");
        let found = store.review().expect("reads").findings;
        assert_eq!(found.len(), wanted.len(), "{what}: {found:?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.contains(wanted), "{what}: {found}");
        }
    }

    #[test]
    fn what_cannot_be_read_or_does_not_fit_is_named() {
        check("nothing", |_| {}, &[]);
        check(
            "a header that is no record",
            |transaction| {
                let mut runs = transaction.open_table(RUNS).expect("opens");
                let key = RunId::new(UtcMillis(1), 1).to_bytes();
                runs.insert(&key, [1, 200].as_slice()).expect("written");
            },
            &["header of run_"],
        );
        check(
            "a header that is gone",
            |transaction| {
                let mut runs = transaction.open_table(RUNS).expect("opens");
                runs.retain(|_, _| false).expect("emptied");
            },
            &["it has a journal and no header", "it is active and has no header"],
        );
        check(
            "a blob that is another",
            |transaction| {
                let mut blobs = transaction.open_table(BLOBS).expect("opens");
                let key = *blobs.first().expect("reads").expect("one").0.value();
                blobs.insert(&key, [7].as_slice()).expect("written");
            },
            &["entry 1 of run_", "it does not match its hash"],
        );
        check(
            "a blob that is gone",
            |transaction| {
                let mut blobs = transaction.open_table(BLOBS).expect("opens");
                blobs.retain(|_, _| false).expect("emptied");
            },
            &["its blob is missing"],
        );
    }
}
