//! A daemon that is killed while the command of a check runs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::{Event, Rim, of_kind};
use crate::support::wait::until;

const WAIT_MAX: Duration = Duration::from_secs(60);

/// What became of a run whose check was cut off.
struct Seen {
    run: Value,
    events: Vec<Event>,
    /// How often the command began.
    begun: usize,
}

impl Seen {
    fn count(&self, kind: &str) -> usize {
        of_kind(&self.events, kind).len()
    }
}

/// Kills the daemon in the check of a step, and has a person say this of it should it be asked.
fn cut_off(repeatable: Option<bool>, said: &Value) -> Seen {
    let home = TestHome::new("[log]\nlevel = \"warn\"\n");
    let begun = home.workspace().join("begun");
    let go = home.workspace().join("go");
    let count = || std::fs::read_to_string(&begun).unwrap_or_default().lines().count();
    // It ends by itself only in a later life.
    let command = "echo x >> begun; test -e go || sleep 600";
    let mut check = json!({ "type": "command", "argv": ["sh", "-c", command], "timeout_ms": 600_000 });
    if let Some(repeatable) = repeatable {
        check["repeatable"] = json!(repeatable);
    }
    let daemon = home.start();
    let step = json!({ "id": "l", "skill": "fs.list", "inputs": { "path": "." }, "retries": 0, "checks": [check] });
    let id = Rim::of(&daemon).submit_plan(&home.workspace(), &json!([step]));
    until("the check to begin", WAIT_MAX, || {
        if count() == 1 { Ok(()) } else { Err(count()) }
    });
    daemon.kill();
    std::fs::write(go, "").expect("written");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let mut run = rim.ended(&id);
    if run["status"] == "unknown" {
        let asked = rim.get(&format!("/v1/runs/{id}"));
        let shown = asked.body.to_string();
        assert!(
            shown.contains("exec.run") && shown.contains("test -e go"),
            "what is asked: {shown}"
        );
        assert_eq!(count(), 1, "nothing is run again before a person has spoken");
        let reply = rim.post(&format!("/v1/runs/{id}/resolve"), said);
        assert_eq!(reply.status, 200, "{}", reply.body);
        run = rim.ended(&id);
    }
    let events = rim.events(&id);
    let begun = count();
    Seen { run, events, begun }
}

#[test]
fn a_check_that_a_kill_cut_off_is_run_again_only_when_its_plan_or_a_person_says_so_and_never_off_the_record() {
    let check = |repeatable: Option<bool>, said: Value, status: &str, begun: usize, unknown: usize| {
        let seen = cut_off(repeatable, &said);
        let what = format!("{repeatable:?} {said}: {}", seen.run);
        assert_eq!(seen.run["status"], status, "{what}");
        assert_eq!(seen.begun, begun, "{what}");
        assert_eq!(seen.count("call.unknown"), unknown, "{what}");
        // The step's own call changes nothing and has no intent.
        assert_eq!(
            seen.count("call.intended"),
            begun,
            "each run of the command is on record: {what}"
        );
    };
    check(Some(true), json!({}), "succeeded", 2, 0);
    check(None, json!({ "resolution": "not_happened" }), "succeeded", 2, 1);
    check(
        Some(false),
        json!({ "resolution": "happened", "output": "0" }),
        "succeeded",
        1,
        1,
    );
    check(None, json!({ "resolution": "happened", "output": "1" }), "failed", 1, 1);
    check(None, json!({ "resolution": "abandoned" }), "failed", 1, 1);
}
