//! Programs that serve: both revisions, and every way in which one can misbehave.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openclaw::domain::effect::{EffectClass, EffectKey};
use openclaw::domain::fault::Fault;
use openclaw::domain::limits::RESULT_BYTES_MAX;
use openclaw::skills::mcp::memo::Memo;
use openclaw::skills::skill::SkillError;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::stage::{LONG, Stage, program, recalled};
use crate::process::{alive, block_on, sleeping};
use crate::sandbox::ground::skipped;
use crate::support::wait::until_async;

const HANDSHAKE: &str = "2025-11-25";
const STATELESS: &str = "2026-07-28";
/// A deadline that is meant to pass.
const SHORT: Duration = Duration::from_millis(700);

fn text(end: Result<openclaw::skills::skill::CallEnd, SkillError>) -> (bool, String) {
    let outcome = end.expect("an end").outcome;
    (outcome.is_error, outcome.content.to_string())
}

#[test]
fn tools_of_both_revisions_are_skills_that_can_be_called() {
    for revision in [HANDSHAKE, STATELESS] {
        block_on(async {
            let stage = Stage::start(|folder| vec![program("files", revision, "", folder)]).await;
            stage.until(0, "ready").await;
            assert_eq!(stage.skills(), ["mcp.files.act", "mcp.files.echo", "mcp.files.look_at"]);
            let classes: Vec<EffectClass> = stage
                .catalogue
                .load()
                .manifests()
                .map(|manifest| manifest.class)
                .collect();
            assert_eq!(classes, [EffectClass::Once, EffectClass::Once, EffectClass::Read]);
            let report = stage.call("mcp.files.echo", json!({"text": "ä"})).await;
            assert_eq!(text(report), (false, "ä".to_owned()), "{revision}");
            let calls = stage.lines("calls");
            let key = calls[0].strip_prefix("echo ").expect("the name of the tool");
            assert!(
                uuid::Uuid::parse_str(key).is_ok(),
                "the key of the effect goes with it: {calls:?}"
            );
            let (_, env) = text(stage.call("mcp.files.act", json!({"how": "env"})).await);
            let env: serde_json::Value = serde_json::from_str(&env).expect("JSON");
            assert_eq!(env["HOME"], json!(null), "nothing of the daemon's environment: {env}");
            assert!(stage.shared[0].last_words().contains(revision));
            let memo = Memo::new(&stage.folder().join("memo"));
            let known = recalled(program("files", revision, "", stage.folder()), &memo);
            assert_eq!(known, stage.skills(), "the next life knows them before the server runs");
            stage.stop().await;
        });
    }
}

#[test]
fn the_catalogue_follows_a_list_that_changes() {
    for revision in [HANDSHAKE, STATELESS] {
        block_on(async {
            let stage = Stage::start(|folder| vec![program("s", revision, "", folder)]).await;
            stage.until(0, "ready").await;
            // A subscription that is not there yet hears nothing, so the change is made until it is heard.
            until_async("the new tool", LONG, async || {
                if stage.skills().contains(&"mcp.s.added".to_owned()) {
                    return Ok(());
                }
                if !stage.lines("calls").iter().any(|line| line.starts_with("act")) {
                    assert_eq!(
                        text(stage.call("mcp.s.act", json!({"how": "change"})).await).1,
                        "changed"
                    );
                }
                Err(stage.skills())
            })
            .await;
            assert!(
                !stage.skills().contains(&"mcp.s.look_at".to_owned()),
                "the old one is gone"
            );
            assert_eq!(text(stage.call("mcp.s.added", json!({})).await).1, "added");
            stage.stop().await;
        });
    }
}

#[test]
fn a_server_that_is_busy_after_its_list_changed_is_left_to_its_call_and_asked_again() {
    block_on(async {
        let stage = Stage::start(|folder| {
            let mut server = program("s", HANDSHAKE, "", folder);
            server.start_timeout = Duration::from_secs(3);
            vec![server]
        })
        .await;
        stage.until(0, "ready").await;
        let lives = stage.shared[0].lives();
        // Longer than it may take to tell its tools.
        let busy = stage.call("mcp.s.act", json!({"how": "busy", "seconds": 5})).await;
        assert_eq!(text(busy), (false, "done".to_owned()));
        until_async("the new tool", LONG, async || {
            let seen = stage.skills();
            if seen.contains(&"mcp.s.added".to_owned()) {
                Ok(())
            } else {
                Err(seen)
            }
        })
        .await;
        assert_eq!(stage.shared[0].lives(), lives, "it is the same life");
        stage.stop().await;
    });
}

#[test]
fn what_a_server_answers_becomes_the_right_outcome() {
    block_on(async {
        let stage = Stage::start(|folder| vec![program("s", HANDSHAKE, "", folder)]).await;
        stage.until(0, "ready").await;
        let call = |how: &'static str| stage.call("mcp.s.act", json!({"how": how}));
        assert_eq!(
            text(call("refuse").await),
            (true, "the server refused: not so".to_owned())
        );
        assert_eq!(text(call("fail").await), (true, "it did not work".to_owned()));
        let (is_error, large) = text(call("large").await);
        assert!(
            !is_error && large.len() <= RESULT_BYTES_MAX && large.contains("[cut]"),
            "{}",
            large.len()
        );
        assert_eq!(text(call("progress").await).1, "done");
        until_async("notes of progress", LONG, async || {
            let seen = stage.shared[0].progress.load(Ordering::Relaxed);
            if seen == 3 { Ok(()) } else { Err(seen) }
        })
        .await;
        // What is larger than a message may be, or no message at all, is no answer.
        for how in ["huge", "garbage"] {
            let late = stage
                .call_within("mcp.s.act", json!({"how": how}), Duration::from_secs(3))
                .await;
            assert!(matches!(late, Err(SkillError::TimedOut { .. })), "{how}: {late:?}");
        }
        assert_eq!(
            text(stage.call("mcp.s.echo", json!({"text": "still there"})).await).1,
            "still there"
        );
        assert_eq!(stage.shared[0].lives(), 1);
        stage.stop().await;
    });
}

#[test]
fn a_call_that_is_late_or_dropped_is_cancelled_with_the_server_too() {
    block_on(async {
        let stage = Stage::start(|folder| vec![program("s", HANDSHAKE, "", folder)]).await;
        stage.until(0, "ready").await;
        let cancelled = |count: usize| {
            let stage = &stage;
            async move {
                until_async("the cancellation", LONG, async || {
                    let seen = stage.lines("cancelled");
                    if seen.len() == count { Ok(()) } else { Err(seen) }
                })
                .await;
            }
        };
        let late = stage.call_within("mcp.s.act", json!({"how": "hang"}), SHORT).await;
        assert_eq!(late.expect_err("late").fault(), Fault::TimedOut);
        cancelled(1).await;
        let hanging = stage.call("mcp.s.act", json!({"how": "hang"}));
        assert!(tokio::time::timeout(SHORT, hanging).await.is_err());
        cancelled(2).await;
        assert_eq!(text(stage.call("mcp.s.echo", json!({"text": "x"})).await).1, "x");
        stage.stop().await;
    });
}

#[test]
fn a_server_that_dies_in_a_call_ends_that_call_as_unknown_and_is_started_again() {
    block_on(async {
        let stage = Stage::start(|folder| {
            vec![
                program("one", HANDSHAKE, "", folder),
                program("two", STATELESS, "", folder),
            ]
        })
        .await;
        stage.until(0, "ready").await;
        stage.until(1, "ready").await;
        let mut hanging = Box::pin(stage.call_within("mcp.two.act", json!({"how": "hang"}), LONG));
        for how in ["die", "flood"] {
            let lives = stage.shared[0].lives();
            let dying = stage.call("mcp.one.act", json!({"how": how}));
            let lost = tokio::select! {
                lost = dying => lost.expect_err("lost"),
                other = &mut hanging => panic!("the other server's call is untouched: {other:?}"),
            };
            assert!(
                matches!(lost, SkillError::ServerLost { .. }) && !lost.nothing_happened(),
                "{how}: {lost}"
            );
            // The next call waits for the next life.
            assert_eq!(text(stage.call("mcp.one.echo", json!({"text": how})).await).1, how);
            assert_eq!(stage.shared[0].lives(), lives + 1);
        }
        assert_eq!(stage.shared[1].lives(), 1);
        drop(hanging);
        stage.stop().await;
    });
}

#[test]
fn a_server_that_never_comes_up_stays_down_with_a_reason_and_others_go_on() {
    block_on(async {
        let stage = Stage::start(|folder| {
            vec![
                program("good", HANDSHAKE, "", folder),
                program("bad", HANDSHAKE, "crash", folder),
            ]
        })
        .await;
        let memo = Memo::new(&stage.folder().join("memo"));
        stage.until(0, "ready").await;
        // The tools that it had in an earlier life are still named.
        let earlier = memo.read(&stage.shared[0].config.name);
        stage.shared[1].set_tools(earlier);
        openclaw::skills::mcp::server::publish(&stage.catalogue, &stage.shared[1]);
        stage.until(1, "gave_up").await;
        let refused = stage
            .call("mcp.bad.echo", json!({"text": "x"}))
            .await
            .expect_err("down");
        assert!(
            refused.nothing_happened() && refused.fault() == Fault::Unavailable,
            "{refused}"
        );
        assert!(
            refused.to_string().contains("exit code 3") && refused.to_string().contains("no licence"),
            "{refused}"
        );
        assert_eq!(stage.lines("starts").len(), 1 + 6, "five restarts and no more");
        assert_eq!(text(stage.call("mcp.good.echo", json!({"text": "x"})).await).1, "x");
        stage.stop().await;
    });
}

#[test]
fn a_server_that_says_nothing_or_nonsense_is_late_and_its_calls_were_never_made() {
    block_on(async {
        let stage = Stage::start(|folder| {
            let quick = |name: &str, how: &str| {
                let mut server = program(name, HANDSHAKE, how, folder);
                server.start_timeout = SHORT;
                server
            };
            vec![quick("mute", "mute"), quick("noise", "noise")]
        })
        .await;
        for server in 0..2 {
            stage.until(server, "failed").await;
            let reason = stage.shared[server].state().reason().map(str::to_owned);
            assert!(
                reason.as_ref().is_some_and(|reason| reason.contains("within 700 ms")),
                "{reason:?}"
            );
        }
        stage.stop().await;
    });
}

/// Waits until a server has left a process beside itself.
async fn two_of(key: EffectKey) -> Vec<u32> {
    until_async("the server and what it left beside itself", LONG, async || {
        let seen = alive(key);
        if seen.len() >= 2 { Ok(seen) } else { Err(seen) }
    })
    .await
}

#[test]
fn nothing_of_a_server_outlives_its_stop_its_keeper_or_its_own_death() {
    block_on(async {
        let stage = Stage::start(|folder| {
            vec![
                program("meek", HANDSHAKE, "", folder),
                program("stubborn", HANDSHAKE, "stubborn", folder),
            ]
        })
        .await;
        stage.until(0, "ready").await;
        stage.until(1, "ready").await;
        let key = stage.key(0);
        assert_eq!(
            text(stage.call("mcp.meek.act", json!({"how": "child"})).await).1,
            "born"
        );
        let before = two_of(key).await;
        // The server dies and leaves a process in a session of its own.
        let lost = stage.call("mcp.meek.act", json!({"how": "die"})).await;
        assert!(lost.is_err(), "{lost:?}");
        assert_eq!(text(stage.call("mcp.meek.echo", json!({"text": "x"})).await).1, "x");
        assert!(
            before.iter().all(|pid| !alive(key).contains(pid)),
            "nothing of the first life is left"
        );
        // The keeper is killed: the kernel kills the server, and the next life what that left.
        assert_eq!(
            text(stage.call("mcp.meek.act", json!({"how": "child"})).await).1,
            "born"
        );
        let before = two_of(key).await;
        let server: u32 = stage
            .lines("starts")
            .last()
            .expect("a start")
            .parse()
            .expect("a number");
        let stat = std::fs::read_to_string(format!("/proc/{server}/stat")).expect("it runs");
        let keeper = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        let keeper = keeper.and_then(Pid::from_raw).expect("a parent");
        let lives = stage.shared[0].lives();
        kill_process(keeper, Signal::KILL).expect("killed");
        until_async("the next life", LONG, async || {
            let seen = stage.shared[0].lives();
            if seen > lives { Ok(()) } else { Err(seen) }
        })
        .await;
        assert!(
            before.iter().all(|pid| !alive(key).contains(pid)),
            "nothing of the second life is left"
        );
        stage.stop().await;
    });
}

#[test]
fn a_server_that_ends_at_a_question_it_does_not_know_is_spoken_to_by_the_handshake() {
    block_on(async {
        let stage = Stage::start(|folder| vec![program("strict", HANDSHAKE, "strict", folder)]).await;
        stage.until(0, "ready").await;
        assert_eq!(stage.lines("starts").len(), 2, "one life to find it out");
        let lost = stage.call("mcp.strict.act", json!({"how": "die"})).await;
        assert!(lost.is_err(), "{lost:?}");
        assert_eq!(text(stage.call("mcp.strict.echo", json!({"text": "x"})).await).1, "x");
        assert_eq!(stage.lines("starts").len(), 3, "it is not asked again");
        stage.stop().await;
    });
}

#[test]
fn what_a_server_left_under_no_name_of_ours_goes_with_its_keeper_and_hinders_no_next_life() {
    block_on(async {
        let stage = Stage::start(|folder| vec![program("meek", HANDSHAKE, "", folder)]).await;
        stage.until(0, "ready").await;
        if stage.runner.sandbox().await.cgroup.is_none() {
            skipped("SKIPPED: without control groups the keeper alone knows what a server started");
            return stage.stop().await;
        }
        let seconds = format!("6{}", fastrand::u32(10_000_000..99_999_999));
        let born = stage
            .call("mcp.meek.act", json!({"how": "stranger", "for": seconds}))
            .await;
        assert_eq!(text(born).1, "born");
        until_async("the stranger", LONG, async || {
            let seen = sleeping(&seconds);
            if seen.len() == 1 { Ok(()) } else { Err(seen) }
        })
        .await;
        let server = stage.lines("starts").last().cloned().expect("a start");
        let stat = std::fs::read_to_string(format!("/proc/{server}/stat")).expect("it runs");
        let keeper = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        kill_process(keeper.and_then(Pid::from_raw).expect("a parent"), Signal::KILL).expect("killed");
        until_async("the next life", LONG, async || {
            let seen = stage.shared[0].lives();
            if seen == 2 {
                Ok(())
            } else {
                Err((seen, stage.shared[0].state().reason().map(str::to_owned)))
            }
        })
        .await;
        assert_eq!(
            sleeping(&seconds),
            Vec::<u32>::new(),
            "the stranger is gone before the next life"
        );
        assert_eq!(stage.lines("starts").len(), 2, "no start was in vain");
        stage.stop().await;
    });
}
