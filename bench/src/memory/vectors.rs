//! Embedding, and search over vectors: ours, beside its rivals, and how it grows.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench::glosses;
use bench::meter::{cpu_of, resident_bytes};
use bench::table::Row;
use hnsw_rs::anndists::dist::distances::DistCosine;
use hnsw_rs::prelude::Hnsw;
use openclaw::memory::embed::table::{embed, embed_quantised};
use openclaw::memory::embed::vector::Quantised;
use openclaw::memory::index::codes::Codes;
use openclaw::memory::index::graph::compact::CompactGraph;
use openclaw::memory::index::graph::hnsw::HnswRs;
use openclaw::memory::index::nearest::{Near, Nearest, Scan, SearchRoom, Wanted, recall};
use serde_json::Value;

use super::entries::{Outcome, micros};

/// Rows of the comparison with rivals.
const RIVALS_ROWS: usize = 50_000;
/// The recall at which the rates of graphs are compared.
const ENOUGH: f32 = 0.99;

pub fn embedding(glosses: &[String], rows: &mut Vec<Row>) {
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

pub fn codes_of(glosses: &[String], count: usize) -> Codes {
    let mut codes = Codes::default();
    for (place, text) in (0u32..).zip(glosses::texts(glosses, count)) {
        if let Some(vector) = embed_quantised(&text) {
            codes.put(place, &vector);
        }
    }
    codes
}

/// Mean time and recall of ten.
pub fn searched(
    queries: &[Quantised],
    truth: &[Vec<Near>],
    mut search: impl FnMut(&Quantised) -> Vec<Near>,
) -> (f64, f32) {
    let (mut time, mut found) = (Duration::ZERO, 0.0);
    for (query, truth) in queries.iter().zip(truth) {
        let (near, took) = cpu_of(|| search(query));
        time += took;
        found += recall(truth, &near);
    }
    (micros(time) / queries.len() as f64, found / queries.len() as f32)
}

pub fn by(graph: &dyn Nearest, codes: &Codes, query: &Quantised, count: usize, room: &mut SearchRoom) -> Vec<Near> {
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
pub fn rivals(
    questions: &[String],
    glosses: &[String],
    hnswlib_python: Option<&Path>,
    rows: &mut Vec<Row>,
) -> Outcome<()> {
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
    let mut rivals_told = format!("hnsw_rs as it comes {theirs_best:.0}/s");
    if let Some(python) = hnswlib_python {
        drop(graph);
        let best = hnswlib(python, &flat, &wanted, &true_places, &heading, rows)?;
        let _ = write!(rivals_told, ", hnswlib {best:.0}/s");
        theirs_best = theirs_best.max(best);
    }
    rows.push(
        Row::new(
            format!("searches of one thread at a recall of {ENOUGH} of an exact scan over the same rows"),
            format!("{ours_best:.0}/s"),
        )
        .over(rivals_told, ours_best / theirs_best.max(1.0))
        .wanted("as many as the best rival", ours_best >= theirs_best),
    );
    Ok(())
}

/// hnswlib over the same `f32` rows, held to the same truth; returns its best rate at the recall that counts.
fn hnswlib(
    python: &Path,
    flat: &[[f32; 128]],
    wanted: &[[f32; 128]],
    truth: &[Vec<u32>],
    heading: &dyn Fn(&str) -> String,
    rows: &mut Vec<Row>,
) -> Outcome<f64> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes);
    let floats = |rows: &[[f32; 128]]| {
        rows.as_flattened()
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    };
    write("rows.f32", floats(flat))?;
    write("queries.f32", floats(wanted))?;
    write(
        "truth.u32",
        truth.iter().flatten().flat_map(|place| place.to_le_bytes()).collect(),
    )?;
    let output = std::process::Command::new(python)
        .args(["-c", include_str!("hnswlib.py")])
        .arg(folder.path())
        .arg("128")
        .env("OMP_NUM_THREADS", "1")
        .output()?;
    if !output.status.success() {
        return Err(format!("hnswlib did not run: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let number = |value: &Value, name: &str| value[name].as_f64().ok_or(format!("hnswlib told no {name}"));
    rows.push(Row::new(
        format!("building it for {RIVALS_ROWS}: hnswlib (f32, cosine)"),
        format!("{:.1} s", number(&told, "built_s")?),
    ));
    let mut best = 0.0f64;
    for found in told["found"].as_array().into_iter().flatten() {
        let (micros, recall) = (number(found, "micros")?, number(found, "recall")?);
        if recall >= f64::from(ENOUGH) {
            best = best.max(1e6 / micros);
        }
        rows.push(Row::new(
            heading(&format!("hnswlib, breadth {}", found["breadth"])),
            format!("{micros:.0} µs, {:.0}/s, recall {recall:.4}", 1e6 / micros),
        ));
    }
    Ok(best)
}

/// The part of the ten nearest of the scan that a graph finds, over some of the questions.
pub fn recall_of(graph: &dyn Nearest, codes: &Codes, questions: &[String]) -> f32 {
    let mut room = SearchRoom::default();
    let queries: Vec<Quantised> = questions
        .iter()
        .filter_map(|text| embed_quantised(text))
        .take(200)
        .collect();
    let found = queries.iter().map(|query| {
        let truth = by(&Scan { from: 0 }, codes, query, 10, &mut room);
        recall(&truth, &by(graph, codes, query, 134, &mut room))
    });
    found.sum::<f32>() / queries.len() as f32
}

/// How the graph and the scan grow.
pub fn graph(size: usize, questions: &[String], glosses: &[String], rows: &mut Vec<Row>) {
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
