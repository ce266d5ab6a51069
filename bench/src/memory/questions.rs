//! From a question in words to ranked entries, and what making the index costs.

use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bench::glosses;
use bench::meter::{cpu_of, resident_bytes};
use bench::table::{Row, part};
use openclaw::domain::memory::{MemoryKey, MemoryScope};
use openclaw::domain::time::UtcMillis;
use openclaw::memory::index::graph::build::GraphPolicy;
use openclaw::memory::question::Question;
use openclaw::memory::shard::index::ShardIndex;
use openclaw::storage::batch::{Batch, Op};
use openclaw::storage::memory_follow::{Follower, Seen};
use openclaw::storage::store::Store;
use openclaw::storage::writer::Writer;

use super::entries::{Outcome, micros, shard, wish};
use super::vectors::{codes_of, recall_of};

/// An index that keeps nothing.
#[derive(Default)]
struct Nobody {
    taken: usize,
}

impl Follower for Nobody {
    fn begin_anew(&mut self, _: u64) {}

    fn take(&mut self, entry: &Seen<'_>) {
        self.taken += usize::from(!black_box(entry).text.is_empty());
    }

    fn lose(&mut self, _: u64) {}
}

/// From a question in words to ranked entries, and what making the index costs.
pub fn ask(size: usize, questions: &[String], glosses: &[String], rows: &mut Vec<Row>) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(&folder.path().join("s.redb"), 64 << 20)?;
    let now = UtcMillis(1_800_000_000_000);
    {
        let mut writer = Writer::new(store.clone())?;
        let mut ops = Vec::new();
        for (number, text) in glosses::texts(glosses, size).enumerate() {
            let key = (number % 100 == 0).then(|| format!("key-{number}").into());
            ops.push(Op::MemoryPut(Box::new(wish(text, key).prepare(now))));
            if ops.len() == 5_000 || number + 1 == size {
                writer.commit(&[Batch::ops(std::mem::take(&mut ops))])?;
            }
        }
    }
    // Beside it: reading all entries and vectors and making nothing of them.
    let mut nobody = Nobody::default();
    let (read, floor) = cpu_of(|| store.memory_follow(&shard(), 0, None, &mut nobody));
    read?;
    if nobody.taken != size {
        return Err(format!("{} of {size} entries were read", nobody.taken).into());
    }
    let before = resident_bytes();
    let mut index = ShardIndex::new(shard());
    let clock = Instant::now();
    let (followed, took) = cpu_of(|| index.follow(&store));
    let wall = clock.elapsed();
    followed?;
    let megabytes = (resident_bytes() - before) / 1e6;
    let mut row = Row::new(
        format!("{size} entries: index made from the store"),
        format!(
            "{:.0} ms ({:.0} ms of the processor), {megabytes:.0} MB",
            wall.as_secs_f64() * 1e3,
            took.as_secs_f64() * 1e3
        ),
    );
    let made = took.as_secs_f64() * 1e3;
    row = row.over(
        format!("read alone {:.0} ms", floor.as_secs_f64() * 1e3),
        took.as_secs_f64() / floor.as_secs_f64(),
    );
    row = match size {
        10_000 => row.wanted("70 ms", made <= 70.0),
        100_000 => row.wanted("400 ms, 80 MB", made <= 400.0 && megabytes <= 80.0),
        _ => row,
    };
    rows.push(row);
    let measure =
        |what: &str, index: &mut ShardIndex, target: Option<(f64, f64)>, rows: &mut Vec<Row>| -> Outcome<()> {
            let (mut times, mut clocks) = (Vec::new(), Vec::new());
            for text in questions {
                let question = Question::new(text.as_str());
                let began = Instant::now();
                let (answered, took) = cpu_of(|| {
                    index.follow(&store)?;
                    index.query(&store, &question, now)
                });
                clocks.push(began.elapsed());
                black_box(answered?);
                times.push(took);
            }
            let of = |times: &mut [Duration], share| micros(part(times, share)) / 1e3;
            let (p50, p99) = (of(&mut times, 0.5), of(&mut times, 0.99));
            let (clock50, clock99) = (of(&mut clocks, 0.5), of(&mut clocks, 0.99));
            let mut row = Row::new(
                format!("{size} entries: question to answer, {what}"),
                format!("p50 {p50:.2} ms, p99 {p99:.2} ms (by the clock {clock50:.2}, {clock99:.2})"),
            );
            if let Some((p50_max, p99_max)) = target {
                let p50_told = if p50_max.is_finite() {
                    format!("p50 {p50_max} ms, ")
                } else {
                    String::new()
                };
                row = row.wanted(format!("{p50_told}p99 {p99_max} ms"), p50 <= p50_max && p99 <= p99_max);
            }
            rows.push(row);
            Ok(())
        };
    let target = match size {
        10_000 => Some((0.5, 1.0)),
        100_000 => Some((f64::INFINITY, 5.0)),
        _ => None,
    };
    let policy = GraphPolicy::default();
    measure(
        "by scan",
        &mut index,
        target.filter(|_| size < policy.from_places),
        rows,
    )?;
    // Below the crossing too, to see where it is.
    let policy = GraphPolicy {
        from_places: policy.from_places.min(10_000),
        ..policy
    };
    if let Some(task) = index.graph_task(&policy) {
        let stop = AtomicBool::new(false);
        let (graph, built) = cpu_of(|| task.build(&stop));
        let graph = graph.ok_or("nobody stopped it")?;
        // The index has its rows in the order of the texts.
        let recall = recall_of(graph.nearest(), &codes_of(glosses, size), questions);
        rows.push(
            Row::new(
                format!("{size} entries: the graph, against the scan over the same rows"),
                format!("recall@10 {recall:.4}, built in {:.1} s", built.as_secs_f64()),
            )
            .wanted("0.98", recall >= 0.98),
        );
        if !index.set_graph(graph) {
            return Err("the graph does not fit the rows that it was made of".into());
        }
        let target = match size {
            1_000_000 => Some((10.0, f64::INFINITY)),
            _ => target.filter(|_| size >= GraphPolicy::default().from_places),
        };
        measure("with the graph", &mut index, target, rows)?;
    }
    let key = MemoryKey {
        scope: MemoryScope::Project,
        namespace: shard().namespace,
        key: format!("key-{}", size / 200 * 100).into(),
    };
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..5_000 {
        let (found, took) = cpu_of(|| store.memory(&key));
        if found?.is_none() {
            return Err("the key is not there".into());
        }
        times.push(took);
    }
    let p50 = micros(part(&mut times, 0.5));
    rows.push(Row::new(format!("{size} entries: get by key"), format!("p50 {p50:.1} µs")).wanted("5 µs", p50 <= 5.0));
    Ok(())
}
