//! An orderly stop: nothing new begins, what runs comes to its end, and the next life goes on from there.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::daemon::TestHome;
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
