//! Ends that are asked for: cancelled, expired, past a deadline; and failures that teach the next attempt.

use std::path::Path;

use openclaw::domain::effect::EffectKey;
use serde_json::{Value, json};

use crate::process::alive;
use crate::support::daemon::TestHome;
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{Event, RUN_MAX, Rim, of_kind};
use crate::support::wait::until;

/// A program with a child and a grandchild that all ignore the wish to end.
const STUBBORN: &str = "trap '' TERM INT HUP; (trap '' TERM INT HUP; sh -c \"trap '' TERM; \
                        while :; do sleep 0.05; done\" & while :; do sleep 0.05; done) & while :; do sleep 0.05; done";

fn stubborn_step(id: &str) -> Value {
    json!({ "id": id, "skill": "exec.run", "inputs": { "argv": ["sh", "-c", STUBBORN] }, "retries": 0 })
}

/// Waits until the program of a run runs with its children; gives its effect's key.
fn running_program(rim: &Rim, id: &str) -> EffectKey {
    let mut events = rim.stream(id, None);
    let intent = events.find(|event| event.kind == "call.intended").expect("a call");
    let key = EffectKey(
        intent.data["key"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("a key"),
    );
    until("the program to run with its children", RUN_MAX, || {
        let alive = alive(key);
        if alive.len() >= 3 { Ok(()) } else { Err(alive) }
    });
    key
}

/// Reads events to the run's end, at which no process of the key may live; gives the events.
fn ends_without(rim: &Rim, id: &str, key: EffectKey) -> Vec<Event> {
    let mut seen = Vec::new();
    for event in rim.stream(id, None) {
        if event.kind == "run.done" {
            // A zombie has no environment, so only what lives is found.
            assert_eq!(alive(key), [0; 0], "the run has ended and its program has not");
        }
        seen.push(event);
    }
    seen
}

#[test]
fn a_cancelled_run_ends_when_its_whole_program_has() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let id = rim.submit_plan(&home.workspace(), &json!([stubborn_step("a")]));
    let key = running_program(&rim, &id);
    let path = format!("/v1/runs/{id}/cancel");
    let reply = rim.post(&path, &json!({ "reason": "enough" }));
    assert_eq!(reply.status, 202, "{}", reply.body);
    let again = rim.post(&path, &json!({}));
    assert!(matches!(again.status, 202 | 409), "asked twice: {}", again.body);
    let events = ends_without(&rim, &id, key);
    let asked = of_kind(&events, "run.cancel_requested");
    assert_eq!((asked.len(), &asked[0]["reason"]), (1, &json!("enough")), "{asked:?}");
    let run = rim.run(&id);
    assert_eq!(
        (&run["status"], &run["steps"][0]["status"]),
        (&json!("cancelled"), &json!("cancelled")),
        "{run}"
    );
    let late = rim.post(&path, &json!({}));
    assert_eq!((late.status, late.code()), (409, "OC-1006"), "{}", late.body);
}

#[test]
fn a_run_past_its_deadline_expires_and_leaves_nothing_running() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let plan = json!({ "steps": [stubborn_step("a")] });
    let id = rim.submit(&json!({ "task": "x", "workspace": home.workspace(), "plan": plan, "deadline_ms": 3000 }));
    let key = running_program(&rim, &id);
    ends_without(&rim, &id, key);
    let run = rim.run(&id);
    assert_eq!(run["status"], "expired", "{run}");
}

#[test]
fn a_step_past_its_deadline_fails_with_that_class_and_is_not_tried_again() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let mut step = stubborn_step("a");
    step["timeout_ms"] = 1500.into();
    step["retries"] = 3.into();
    let id = rim.submit_plan(&home.workspace(), &json!([step]));
    let key = running_program(&rim, &id);
    let events = ends_without(&rim, &id, key);
    let failed = of_kind(&events, "step.failed");
    assert_eq!(
        (failed.len(), failed[0]["class"].as_str()),
        (1, Some("deadline")),
        "{failed:?}"
    );
    assert_eq!(rim.run(&id)["status"], "failed");
}

#[test]
fn a_request_that_the_deadline_of_its_step_cuts_off_is_unknown() {
    // It takes the request, and nobody hears what it makes of it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = listener.local_addr().expect("bound").to_string();
    let home = TestHome::new(&format!("[skills.network]\nallow = [\"{place}\"]\n"));
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let check = |method: &str, status: &str, said: &str| {
        let step = json!({
            "id": "a", "skill": "http.request", "retries": 0, "timeout_ms": 1500,
            "inputs": { "url": format!("http://{place}/orders"), "method": method, "body": "one" },
        });
        let id = rim.submit_plan(&home.workspace(), &json!([step]));
        let run = rim.ended(&id);
        assert_eq!(run["status"], status, "{method}: {run}");
        let events = rim.events(&id);
        assert_eq!(of_kind(&events, said).len(), 1, "{method}: {events:?}");
    };
    check("POST", "unknown", "call.unknown");
    check("PUT", "failed", "call.finished");
}

#[test]
fn a_kill_of_the_daemon_leaves_no_program_and_the_run_is_known_afterwards() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let id = rim.submit_plan(&home.workspace(), &json!([stubborn_step("a")]));
    let key = running_program(&rim, &id);
    daemon.kill();
    let daemon = home.start();
    let run = Rim::of(&daemon).ended(&id);
    assert_eq!(alive(key), [0; 0]);
    // Killed half-way: nobody knows what of it had happened.
    assert!(matches!(run["status"].as_str(), Some("unknown" | "failed")), "{run}");
}

fn agent_step(id: &str, check: Value) -> Value {
    json!({ "id": id, "agent": "executor", "task": "Read notes.txt", "checks": [check] })
}

#[test]
fn a_failed_check_teaches_the_next_attempt_and_attempts_are_limited() {
    let home = TestHome::new("[agent]\nmaxRetries = 2\n");
    std::fs::write(home.workspace().join("notes.txt"), "nothing\n").expect("written");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let never = json!({ "type": "file", "path": "never.txt", "min_bytes": 1 });
    let id = rim.submit_plan(&home.workspace(), &json!([agent_step("a", never)]));
    let run = rim.ended(&id);
    assert_eq!(
        (&run["status"], &run["steps"][0]["attempts"]),
        (&json!("failed"), &json!(3)),
        "{run}"
    );
    let events = rim.events(&id);
    let lessons: Vec<usize> = of_kind(&events, "handoff.sent")
        .iter()
        .map(|order| order["lessons"].as_array().map_or(0, Vec::len))
        .collect();
    assert_eq!(
        lessons,
        [0, 1, 2],
        "each order carries what the attempts before it taught"
    );
    let orders = of_kind(&events, "handoff.sent");
    let last = &orders[2]["lessons"][1];
    assert_eq!(
        (&last["attempt"], &last["class"]),
        (&json!(2), &json!("check")),
        "{last}"
    );
    assert!(
        last["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("never.txt")),
        "{last}"
    );
    assert!(
        last["tried"].as_array().is_some_and(|tried| !tried.is_empty()),
        "{last}"
    );

    // The second attempt of a step that a person helps in between succeeds.
    let retry = rim.post(&format!("/v1/runs/{id}/retry"), &json!({}));
    assert_eq!(retry.status, 202, "{}", retry.body);
    let new = retry.body["id"].as_str().expect("an id");
    std::fs::write(home.workspace().join("never.txt"), "there\n").expect("written");
    let run = rim.ended(new);
    assert_eq!(run["retry_of"], json!(id));
    assert!(matches!(run["status"].as_str(), Some("succeeded" | "failed")), "{run}");
}

#[test]
fn checks_decide_whatever_the_step_says() {
    let home = TestHome::new("");
    let folder = home.workspace();
    std::fs::write(folder.join("notes.txt"), "two\nlines\n").expect("written");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let check = |script: &str, check: Value, passes: bool| {
        let step = json!([{ "id": "a", "skill": "exec.run", "inputs": { "argv": ["sh", "-c", script] },
            "checks": [check], "retries": 0 }]);
        let run = rim.ended(&rim.submit_plan(&folder, &step));
        let wanted = if passes { "succeeded" } else { "failed" };
        assert_eq!(run["status"], wanted, "{script} {check}: {run}");
    };
    check("exit 0", json!({ "type": "exit_code" }), true);
    check("exit 3", json!({ "type": "exit_code" }), false);
    check(
        "echo new > made.txt",
        json!({ "type": "file", "path": "made.txt", "fresh": true, "min_bytes": 4 }),
        true,
    );
    check(
        "true",
        json!({ "type": "file", "path": "notes.txt", "min_bytes": 100 }),
        false,
    );
    check(
        "touch -d '1 hour ago' notes.txt",
        json!({ "type": "file", "path": "notes.txt", "fresh": true }),
        false,
    );
    check(
        "true",
        json!({ "type": "file", "path": "../home/openclaw.toml" }),
        false,
    );
    check(
        "true",
        json!({ "type": "regex", "path": "notes.txt", "pattern": "^lines$" }),
        true,
    );
    check(
        "true",
        json!({ "type": "regex", "path": "notes.txt", "pattern": "lines", "absent": true }),
        false,
    );
    check("echo words", json!({ "type": "regex", "pattern": "words" }), true);
    check(
        "true",
        json!({ "type": "command", "argv": ["test", "-s", "notes.txt"] }),
        true,
    );
    check(
        "true",
        json!({ "type": "command", "argv": ["test", "-d", "notes.txt"] }),
        false,
    );
}

/// A plan whose step the executor refuses, because it may not use the skill that the plan allows it.
fn refused_plan() -> String {
    let step = json!({ "id": "a", "agent": "reviewer", "task": "x", "skills": ["exec.run"] });
    json!({ "goal": "g", "steps": [step] }).to_string()
}

fn planned(folder: &Path, deeds: Vec<Deed>, always: Option<Deed>) -> (Value, Vec<Event>) {
    let server = ModelServer::start();
    server.then(deeds);
    if let Some(deed) = always {
        server.always(deed);
    }
    let home = TestHome::new(&server.config("far", "openai"));
    let daemon = home.start_with(&[("TEST_MODEL_KEY", "k")]);
    let rim = Rim::of(&daemon);
    let id = rim.submit(&json!({ "task": "list the files in this folder", "workspace": folder, "model": "far" }));
    (rim.ended(&id), rim.events(&id))
}

#[test]
fn an_order_that_its_receiver_refuses_goes_back_to_the_planner_twice_at_most() {
    let folder = tempfile::tempdir().expect("a folder");
    let (run, events) = planned(folder.path(), vec![], Some(Deed::Text(refused_plan())));
    assert_eq!(run["status"], "failed", "{run}");
    let refused = of_kind(&events, "handoff.rejected");
    assert!(
        refused[0]["findings"][0].to_string().contains("exec.run"),
        "{refused:?}"
    );
    let proposed = of_kind(&events, "plan.proposed").len();
    assert!(
        (2..=3).contains(&proposed),
        "one plan and at most two repairs: {proposed}"
    );

    // A planner that learns from it saves the run.
    let better = json!({ "goal": "g", "steps": [{ "id": "b", "skill": "fs.list", "inputs": { "path": "." } }] });
    let deeds = [refused_plan(), better.to_string()].map(Deed::Text).to_vec();
    let (run, events) = planned(folder.path(), deeds, None);
    assert_eq!(run["status"], "succeeded", "{run}");
    assert_eq!(of_kind(&events, "handoff.rejected").len(), 1);
    assert_eq!(of_kind(&events, "plan.accepted").len(), 2);
}

#[test]
fn a_plan_that_is_wrong_goes_back_to_the_planner_with_its_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = json!({ "goal": "g", "steps": [{ "id": "a", "agent": "ghost", "task": "x" }] }).to_string();
    let (run, events) = planned(folder.path(), vec![Deed::Text(wrong.clone())], None);
    assert_eq!(run["status"], "succeeded", "{run}");
    let refused = of_kind(&events, "plan.rejected");
    assert_eq!(
        (refused.len(), &refused[0]["findings"][0]["pointer"]),
        (1, &json!("/steps/0/agent")),
        "{refused:?}"
    );
    let (run, events) = planned(folder.path(), vec![], Some(Deed::Text(wrong)));
    assert_eq!(run["status"], "failed", "{run}");
    assert_eq!(of_kind(&events, "plan.rejected").len(), 3, "one plan and two repairs");
}
