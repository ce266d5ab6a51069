//! Memory: embedding, search over vectors beside its rivals, questions, puts, reads by key, what a start costs, and a
//! day of entries that come and go.
//!
//! One thread is measured by its own processor time, so that a busy machine spoils less; what waits for the disk or
//! for other threads is measured by the clock.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures, and prints what it measured"
)]

use std::path::PathBuf;

use bench::glosses;
use bench::table::render;
use openclaw::memory::embed::table::warm_up;

#[path = "../memory/mod.rs"]
mod memory;

use memory::churn::churn;
use memory::entries::Outcome;
use memory::puts::puts;
use memory::questions::ask;
use memory::vectors::{embedding, graph, rivals};

/// Questions of each measurement.
const QUESTIONS: usize = 1_000;

struct Options {
    only: Vec<String>,
    sizes: Vec<usize>,
    wordnet: PathBuf,
    /// A Python that has hnswlib, to measure it beside ours.
    hnswlib: Option<PathBuf>,
}

fn options() -> Outcome<Options> {
    let mut options = Options {
        only: Vec::new(),
        sizes: vec![1_000, 10_000, 100_000],
        wordnet: glosses::FOLDER.into(),
        hnswlib: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--sizes" => options.sizes = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--million" => options.sizes.push(1_000_000),
            "--hnswlib" => options.hnswlib = Some(value()?.into()),
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
        rivals(questions, glosses, options.hnswlib.as_deref(), &mut rows)?;
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
    if wants("churn") {
        churn(glosses, &mut rows)?;
    }
    println!("{}", render(&rows));
    if rows.iter().any(|row| row.met == Some(false)) {
        std::process::exit(1);
    }
    Ok(())
}
