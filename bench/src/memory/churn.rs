//! A day of simulated time in which entries come and go.

use std::hint::black_box;

use bench::glosses;
use bench::meter::resident_bytes;
use bench::table::Row;
use openclaw::domain::memory::MemoryEdit;
use openclaw::domain::time::UtcMillis;
use openclaw::memory::question::Question;
use openclaw::memory::shard::index::ShardIndex;
use openclaw::storage::batch::{Batch, Op};
use openclaw::storage::store::Store;
use openclaw::storage::writer::Writer;

use super::entries::{Outcome, shard, wish};

/// A day of simulated time in a part of 10,000 entries: every hour a tenth of them is forgotten and as many come, and
/// somebody asks. What comes at first fills caches; from the twelfth hour on nothing may grow.
pub fn churn(glosses: &[String], rows: &mut Vec<Row>) -> Outcome<()> {
    const LIVE: u64 = 10_000;
    const HOURLY: u64 = LIVE / 10;
    const HOURS: u64 = 24;
    const GROWTH_MAX: f64 = 2e6;
    let folder = tempfile::tempdir()?;
    let store = Store::open(&folder.path().join("s.redb"), 8 << 20)?;
    let mut writer = Writer::new(store.clone())?;
    let mut index = ShardIndex::new(shard());
    let mut texts = glosses::texts(glosses, (LIVE + HOURS * HOURLY) as usize);
    let mut oldest = 1;
    let (mut half, mut last) = ((0.0, 0), (0.0, 0));
    for hour in 0..=HOURS {
        let now = UtcMillis(1_800_000_000_000).plus_ms(hour * 3_600_000);
        let come = if hour == 0 { LIVE } else { HOURLY };
        let mut ops: Vec<Op> = texts
            .by_ref()
            .take(come as usize)
            .map(|text| Op::MemoryPut(Box::new(wish(text, None).prepare(now))))
            .collect();
        if hour > 0 {
            ops.extend((oldest..oldest + HOURLY).map(|id| Op::MemoryEdit {
                shard: shard(),
                id,
                edit: MemoryEdit::Forget,
                at: now,
            }));
            oldest += HOURLY;
        }
        for group in ops.chunks(200) {
            writer.commit(&[Batch::ops(group.to_vec())])?;
        }
        index.follow(&store)?;
        for text in &glosses[..20] {
            black_box(index.query(&store, &Question::new(text.as_str()), now)?);
        }
        last = (resident_bytes(), store.file_bytes());
        if hour == HOURS / 2 {
            half = last;
        }
    }
    if index.len() as u64 != LIVE {
        return Err(format!("{} entries are live, expected {LIVE}", index.len()).into());
    }
    let grown = last.0 - half.0;
    rows.push(
        Row::new(
            format!("a day's churn in {LIVE} entries, {HOURLY} an hour: memory and file after 12 hours, after 24"),
            format!(
                "{:.1} MB, {:.1} MB; file {:.1} MB, {:.1} MB",
                half.0 / 1e6,
                last.0 / 1e6,
                half.1 as f64 / 1e6,
                last.1 as f64 / 1e6
            ),
        )
        .wanted("+2 MB, file as large", grown <= GROWTH_MAX && last.1 <= half.1),
    );
    Ok(())
}
