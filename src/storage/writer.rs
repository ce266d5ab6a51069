//! The one writer: applies batches within write transactions. Owned by the committer's thread.
//!
//! It keeps what every batch is judged by in memory (the next place, the active runs), loaded when it is made
//! and changed only together with the transaction that changes the tables.

use std::collections::{BTreeMap, BTreeSet};

use redb::ReadableTable;

use crate::domain::budget::{Account, Balance, BudgetChange};
use crate::domain::fact::Fact;
use crate::domain::id::RunId;
use crate::domain::limits::INLINE_BYTES_MAX;
use crate::domain::run::{Outcome, RunHeader, RunStatus};
use crate::domain::schedule::slot::SlotState;
use crate::domain::statistics::{Counting, Happening};
use crate::domain::text::preview;
use crate::domain::time::UtcMillis;

use super::audit::{self, AuditHead};
use super::batch::{Append, Batch, Op, Receipt, Refused, Submission};
use super::codec;
use super::error::{StoreError, step};
use super::incidents;
use super::journal::{IN_BLOB, INLINE, journal_key};
use super::memory_read::LAST_PRUNE;
use super::memory_tables::MemoryTables;
use super::memory_write::first_memory_key;
use super::record::balance::{account_key, read_balance, write_balance};
use super::record::exchange::{ExchangeRecord, ShownRecord};
use super::record::fact::SnapshotRecord;
use super::record::header::HeaderRecord;
use super::record::memory::FirstMemoryRecord;
use super::record::schedule::{ScheduleRecord, SlotRecord, read_slot, slot_key};
use super::record::submission::SubmissionRecord;
use super::record::traffic::{TapeRecord, TrafficRecord};
use super::retention;
use super::statistics::{self, Statistics};
use super::store::Store;
use super::table::{FIRST_MEMORY, JournalKey};
use super::tables::Tables;
use super::unwinding::LeakedByPanic;

/// Bytes of a task that are kept in the run's header.
const TASK_PREVIEW_BYTES: usize = 160;

/// What one batch came to.
pub type Verdict = Result<Receipt, Refused>;

/// Applies batches.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    next_seq: u64,
    active: BTreeSet<RunId>,
    counting: Counting,
    happened: Vec<Happening>,
    /// Blobs that were written since the last search for unused ones began.
    written: BTreeSet<[u8; 32]>,
}

/// What a transaction has changed in memory so far; taken over when it commits.
struct Draft {
    next_seq: u64,
    began: BTreeSet<RunId>,
    left: BTreeSet<RunId>,
    /// Balances touched, written once at the end of the transaction.
    balances: BTreeMap<Account, Balance>,
    dropped: BTreeSet<Account>,
    written: BTreeSet<[u8; 32]>,
    /// Whether a search for unused blobs begins.
    marked: bool,
    /// The last row that was appended to the audit log.
    audited: AuditHead,
    counting: Counting,
    happened: Vec<Happening>,
}

impl Writer {
    /// Makes the writer of a store. There may be one at a time; redb would make a second one wait.
    pub fn new(store: Store) -> Result<Self, StoreError> {
        let active = store.active_runs()?.into_iter().collect();
        Ok(Self {
            next_seq: store.next_seq()?,
            active,
            store,
            counting: Counting::default(),
            happened: Vec::new(),
            written: BTreeSet::new(),
        })
    }

    /// Applies all batches in one durable transaction. A refused batch changes nothing; an error means that no
    /// batch was applied, and that the store must not be written to again by this process.
    pub fn commit(&mut self, batches: &[Batch]) -> Result<Vec<Verdict>, StoreError> {
        self.commit_announced(batches, |_, _| ())
    }

    /// The same. When the audit log grows by it, `announce` is told the place and the hash of the log's last row before
    /// the transaction is committed, and may leave word of it where a crash between the two leaves it.
    pub fn commit_announced(
        &mut self,
        batches: &[Batch],
        announce: impl FnOnce(u64, [u8; 32]),
    ) -> Result<Vec<Verdict>, StoreError> {
        let transaction = self.store.database().begin_write().map_err(step("begin writing"))?;
        let mut transaction = LeakedByPanic::new(transaction);
        transaction.set_quick_repair(true);
        let mut draft = Draft {
            next_seq: self.next_seq,
            began: BTreeSet::new(),
            left: BTreeSet::new(),
            balances: BTreeMap::new(),
            dropped: BTreeSet::new(),
            written: BTreeSet::new(),
            marked: false,
            audited: None,
            // Not given back when the commit fails: then this writer must not be used again.
            counting: std::mem::take(&mut self.counting),
            happened: Vec::new(),
        };
        let mut tables = LeakedByPanic::new(Tables::of(&transaction));
        let mut verdicts = Vec::with_capacity(batches.len());
        for batch in batches {
            verdicts.push(self.apply(&mut tables, &mut draft, batch)?);
        }
        tables.write_memory_shards()?;
        for incident in tables.told_by_memory() {
            incidents::open_incident(&mut tables, &incident)?;
        }
        write_balances(&mut tables, &draft)?;
        let mut sums = Statistics::new();
        statistics::count(&mut sums, &draft.happened);
        if !sums.is_empty() {
            statistics::write(tables.statistics()?, &sums)?;
        }
        if draft.next_seq != self.next_seq {
            let meta = tables.meta()?;
            meta.insert("next_seq", draft.next_seq)
                .map_err(step("write the next place"))?;
        }
        drop(tables);
        if let Some((seq, hash)) = draft.audited {
            announce(seq, hash);
        }
        transaction.into_inner().commit().map_err(step("commit"))?;
        self.next_seq = draft.next_seq;
        self.active.extend(draft.began);
        self.active.retain(|run| !draft.left.contains(run));
        self.counting = draft.counting;
        self.happened = draft.happened;
        if draft.marked {
            self.written.clear();
        }
        self.written.append(&mut draft.written);
        Ok(verdicts)
    }

    /// What the facts of the last commit count for.
    pub fn happened(&self) -> &[Happening] {
        &self.happened
    }

    fn apply(&self, tables: &mut Tables<'_>, draft: &mut Draft, batch: &Batch) -> Result<Verdict, StoreError> {
        let mut receipt = Receipt {
            first_seq: 0,
            last_seq: 0,
        };
        for op in &batch.ops {
            if let Some(refused) = refused_slot(tables, op)? {
                return Ok(Err(refused));
            }
        }
        if let Some(append) = &batch.append {
            let refused = if batch.reopens {
                reopen(tables, draft, append.run)?
            } else {
                self.judge(tables, draft, append, batch.submission.as_ref())?
            };
            if let Some(refused) = refused {
                return Ok(Err(refused));
            }
            receipt.first_seq = draft.next_seq;
            draft.next_seq += append.facts.len() as u64;
            receipt.last_seq = draft.next_seq - 1;
            write_entry(tables, draft, append, receipt.first_seq)?;
            let is_new = batch.submission.is_some();
            if !is_new && !draft.counting.knows(append.run) {
                // Accepted by an earlier life: nothing of it has been written in this one, so what is committed is all
                // that came before.
                draft.counting.load(append.run, &self.store.facts(append.run, 0)?);
            }
            for fact in &append.facts {
                draft.happened.extend(draft.counting.take(append.run, append.at, fact));
                project(tables, draft, append.run, append.at, fact)?;
            }
        }
        for op in &batch.ops {
            if let Op::BlobsSweep(hashes) = op {
                let written = |hash: &[u8; 32]| self.written.contains(hash) || draft.written.contains(hash);
                retention::sweep_blobs(tables, hashes, written)?;
            } else {
                write_op(tables, draft, op)?;
            }
        }
        Ok(Ok(receipt))
    }

    fn judge(
        &self,
        tables: &mut Tables<'_>,
        draft: &mut Draft,
        append: &Append,
        submission: Option<&Submission>,
    ) -> Result<Option<Refused>, StoreError> {
        let Some(submission) = submission else {
            let active = (self.active.contains(&append.run) || draft.began.contains(&append.run))
                && !draft.left.contains(&append.run);
            return Ok((!active).then_some(Refused::NotActive(append.run)));
        };
        if let Some(key) = &submission.idempotency {
            let submissions = tables.submissions()?;
            if let Some(known) = submissions.get(key).map_err(step("read a submission"))? {
                let record: SubmissionRecord = codec::decode(|| "a submission".into(), known.value())?;
                let run = RunId::from_bytes(record.run);
                return Ok(Some(if record.body == submission.body {
                    Refused::SameSubmission(run)
                } else {
                    Refused::IdempotencyConflict(run)
                }));
            }
            let active = self.active.len() + draft.began.len() - draft.left.len();
            if active >= submission.active_max {
                return Ok(Some(Refused::TooManyActive {
                    active,
                    limit: submission.active_max,
                }));
            }
            let record = SubmissionRecord {
                run: append.run.to_bytes(),
                body: submission.body,
            };
            submissions
                .insert(key, codec::encode(&record).as_slice())
                .map_err(step("write a submission"))?;
        } else {
            let active = self.active.len() + draft.began.len() - draft.left.len();
            if active >= submission.active_max {
                return Ok(Some(Refused::TooManyActive {
                    active,
                    limit: submission.active_max,
                }));
            }
        }
        begin(tables, draft, append.run)?;
        Ok(None)
    }
}

/// Whether a change of the ledger meets a slot in another state than it expects.
fn refused_slot(tables: &mut Tables<'_>, op: &Op) -> Result<Option<Refused>, StoreError> {
    let Op::SlotPut { row, expected } = op else {
        return Ok(None);
    };
    let slots = tables.slots()?;
    let key = slot_key(&row.schedule, row.slot);
    let found = match slots.get(key.as_slice()).map_err(step("read a slot"))? {
        None => None,
        Some(value) => Some(read_slot(&key, value.value())?.state),
    };
    Ok((found != *expected).then(|| Refused::SlotTaken {
        schedule: row.schedule.clone(),
        slot: row.slot,
        found: found.map_or("not in the ledger", SlotState::as_str),
    }))
}

/// Takes a run up that has ended unknown or is parked. The limit of active runs does not hold it back: it was accepted once.
fn reopen(tables: &mut Tables<'_>, draft: &mut Draft, run: RunId) -> Result<Option<Refused>, StoreError> {
    let header = header_of(tables, run)?;
    let waits = |status| matches!(status, RunStatus::Ended(Outcome::Unknown) | RunStatus::Parked);
    let Some(header) = header.filter(|header| waits(header.status)) else {
        return Ok(Some(Refused::NotActive(run)));
    };
    begin(tables, draft, run)?;
    write_header(
        tables,
        &RunHeader {
            status: RunStatus::Active,
            ended_at: None,
            ..header
        },
    )?;
    Ok(None)
}

fn begin(tables: &mut Tables<'_>, draft: &mut Draft, run: RunId) -> Result<(), StoreError> {
    draft.left.remove(&run);
    draft.began.insert(run);
    let active = tables.active()?;
    active
        .insert(&run.to_bytes(), ())
        .map_err(step("write an active run"))?;
    Ok(())
}

fn header_of(tables: &mut Tables<'_>, run: RunId) -> Result<Option<RunHeader>, StoreError> {
    let runs = tables.runs()?;
    let Some(value) = runs.get(&run.to_bytes()).map_err(step("read a header"))? else {
        return Ok(None);
    };
    let record = codec::decode::<HeaderRecord>(|| format!("header of {run}"), value.value())?;
    record.into_domain(run).map(Some)
}

fn write_header(tables: &mut Tables<'_>, header: &RunHeader) -> Result<(), StoreError> {
    let runs = tables.runs()?;
    let record = codec::encode(&HeaderRecord::from(header));
    runs.insert(&header.run.to_bytes(), record.as_slice())
        .map_err(step("write a header"))?;
    Ok(())
}

fn write_entry(tables: &mut Tables<'_>, draft: &mut Draft, append: &Append, first_seq: u64) -> Result<(), StoreError> {
    let mut value = Vec::with_capacity(append.encoded.len() + 1);
    if append.encoded.len() > INLINE_BYTES_MAX {
        let hash = *blake3::hash(&append.encoded).as_bytes();
        let blobs = tables.blobs()?;
        blobs
            .insert(&hash, append.encoded.as_slice())
            .map_err(step("write a blob"))?;
        draft.written.insert(hash);
        value.push(IN_BLOB);
        value.extend_from_slice(&hash);
    } else {
        value.push(INLINE);
        value.extend_from_slice(&append.encoded);
    }
    let journal = tables.journal()?;
    journal
        .insert(&journal_key(append.run, first_seq), value.as_slice())
        .map_err(step("write an entry"))?;
    Ok(())
}

/// Keeps the tables that are derived from the journal in step with it, in the same transaction.
fn project(
    tables: &mut Tables<'_>,
    draft: &mut Draft,
    run: RunId,
    at: UtcMillis,
    fact: &Fact,
) -> Result<(), StoreError> {
    match fact {
        Fact::RunAccepted(spec) => {
            let header = RunHeader {
                run,
                status: RunStatus::Active,
                task: preview(&spec.task, TASK_PREVIEW_BYTES).into(),
                agent: spec.agent.clone(),
                accepted_at: at,
                ended_at: None,
                tokens: 0,
            };
            write_header(tables, &header)?;
        }
        Fact::RunDone { outcome, .. } => leave(tables, draft, run, at, RunStatus::Ended(*outcome))?,
        Fact::RunParked { .. } => leave(tables, draft, run, at, RunStatus::Parked)?,
        _ => {}
    }
    Ok(())
}

fn leave(
    tables: &mut Tables<'_>,
    draft: &mut Draft,
    run: RunId,
    at: UtcMillis,
    status: RunStatus,
) -> Result<(), StoreError> {
    draft.left.insert(run);
    let active = tables.active()?;
    active.remove(&run.to_bytes()).map_err(step("remove an active run"))?;
    let tokens = balance(tables, draft, &Account::Run(run))?.used().tokens;
    let header = header_of(tables, run)?.ok_or_else(|| StoreError::Corrupt {
        what: format!("header of {run}"),
        reason: "it is missing".into(),
    })?;
    let header = RunHeader {
        status,
        ended_at: Some(at),
        tokens,
        ..header
    };
    write_header(tables, &header)
}

fn balance(tables: &mut Tables<'_>, draft: &mut Draft, account: &Account) -> Result<Balance, StoreError> {
    if let Some(balance) = draft.balances.get(account) {
        return Ok(*balance);
    }
    let budgets = tables.budgets()?;
    let key = account_key(account);
    let found = match budgets.get(key.as_str()).map_err(step("read a balance"))? {
        None => Balance::default(),
        Some(value) => read_balance(&key, value.value())?,
    };
    Ok(found)
}

fn book(tables: &mut Tables<'_>, draft: &mut Draft, account: Account, change: BudgetChange) -> Result<(), StoreError> {
    let balance = balance(tables, draft, &account)?.apply(change);
    draft.dropped.remove(&account);
    draft.balances.insert(account, balance);
    Ok(())
}

fn write_balances(tables: &mut Tables<'_>, draft: &Draft) -> Result<(), StoreError> {
    if draft.balances.is_empty() && draft.dropped.is_empty() {
        return Ok(());
    }
    let budgets = tables.budgets()?;
    for (account, balance) in &draft.balances {
        let record = write_balance(*balance);
        budgets
            .insert(account_key(account).as_str(), record.as_slice())
            .map_err(step("write a balance"))?;
    }
    for account in &draft.dropped {
        budgets
            .remove(account_key(account).as_str())
            .map_err(step("remove a balance"))?;
    }
    Ok(())
}

/// What the run was asked stays with the run, which may have to be repeated; the events that were shown go.
fn forget_exchange(tables: &mut Tables<'_>, run: RunId) -> Result<(), StoreError> {
    let exchanges = tables.exchanges()?;
    let found = exchanges
        .get(&run.to_bytes())
        .map_err(step("read an exchange"))?
        .map(|value| codec::decode(|| format!("exchange of {run}"), value.value()))
        .transpose()?;
    let found: Option<ExchangeRecord> = found;
    let Some(record) = found.map(ExchangeRecord::forgotten) else {
        return Ok(());
    };
    exchanges
        .insert(&run.to_bytes(), codec::encode(&record).as_slice())
        .map_err(step("write an exchange"))?;
    let (from, to) = (journal_key(run, 0), journal_key(run, u64::MAX));
    let gone = tables.shown()?.retain_in::<&JournalKey, _>(&from..=&to, |_, _| false);
    gone.map_err(step("remove shown events"))
}

fn write_op(tables: &mut Tables<'_>, draft: &mut Draft, op: &Op) -> Result<(), StoreError> {
    match op {
        Op::MemoryPut(new) => tables.memory()?.put(new)?,
        Op::MemoryEdit { shard, id, edit, at } => tables.memory()?.edit(shard, *id, edit, *at)?,
        Op::MemoryTake(copy) => tables.memory()?.take(copy)?,
        Op::MemoryDue { due, now, until } => tables.memory()?.settle_due(due, *now, *until)?,
        Op::MemoryShardDrop { shard, at } => tables.memory()?.drop_shard(shard, *at)?,
        Op::MemoryVectors(new) => tables.memory()?.embed(new)?,
        Op::MemoryVectorsForget(earlier) => tables.memory()?.forget_earlier(earlier)?,
        Op::MemoryPruned(at) => tables.memory()?.keep_number(LAST_PRUNE, at.0)?,
        Op::Snapshot { run, through, facts } => {
            let snapshots = tables.snapshots()?;
            let record = codec::encode(&SnapshotRecord::from_domain(*through, facts));
            snapshots
                .insert(&run.to_bytes(), record.as_slice())
                .map_err(step("write a snapshot"))?;
        }
        Op::TapePut { run, tape } => {
            let replay = tape.replay.as_deref().map(str::as_bytes);
            let hash = replay.map(|text| *blake3::hash(text).as_bytes());
            if let (Some(hash), Some(text)) = (&hash, replay) {
                let blobs = tables.blobs()?;
                blobs.insert(hash, text).map_err(step("write a cassette"))?;
                draft.written.insert(*hash);
            }
            let record = codec::encode(&TapeRecord { replay: hash });
            let tapes = tables.tapes()?;
            tapes
                .insert(&run.to_bytes(), record.as_slice())
                .map_err(step("write a tape"))?;
        }
        Op::ExchangePut { run, exchange } => {
            let record = codec::encode(&ExchangeRecord::from(&**exchange));
            let exchanges = tables.exchanges()?;
            exchanges
                .insert(&run.to_bytes(), record.as_slice())
                .map_err(step("write an exchange"))?;
        }
        Op::ExchangeForget { run } => forget_exchange(tables, *run)?,
        Op::ShownPut { run, first, shown } => {
            let record = codec::encode(&ShownRecord::from(shown));
            let table = tables.shown()?;
            table
                .insert(&journal_key(*run, *first), record.as_slice())
                .map_err(step("write shown events"))?;
        }
        Op::TrafficPut { run, traffic } => {
            // The place of the batch's last fact: no other batch has it.
            let key = journal_key(*run, draft.next_seq - 1);
            let record = codec::encode(&TrafficRecord::from(traffic));
            let table = tables.traffic()?;
            table.insert(&key, record.as_slice()).map_err(step("write traffic"))?;
        }
        Op::KeyPut(record) => {
            let keys = tables.keys()?;
            keys.insert(&record.id, codec::encode(record).as_slice())
                .map_err(step("write a key"))?;
        }
        Op::KeyTermsPut(id, record) => {
            let terms = tables.key_terms()?;
            terms
                .insert(id, codec::encode(record).as_slice())
                .map_err(step("write the terms of a key"))?;
        }
        Op::KeyUsed(id, at) => {
            let uses = tables.key_uses()?;
            uses.insert(id, at.0).map_err(step("write the use of a key"))?;
        }
        Op::RunsDrop(runs) => {
            for account in retention::drop_runs(tables, runs)? {
                draft.balances.remove(&account);
            }
        }
        Op::SubmissionPut { run, key, body } => {
            let (run, body) = (run.to_bytes(), *body);
            let record = codec::encode(&SubmissionRecord { run, body });
            let submissions = tables.submissions()?;
            let inserted = submissions.insert(key, record.as_slice());
            inserted.map_err(step("write a submission"))?;
        }
        Op::SubmissionsDrop(keys) => retention::drop_submissions(tables, keys)?,
        Op::BlobsMark => draft.marked = true,
        // It needs what this writer knows of earlier transactions, so it is done above.
        Op::BlobsSweep(_) => {}
        Op::AuditCut(through) => audit::cut(tables, *through)?,
        Op::AuditAppend(note) => draft.audited = Some(audit::append(tables, note)?),
        Op::CertificatePut(record) => {
            let certificates = tables.certificates()?;
            certificates
                .insert(&record.serial, codec::encode(record).as_slice())
                .map_err(step("write a certificate"))?;
        }
        Op::CertificateRemove(serial) => {
            let certificates = tables.certificates()?;
            certificates.remove(serial).map_err(step("remove a certificate"))?;
        }
        Op::SecretPut(name, record) => {
            let secrets = tables.secrets()?;
            secrets
                .insert(name.as_str(), codec::encode(record).as_slice())
                .map_err(step("write a secret"))?;
        }
        Op::SecretRemove(name) => {
            let secrets = tables.secrets()?;
            secrets.remove(name.as_str()).map_err(step("remove a secret"))?;
        }
        Op::IncidentOpen(incident) => incidents::open_incident(tables, incident)?,
        Op::IncidentChange(id, change) => incidents::change_incident(tables, *id, change)?,
        Op::IncidentsDrop(before) => incidents::drop_incidents(tables, *before)?,
        Op::DeliveryPut(delivery) => incidents::put_delivery(tables, delivery)?,
        Op::DeliveryDrop(id) => incidents::drop_delivery(tables, *id)?,
        Op::SchedulePut(kept) => {
            let schedules = tables.schedules()?;
            let record = codec::encode(&ScheduleRecord::from(kept));
            schedules
                .insert(kept.schedule.as_str(), record.as_slice())
                .map_err(step("write a schedule"))?;
        }
        Op::ScheduleDrop(name) => {
            let schedules = tables.schedules()?;
            schedules.remove(name.as_str()).map_err(step("remove a schedule"))?;
        }
        Op::SlotPut { row, .. } => {
            let slots = tables.slots()?;
            let record = codec::encode(&SlotRecord::from(row));
            slots
                .insert(slot_key(&row.schedule, row.slot).as_slice(), record.as_slice())
                .map_err(step("write a slot"))?;
        }
        Op::SlotsTrim { schedule, through } => {
            let slots = tables.slots()?;
            let (first, last) = (slot_key(schedule, UtcMillis(0)), slot_key(schedule, *through));
            slots
                .retain_in(first.as_slice()..=last.as_slice(), |_, _| false)
                .map_err(step("remove slots"))?;
        }
        Op::BudgetsDrop(accounts) => {
            for account in accounts {
                draft.balances.remove(account);
                draft.dropped.insert(account.clone());
            }
        }
        Op::BudgetsBook(changes) => {
            for (account, change) in changes {
                book(tables, draft, account.clone(), *change)?;
            }
        }
    }
    Ok(())
}

/// Brings the memory of the first layout into the tables of the second.
pub(super) fn take_over_first_memory(transaction: &redb::WriteTransaction) -> Result<(), StoreError> {
    let first = transaction.open_table(FIRST_MEMORY).map_err(step("open the memory"))?;
    let mut tables = MemoryTables::open(transaction)?;
    for row in first.iter().map_err(step("read the memory"))? {
        let (row, value) = row.map_err(step("read the memory"))?;
        let record: FirstMemoryRecord = codec::decode(|| format!("memory entry {}", row.value()), value.value())?;
        let Some(key) = first_memory_key(row.value()) else {
            return Err(StoreError::Corrupt {
                what: format!("memory entry {}", row.value()),
                reason: "its name cannot be read".into(),
            });
        };
        tables.take_over(key, record)?;
    }
    tables.write_shards()
}
