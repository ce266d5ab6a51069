//! An orderly stop: nothing new begins, what runs comes to its end, and the next life goes on from there.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::daemon::TestHome;
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{RUN_MAX, Rim, of_kind};
use crate::support::wait::until;

/// Says that it has begun, waits for leave to end (at most ten seconds), and then has its one effect.
const PROGRAM: &str = "echo 1 > begun; n=0; while [ ! -f leave ] && [ $n -lt 200 ]; do sleep 0.05; n=$((n+1)); done; \
                       echo done >> ledger";

#[test]
fn a_once_call_under_way_at_a_stop_ends_and_is_known_to_the_next_life() {
    let home = TestHome::new("");
    let mut daemon = home.start();
    let rim = Rim::of(&daemon);
    let folder = home.workspace();
    let steps = json!([
        { "id": "effect", "skill": "exec.run", "inputs": { "argv": ["sh", "-c", PROGRAM] }, "retries": 0 },
        { "id": "after", "skill": "fs.read", "needs": ["effect"], "inputs": { "path": "ledger" } },
    ]);
    let id = rim.submit_plan(&folder, &steps);
    until("the program to begin", RUN_MAX, || {
        folder.join("begun").exists().then_some(()).ok_or("it has not")
    });
    daemon.signal(Signal::TERM);
    until("the daemon to begin its stop", RUN_MAX, || {
        home.words().contains("stopping").then_some(()).ok_or("it has not")
    });
    std::fs::write(folder.join("leave"), "").expect("written");
    assert!(daemon.wait_end(Duration::from_secs(20)).success());

    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let run = rim.ended(&id);
    assert_eq!(
        (&run["status"], &run["result"]),
        (&json!("succeeded"), &json!("done\n")),
        "{run}"
    );
    let events = rim.events(&id);
    assert_eq!(of_kind(&events, "call.intended").len(), 1, "the call was made once");
    assert_eq!(
        of_kind(&events, "call.unknown").len(),
        0,
        "and nobody has to say whether"
    );
    let ledger = std::fs::read_to_string(folder.join("ledger")).expect("the effect");
    assert_eq!(ledger, "done\n");
}

#[test]
fn a_check_under_way_at_a_stop_ends_and_is_known_to_the_next_life() {
    let home = TestHome::new("");
    let mut daemon = home.start();
    let folder = home.workspace();
    let steps = json!([{
        "id": "checked", "skill": "fs.list", "inputs": { "path": "." }, "retries": 0,
        "checks": [{ "type": "command", "argv": ["sh", "-c", PROGRAM] }],
    }]);
    let id = Rim::of(&daemon).submit_plan(&folder, &steps);
    until("the program to begin", RUN_MAX, || {
        folder.join("begun").exists().then_some(()).ok_or("it has not")
    });
    daemon.signal(Signal::TERM);
    until("the daemon to begin its stop", RUN_MAX, || {
        home.words().contains("stopping").then_some(()).ok_or("it has not")
    });
    std::fs::write(folder.join("leave"), "").expect("written");
    assert!(daemon.wait_end(Duration::from_secs(20)).success());

    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    let events = rim.events(&id);
    let count = |kind: &str| of_kind(&events, kind).len();
    assert_eq!(
        (count("call.intended"), count("call.unknown"), count("check.passed")),
        (1, 0, 1)
    );
}

#[test]
fn an_attempt_whose_model_is_being_asked_at_a_stop_goes_on_in_the_next_life_and_repeats_no_call() {
    let server = ModelServer::start();
    let program = json!({ "argv": ["sh", "-c", "echo done >> ledger"] });
    server.then([
        Deed::Call("exec.run", program.to_string()),
        Deed::Hang,
        Deed::Text("It is done.".to_owned()),
    ]);
    let home = TestHome::new(&server.config("far", "openai"));
    let key = [("TEST_MODEL_KEY", "k")];
    let mut daemon = home.start_with(&key);
    let rim = Rim::of(&daemon);
    let folder = home.workspace();
    // With no second attempt to hide behind.
    let steps = json!([{ "id": "effect", "agent": "executor", "task": "Put a line into the ledger", "retries": 0 }]);
    let plan = json!({ "steps": steps });
    let id = rim.submit(&json!({ "task": "a test", "workspace": folder, "model": "far", "plan": plan }));
    server.wait_asked(2);
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_end(Duration::from_secs(20)).success());

    let daemon = home.start_with(&key);
    let rim = Rim::of(&daemon);
    let run = rim.ended(&id);
    assert_eq!(
        (&run["status"], &run["steps"][0]["attempts"]),
        (&json!("succeeded"), &json!(1)),
        "{run}"
    );
    let events = rim.events(&id);
    assert_eq!(of_kind(&events, "call.intended").len(), 1, "the call was made once");
    let ledger = std::fs::read_to_string(folder.join("ledger")).expect("the effect");
    assert_eq!(ledger, "done\n");
    // What the provider used is unknown.
    let reserved: Vec<_> = of_kind(&events, "turn.intended");
    let failed = of_kind(&events, "turn.failed");
    assert_eq!(
        (failed.len(), &failed[0]["class"], &failed[0]["charged"]),
        (1, &json!("crash"), &reserved[1]["reserved"]),
        "{failed:?}"
    );
}
