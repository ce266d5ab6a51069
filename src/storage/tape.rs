//! Reading what a run keeps of its model traffic.
//!
//! A store that was made before there were tapes has no such tables until the first is written: then there are none.

use redb::{Key, ReadOnlyTable, ReadTransaction, ReadableDatabase, TableDefinition, TableError, Value};

use crate::domain::id::RunId;
use crate::domain::traffic::{Tape, Traffic};

use super::codec;
use super::error::{StoreError, step};
use super::journal::journal_key;
use super::record::traffic::{TapeRecord, TrafficRecord};
use super::store::Store;
use super::table::{BLOBS, JournalKey, TAPES, TRAFFIC};

/// Opens a table that is not there before its first row.
pub(super) fn open<K: Key + 'static, V: Value + 'static>(
    transaction: &ReadTransaction,
    definition: TableDefinition<'_, K, V>,
    what: &'static str,
) -> Result<Option<ReadOnlyTable<K, V>>, StoreError> {
    match transaction.open_table(definition) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(step(what)(error)),
    }
}

impl Store {
    /// What a run does with its model traffic; none when it keeps nothing.
    pub fn tape(&self, run: RunId) -> Result<Option<Tape>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(tapes) = open(&transaction, TAPES, "open the tapes")? else {
            return Ok(None);
        };
        let Some(value) = tapes.get(&run.to_bytes()).map_err(step("read a tape"))? else {
            return Ok(None);
        };
        let what = || format!("tape of {run}");
        let record: TapeRecord = codec::decode(what, value.value())?;
        let Some(hash) = record.replay else {
            return Ok(Some(Tape { replay: None }));
        };
        let corrupt = |reason: &str| StoreError::Corrupt {
            what: what(),
            reason: reason.into(),
        };
        let blobs = transaction.open_table(BLOBS).map_err(step("open the blobs"))?;
        let blob = blobs.get(&hash).map_err(step("read a cassette"))?;
        let blob = blob.ok_or_else(|| corrupt("its cassette is missing"))?;
        let text = std::str::from_utf8(blob.value()).map_err(|_| corrupt("its cassette is no text"))?;
        Ok(Some(Tape {
            replay: Some(text.into()),
        }))
    }

    /// The answered requests that a run has kept, in the order in which the answers came.
    pub fn traffic(&self, run: RunId) -> Result<Vec<Traffic>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(table) = open(&transaction, TRAFFIC, "open the traffic")? else {
            return Ok(Vec::new());
        };
        let (from, to) = (journal_key(run, 0), journal_key(run, u64::MAX));
        let mut kept = Vec::new();
        for entry in table
            .range::<&JournalKey>(&from..=&to)
            .map_err(step("read the traffic"))?
        {
            let (_, value) = entry.map_err(step("read the traffic"))?;
            let what = || format!("traffic of {run}");
            let record: TrafficRecord = codec::decode(what, value.value())?;
            kept.push(
                record
                    .into_domain()
                    .map_err(|reason| StoreError::Corrupt { what: what(), reason })?,
            );
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::fact::{Attempt, Fact};
    use crate::domain::name::StepId;
    use crate::domain::time::UtcMillis;
    use crate::storage::batch::{Batch, Op};
    use crate::storage::writer::Writer;

    use super::*;

    #[test]
    fn traffic_is_kept_with_the_facts_of_its_batch_and_with_none_that_was_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let run = RunId::new(UtcMillis(1), 1);
        assert_eq!(store.tape(run).expect("read"), None);
        assert!(store.traffic(run).expect("read").is_empty());
        let mut writer = Writer::new(store.clone()).expect("a writer");
        let tape = Tape {
            replay: Some("a cassette".into()),
        };
        let put = Op::TapePut {
            run,
            tape: tape.clone(),
        };
        writer.commit(&[Batch::ops(vec![put])]).expect("committed");
        assert_eq!(store.tape(run).expect("read"), Some(tape));
        let attempt = Attempt {
            step: StepId::new("work").expect("valid"),
            number: 1,
        };
        let traffic = Traffic {
            attempt: attempt.clone(),
            turn: 1,
            request: [7; 32],
            note: "{}".into(),
        };
        // The run was never accepted, so nothing of the batch is kept.
        let batch = Batch::facts(run, UtcMillis(2), vec![Fact::HandoffAccepted { attempt }]);
        let verdicts = writer.commit(&[batch.with(Op::TrafficPut { run, traffic })]);
        assert!(verdicts.expect("committed")[0].is_err());
        assert!(store.traffic(run).expect("read").is_empty());
    }
}
