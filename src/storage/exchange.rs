//! Reading what clients of vendors' protocols asked, and the events that were shown to them.
//!
//! A store that was made before there were such clients has no such tables until the first is written: then there are
//! none.

use redb::ReadableDatabase;

use crate::domain::exchange::{Exchange, Shown};
use crate::domain::id::RunId;

use super::codec;
use super::error::{StoreError, step};
use super::journal::journal_key;
use super::record::exchange::{ExchangeRecord, ShownRecord};
use super::store::Store;
use super::table::{EXCHANGES, JournalKey, SHOWN};
use super::tape::open;

impl Store {
    /// What a client asked the run; none for a run that came another way.
    pub fn exchange(&self, run: RunId) -> Result<Option<Exchange>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(table) = open(&transaction, EXCHANGES, "open the exchanges")? else {
            return Ok(None);
        };
        let Some(value) = table.get(&run.to_bytes()).map_err(step("read an exchange"))? else {
            return Ok(None);
        };
        let what = || format!("exchange of {run}");
        let record: ExchangeRecord = codec::decode(what, value.value())?;
        let exchange = record.into_domain();
        exchange
            .map(Some)
            .map_err(|reason| StoreError::Corrupt { what: what(), reason })
    }

    /// Events of an answer from this number on, those that were kept together up to about `limit` of them, with the
    /// number of the first.
    pub fn shown(&self, run: RunId, from: u64, limit: usize) -> Result<Vec<(u64, Shown)>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(table) = open(&transaction, SHOWN, "open the shown events")? else {
            return Ok(Vec::new());
        };
        let begin = journal_key(run, 0);
        let end = journal_key(run, u64::MAX);
        let at = journal_key(run, from);
        // The events of a number may be kept with earlier ones.
        let mut before = table
            .range::<&JournalKey>(&begin..=&at)
            .map_err(step("find shown events"))?;
        let start = match before.next_back() {
            Some(entry) => *entry.map_err(step("find shown events"))?.0.value(),
            None => begin,
        };
        let mut found = Vec::new();
        let mut count = 0;
        for entry in table
            .range::<&JournalKey>(&start..=&end)
            .map_err(step("read shown events"))?
        {
            let (key, value) = entry.map_err(step("read shown events"))?;
            let first = u64::from_be_bytes(key.value()[16..].try_into().expect("a key ends with 8 bytes"));
            let record: ShownRecord = codec::decode(|| format!("shown events {first} of {run}"), value.value())?;
            count += record.events.len();
            let shown = Shown {
                through: record.through,
                is_end: record.is_end,
                events: record.events,
            };
            found.push((first, shown));
            if count >= limit {
                break;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::domain::conversation::{Arguments, CallRequest, CallResult, KeptBlock, Message};
    use crate::domain::exchange::Face;
    use crate::domain::request_options::{ClientTool, RequestOptions, ToolChoice};
    use crate::domain::time::UtcMillis;
    use crate::storage::batch::{Batch, Op};
    use crate::storage::writer::Writer;

    /// The first layout, as the first program that had it wrote it.
    const GOLDEN_1: &[u8] = include_bytes!("record/golden/exchange-1.bin");

    fn sample() -> Exchange {
        let awkward = "emoji 👨‍👩‍👧‍👦 \u{202e} NUL \0";
        let call = CallRequest {
            id: "call_1".into(),
            skill: "getWeather".into(),
            arguments: Arguments::Object(Arc::new(json!({ "city": awkward }))),
        };
        let result = CallResult {
            id: "call_1".into(),
            content: "22°".into(),
            is_error: true,
        };
        let kept = KeptBlock {
            dialect: "anthropic".into(),
            before: 1,
            json: "{}".into(),
        };
        let messages = vec![
            Message::User(awkward.into()),
            Message::Assistant {
                text: "I ask.".into(),
                calls: vec![call],
                kept: Arc::new([kept]),
            },
            Message::Results(vec![result]),
        ];
        let tool = ClientTool {
            name: "getWeather".into(),
            description: "weather".into(),
            schema: Arc::new(json!({ "type": "object" })),
        };
        Exchange {
            face: Face::OpenAiResponses,
            model: "executor".into(),
            is_bare: true,
            system: "Be brief.".into(),
            messages: Arc::new(messages),
            own_from: 2,
            options: Arc::new(RequestOptions {
                tools: Arc::new([tool]),
                choice: ToolChoice::Tool("getWeather".into()),
                parallel: Some(false),
                temperature: Some(0.25),
                top_p: Some(1.0),
                stop: Arc::new(["END".into()]),
            }),
            output_tokens_max: Some(77),
            repeated: Arc::new(json!({ "metadata": { "a": "b" } })),
            is_stored: true,
            is_background: true,
        }
    }

    #[test]
    fn an_exchange_survives_the_disk_and_its_first_layout_is_still_written() {
        let written = codec::encode(&ExchangeRecord::from(&sample()));
        let record: ExchangeRecord = codec::decode(|| "exchange".into(), &written).expect("decodes");
        assert_eq!(record.into_domain(), Ok(sample()));
        if std::env::var_os("OPENCLAW_WRITE_GOLDEN").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/storage/record/golden/exchange-1.bin");
            std::fs::write(path, &written).expect("written");
        }
        assert_eq!(written, GOLDEN_1);
    }

    #[test]
    fn shown_events_are_found_from_any_number_and_go_when_they_are_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let run = RunId::new(UtcMillis(1), 1);
        let other = RunId::new(UtcMillis(2), 1);
        assert_eq!(store.exchange(run).expect("read"), None);
        assert!(store.shown(run, 0, 10).expect("read").is_empty());
        let mut writer = Writer::new(store.clone()).expect("a writer");
        let shown = |first: u64, count: u64| Shown {
            through: first,
            is_end: false,
            events: (first..first + count).map(|number| number.to_string()).collect(),
        };
        let put = |run: RunId, first: u64, count: u64| Op::ShownPut {
            run,
            first,
            shown: shown(first, count),
        };
        let exchange = Arc::new(sample());
        let ops = vec![
            Op::ExchangePut { run, exchange },
            put(run, 0, 3),
            put(run, 3, 1),
            put(run, 4, 4),
            put(other, 0, 2),
        ];
        writer.commit(&[Batch::ops(ops)]).expect("committed");
        let check = |from: u64, limit: usize, firsts: &[u64]| {
            let found = store.shown(run, from, limit).expect("read");
            let found: Vec<u64> = found.iter().map(|(first, _)| *first).collect();
            assert_eq!(found, firsts, "from {from}, at most {limit}");
        };
        check(0, 100, &[0, 3, 4]);
        check(2, 100, &[0, 3, 4]);
        check(3, 100, &[3, 4]);
        check(5, 100, &[4]);
        check(8, 100, &[4]);
        check(0, 1, &[0]);
        check(0, 4, &[0, 3]);
        writer
            .commit(&[Batch::ops(vec![Op::ExchangeForget { run }])])
            .expect("committed");
        check(0, 100, &[]);
        assert_eq!(store.shown(other, 0, 9).expect("read"), vec![(0, shown(0, 2))]);
        let kept = store.exchange(run).expect("read").expect("the run still knows it");
        assert_eq!((kept.is_stored, kept.messages), (false, sample().messages));
    }
}
