//! A run that gets no further in any life is taken out of work, said so, and harms nobody else.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::process::block_on;
use crate::support::daemon::TestHome;
use crate::support::wait::{until, until_async};

/// Lives after which a run without progress is parked: `domain::limits::POISON_RECOVERIES_MAX`.
const LIVES: usize = 5;
const WAIT_MAX: Duration = Duration::from_secs(60);

#[test]
fn a_run_that_gets_no_further_in_five_lives_is_parked_with_an_incident_and_others_go_on() {
    // A call that never ends by itself and says when it has begun.
    let home = TestHome::new("");
    let begun = home.workspace().join("begun");
    let argv = json!(["sh", "-c", "echo begun >> \"$0\"; exec sleep 600", begun]);
    let config = format!("[log]\nlevel = \"warn\"\n[skills.commands.stuck]\nclass = \"read\"\nargv = {argv}\n");
    std::fs::write(home.path().join("openclaw.toml"), config).expect("configuration");
    let lives = || std::fs::read_to_string(&begun).unwrap_or_default().lines().count();
    let body = |task: &str, step: serde_json::Value| json!({ "task": task, "workspace": home.workspace(), "plan": { "steps": [step] } });
    let mut poison = String::new();
    for life in 1..=LIVES {
        let daemon = home.start();
        if life == 1 {
            let stuck = body("stuck", json!({ "id": "stuck", "skill": "stuck" }));
            let (code, answer) = block_on(daemon.client().post("/v1/runs", &stuck)).expect("answered");
            assert_eq!(code, 202, "{answer}");
            poison = answer["id"].as_str().expect("an id").to_owned();
        }
        until("the call to begin", WAIT_MAX, || {
            if lives() == life { Ok(()) } else { Err(lives()) }
        });
        daemon.kill();
    }
    let daemon = home.start();
    let client = daemon.client();
    block_on(async {
        let get = async |path: &str| client.get(path).await.expect("answered").1;
        until_async("the run to be parked", WAIT_MAX, async || {
            let view = get(&format!("/v1/runs/{poison}")).await;
            if view["status"] == "parked" { Ok(()) } else { Err(view) }
        })
        .await;
        let incidents = get("/v1/incidents").await;
        let of_run = incidents["incidents"].as_array().expect("incidents").iter();
        let of_run: Vec<_> = of_run.filter(|incident| incident["run"] == *poison).collect();
        assert_eq!(of_run.len(), 1, "{incidents}");
        assert_eq!(of_run[0]["severity"], "error", "{incidents}");
        let write = json!({ "id": "w", "skill": "fs.write", "inputs": { "path": "other.txt", "content": "fine" } });
        let other = client.post("/v1/runs?wait=30000", &body("other", write)).await;
        let (code, answer) = other.expect("answered");
        assert_eq!((code, &answer["status"]), (200, &json!("succeeded")), "{answer}");
    });
    assert_eq!(lives(), LIVES, "a parked run is not tried again");
    // What the killed lives had started does not outlive them for long.
    until("nothing of the call to be alive", WAIT_MAX, || {
        let left = alive_in(&poison);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    // A person settles it: it is no longer parked, and its journal goes when its time comes.
    block_on(async {
        let (code, answer) = client
            .post(&format!("/v1/runs/{poison}/cancel"), &json!({}))
            .await
            .expect("answered");
        assert_eq!(code, 202, "{answer}");
        until_async("the run to be cancelled", WAIT_MAX, async || {
            let view = client.get(&format!("/v1/runs/{poison}")).await.expect("answered").1;
            if view["status"] == "cancelled" {
                Ok(())
            } else {
                Err(view)
            }
        })
        .await;
        let status = client.get("/v1/status").await.expect("answered").1;
        assert_eq!(status["runs"]["parked"], 0, "{status}");
        let again = client
            .post(&format!("/v1/runs/{poison}/cancel"), &json!({}))
            .await
            .expect("answered");
        assert_eq!(
            (again.0, &again.1["error"]["code"]),
            (409, &json!("OC-1006")),
            "{again:?}"
        );
    });
    daemon.signal(Signal::TERM);
}

/// Processes that were started for this run.
fn alive_in(run: &str) -> Vec<String> {
    let wanted = format!("OPENCLAW_RUN={run}");
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let of_run = processes.filter(|entry| {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
    });
    of_run.map(|entry| entry.path().display().to_string()).collect()
}
