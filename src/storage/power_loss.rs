//! Power loss as a unit test: the store over a backend that stops at its k-th sync, for every k.
//!
//! The backend keeps the live image and the writes since the last completed sync. At the k-th sync the power
//! goes: of the writes that were not synced, none, all, or a pseudo-random half reach the disk. The image is
//! opened again, and every acknowledged batch must be whole, every other one whole or absent.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use serde_json::json;

use super::batch::{Batch, Op, Refused, Submission};
use super::memory_row::text_hash;
use super::store::Store;
use super::writer::Writer;
use crate::domain::fact::{Attempt, Fact};
use crate::domain::id::RunId;
use crate::domain::memory::{MemoryKey, MemoryScope, MemorySource, NewMemory};
use crate::domain::name::StepId;
use crate::domain::run::{Outcome, RunSpec, RunStatus};
use crate::domain::time::UtcMillis;

/// Which of the unsynced writes survive.
#[derive(Debug, Clone, Copy)]
enum Torn {
    None,
    All,
    Half(u64),
}

#[derive(Debug, Default)]
struct Disk {
    durable: Vec<u8>,
    live: Vec<u8>,
    pending: Vec<(u64, Vec<u8>)>,
    syncs: u64,
    off_at: u64,
    off: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Backend(Arc<Mutex<Disk>>);

fn off() -> io::Error {
    io::Error::other("the power is off")
}

impl Backend {
    pub(crate) fn failing_at(off_at: u64, image: Vec<u8>) -> Self {
        let disk = Disk {
            durable: image.clone(),
            live: image,
            off_at,
            ..Disk::default()
        };
        Self(Arc::new(Mutex::new(disk)))
    }

    fn image_after(&self, torn: Torn) -> Vec<u8> {
        let disk = self.0.lock().expect("no test thread panics while it holds the disk");
        let mut image = disk.durable.clone();
        for (number, (offset, bytes)) in disk.pending.iter().enumerate() {
            let survives = match torn {
                Torn::None => false,
                Torn::All => true,
                Torn::Half(seed) => {
                    blake3::hash(&(seed ^ ((number as u64) << 17)).to_le_bytes()).as_bytes()[0] & 1 == 0
                }
            };
            if survives {
                put(&mut image, *offset, bytes);
            }
        }
        // A file that was extended keeps its length; what was not written there reads as zero.
        image.resize(image.len().max(disk.live.len()), 0);
        image
    }
}

fn put(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    if image.len() < start + bytes.len() {
        image.resize(start + bytes.len(), 0);
    }
    image[start..start + bytes.len()].copy_from_slice(bytes);
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.lock().expect("unpoisoned").live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let disk = self.0.lock().expect("unpoisoned");
        let start = offset as usize;
        let source = disk.live.get(start..start + out.len()).ok_or_else(off)?;
        out.copy_from_slice(source);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut disk = self.0.lock().expect("unpoisoned");
        if disk.off {
            return Err(off());
        }
        disk.live.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut disk = self.0.lock().expect("unpoisoned");
        disk.syncs += 1;
        if disk.off || disk.syncs == disk.off_at {
            disk.off = true;
            return Err(off());
        }
        disk.durable = disk.live.clone();
        disk.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut disk = self.0.lock().expect("unpoisoned");
        if disk.off {
            return Err(off());
        }
        put(&mut disk.live, offset, data);
        disk.pending.push((offset, data.to_vec()));
        Ok(())
    }

    fn try_lock_range(
        &self,
        _start: std::ops::Bound<u64>,
        _end: std::ops::Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(
        &self,
        _start: std::ops::Bound<u64>,
        _end: std::ops::Bound<u64>,
    ) -> Result<bool, redb::BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _start: std::ops::Bound<u64>, _end: std::ops::Bound<u64>) -> Result<(), redb::BackendError> {
        Ok(())
    }
}

fn run(number: u64) -> RunId {
    RunId::new(UtcMillis(1000 + number), u128::from(number))
}

fn spec() -> Arc<RunSpec> {
    Arc::new(RunSpec::plain())
}

/// Batch `number` touches the journal, a blob, memory and the list of active runs at once.
fn batches(number: u64) -> Vec<Batch> {
    let submission = Submission {
        idempotency: Some([number as u8; 32]),
        body: [1; 32],
        active_max: 1000,
    };
    let attempt = Attempt {
        step: StepId::new("a").expect("valid"),
        number: 1,
    };
    let output = json!(format!("{number}").repeat(if number.is_multiple_of(3) { 80_000 } else { 10 })).to_string();
    let done = Fact::RunDone {
        outcome: Outcome::Succeeded,
        result: "{}".into(),
    };
    let key = MemoryKey {
        scope: MemoryScope::Global,
        namespace: "".into(),
        key: "count".into(),
    };
    let text = number.to_string();
    let put = Op::MemoryPut(Box::new(NewMemory {
        hash: text_hash(&text),
        shard: key.shard(),
        key: Some(key.key),
        text: text.into(),
        tags: Vec::new(),
        source: MemorySource {
            by: "person:test".into(),
            run: Some(run(number)),
        },
        importance: 50,
        expires_at: Some(UtcMillis(number + 9)),
        vector: None,
        at: UtcMillis(number),
    }));
    vec![
        Batch::accept(run(number), UtcMillis(5), vec![Fact::RunAccepted(spec())], submission),
        Batch::facts(
            run(number),
            UtcMillis(6),
            vec![
                Fact::StepDone {
                    attempt,
                    output: output.into(),
                },
                done,
            ],
        )
        .with(put),
    ]
}

/// Writes until the power goes; gives how many transactions were acknowledged.
fn write_all(backend: Backend, transactions: u64) -> u64 {
    let Ok(store) = Store::open_backend(backend) else {
        return 0;
    };
    let Ok(mut writer) = Writer::new(store) else { return 0 };
    for number in 0..transactions {
        if writer.commit(&batches(number)).is_err() {
            return number;
        }
    }
    transactions
}

fn check_image(image: Vec<u8>, acknowledged: u64, place: &str) {
    let store = Store::open_backend(Backend::failing_at(u64::MAX, image)).unwrap_or_else(|error| {
        panic!("{place}: the store does not open: {error:?}");
    });
    let headers = store.headers(None, 1000, None).expect("headers can be read");
    let whole = headers.len() as u64;
    // The transaction in flight may have become durable before its sync failed.
    assert!(
        whole == acknowledged || whole == acknowledged + 1,
        "{place}: {acknowledged} acknowledged, {whole} found"
    );
    for number in 0..whole {
        let facts = store.facts(run(number), 0).expect("the journal can be read");
        assert_eq!(facts.len(), 3, "{place}: run {number} is whole");
        assert!(facts.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    }
    assert!(
        store.active_runs().expect("readable").is_empty(),
        "{place}: ended runs are not active"
    );
    let key = MemoryKey {
        scope: MemoryScope::Global,
        namespace: "".into(),
        key: "count".into(),
    };
    let version = store.memory(&key).expect("readable").map_or(0, |entry| entry.version);
    assert_eq!(version, whole, "{place}: memory and journal are one transaction");
    let mut writer = Writer::new(store).expect("writable again");
    assert!(
        writer
            .commit(&batches(900))
            .expect("commits go on")
            .iter()
            .all(Result::is_ok),
        "{place}"
    );
}

#[test]
fn no_acknowledged_batch_is_lost_at_any_sync_and_none_is_half_there() {
    const TRANSACTIONS: u64 = 12;
    let counting = Backend::default();
    assert_eq!(write_all(counting.clone(), TRANSACTIONS), TRANSACTIONS);
    let syncs = counting.0.lock().expect("unpoisoned").syncs;
    assert!(
        syncs > TRANSACTIONS,
        "quick repair commits in two phases: {syncs} syncs"
    );

    let mut cuts = 0;
    for off_at in 1..=syncs {
        let backend = Backend::failing_at(off_at, Vec::new());
        let acknowledged = write_all(backend.clone(), TRANSACTIONS);
        for torn in [Torn::None, Torn::All, Torn::Half(off_at), Torn::Half(off_at + 7919)] {
            let image = backend.image_after(torn);
            if acknowledged == 0 && Store::open_backend(Backend::failing_at(u64::MAX, image.clone())).is_err() {
                // The file was being made: nothing had been promised yet.
                continue;
            }
            let place = format!("power off at sync {off_at}, {torn:?}");
            if acknowledged > 0 || off_at > 4 {
                check_image(image, acknowledged, &place);
                cuts += 1;
            }
        }
    }
    assert!(cuts > TRANSACTIONS * 4, "{cuts} cuts were checked");
}

#[test]
fn a_damaged_blob_is_reported_and_not_read() {
    let store = Store::open_backend(Backend::failing_at(u64::MAX, Vec::new())).expect("opens");
    let mut writer = Writer::new(store.clone()).expect("writer");
    writer.commit(&batches(0)).expect("commits");
    let transaction = store.database().begin_write().expect("write");
    {
        use redb::ReadableTable;
        let mut blobs = transaction.open_table(super::table::BLOBS).expect("blobs");
        let (hash, mut bytes) = {
            let entry = blobs.first().expect("readable").expect("a blob is there");
            (*entry.0.value(), entry.1.value().to_vec())
        };
        bytes[10] ^= 1;
        blobs.insert(&hash, bytes.as_slice()).expect("written");
    }
    transaction.commit().expect("committed");
    let error = store.facts(run(0), 0).expect_err("the blob is damaged");
    assert_eq!(error.fault(), crate::domain::fault::Fault::Corrupt);
}

#[test]
fn a_batch_that_is_refused_writes_nothing() {
    let store = Store::open_backend(Backend::failing_at(u64::MAX, Vec::new())).expect("opens");
    let mut writer = Writer::new(store.clone()).expect("writer");
    let accept = |number: u64, body: u8, active_max: usize| {
        let submission = Submission {
            idempotency: Some([9; 32]),
            body: [body; 32],
            active_max,
        };
        Batch::accept(run(number), UtcMillis(1), vec![Fact::RunAccepted(spec())], submission)
    };
    let verdicts = writer
        .commit(&[accept(1, 1, 9), accept(2, 1, 9), accept(3, 2, 9)])
        .expect("commits");
    assert!(verdicts[0].is_ok());
    assert_eq!(
        verdicts[1],
        Err(Refused::SameSubmission(run(1))),
        "also within one transaction"
    );
    assert_eq!(verdicts[2], Err(Refused::IdempotencyConflict(run(1))));
    let other = Submission {
        idempotency: None,
        body: [0; 32],
        active_max: 1,
    };
    let late = Batch::accept(run(4), UtcMillis(1), vec![Fact::RunAccepted(spec())], other);
    let verdicts = writer.commit(&[late]).expect("commits");
    assert_eq!(verdicts[0], Err(Refused::TooManyActive { active: 1, limit: 1 }));
    let done = || {
        vec![Fact::RunDone {
            outcome: Outcome::Failed,
            result: "null".into(),
        }]
    };
    let end = || Batch::facts(run(1), UtcMillis(2), done());
    let verdicts = writer.commit(&[end(), end()]).expect("commits");
    assert!(verdicts[0].is_ok());
    assert_eq!(verdicts[1], Err(Refused::NotActive(run(1))), "a run ends once");
    assert_eq!(store.headers(None, 10, None).expect("readable").len(), 1);
    assert_eq!(store.facts(run(1), 0).expect("readable").len(), 2);
}

#[test]
fn only_a_run_that_waits_for_a_person_is_reopened() {
    let store = Store::open_backend(Backend::failing_at(u64::MAX, Vec::new())).expect("opens");
    let mut writer = Writer::new(store.clone()).expect("writer");
    let ended = |outcome| Fact::RunDone {
        outcome,
        result: "null".into(),
    };
    let parked = Fact::RunParked { reason: "stuck".into() };
    let mut check = |number: u64, last: Option<Fact>, is_reopened: bool| {
        let submission = Submission {
            idempotency: None,
            body: [0; 32],
            active_max: 10,
        };
        let accept = Batch::accept(run(number), UtcMillis(1), vec![Fact::RunAccepted(spec())], submission);
        let last = last.map(|last| Batch::facts(run(number), UtcMillis(2), vec![last]));
        let first: Vec<Batch> = [accept].into_iter().chain(last).collect();
        writer.commit(&first).expect("commits");
        let deadline = UtcMillis(9);
        let reopen = Batch::reopen(run(number), UtcMillis(3), vec![Fact::RunReopened { deadline }]);
        let verdicts = writer.commit(&[reopen]).expect("commits");
        assert_eq!(verdicts[0].is_ok(), is_reopened, "{number}: {verdicts:?}");
        let header = store.header(run(number)).expect("readable").expect("there");
        let is_active = store.active_runs().expect("readable").contains(&run(number));
        assert_eq!(header.status == RunStatus::Active, is_active, "{number}");
        if is_reopened {
            assert!(is_active && header.ended_at.is_none(), "{header:?}");
        }
    };
    check(1, Some(ended(Outcome::Unknown)), true);
    check(2, Some(parked), true);
    check(3, Some(ended(Outcome::Failed)), false);
    check(4, None, false);
}
