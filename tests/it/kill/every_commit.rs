//! One scripted run, killed at each of its commits: right before it and right after it.

use std::time::Duration;

use openclaw::runtime::crash_point::CrashPoint;

use crate::process::block_on;
use crate::support::daemon::TestHome;
use crate::support::wait::until_async;

use super::observe::{Submitted, answer_questions, finish, runs};
use super::scenario::{Scenario, asking_home, home};
use super::verdict::judge;

/// Longest time of one life.
const LIFE_MAX: Duration = Duration::from_secs(60);
/// More commits than the scripted run has when every batch is alone.
const COMMITS_MAX: u64 = 200;

/// Lives through one crash at this commit; false when the run ended before it came to that commit.
async fn crashes(home: &TestHome, variable: &'static str, number: u64) -> bool {
    let scenario = Scenario::scripted("scripted");
    let headers = [("idempotency-key", "the same each time")];
    let body = scenario.body(home);
    let mut answers = Vec::new();
    let mut crashed = true;
    let text = number.to_string();
    let mut starting = home.spawn(&[(variable, text.as_str())]);
    // Not until it is ready: that question is a commit of its own.
    if let Ok(mut daemon) = starting.wait_listening() {
        let client = daemon.client();
        if let Ok((code, answer)) = client.post_with("/v1/runs", &body, &headers).await {
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
    let again = daemon.client().post_with("/v1/runs", &body, &headers).await;
    let (code, answer) = again.expect("a daemon that nobody kills answers");
    assert_eq!(code, 202, "{answer}");
    answers.push(answer["id"].as_str().expect("an id").to_owned());
    let submitted = vec![Submitted { scenario, answers }];
    let observed = finish(home, daemon, submitted).await;
    let findings = judge(&observed);
    assert!(findings.is_empty(), "{variable}={number}:\n{}", findings.join("\n"));
    crashed
}

fn check(variable: &'static str, home: impl Fn() -> TestHome) {
    for number in 1..COMMITS_MAX {
        if !block_on(crashes(&home(), variable, number)) {
            // Acceptance, leases, intents, outcomes, the end: fewer would say that the crash point does not work.
            assert!(number > 10, "the run ended after {number} commits");
            return;
        }
    }
    panic!("the scripted run does not end within {COMMITS_MAX} commits");
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
