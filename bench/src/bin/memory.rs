//! Memory: embedding, search over vectors beside its rivals, questions, puts, reads by key, and what a start costs.
//!
//! One thread is measured by its own processor time, so that a busy machine spoils less; what waits for the disk or
//! for other threads is measured by the clock.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures, and prints what it measured"
)]

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bench::glosses;
use bench::meter::{cpu_of, resident_bytes};
use bench::table::{Row, part, render};
use hnsw_rs::anndists::dist::distances::DistCosine;
use hnsw_rs::prelude::Hnsw;
use openclaw::domain::memory::{MemoryKey, MemoryScope, MemorySource, ShardName};
use openclaw::domain::time::UtcMillis;
use openclaw::memory::embed::table::{embed, embed_quantised, warm_up};
use openclaw::memory::embed::vector::Quantised;
use openclaw::memory::index::codes::Codes;
use openclaw::memory::index::graph::build::GraphPolicy;
use openclaw::memory::index::graph::compact::CompactGraph;
use openclaw::memory::index::graph::hnsw::HnswRs;
use openclaw::memory::index::nearest::{Near, Nearest, Scan, SearchRoom, Wanted, recall};
use openclaw::memory::keep::Wish;
use openclaw::memory::question::Question;
use openclaw::memory::shard::index::ShardIndex;
use openclaw::runtime::bus::Bus;
use openclaw::runtime::committer::Committer;
use openclaw::storage::batch::{Batch, Op};
use openclaw::storage::memory_follow::{Follower, Seen};
use openclaw::storage::store::Store;
use openclaw::storage::writer::Writer;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Rows of the comparison with rivals.
const RIVALS_ROWS: usize = 50_000;
/// The recall at which the rates of graphs are compared.
const ENOUGH: f32 = 0.99;
/// Questions of each measurement.
const QUESTIONS: usize = 1_000;

struct Options {
    only: Vec<String>,
    sizes: Vec<usize>,
    wordnet: PathBuf,
}

fn options() -> Outcome<Options> {
    let mut options = Options {
        only: Vec::new(),
        sizes: vec![1_000, 10_000, 100_000],
        wordnet: glosses::FOLDER.into(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--sizes" => options.sizes = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--million" => options.sizes.push(1_000_000),
            "--wordnet" => options.wordnet = value()?.into(),
            _ => return Err(format!("unknown argument {argument}").into()),
        }
    }
    Ok(options)
}

fn main() -> Outcome<()> {
    let options = options()?;
    let wants = |what: &str| options.only.is_empty() || options.only.iter().any(|only| only == what);
    let glosses = glosses::glosses(&options.wordnet)
        .ok_or("no texts: install the package wordnet-base, or say --wordnet FOLDER")?;
    let (questions, glosses) = glosses.split_at(QUESTIONS);
    warm_up();
    let mut rows = Vec::new();
    if wants("embed") {
        embedding(glosses, &mut rows);
    }
    if wants("rivals") {
        rivals(questions, glosses, &mut rows);
    }
    if wants("graph") {
        for size in &options.sizes {
            graph(*size, questions, glosses, &mut rows);
        }
    }
    if wants("questions") {
        for size in &options.sizes {
            ask(*size, questions, glosses, &mut rows)?;
        }
    }
    if wants("puts") {
        puts(glosses, &mut rows)?;
    }
    println!("{}", render(&rows));
    if rows.iter().any(|row| row.met == Some(false)) {
        std::process::exit(1);
    }
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn embedding(glosses: &[String], rows: &mut Vec<Row>) {
    let texts = &glosses[..20_000];
    let ((), took) = cpu_of(|| {
        for text in texts {
            black_box(embed_quantised(text));
        }
    });
    let each = micros(took) / texts.len() as f64;
    let bytes = texts.iter().map(String::len).sum::<usize>() / texts.len();
    rows.push(
        Row::new(format!("embedding a text of {bytes} bytes"), format!("{each:.1} µs")).wanted("20 µs", each <= 20.0),
    );
}

fn codes_of(glosses: &[String], count: usize) -> Codes {
    let mut codes = Codes::default();
    for (place, text) in (0u32..).zip(glosses::texts(glosses, count)) {
        if let Some(vector) = embed_quantised(&text) {
            codes.put(place, &vector);
        }
    }
    codes
}

/// Mean time and recall of ten.
fn searched(queries: &[Quantised], truth: &[Vec<Near>], mut search: impl FnMut(&Quantised) -> Vec<Near>) -> (f64, f32) {
    let (mut time, mut found) = (Duration::ZERO, 0.0);
    for (query, truth) in queries.iter().zip(truth) {
        let (near, took) = cpu_of(|| search(query));
        time += took;
        found += recall(truth, &near);
    }
    (micros(time) / queries.len() as f64, found / queries.len() as f32)
}

fn by(graph: &dyn Nearest, codes: &Codes, query: &Quantised, count: usize, room: &mut SearchRoom) -> Vec<Near> {
    let mut found = Vec::new();
    let wanted = Wanted {
        query,
        count,
        accept: &|_| true,
    };
    graph.nearest(codes, &wanted, room, &mut found);
    found.truncate(10);
    found
}

/// The same vectors for everybody, and the truth from their `f32`.
fn rivals(questions: &[String], glosses: &[String], rows: &mut Vec<Row>) {
    let texts: Vec<String> = glosses::texts(glosses, RIVALS_ROWS).collect();
    let flat: Vec<[f32; 128]> = texts.iter().filter_map(|text| embed(text)).collect();
    let mut codes = Codes::default();
    for (place, vector) in (0u32..).zip(&flat) {
        if let Some(vector) = Quantised::of(vector) {
            codes.put(place, &vector);
        }
    }
    let wanted: Vec<[f32; 128]> = questions.iter().filter_map(|text| embed(text)).collect();
    let queries: Vec<Quantised> = wanted.iter().filter_map(|vector| Quantised::of(vector)).collect();
    let cosine = |a: &[f32; 128], b: &[f32; 128]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let exact = |query: &[f32; 128]| -> Vec<Near> {
        let mut all: Vec<Near> = (0u32..)
            .zip(&flat)
            .map(|(place, row)| Near {
                place,
                cosine: cosine(query, row),
            })
            .collect();
        all.select_nth_unstable_by(9, Near::order);
        all.truncate(10);
        all.sort_unstable_by(Near::order);
        all
    };
    let (truth, took) = cpu_of(|| wanted.iter().map(exact).collect::<Vec<_>>());
    let exact_micros = micros(took) / wanted.len() as f64;
    let heading = |what: &str| format!("nearest 10 of {RIVALS_ROWS}: {what}");
    let told = |micros: f64, recall: f32| format!("{micros:.0} µs, {:.0}/s, recall {recall:.4}", 1e6 / micros);
    rows.push(Row::new(heading("exact scan, f32"), told(exact_micros, 1.0)));
    let mut room = SearchRoom::default();
    // Against the truth of f32: what the codes lose is in it. A place counts, not its rounded cosine.
    let true_places: Vec<Vec<u32>> = truth
        .iter()
        .map(|near| near.iter().map(|near| near.place).collect())
        .collect();
    // What the scan over the same rows finds: the rest is lost by the graph.
    let scanned: Vec<Vec<Near>> = queries
        .iter()
        .map(|query| by(&Scan { from: 0 }, &codes, query, 10, &mut room))
        .collect();
    let mut measure = |what: &str, count: usize, graph: &dyn Nearest, rows: &mut Vec<Row>| {
        let (mut time, mut found, mut of_scan) = (Duration::ZERO, 0, 0.0);
        for ((query, truth), scanned) in queries.iter().zip(&true_places).zip(&scanned) {
            let (near, took) = cpu_of(|| by(graph, &codes, query, count, &mut room));
            time += took;
            found += near.iter().filter(|near| truth.contains(&near.place)).count();
            of_scan += recall(scanned, &near);
        }
        let micros = micros(time) / queries.len() as f64;
        let (of_f32, of_scan) = (
            found as f32 / (queries.len() * 10) as f32,
            of_scan / queries.len() as f32,
        );
        let value = format!("{}, {of_scan:.4} of the int8 scan", told(micros, of_f32));
        rows.push(Row::new(heading(what), value).over(format!("{exact_micros:.0} µs"), micros / exact_micros));
        (1e6 / micros, of_scan)
    };
    measure("exact scan, int8", 10, &Scan { from: 0 }, rows);
    let stop = AtomicBool::new(false);
    let (ours, built) = cpu_of(|| CompactGraph::default().extended(&codes, &stop).unwrap_or_default());
    rows.push(Row::new(
        format!("building it for {RIVALS_ROWS}: compact graph"),
        format!(
            "{:.1} s, {:.0} B a row beside the row",
            built.as_secs_f64(),
            ours.bytes() as f64 / RIVALS_ROWS as f64
        ),
    ));
    let mut ours_best = 0.0f64;
    for count in [10, 24, 48, 96, 134] {
        let (rate, recall) = measure(&format!("compact graph, {count} asked"), count, &ours, rows);
        if recall >= ENOUGH {
            ours_best = ours_best.max(rate);
        }
    }
    drop(ours);
    let (theirs, built) = cpu_of(|| HnswRs::build(&codes, &stop));
    if let Some(theirs) = theirs {
        rows.push(Row::new(
            format!("building it for {RIVALS_ROWS}: hnsw_rs with our rows"),
            format!("{:.1} s", built.as_secs_f64()),
        ));
        measure("hnsw_rs with our rows, 10 asked", 10, &theirs, rows);
    }
    let before = resident_bytes();
    let graph: Hnsw<'_, f32, DistCosine> = Hnsw::new(16, flat.len(), 16, 100, DistCosine {});
    let ((), built) = cpu_of(|| {
        for (place, row) in flat.iter().enumerate() {
            graph.insert((row, place));
        }
    });
    rows.push(Row::new(
        format!("building it for {RIVALS_ROWS}: hnsw_rs as it comes (f32, cosine)"),
        format!(
            "{:.1} s, {:.0} B a row",
            built.as_secs_f64(),
            (resident_bytes() - before) / RIVALS_ROWS as f64
        ),
    ));
    let mut theirs_best = 0.0f64;
    for breadth in [32, 64, 96, 128, 192] {
        let (mut time, mut found) = (Duration::ZERO, 0);
        for (query, truth) in wanted.iter().zip(&true_places) {
            let (near, took) = cpu_of(|| graph.search(query, 10, breadth));
            time += took;
            found += near.iter().filter(|near| truth.contains(&(near.d_id as u32))).count();
        }
        let micros = micros(time) / wanted.len() as f64;
        let recall = found as f32 / (wanted.len() * 10) as f32;
        if recall >= ENOUGH {
            theirs_best = theirs_best.max(1e6 / micros);
        }
        rows.push(
            Row::new(
                heading(&format!("hnsw_rs as it comes, breadth {breadth}")),
                told(micros, recall),
            )
            .over(format!("{exact_micros:.0} µs"), micros / exact_micros),
        );
    }
    rows.push(
        Row::new(
            format!("searches of one thread at a recall of {ENOUGH} of an exact scan over the same rows"),
            format!("{ours_best:.0}/s"),
        )
        .over(
            format!("hnsw_rs as it comes {theirs_best:.0}/s"),
            ours_best / theirs_best.max(1.0),
        )
        .wanted("as many as hnsw_rs", ours_best >= theirs_best),
    );
}

/// How the graph and the scan grow.
fn graph(size: usize, questions: &[String], glosses: &[String], rows: &mut Vec<Row>) {
    let codes = codes_of(glosses, size);
    let queries: Vec<Quantised> = questions
        .iter()
        .filter_map(|text| embed_quantised(text))
        .take(200)
        .collect();
    let mut room = SearchRoom::default();
    let scan = Scan { from: 0 };
    let truth: Vec<Vec<Near>> = queries
        .iter()
        .map(|query| by(&scan, &codes, query, 10, &mut room))
        .collect();
    let (scanned, _) = searched(&queries, &truth, |query| by(&scan, &codes, query, 134, &mut room));
    let stop = AtomicBool::new(false);
    let (graph, built) = cpu_of(|| CompactGraph::default().extended(&codes, &stop).unwrap_or_default());
    let (searched, recall) = searched(&queries, &truth, |query| by(&graph, &codes, query, 134, &mut room));
    rows.push(
        Row::new(
            format!("nearest 134 of {size}: compact graph"),
            format!(
                "{searched:.0} µs, recall@10 {recall:.4}, built in {:.1} s",
                built.as_secs_f64()
            ),
        )
        .over(format!("scan {scanned:.0} µs"), searched / scanned)
        .wanted("recall 0.98", recall >= 0.98),
    );
}

fn shard() -> ShardName {
    ShardName {
        scope: MemoryScope::Project,
        namespace: "/srv/bench".into(),
    }
}

fn wish(text: String, key: Option<Arc<str>>) -> Wish {
    Wish {
        shard: shard(),
        key,
        text: text.into(),
        tags: vec!["bench".into()],
        source: MemorySource {
            by: "person:bench".into(),
            run: None,
        },
        importance: 50,
        expires_at: None,
    }
}

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
fn ask(size: usize, questions: &[String], glosses: &[String], rows: &mut Vec<Row>) -> Outcome<()> {
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
    let mut measure = |what: &str, index: &mut ShardIndex, target: Option<(f64, f64)>| -> Outcome<()> {
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
    measure("by scan", &mut index, target.filter(|_| size < policy.from_places))?;
    // Below the crossing too, to see where it is.
    let policy = GraphPolicy {
        from_places: policy.from_places.min(10_000),
        ..policy
    };
    if let Some(task) = index.graph_task(&policy) {
        let stop = AtomicBool::new(false);
        let graph = task.build(&stop).ok_or("nobody stopped it")?;
        if !index.set_graph(graph) {
            return Err("the graph does not fit the rows that it was made of".into());
        }
        let target = match size {
            1_000_000 => Some((10.0, f64::INFINITY)),
            _ => target.filter(|_| size >= GraphPolicy::default().from_places),
        };
        measure("with the graph", &mut index, target)?;
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

/// Durable puts of 256 clients at once, and beside it bare commits of redb: as many bytes in as large groups, in one
/// table, by one thread that waits for nobody.
fn puts(glosses: &[String], rows: &mut Vec<Row>) -> Outcome<()> {
    const CLIENTS: usize = 256;
    const EACH: usize = 150;
    /// Rows of an entry and of its vector together, as this workload writes them.
    const ROW_BYTES: usize = 330;
    let folder = tempfile::tempdir()?;
    let store = Store::open(&folder.path().join("s.redb"), 64 << 20)?;
    let committer = Committer::start(store, Bus::default())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let texts: Vec<String> = glosses::texts(glosses, CLIENTS * EACH).collect();
    let times = Arc::new(Mutex::new(Vec::new()));
    let failed = Arc::new(AtomicBool::new(false));
    let clock = Instant::now();
    runtime.block_on(async {
        let mut clients = Vec::new();
        for texts in texts.chunks(EACH) {
            let (texts, committer) = (texts.to_vec(), committer.clone());
            let (times, failed) = (times.clone(), failed.clone());
            clients.push(tokio::spawn(async move {
                let mut own = Vec::with_capacity(EACH);
                for text in texts {
                    let began = Instant::now();
                    let new = wish(text, None).prepare(UtcMillis(1_800_000_000_000));
                    let put = committer.commit(Batch::ops(vec![Op::MemoryPut(Box::new(new))])).await;
                    if put.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    own.push(began.elapsed());
                }
                if let Ok(mut times) = times.lock() {
                    times.extend(own);
                }
            }));
        }
        for client in clients {
            client.await.ok();
        }
    });
    let took = clock.elapsed();
    if failed.load(Ordering::Relaxed) {
        return Err("a put failed".into());
    }
    let mut times = times.lock().map_err(|_| "a client panicked")?;
    let rate = times.len() as f64 / took.as_secs_f64();
    let (p50, p99) = (part(&mut times, 0.5), part(&mut times, 0.99));
    let commits = committer.figures().commits.load(Ordering::Relaxed).max(1) as usize;
    let group = (times.len() / commits).max(1);
    let (bare, mut bare_times) = bare_commits(folder.path(), times.len(), group, ROW_BYTES)?;
    let bare_p99 = part(&mut bare_times, 0.99);
    rows.push(
        Row::new(
            format!("durable puts, {CLIENTS} clients, {group} a commit"),
            format!(
                "{rate:.0}/s, ack p50 {:.1} ms, p99 {:.1} ms",
                micros(p50) / 1e3,
                micros(p99) / 1e3
            ),
        )
        .over(
            format!(
                "bare commits {bare:.0}/s, a commit p99 {:.1} ms",
                micros(bare_p99) / 1e3
            ),
            rate / bare,
        )
        .wanted("15,000/s, 20 ms", rate >= 15_000.0 && micros(p99) < 20_000.0),
    );
    Ok(())
}

/// Rows in a second, and the times of the commits.
fn bare_commits(folder: &Path, count: usize, group: usize, bytes: usize) -> Outcome<(f64, Vec<Duration>)> {
    const BARE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("bare");
    let database = redb::Database::builder()
        .set_cache_size(64 << 20)
        .create(folder.join("bare.redb"))?;
    let mut times = Vec::with_capacity(count / group + 1);
    let clock = Instant::now();
    for begin in (0..count).step_by(group) {
        let began = Instant::now();
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(BARE)?;
            for number in begin..(begin + group).min(count) {
                table.insert(number as u64, vec![number as u8; bytes].as_slice())?;
            }
        }
        transaction.commit()?;
        times.push(began.elapsed());
    }
    Ok((count as f64 / clock.elapsed().as_secs_f64(), times))
}
