//! One scripted run, killed at each of its commits: right before it and right after it.

use std::time::Duration;

use openclaw::runtime::crash_point::CrashPoint;
use serde_json::Value;

use crate::process::block_on;
use crate::support::daemon::{TestDaemon, TestHome};
use crate::support::wait::until_async;

use super::observe::{Submitted, answer_questions, finish, runs};
use super::scenario::{Scenario, asking_home, home};
use super::verdict::judge;

/// Longest time of one life.
const LIFE_MAX: Duration = Duration::from_secs(60);
/// More commits than the scripted run has when every batch is alone.
const COMMITS_MAX: u64 = 200;

const HEADERS: [(&str, &str); 1] = [("idempotency-key", "the same each time")];

/// The first life of a run, and the beginning of its second: whether it crashed, the ids that its client got, and the
/// daemon that nobody kills.
pub struct Lives {
    pub crashed: bool,
    pub answers: Vec<String>,
    pub daemon: TestDaemon,
}

/// Submits, and dies at this commit; it did not crash when the run ended before it came to that commit.
pub async fn crash_at(home: &TestHome, body: &Value, variable: &'static str, number: u64) -> Lives {
    let mut answers = Vec::new();
    let mut crashed = true;
    let text = number.to_string();
    let mut starting = home.spawn(&[(variable, text.as_str())]);
    // Not until it is ready: that question is a commit of its own.
    if let Ok(mut daemon) = starting.wait_listening() {
        let client = daemon.client();
        if let Ok((code, answer)) = client.post_with("/v1/runs", body, &HEADERS).await {
            assert_eq!(code, 202, "{answer}");
            answers.push(answer["id"].as_str().expect("an id").to_owned());
            crashed = until_async("the crash, or the run's end", LIFE_MAX, async || {
                if daemon.ended().is_some() {
                    return Ok(true);
                }
                // A person who agrees to everything, whenever somebody listens.
                answer_questions(&client, None).await.ok();
                match runs(&client, Some("active")).await {
                    Ok(open) if open.is_empty() => Ok(false),
                    Ok(open) => Err(format!("{open:?}")),
                    Err(_) => Ok(true),
                }
            })
            .await;
        }
        if crashed {
            let ended = daemon.wait_end(LIFE_MAX);
            assert!(!ended.success(), "{ended}");
        } else {
            daemon.kill();
        }
    }
    let daemon = home.start();
    // The client that lost its answer, or does not know that it has it, asks again.
    let again = daemon.client().post_with("/v1/runs", body, &HEADERS).await;
    let (code, answer) = again.expect("a daemon that nobody kills answers");
    assert_eq!(code, 202, "{answer}");
    answers.push(answer["id"].as_str().expect("an id").to_owned());
    Lives {
        crashed,
        answers,
        daemon,
    }
}

/// Crashes at each commit in turn, until the run ends before it comes to one. `live` says whether it crashed.
pub fn at_each_commit(live: impl Fn(u64) -> bool) {
    for number in 1..COMMITS_MAX {
        if !live(number) {
            // Acceptance, leases, intents, outcomes, the end: fewer would say that the crash point does not work.
            assert!(number > 10, "the run ended after {number} commits");
            return;
        }
    }
    panic!("the run does not end within {COMMITS_MAX} commits");
}

fn check(variable: &'static str, home: impl Fn() -> TestHome) {
    at_each_commit(|number| {
        block_on(async {
            let (home, scenario) = (home(), Scenario::scripted("scripted"));
            let lives = crash_at(&home, &scenario.body(&home), variable, number).await;
            let submitted = Submitted {
                scenario,
                answers: lives.answers,
            };
            let observed = finish(&home, lives.daemon, vec![submitted]).await;
            let findings = judge(&observed);
            assert!(findings.is_empty(), "{variable}={number}:\n{}", findings.join("\n"));
            lives.crashed
        })
    });
}

#[test]
fn a_kill_right_after_any_commit_of_a_run_loses_nothing_and_repeats_nothing() {
    check(CrashPoint::AFTER, home);
}

#[test]
fn a_kill_right_before_any_commit_of_a_run_loses_nothing_and_repeats_nothing() {
    check(CrashPoint::BEFORE, home);
}

#[test]
fn a_kill_right_after_any_commit_of_a_run_with_questions_loses_no_answer_and_makes_nothing_twice() {
    check(CrashPoint::AFTER, asking_home);
}

#[test]
fn a_kill_right_before_any_commit_of_a_run_with_questions_loses_no_answer_and_makes_nothing_twice() {
    check(CrashPoint::BEFORE, asking_home);
}
