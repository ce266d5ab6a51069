//! What supervision costs: restart latency, a hundred thousand actors, a storm of panics, scaling.

mod erlang;
mod figures;
mod kameo;
mod ours;
mod plain;
mod storm;

use std::process::Command;

pub(crate) use figures::{Begun, Row, Times, resident_bytes};

/// How many restarts are timed.
const RESTARTS: usize = 20_000;
/// How many actors are started and stopped.
const ACTORS: usize = 100_000;
/// How many children panic at once.
const STORM: usize = 1_000;

type Measurement = (&'static str, fn());

const MEASUREMENTS: &[Measurement] = &[
    ("restart: supervisors", ours::restart),
    ("restart: ractor by hand", plain::ractor_restart),
    ("restart: kameo", kameo::restart),
    ("restart: tokio by hand", plain::tokio_restart),
    ("actors: supervisors, static", ours::many_static),
    ("actors: supervisors, dynamic", ours::many_dynamic),
    ("actors: supervisors, dynamic 1k", ours::few_dynamic),
    ("actors: ractor alone", plain::ractor_many),
    ("actors: kameo", kameo::many),
    ("actors: tokio alone", plain::tokio_many),
    ("storm: supervisors", ours::storm),
    ("storm: ractor by hand", plain::ractor_storm),
    ("storm: kameo", kameo::storm),
    ("erlang", erlang::run),
];

/// Runs one measurement in this process.
pub(crate) fn run_one(name: &str) {
    // A panic is what is measured here, not what it looks like.
    std::panic::set_hook(Box::new(|_| {}));
    match MEASUREMENTS.iter().find(|(known, _)| *known == name) {
        Some((_, run)) => run(),
        None => println!("no measurement is called {name:?}"),
    }
}

/// Runs all of them, each in a process of its own.
pub(crate) fn run_all() {
    let program = std::env::current_exe().expect("the path of this program");
    for (name, _) in MEASUREMENTS {
        let status = Command::new(&program).arg(name).status();
        if !status.is_ok_and(|status| status.success()) {
            println!("{name}: failed");
        }
    }
}

/// A runtime as the daemon has it.
pub(crate) fn block_on<F: Future<Output = ()> + Send + 'static>(work: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    // In a task, not on the main thread, so that everything runs where actors run.
    runtime.block_on(async { tokio::spawn(work).await.expect("the measurement to come through") });
}
