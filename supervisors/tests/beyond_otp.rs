//! What goes beyond OTP, in paused time: deadlines, backoff, addresses, requests that wait, reports.

#![expect(clippy::disallowed_methods, reason = "cases stand for callers outside of the tree")]
#![allow(clippy::unwrap_used, reason = "a test stops where its assumption fails")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use ractor::SupervisionEvent;
use supervisors::{
    ApiError, AutoShutdown, Backoff, CallError, ChildSpec, ChildStatus, ExitReason, Fact, Restart, Shutdown,
    SnapshotStrategy, StartError, Strategy, Supervisor,
};
use support::{How, Kid, Log, Order, StartPlan, count, dynamic, end, gave_up, settle, start, tree, which};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_start_over_its_deadline_fails_and_holds_up_nobody() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree(Strategy::OneForOne, 9, [])).await;
    a.starts([StartPlan::Hang]);
    let before = Instant::now();
    let starting = tokio::spawn({
        let (root, spec) = (root.clone(), a.spec().start_deadline(3 * SECOND));
        async move { root.start_child(spec).await }
    });
    settle().await;
    assert_eq!(which(&root).await, "a:starting");
    root.start_child(b.spec()).await.unwrap();
    assert!(before.elapsed() < SECOND, "the other start did not wait");
    let error = starting.await.unwrap().unwrap_err();
    assert!(
        matches!(error, ApiError::Start(StartError::DeadlineExceeded(after)) if after == 3 * SECOND),
        "{error:?}"
    );
    assert_eq!(before.elapsed().as_secs(), 3);
    assert_eq!(which(&root).await, "b#1");
}

#[tokio::test(start_paused = true)]
async fn a_restart_over_its_deadline_is_tried_again() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let root = start(tree(Strategy::OneForAll, 9, [a.spec().start_deadline(SECOND)])).await;
    a.starts([StartPlan::Hang, StartPlan::Hang]);
    a.end(How::Panic).await;
    assert_eq!(which(&root).await, "a:starting");
    tokio::time::advance(3 * SECOND).await;
    settle().await;
    tokio::time::advance(3 * SECOND).await;
    settle().await;
    assert_eq!(which(&root).await, "a#4");
}

#[tokio::test(start_paused = true)]
async fn a_tree_whose_start_hangs_unwinds_at_the_deadline() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    b.starts([StartPlan::Hang]);
    let spec = tree(Strategy::OneForOne, 9, [a.spec(), b.spec().start_deadline(SECOND)]);
    let error = Supervisor::start("sup", spec).await.unwrap_err();
    assert!(matches!(error.root_cause(), StartError::DeadlineExceeded(_)));
    assert_eq!(log.events(), ["+a", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_overtakes_a_start_that_hangs() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let root = start(tree(strategy, 9, [b.spec(), a.spec().start_deadline(None)])).await;
        a.starts([StartPlan::Hang]);
        a.end(How::Panic).await;
        let before = Instant::now();
        assert_eq!(root.shutdown().await, ExitReason::Shutdown);
        assert!(before.elapsed() < SECOND, "{strategy:?}");
        assert!(!b.at.is_up());
    }
}

#[tokio::test(start_paused = true)]
async fn terminating_a_child_cancels_its_start() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let root = start(tree(Strategy::OneForOne, 9, [a.spec().start_deadline(20 * SECOND)])).await;
    a.starts([StartPlan::Hang]);
    a.end(How::Panic).await;
    // The request waits for the child to come through; its deadline is what bounds that.
    let before = Instant::now();
    root.terminate_child("a").await.unwrap();
    assert!(before.elapsed() <= 21 * SECOND);
    assert_eq!(which(&root).await, "a:down");
}

#[tokio::test(start_paused = true)]
async fn the_first_restart_is_immediate_the_next_ones_wait_and_health_resets_that() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let delays = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let delays = Arc::clone(&delays);
        Arc::new(move |report: &supervisors::Report| {
            if let Fact::Restarting { attempt, delay } = report.fact {
                delays.lock().unwrap().push((attempt, delay));
            }
        })
    };
    let backoff = Backoff::jitter(SECOND, 8 * SECOND);
    let spec = tree(Strategy::OneForOne, 100, [a.spec().backoff(backoff)])
        .report_to(sink)
        .seed(11);
    let root = start(spec).await;
    for round in 0..6 {
        a.send_end(How::Panic);
        support::eventually(|| a.at.is_up() && a.at.incarnation() == round + 2).await;
    }
    let seen = std::mem::take(&mut *delays.lock().unwrap());
    let attempts: Vec<_> = seen.iter().map(|(attempt, _)| *attempt).collect();
    assert_eq!(attempts, [0, 1, 2, 3, 4, 5]);
    assert_eq!(seen[0].1, Duration::ZERO);
    for ((_, delay), bound) in seen[1..].iter().zip([1, 2, 4, 8, 8]) {
        assert!(*delay > Duration::ZERO && *delay <= bound * SECOND, "{seen:?}");
    }
    tokio::time::advance(backoff.healthy_after).await;
    a.end(How::Panic).await;
    assert_eq!(*delays.lock().unwrap(), [(0, Duration::ZERO)]);
    root.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn requests_and_shutdown_are_served_while_a_child_waits_for_its_restart() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let backoff = Backoff::jitter(1000 * SECOND, 1000 * SECOND);
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        log.clear();
        let root = start(tree(strategy, 100, [a.spec().backoff(backoff), b.spec()]).seed(5)).await;
        a.end(How::Panic).await;
        a.end(How::Panic).await;
        let expected = if strategy == Strategy::OneForOne {
            "b#"
        } else {
            "b:down"
        };
        let line = which(&root).await;
        assert!(
            line.starts_with("a:restarting ") && line.contains(expected),
            "{strategy:?} {line}"
        );
        assert!(matches!(root.restart_child("a").await, Err(ApiError::Restarting(_))));
        let before = Instant::now();
        root.shutdown().await;
        assert!(before.elapsed() < SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cast_to_a_child_that_is_down_gives_the_message_back() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let error = a.at.cast(Order::End(How::Panic)).unwrap_err();
    assert!(matches!(error.message, Some(Order::End(How::Panic))));
    let root = start(tree(Strategy::OneForOne, 9, [a.spec()])).await;
    assert_eq!(a.at.call(Order::Ping, SECOND).await, Ok(1));
    root.terminate_child("a").await.unwrap();
    assert_eq!(a.at.call(Order::Ping, SECOND).await, Err(CallError::Down("a".into())));
    assert_eq!((a.at.incarnation(), a.at.is_up()), (1, false));
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_with_its_child_or_with_its_time() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let _root = start(tree(Strategy::OneForOne, 9, [a.spec()])).await;
    let kept = Arc::new(Mutex::new(None));
    let answer = {
        let kept = Arc::clone(&kept);
        a.at.call(
            move |reply: ractor::RpcReplyPort<u64>| {
                *kept.lock().unwrap() = Some(reply);
                Order::End(How::Panic)
            },
            3 * SECOND,
        )
    };
    assert!(matches!(answer.await, Err(CallError::TimedOut { after, .. }) if after == 3 * SECOND));
    let answer =
        a.at.call(
            |reply: ractor::RpcReplyPort<u64>| {
                drop(reply);
                Order::Unlink
            },
            SECOND,
        )
        .await;
    assert_eq!(answer, Err(CallError::Unanswered("a".into())));
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_a_group_restart_and_are_answered_in_order() {
    let log = Log::default();
    let (a, b, c) = (Kid::new("a", &log), Kid::new("b", &log), Kid::new("c", &log));
    b.stop_takes(3 * SECOND);
    let root = start(tree(Strategy::OneForAll, 9, [a.spec(), b.spec()])).await;
    a.end(How::Panic).await;
    assert_eq!(which(&root).await, "a:down b:stopping");
    let before = Instant::now();
    root.start_child(c.spec()).await.unwrap();
    assert!(before.elapsed() >= 2 * SECOND);
    assert_eq!(which(&root).await, "a#2 b#2 c#1");
    // Two requests for the same child that is just stopping.
    let (first, second) = tokio::join!(root.terminate_child("b"), root.restart_child("b"));
    first.unwrap();
    second.unwrap();
    assert_eq!(which(&root).await, "a#2 b#3 c#1");
}

#[tokio::test(start_paused = true)]
async fn a_sibling_that_ends_during_a_group_restart_is_judged_after_it() {
    let log = Log::default();
    let (a, b, c) = (Kid::new("a", &log), Kid::new("b", &log), Kid::new("c", &log));
    c.stop_takes(3 * SECOND);
    let root = start(tree(Strategy::RestForOne, 9, [a.spec(), b.spec(), c.spec()])).await;
    b.end(How::Panic).await;
    assert_eq!(which(&root).await, "a#1 b:down c:stopping");
    a.end(How::Panic).await;
    assert_eq!(which(&root).await, "a:restarting b:down c:stopping");
    tokio::time::advance(4 * SECOND).await;
    settle().await;
    tokio::time::advance(4 * SECOND).await;
    settle().await;
    assert_eq!(which(&root).await, "a#2 b#3 c#3");
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_that_ends_during_a_group_restart_is_gone_too() {
    let log = Log::default();
    let (a, b, c) = (Kid::new("a", &log), Kid::new("b", &log), Kid::new("c", &log));
    c.stop_takes(3 * SECOND);
    let root = start(tree(
        Strategy::OneForAll,
        9,
        [a.spec(), b.spec().restart(Restart::Temporary), c.spec()],
    ))
    .await;
    a.end(How::Panic).await;
    assert_eq!(which(&root).await, "a:down b#1 c:stopping");
    b.end(How::Normal).await;
    tokio::time::advance(4 * SECOND).await;
    settle().await;
    assert_eq!(which(&root).await, "a#2 c#2");
}

#[tokio::test(start_paused = true)]
async fn two_thousand_children_start_and_restart_on_one_stack() {
    let log = Log::default();
    let kids: Vec<_> = (0..2_000).map(|n| Kid::new(&n.to_string(), &log)).collect();
    let root = start(tree(Strategy::OneForAll, 9, kids.iter().map(Kid::spec))).await;
    kids[1_000].end(How::Panic).await;
    assert!(kids.iter().all(|kid| kid.at.incarnation() == 2 && kid.at.is_up()));
    root.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_forged_event_restarts_nobody() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let root = start(tree(Strategy::OneForOne, 9, [a.spec()])).await;
    let cell = a.at.get().unwrap().get_cell();
    cell.notify_supervisor(SupervisionEvent::ActorTerminated(
        cell.clone(),
        None,
        Some("killed".into()),
    ));
    cell.notify_supervisor(SupervisionEvent::ActorFailed(cell.clone(), "forged".into()));
    settle().await;
    assert_eq!(which(&root).await, "a#1");
    assert_eq!(a.at.call(Order::Ping, SECOND).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_the_supervisor_did_not_start_is_none_of_its_business() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let root = start(tree(Strategy::OneForOne, 0, [a.spec()])).await;
    let stranger = Kid::new("stranger", &log);
    let other = start(tree(Strategy::OneForOne, 0, [stranger.spec()])).await;
    let cell = stranger.at.get().unwrap().get_cell();
    cell.link(root.cell().unwrap());
    cell.kill();
    settle().await;
    assert_eq!(which(&root).await, "a#1");
    other.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_panics_costs_no_supervisor() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let spec = tree(Strategy::OneForOne, 9, [a.spec()]).report_to(Arc::new(|_| panic!("sink")));
    let root = start(spec).await;
    a.end(How::Panic).await;
    assert_eq!(which(&root).await, "a#2");
}

#[tokio::test(start_paused = true)]
async fn reports_tell_the_whole_story_of_a_supervisor_that_gives_up() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree(Strategy::OneForOne, 1, [a.spec(), b.spec()]).report_to(log.sink())).await;
    a.starts([StartPlan::Fail]);
    a.end(How::Panic).await;
    assert!(gave_up(&root));
    assert_eq!(
        log.facts(),
        [
            "a started",
            "b started",
            "a exited",
            "a restarting",
            "a start_failed",
            "a restarting",
            "a gave_up",
            "b exited"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_the_whole_tree() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let (pool, _) = dynamic(&log);
    let children = pool.handle();
    let inner = tree(Strategy::RestForOne, 9, [b.spec(), ChildSpec::dynamic("pool", pool)]);
    let root = start(tree(
        Strategy::OneForAll,
        9,
        [a.spec(), ChildSpec::supervisor("inner", inner)],
    ))
    .await;
    children.start_child("x", String::new()).await.unwrap();
    tokio::time::advance(10 * SECOND).await;
    b.end(How::Panic).await;
    let snapshot = root.snapshot().await.unwrap();
    let lines: Vec<_> = snapshot
        .walk()
        .into_iter()
        .map(|line| {
            let strategy = line.strategy.map_or("", SnapshotStrategy::as_str);
            let uptime = line.uptime.map(|time| time.as_secs());
            (
                line.path.as_str(),
                strategy,
                line.status.as_str(),
                line.incarnation,
                line.restarts,
                uptime,
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("sup", "one_for_all", "running", 1, 0, Some(10)),
            ("sup/a", "", "running", 1, 0, Some(10)),
            ("sup/inner", "rest_for_one", "running", 1, 0, Some(10)),
            ("sup/inner/b", "", "running", 2, 1, Some(0)),
            ("sup/inner/pool", "simple_one_for_one", "running", 2, 1, Some(0)),
        ]
    );
    assert!(snapshot.walk().iter().all(|line| line.answered));
}

#[tokio::test(start_paused = true)]
async fn an_update_that_is_waiting_applies_when_its_turn_comes() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    b.stop_takes(2 * SECOND);
    let root = start(tree(Strategy::OneForAll, 9, [a.spec(), b.spec()])).await;
    a.end(How::Panic).await;
    root.update(None, Some(vec![b.spec().shutdown(Shutdown::Brutal), a.spec()]))
        .await
        .unwrap();
    assert_eq!(which(&root).await, "b#2 a#2");
}

#[tokio::test(start_paused = true)]
async fn a_handle_of_a_nested_supervisor_outlives_its_restarts() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let inner = tree(Strategy::OneForOne, 0, [a.spec()]);
    let handle = inner.handle();
    let root = start(tree(
        Strategy::OneForOne,
        9,
        [ChildSpec::supervisor("inner", inner).backoff(Backoff::none())],
    ))
    .await;
    for round in 1..4 {
        assert_eq!((handle.incarnation(), a.at.incarnation()), (round, round));
        let ended = handle.wait();
        a.end(How::Panic).await;
        assert_eq!(
            ended.await,
            ExitReason::ShutdownWith("restart intensity reached".into())
        );
        assert_eq!(count(&handle).await, (1, 1, 0, 1));
    }
    assert_eq!(root.shutdown().await, ExitReason::Shutdown);
    assert_eq!(handle.last_exit(), Some(ExitReason::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn a_killed_supervisor_is_restarted_after_its_children_have_ended() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let inner = tree(Strategy::OneForAll, 9, [a.spec(), b.spec()]);
    let handle = inner.handle();
    let root = start(tree(
        Strategy::OneForOne,
        9,
        [ChildSpec::supervisor("inner", inner).backoff(Backoff::none())],
    ))
    .await;
    // At rest, and in the middle of a group restart.
    handle.cell().unwrap().kill();
    settle().await;
    assert_eq!(
        (which(&root).await, which(&handle).await),
        ("inner#2".into(), "a#2 b#2".into())
    );
    b.stop_takes(60 * SECOND);
    a.end(How::Panic).await;
    assert_eq!(which(&handle).await, "a:down b:stopping");
    handle.cell().unwrap().kill();
    settle().await;
    assert_eq!(
        (which(&root).await, which(&handle).await),
        ("inner#3".into(), "a#3 b#3".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_thousand_crashing_children_leave_their_siblings_alone() {
    let log = Log::default();
    let (spec, _) = dynamic(&log);
    let children = spec.handle();
    let pool = ChildSpec::dynamic("pool", spec.intensity(1000, SECOND));
    let calm = Kid::new("calm", &log);
    let root = start(tree(Strategy::OneForOne, 9, [pool, calm.spec()])).await;
    let mut kids = Vec::new();
    for n in 0..1000 {
        kids.push(children.start_child(n.to_string(), String::new()).await.unwrap());
    }
    for kid in &kids {
        end(kid, How::Panic);
    }
    assert_eq!(calm.at.call(Order::Ping, SECOND).await, Ok(1));
    settle().await;
    assert!(kids.iter().all(|kid| kid.is_up() && kid.incarnation() == 2));
    assert_eq!(which(&root).await, "pool#1 calm#1");
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_child_that_exists_is_found_again() {
    let (spec, _) = dynamic(&Log::default());
    let children = spec.handle();
    let _root = start(tree(Strategy::OneForOne, 9, [ChildSpec::dynamic("pool", spec)])).await;
    let (one, two) = tokio::join!(
        children.start_or_get("a", String::new()),
        children.start_or_get("a", String::new())
    );
    assert_eq!(one.unwrap().get(), two.unwrap().get());
    assert_eq!(children.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn children_of_all_statuses_are_told_apart() {
    let log = Log::default();
    let kids = ["a", "b", "c", "d"].map(|id| Kid::new(id, &log));
    let backoff = Backoff::jitter(1000 * SECOND, 1000 * SECOND);
    let specs = [
        kids[0].spec(),
        kids[1].spec().restart(Restart::Transient),
        kids[2].spec().backoff(backoff),
        kids[3].spec().start_deadline(None),
    ];
    let root = start(tree(Strategy::OneForOne, 99, specs).seed(1)).await;
    kids[1].end(How::Normal).await;
    kids[2].end(How::Panic).await;
    kids[2].end(How::Panic).await;
    kids[3].starts([StartPlan::Hang]);
    kids[3].end(How::Panic).await;
    let statuses: Vec<_> = root
        .which_children()
        .await
        .unwrap()
        .iter()
        .map(|child| child.status)
        .collect();
    assert_eq!(
        statuses,
        [
            ChildStatus::Running,
            ChildStatus::Down,
            ChildStatus::Restarting,
            ChildStatus::Starting
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn kills_count_for_nothing_where_they_are_forgiven_and_crashes_still_do() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let forgiving = tree(Strategy::OneForOne, 1, [a.spec()]).forgive_kills();
    let root = start(forgiving).await;
    for _ in 0..20 {
        a.end(How::Kill).await;
    }
    assert_eq!(which(&root).await, "a#21");
    a.end(How::Panic).await;
    assert_eq!(which(&root).await, "a#22", "the first crash is bearable");
    a.end(How::Panic).await;
    settle().await;
    assert!(root.which_children().await.is_err(), "the second is not");
}

#[tokio::test(start_paused = true)]
async fn a_kill_is_a_restart_as_any_other_where_nothing_is_said() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let root = start(tree(Strategy::OneForOne, 1, [a.spec()])).await;
    a.end(How::Kill).await;
    a.end(How::Kill).await;
    settle().await;
    assert!(root.which_children().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_ends_with_a_killed_child_is_forgiven_too() {
    let log = Log::default();
    let a = Kid::new("a", &log);
    let significant = a.spec().restart(Restart::Temporary).significant(true);
    let inner = tree(Strategy::OneForOne, 1, [significant])
        .auto_shutdown(AutoShutdown::AnySignificant)
        .forgive_kills();
    let handle = inner.handle();
    let outer = [ChildSpec::supervisor("inner", inner).backoff(Backoff::none())];
    let root = start(tree(Strategy::OneForOne, 1, outer).forgive_kills()).await;
    for round in 1..6 {
        assert_eq!(handle.incarnation(), round);
        let ended = handle.wait();
        a.end(How::Kill).await;
        ended.await;
        settle().await;
    }
    for _ in 0..2 {
        let ended = handle.wait();
        a.end(How::Panic).await;
        ended.await;
        settle().await;
    }
    assert!(root.which_children().await.is_err(), "crashes count as ever");
}

#[tokio::test(start_paused = true)]
async fn a_child_apart_is_passed_by_by_group_restarts_and_takes_nobody_along() {
    let log = Log::default();
    let (a, b, c) = (Kid::new("a", &log), Kid::new("b", &log), Kid::new("c", &log));
    let root = start(tree(Strategy::RestForOne, 9, [a.spec(), b.spec().apart(), c.spec()])).await;
    a.end(How::Panic).await;
    assert_eq!(which(&root).await, "a#2 b#1 c#2");
    b.end(How::Panic).await;
    assert_eq!(which(&root).await, "a#2 b#2 c#2");
    log.clear();
    root.shutdown().await;
    let stopped: Vec<String> = log
        .events()
        .iter()
        .map(|event| event.chars().filter(|c| "abc".contains(*c)).collect())
        .collect();
    assert_eq!(stopped.concat(), "cba", "{:?}", log.events());
}

#[tokio::test(start_paused = true)]
async fn a_child_apart_comes_back_while_the_restart_of_others_takes_its_time() {
    let log = Log::default();
    let (a, b) = (Kid::new("a", &log), Kid::new("b", &log));
    let root = start(tree(Strategy::OneForAll, 9, [a.spec(), b.spec().apart()])).await;
    a.starts([StartPlan::Hang]);
    a.end(How::Panic).await;
    b.end(How::Panic).await;
    assert_eq!(which(&root).await, "a:starting b#2");
}
