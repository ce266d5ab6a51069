//! Many children cost about as much as their number says. Real time is measured, with wide margins; the benchmark has the
//! suite's own numbers, an unoptimised build a fifth of them.

use std::time::{Duration, Instant};

use supervisors::{ChildSpec, Restart, Strategy};

use crate::support::{Kid, Log, count, dynamic, start, tree};

async fn temporary_children(number: usize) -> Duration {
    let (spec, _) = dynamic(&Log::default());
    let children = spec.handle();
    let _root = start(tree(
        Strategy::OneForOne,
        1,
        [ChildSpec::dynamic("pool", spec.restart(Restart::Temporary))],
    ))
    .await;
    for n in 0..number {
        children.start_child(n.to_string(), String::new()).await.unwrap();
    }
    let before = Instant::now();
    for n in 0..number {
        children.terminate_child(n.to_string()).await.unwrap();
    }
    assert_eq!(children.count(), 0);
    before.elapsed()
}

pub async fn simple_one_for_one_scale_many_temporary_children() {
    let few = temporary_children(1_000).await;
    let many = temporary_children(10_000).await;
    assert!(many < few * 50, "1,000: {few:?}, 10,000: {many:?}");
}

async fn start_and_stop(number: usize) -> (Duration, Duration) {
    let log = Log::default();
    let root = start(tree(Strategy::OneForOne, 1, [])).await;
    let before = Instant::now();
    for n in 0..number {
        root.start_child(Kid::new(&n.to_string(), &log).spec()).await.unwrap();
    }
    let started = before.elapsed();
    assert_eq!(count(&root).await.1, number);
    let before = Instant::now();
    root.shutdown().await;
    (started, before.elapsed())
}

pub async fn scale_start_stop_many_children() {
    let few = start_and_stop(200).await;
    let many = start_and_stop(20_000).await;
    assert!(
        many.0 < few.0 * 1_000,
        "start of 200: {:?}, of 20,000: {:?}",
        few.0,
        many.0
    );
    assert!(
        many.1 < few.1 * 1_000,
        "stop of 200: {:?}, of 20,000: {:?}",
        few.1,
        many.1
    );
}
