//! What is kept for how long: finding what may go, and letting it go in the writer's transaction.
//!
//! **Invariants**: only a run that has ended goes, and with it everything that is kept under its id; a blob goes only
//! when nothing that was committed before or since refers to it.

use std::collections::BTreeSet;

use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};

use crate::domain::budget::Account;
use crate::domain::id::RunId;
use crate::domain::run::{RunHeader, RunStatus};
use crate::domain::statistics::StatisticsKey;
use crate::domain::time::UtcMillis;

use super::codec;
use super::error::{StoreError, step};
use super::journal::{IN_BLOB, journal_key};
use super::record::balance::account_key;
use super::record::header::HeaderRecord;
use super::record::statistics::statistics_row;
use super::record::submission::SubmissionRecord;
use super::record::traffic::TapeRecord;
use super::store::Store;
use super::table::{BLOBS, JOURNAL, JournalKey, RUNS, SNAPSHOTS, SUBMISSIONS, TAPES, TRAFFIC};
use super::tables::Tables;
use super::tape::open;

impl Store {
    /// Headers of the runs that were accepted before a time, oldest first, after the run `after`; at most `limit`.
    pub fn headers_before(
        &self,
        before: UtcMillis,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunHeader>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let runs = transaction.open_table(RUNS).map_err(step("open the runs"))?;
        // The bytes of an id begin with its time.
        let end = RunId::new(before, 0).to_bytes();
        let start = after.map_or([0; 16], RunId::to_bytes);
        let mut headers = Vec::new();
        if start >= end {
            return Ok(headers);
        }
        for entry in runs
            .range::<&[u8; 16]>(&start..&end)
            .map_err(step("read the headers"))?
        {
            let (key, value) = entry.map_err(step("read the headers"))?;
            let run = RunId::from_bytes(*key.value());
            if Some(run) == after {
                continue;
            }
            let record: HeaderRecord = codec::decode(|| format!("header of {run}"), value.value())?;
            headers.push(record.into_domain(run)?);
            if headers.len() >= limit {
                break;
            }
        }
        Ok(headers)
    }

    /// Bytes of what is kept of runs: journal, payloads, snapshots and model traffic.
    pub fn bytes_of_runs(&self) -> Result<u64, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let mut bytes = 0;
        let sized = "measure a table";
        if let Some(table) = open(&transaction, JOURNAL, sized)? {
            bytes += table.stats().map_err(step(sized))?.stored_bytes();
        }
        if let Some(table) = open(&transaction, BLOBS, sized)? {
            bytes += table.stats().map_err(step(sized))?.stored_bytes();
        }
        if let Some(table) = open(&transaction, SNAPSHOTS, sized)? {
            bytes += table.stats().map_err(step(sized))?.stored_bytes();
        }
        if let Some(table) = open(&transaction, TRAFFIC, sized)? {
            bytes += table.stats().map_err(step(sized))?.stored_bytes();
        }
        Ok(bytes)
    }

    /// Bytes that a run's going gives back, payloads that others share included.
    pub fn bytes_of_run(&self, run: RunId) -> Result<u64, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let journal = transaction.open_table(JOURNAL).map_err(step("open the journal"))?;
        let blobs = transaction.open_table(BLOBS).map_err(step("open the blobs"))?;
        let (from, to) = (journal_key(run, 0), journal_key(run, u64::MAX));
        let mut bytes = 0;
        for entry in journal
            .range::<&JournalKey>(&from..=&to)
            .map_err(step("read the journal"))?
        {
            let (_, value) = entry.map_err(step("read the journal"))?;
            bytes += value.value().len() as u64;
            if let Some(hash) = blob_of(value.value())
                && let Some(blob) = blobs.get(&hash).map_err(step("read a blob"))?
            {
                bytes += blob.value().len() as u64;
            }
        }
        Ok(bytes)
    }

    /// The submissions that these runs were accepted by.
    pub fn submissions_of(&self, runs: &BTreeSet<RunId>) -> Result<Vec<[u8; 32]>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let submissions = transaction.open_table(SUBMISSIONS);
        let submissions = submissions.map_err(step("open the submissions"))?;
        let mut found = Vec::new();
        for entry in submissions.iter().map_err(step("read the submissions"))? {
            let (key, value) = entry.map_err(step("read the submissions"))?;
            let record: SubmissionRecord = codec::decode(|| "a submission".into(), value.value())?;
            if runs.contains(&RunId::from_bytes(record.run)) {
                found.push(*key.value());
            }
        }
        Ok(found)
    }

    /// The blobs that nothing refers to. Reads the whole journal.
    pub fn unused_blobs(&self) -> Result<Vec<[u8; 32]>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let mut used = BTreeSet::new();
        let journal = transaction.open_table(JOURNAL).map_err(step("open the journal"))?;
        for entry in journal.iter().map_err(step("read the journal"))? {
            used.extend(blob_of(entry.map_err(step("read the journal"))?.1.value()));
        }
        if let Some(tapes) = open(&transaction, TAPES, "open the tapes")? {
            for entry in tapes.iter().map_err(step("read the tapes"))? {
                let (_, value) = entry.map_err(step("read the tapes"))?;
                let record: TapeRecord = codec::decode(|| "a tape".into(), value.value())?;
                used.extend(record.replay);
            }
        }
        let blobs = transaction.open_table(BLOBS).map_err(step("open the blobs"))?;
        let mut unused = Vec::new();
        for entry in blobs.iter().map_err(step("read the blobs"))? {
            let hash = *entry.map_err(step("read the blobs"))?.0.value();
            if !used.contains(&hash) {
                unused.push(hash);
            }
        }
        Ok(unused)
    }
}

/// The blob that an entry of the journal is kept in.
fn blob_of(value: &[u8]) -> Option<[u8; 32]> {
    let (place, hash) = value.split_first()?;
    (*place == IN_BLOB).then(|| hash.try_into().ok()).flatten()
}

/// Where the rows of agents in runs are, by [`account_key`].
const AGENT_RUNS: (&str, &str) = ("agent-run/", "agent-run0");

/// Removes everything that is kept of runs that have ended; what runs or waits for a person stays.
pub(super) fn drop_runs(tables: &mut Tables<'_>, runs: &[RunId]) -> Result<Vec<Account>, StoreError> {
    let (mut accounts, mut ended) = (Vec::new(), BTreeSet::new());
    for run in runs {
        let key = run.to_bytes();
        let header: Option<HeaderRecord> = match tables.runs()?.get(&key).map_err(step("read a header"))? {
            Some(value) => Some(codec::decode(|| format!("header of {run}"), value.value())?),
            None => None,
        };
        let Some(header) = header.map(|header| header.into_domain(*run)).transpose()? else {
            continue;
        };
        if !matches!(header.status, RunStatus::Ended(_)) {
            continue;
        }
        let (from, to) = (journal_key(*run, 0), journal_key(*run, u64::MAX));
        let journal = tables.journal()?;
        let gone = journal.retain_in::<&JournalKey, _>(&from..=&to, |_, _| false);
        gone.map_err(step("remove a journal"))?;
        let gone = tables.traffic()?.retain_in::<&JournalKey, _>(&from..=&to, |_, _| false);
        gone.map_err(step("remove traffic"))?;
        let gone = tables.shown()?.retain_in::<&JournalKey, _>(&from..=&to, |_, _| false);
        gone.map_err(step("remove shown events"))?;
        tables.snapshots()?.remove(&key).map_err(step("remove a snapshot"))?;
        tables.tapes()?.remove(&key).map_err(step("remove a tape"))?;
        tables.exchanges()?.remove(&key).map_err(step("remove an exchange"))?;
        tables.runs()?.remove(&key).map_err(step("remove a header"))?;
        let figures = statistics_row(&StatisticsKey::Run(*run));
        let gone = tables.statistics()?.remove(figures.as_str());
        gone.map_err(step("remove figures"))?;
        let account = Account::Run(*run);
        let gone = tables.budgets()?.remove(account_key(&account).as_str());
        gone.map_err(step("remove a balance"))?;
        accounts.push(account);
        ended.insert(run.to_string());
    }
    if !ended.is_empty() {
        // The accounts of agents are dropped with the end of the run, but those of agents that had left its plan in an
        // earlier life of the process. There are few rows: those of active runs.
        let dropped = |row: &str| row.rsplit_once('/').is_some_and(|(_, run)| ended.contains(run));
        let of_agents = tables.budgets()?;
        let gone = of_agents.retain_in::<&str, _>(AGENT_RUNS.0..AGENT_RUNS.1, |row, _| !dropped(row));
        gone.map_err(step("remove the balances of agents"))?;
    }
    Ok(accounts)
}

/// Removes submissions; the same request is a new run from then on.
pub(super) fn drop_submissions(tables: &mut Tables<'_>, keys: &[[u8; 32]]) -> Result<(), StoreError> {
    let submissions = tables.submissions()?;
    for key in keys {
        submissions.remove(key).map_err(step("remove a submission"))?;
    }
    Ok(())
}

/// Removes blobs that were found unused, but those that were written since the search began.
pub(super) fn sweep_blobs(
    tables: &mut Tables<'_>,
    hashes: &[[u8; 32]],
    written: impl Fn(&[u8; 32]) -> bool,
) -> Result<(), StoreError> {
    let blobs = tables.blobs()?;
    for hash in hashes.iter().filter(|hash| !written(hash)) {
        blobs.remove(hash).map_err(step("remove a blob"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::budget::{Amount, BudgetChange};
    use crate::domain::fact::Fact;
    use crate::domain::name::AgentName;
    use crate::domain::run::{Outcome, RunSpec};
    use crate::storage::batch::{Batch, Op, Submission};
    use crate::storage::writer::Writer;

    struct House {
        _folder: tempfile::TempDir,
        store: Store,
        writer: Writer,
    }

    fn house() -> House {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let writer = Writer::new(store.clone()).expect("a writer");
        House {
            _folder: folder,
            store,
            writer,
        }
    }

    fn run(number: u64) -> RunId {
        RunId::new(UtcMillis(number * 1_000), u128::from(number))
    }

    impl House {
        fn commit(&mut self, batch: Batch) {
            let verdicts = self.writer.commit(&[batch]).expect("committed");
            assert!(verdicts[0].is_ok(), "{verdicts:?}");
        }

        /// A run with a task of 100,000 bytes of this character.
        fn accept(&mut self, number: u64, of: char) -> RunId {
            let spec = RunSpec {
                task: of.to_string().repeat(100_000).into(),
                ..RunSpec::plain()
            };
            let submission = Submission {
                idempotency: Some([number as u8; 32]),
                body: [1; 32],
                active_max: 99,
            };
            // One moment for all, so that equal tasks are equal payloads.
            let at = UtcMillis(7);
            let facts = vec![Fact::RunAccepted(spec.into())];
            self.commit(Batch::accept(run(number), at, facts, submission));
            run(number)
        }

        fn end(&mut self, number: u64) {
            let done = Fact::RunDone {
                outcome: Outcome::Succeeded,
                result: "".into(),
            };
            self.commit(Batch::facts(run(number), UtcMillis(number * 1_000 + 1), vec![done]));
        }
    }

    #[test]
    fn a_run_that_has_ended_goes_with_all_that_is_kept_of_it_and_an_active_one_stays() {
        let mut house = house();
        for number in [1, 2] {
            house.accept(number, 'a');
        }
        let of_agent = |number: u64| Account::AgentRun(AgentName::new("coder").expect("valid"), run(number));
        let used = BudgetChange::Reserve(Amount {
            tokens: 7,
            ..Amount::default()
        });
        let bookings = [1, 2].map(|number| (of_agent(number), used));
        house.commit(Batch::ops(vec![Op::BudgetsBook(bookings.to_vec())]));
        house.end(1);
        let before = house.store.bytes_of_runs().expect("measured");
        assert!(house.store.bytes_of_run(run(1)).expect("measured") > 100_000);
        let keys = house.store.submissions_of(&[run(1)].into()).expect("read");
        assert_eq!(keys, [[1; 32]]);
        house.commit(Batch::ops(vec![
            Op::RunsDrop(vec![run(1), run(2), run(9)]),
            Op::SubmissionsDrop(keys),
        ]));
        assert!(house.store.header(run(1)).expect("read").is_none());
        assert!(house.store.header(run(2)).expect("read").is_some(), "it is active");
        assert!(house.store.facts(run(1), 0).expect("read").is_empty());
        let left = [1, 2].map(|number| house.store.balance(&of_agent(number)).expect("read").used().tokens);
        assert_eq!(left, [0, 7]);
        assert!(house.store.bytes_of_runs().expect("measured") < before);
        assert!(house.store.review().expect("read").is_sound());
        // The key may be used again, for another run.
        let again = house.accept(1, 'b');
        assert!(house.store.header(again).expect("read").is_some());
    }

    #[test]
    fn a_blob_goes_when_nothing_refers_to_it_and_not_when_it_was_written_since_the_search() {
        let mut house = house();
        for (number, of) in [(1, 'a'), (2, 'a'), (3, 'b')] {
            house.accept(number, of);
            house.end(number);
        }
        house.commit(Batch::ops(vec![Op::RunsDrop(vec![run(1), run(3)])]));
        house.commit(Batch::ops(vec![Op::BlobsMark]));
        let unused = house.store.unused_blobs().expect("read");
        assert_eq!(unused.len(), 1, "the first is the second's as well");
        // Meanwhile somebody submits the same text.
        house.accept(4, 'b');
        house.commit(Batch::ops(vec![Op::BlobsSweep(unused)]));
        assert!(house.store.review().expect("read").is_sound());
        house.end(4);
        house.commit(Batch::ops(vec![Op::RunsDrop(vec![run(4)])]));
        house.commit(Batch::ops(vec![Op::BlobsMark]));
        let unused = house.store.unused_blobs().expect("read");
        house.commit(Batch::ops(vec![Op::BlobsSweep(unused)]));
        let review = house.store.review().expect("read");
        assert!(review.is_sound() && review.blobs_unused == 0, "{review:?}");
    }

    #[test]
    fn headers_come_oldest_first_and_page_by_page() {
        let mut house = house();
        for number in 1..=5 {
            house.accept(number, 'a');
        }
        let read = |after, limit| {
            let found = house
                .store
                .headers_before(UtcMillis(4_000), after, limit)
                .expect("read");
            found.iter().map(|header| header.run).collect::<Vec<_>>()
        };
        assert_eq!(read(None, 2), [run(1), run(2)]);
        assert_eq!(read(Some(run(2)), 2), [run(3)]);
        assert_eq!(read(Some(run(3)), 2), [] as [RunId; 0]);
    }
}
