//! A run that somebody cancels, killed right before each of its commits.

use std::time::Duration;

use openclaw::runtime::crash_point::CrashPoint;
use serde_json::json;

use crate::process::block_on;
use crate::support::daemon::TestHome;
use crate::support::rim::{Rim, of_kind};
use crate::support::wait::until_async;

const WAIT_MAX: Duration = Duration::from_secs(60);
/// More commits than there are before the wish is on disk.
const COMMITS_MAX: u64 = 60;
/// Lives in which the cancelled run was killed after the answer, or was not killed at all.
const ANSWERED: usize = 2;

/// One life that dies before this commit; whether the client was told that the run is cancelled.
fn is_kept(number: u64) -> bool {
    let home = TestHome::new("[log]\nlevel = \"warn\"\n[skills.commands.stuck]\nargv = [\"sleep\", \"600\"]\n");
    let body = json!({ "task": "stuck", "workspace": home.workspace(), "plan": { "steps": [
        { "id": "a", "skill": "stuck", "retries": 0 },
    ] } });
    let number = number.to_string();
    let told = block_on(async {
        let mut starting = home.spawn(&[(CrashPoint::BEFORE, number.as_str())]);
        let daemon = starting.wait_listening().ok()?;
        let client = daemon.client();
        let (code, answer) = client.post("/v1/runs", &body).await.ok()?;
        assert_eq!(code, 202, "{answer}");
        let id = answer["id"].as_str().expect("an id").to_owned();
        let works = until_async("the step to run, or the crash", WAIT_MAX, async || {
            match client.get(&format!("/v1/runs/{id}")).await {
                Ok((_, view)) if view["steps"][0]["status"] == "running" => Ok(true),
                Ok((_, view)) => Err(view),
                Err(_) => Ok(false),
            }
        });
        if !works.await {
            return None;
        }
        let (code, answer) = client.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await.ok()?;
        assert_eq!(code, 202, "{answer}");
        daemon.kill();
        Some(id)
    });
    let Some(id) = told else { return false };
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    rim.ended(&id);
    let asked = of_kind(&rim.events(&id), "run.cancel_requested").len();
    assert_eq!(asked, 1, "killed before commit {number}");
    true
}

#[test]
fn a_cancel_that_was_answered_is_kept_whatever_commit_the_kill_comes_before() {
    let mut answered = 0;
    for number in 4..COMMITS_MAX {
        answered += usize::from(is_kept(number));
        if answered == ANSWERED {
            return;
        }
    }
    panic!("no cancel was answered within {COMMITS_MAX} commits");
}
