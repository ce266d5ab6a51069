//! How children are stopped.

use std::time::Duration;

use supervisors::{ChildSpec, ExitReason, Restart, Shutdown, Strategy};
use tokio::time::Instant;

use crate::support::{How, Kid, Log, Order, count, dynamic, end, settle, start, tree, which};

const SECOND: Duration = Duration::from_secs(1);

pub async fn sup_stop_infinity() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let inner = tree(Strategy::OneForOne, 1, [b.spec()]);
    a.stop_takes(10_000 * SECOND);
    b.stop_takes(10_000 * SECOND);
    let children = [
        a.spec().shutdown(Shutdown::Infinity),
        ChildSpec::supervisor("inner", inner).shutdown(Shutdown::Infinity),
    ];
    // `b` has the default time, `a` as long as it takes.
    let root = start(tree(Strategy::OneForOne, 1, children).report_to(log.sink())).await;
    let before = Instant::now();
    assert_eq!(root.shutdown().await, ExitReason::Shutdown);
    assert!(before.elapsed() >= 10_000 * SECOND);
    assert_eq!(log.events(), ["+a", "+b", "-a"]);
    assert!(!log.facts().contains(&String::from("a shutdown_error")));
}

pub async fn sup_stop_timeout() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    a.stop_takes(60 * SECOND);
    let children = [
        a.spec().shutdown(Shutdown::Timeout(SECOND)),
        b.spec().shutdown(Shutdown::Timeout(SECOND)),
    ];
    let root = start(tree(Strategy::OneForOne, 1, children).report_to(log.sink())).await;
    let before = Instant::now();
    root.shutdown().await;
    assert!(before.elapsed() >= SECOND && before.elapsed() < 2 * SECOND);
    assert_eq!(log.events(), ["+a", "+b", "-b"]);
    assert_eq!(log.facts()[2..], ["b exited", "a exited", "a shutdown_error"]);
}

pub async fn sup_stop_timeout_dynamic() {
    let log = Log::default();
    let (spec, script) = dynamic(&log);
    script.stop_takes(60 * SECOND);
    let children = spec.handle();
    let pool = ChildSpec::dynamic("pool", spec.shutdown(Shutdown::Timeout(SECOND)));
    let root = start(tree(Strategy::OneForOne, 1, [pool]).report_to(log.sink())).await;
    for id in ["a", "b", "c"] {
        children.start_child(id, String::new()).await.unwrap();
    }
    let before = Instant::now();
    root.shutdown().await;
    assert!(before.elapsed() >= SECOND && before.elapsed() < 2 * SECOND);
    let errors = log
        .facts()
        .iter()
        .filter(|fact| fact.ends_with("shutdown_error"))
        .count();
    assert_eq!(errors, 3);
}

pub async fn sup_stop_brutal_kill() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree(
        Strategy::OneForOne,
        1,
        [a.spec().shutdown(Shutdown::Brutal), b.spec()],
    ))
    .await;
    root.shutdown().await;
    assert_eq!(log.events(), ["+a", "+b", "-b"]);
}

pub async fn sup_stop_brutal_kill_dynamic() {
    let log = Log::default();
    let (spec, _) = dynamic(&log);
    let children = spec.handle();
    let pool = ChildSpec::dynamic("pool", spec.shutdown(Shutdown::Brutal));
    let root = start(tree(Strategy::OneForOne, 1, [pool]).report_to(log.sink())).await;
    for n in 0..10 {
        children.start_child(format!("k{n}"), String::new()).await.unwrap();
    }
    log.clear();
    root.shutdown().await;
    assert_eq!(
        log.events(),
        Vec::<String>::new(),
        "post_stop of a killed child must not run"
    );
    assert_eq!(log.facts().iter().filter(|fact| fact.ends_with(" exited")).count(), 11);
    assert!(!log.facts().iter().any(|fact| fact.ends_with("shutdown_error")));
}

pub async fn sup_stop_race() {
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
        for how in [How::Normal, How::Shutdown, How::Panic, How::Kill] {
            let log = Log::default();
            let kids: Vec<_> = ["a", "b", "c"].map(|id| Kid::new(id, &log)).into();
            kids[2].stop_takes(SECOND);
            let specs = kids.iter().map(|kid| kid.spec().restart(restart));
            let root = start(tree(Strategy::OneForOne, 1, specs)).await;
            let ending = tokio::spawn({
                let root = root.clone();
                async move { root.shutdown().await }
            });
            settle().await;
            // The last one takes its time, and meanwhile the others end by themselves.
            kids[0].send_end(how);
            kids[1].send_end(how);
            assert_eq!(ending.await.unwrap(), ExitReason::Shutdown, "{restart:?} {how:?}");
            let starts = log.events().iter().filter(|event| event.starts_with('+')).count();
            assert_eq!(starts, 3, "nothing is restarted during a shutdown");
        }
    }
}

pub async fn sup_stop_non_shutdown_exit_dynamic() {
    for how in How::ABNORMAL {
        let log = Log::default();
        let (spec, script) = dynamic(&log);
        script.stop_takes(SECOND);
        let children = spec.handle();
        let root = start(tree(Strategy::OneForOne, 1, [ChildSpec::dynamic("pool", spec)])).await;
        let mut kids = Vec::new();
        for id in ["a", "b", "c"] {
            kids.push(children.start_child(id, String::new()).await.unwrap());
        }
        for kid in &kids {
            end(kid, how);
        }
        assert_eq!(root.shutdown().await, ExitReason::Shutdown);
        assert_eq!(
            log.events().iter().filter(|event| event.starts_with('+')).count(),
            3,
            "{how:?}"
        );
    }
}

pub async fn simple_one_for_one_shutdown() {
    let log = Log::default();
    let (spec, script) = dynamic(&log);
    script.stop_takes(3 * SECOND);
    let children = spec.handle();
    let root = start(tree(Strategy::OneForOne, 1, [ChildSpec::dynamic("pool", spec)])).await;
    for n in 0..50 {
        children.start_child(format!("k{n}"), String::new()).await.unwrap();
    }
    let before = Instant::now();
    root.shutdown().await;
    // All at once, not fifty times three seconds.
    assert!(
        before.elapsed() >= 3 * SECOND && before.elapsed() < 4 * SECOND,
        "{:?}",
        before.elapsed()
    );
    assert_eq!(log.events().iter().filter(|event| event.starts_with('-')).count(), 50);
}

pub async fn child_unlink() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let root = start(tree(Strategy::OneForOne, 1, [a.spec()])).await;
    a.at.cast(Order::Unlink).unwrap();
    settle().await;
    let before = Instant::now();
    root.terminate_child("a").await.unwrap();
    assert!(before.elapsed() < SECOND, "its end is seen although it is not told");
    assert_eq!(which(&root).await, "a:down");
    assert_eq!(log.events(), ["+a", "-a"]);
    root.restart_child("a").await.unwrap();
    a.at.cast(Order::Unlink).unwrap();
    settle().await;
    assert_eq!(root.shutdown().await, ExitReason::Shutdown);
    assert_eq!(log.events(), ["+a", "-a", "+a", "-a"]);
}

pub async fn order_of_children() {
    let log = Log::default();
    let kids: Vec<_> = ["a", "b", "c", "d", "e"].map(|id| Kid::new(id, &log)).into();
    let root = start(tree(Strategy::RestForOne, 2, kids.iter().map(Kid::spec))).await;
    assert_eq!(log.events(), ["+a", "+b", "+c", "+d", "+e"]);
    log.clear();
    kids[2].end(How::Panic).await;
    assert_eq!(log.events(), ["-e", "-d", "+c", "+d", "+e"]);
    assert_eq!(which(&root).await, "a#1 b#1 c#2 d#2 e#2");
    assert_eq!(count(&root).await, (5, 5, 0, 5));
    log.clear();
    root.shutdown().await;
    assert_eq!(log.events(), ["-e", "-d", "-c", "-b", "-a"]);
}
