//! A store with a past: runs that have ended, written through the storage layer as the daemon writes them.

use std::path::Path;
use std::sync::Arc;

use openclaw::domain::conversation::{ModelAnswer, Stop, Usage};
use openclaw::domain::fact::{Attempt, Fact};
use openclaw::domain::id::RunId;
use openclaw::domain::name::StepId;
use openclaw::domain::run::{Outcome, RunSpec};
use openclaw::domain::time::UtcMillis;
use openclaw::storage::batch::{Batch, Submission};
use openclaw::storage::store::{CACHE_BYTES_DEFAULT, Store};
use openclaw::storage::writer::Writer;

/// Bytes of text in one run's history.
const RUN_BYTES: usize = 256 * 1024;
/// Runs in one transaction.
const RUNS_AT_ONCE: usize = 32;
/// When the first of them was accepted.
const BEGAN: u64 = 1_700_000_000_000;

/// Writes ended runs until the file has `bytes`; gives its size.
pub fn write(store_file: &Path, bytes: u64) -> Result<u64, Box<dyn std::error::Error>> {
    let store = Store::open(store_file, CACHE_BYTES_DEFAULT)?;
    let mut writer = Writer::new(store.clone())?;
    let mut number = 0u64;
    while store.file_bytes() < bytes {
        let mut batches = Vec::with_capacity(2 * RUNS_AT_ONCE);
        for _ in 0..RUNS_AT_ONCE {
            number += 1;
            run(&mut batches, number);
        }
        for verdict in writer.commit(&batches)? {
            verdict?;
        }
    }
    Ok(store.file_bytes())
}

fn run(batches: &mut Vec<Batch>, number: u64) {
    let at = UtcMillis(BEGAN + number);
    let run = RunId::new(at, u128::from(number) << 32);
    let spec = RunSpec {
        task: format!("task {number}").into(),
        agent: None,
        plan: None,
        workspace: "/".into(),
        checks: Vec::new(),
        output_schema: None,
        deadline: at.plus_ms(1000),
        tokens_max: None,
        cost_max: None,
        model: None,
        origin: "api".into(),
        retry_of: None,
        grant: None,
    };
    let submission = Submission {
        idempotency: None,
        body: [0; 32],
        active_max: usize::MAX,
    };
    let attempt = Attempt {
        step: StepId::new("plan").expect("a valid id"),
        number: 1,
    };
    // Half of it in rows, half in blobs beside them.
    let turns = [
        RUN_BYTES / 8,
        RUN_BYTES / 8,
        RUN_BYTES / 8,
        RUN_BYTES / 8,
        RUN_BYTES / 2,
    ];
    let finished = turns.iter().enumerate().map(|(turn, bytes)| Fact::TurnFinished {
        cost: openclaw::domain::money::MicroUsd(9),
        attempt: attempt.clone(),
        turn: turn as u32 + 1,
        answer: Arc::new(ModelAnswer {
            text: text(number * 8 + turn as u64, *bytes).into(),
            calls: Vec::new(),
            stop: Stop::End,
            usage: Usage::default(),
            answered_by: "history".into(),
            kept: Arc::new([]),
        }),
    });
    batches.push(Batch::accept(
        run,
        at,
        vec![Fact::RunAccepted(Arc::new(spec))],
        submission,
    ));
    for fact in finished {
        batches.push(Batch::facts(run, at, vec![fact]));
    }
    let done = Fact::RunDone {
        outcome: Outcome::Succeeded,
        result: "\"done\"".into(),
    };
    batches.push(Batch::facts(run, at, vec![done]));
}

/// A text that is different for each number, so that equal contents do not share a blob.
fn text(number: u64, bytes: usize) -> String {
    format!("{number:020} ").repeat(bytes / 21)
}
