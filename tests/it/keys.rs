//! Keys of a running daemon, over its command line: what they open, and how soon they stop to.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::{RUN_MAX, Rim};
use crate::support::wait::until;

/// Longest time from a revocation to the end of an open stream.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);
/// Says that it has begun and waits for leave to end.
const PROGRAM: &str = "echo 1 > begun; n=0; while [ ! -f leave ] && [ $n -lt 600 ]; do sleep 0.05; n=$((n+1)); done";

/// A command with `--json`: its exit code, and what it printed.
pub fn cli(home: &TestHome, arguments: &[&str]) -> (i32, Value) {
    let Output { status, stdout, stderr } = home
        .command()
        .args(arguments)
        .arg("--json")
        .output()
        .expect("the command runs");
    let text = if stdout.is_empty() { stderr } else { stdout };
    let value = serde_json::from_slice(&text).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&text)));
    (status.code().unwrap_or(-1), value)
}

fn done(home: &TestHome, arguments: &[&str]) -> Value {
    let (exit, value) = cli(home, arguments);
    assert_eq!(exit, 0, "{arguments:?}: {value}");
    value
}

fn text<'value>(value: &'value Value, name: &str) -> &'value str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn a_revoked_key_is_refused_and_its_open_stream_ends_within_a_second() {
    let home = TestHome::new("");
    let daemon = home.start();
    let operator = Rim::of(&daemon);
    let folder = home.workspace();
    let steps =
        json!([{ "id": "wait", "skill": "exec.run", "inputs": { "argv": ["sh", "-c", PROGRAM] }, "retries": 0 }]);
    let id = operator.submit_plan(&folder, &steps);
    until("the program to begin", RUN_MAX, || {
        folder.join("begun").exists().then_some(()).ok_or("it has not")
    });
    let check = |what: &str, ends: &dyn Fn(&str)| {
        let made = done(&home, &["key", "create", "watcher", "--scope", "runs:read"]);
        let client = operator.with_key(Some(text(&made, "key")));
        let other = operator.with_key(operator.key.as_deref());
        let mut stream = client.stream(&id, None);
        let mut untouched = other.stream(&id, None);
        assert!(stream.next().is_some(), "{what}: it streams");
        ends(text(&made, "id"));
        let began = Instant::now();
        let mut last = String::new();
        while let Some(line) = stream.line() {
            if line.starts_with("data: ") {
                last = line;
            }
        }
        let took = began.elapsed();
        assert!(last.contains("OC-2002"), "{what}: the last word is {last}");
        assert!(took < REVOKED_WITHIN, "{what}: it took {took:?}");
        let refused = client.get("/v1/runs");
        assert_eq!(
            (refused.status, refused.code()),
            (401, "OC-2002"),
            "{what}: {}",
            refused.body
        );
        assert!(untouched.next().is_some(), "{what}: the streams of other keys go on");
        assert_eq!(other.run(&id)["status"], "active", "{what}");
    };
    check("revoked", &|key| {
        done(&home, &["key", "revoke", key]);
    });
    check("rotated without an overlap", &|key| {
        done(&home, &["key", "rotate", key]);
    });
    std::fs::write(folder.join("leave"), "").expect("written");
    assert_eq!(operator.ended(&id)["status"], "succeeded");
}

#[test]
fn a_key_makes_no_key_that_can_do_more_than_itself_whatever_the_request_says() {
    let home = TestHome::new("");
    let daemon = home.start();
    let operator = Rim::of(&daemon);
    let made = done(
        &home,
        &[
            "key",
            "create",
            "minter",
            "--scope",
            "keys:write",
            "--scope",
            "runs:read",
        ],
    );
    let minter = text(&made, "key").to_owned();
    let check = |scope: &str, expected: i32, code: &str| {
        let (exit, value) = cli(&home, &["key", "create", "x", "--scope", scope, "--key", &minter]);
        assert_eq!(
            (exit, value["error"]["code"].as_str().unwrap_or("")),
            (expected, code),
            "{scope}: {value}"
        );
    };
    check("runs:read", 0, "");
    check("*", 4, "OC-2006");
    check("runs:*", 4, "OC-2006");
    check("runs:write", 4, "OC-2006");
    check("nonsense", 2, "OC-2007");
    let (exit, value) = cli(&home, &["key", "list", "--key", &minter]);
    assert_eq!((exit, value["error"]["code"].as_str()), (4, Some("OC-2003")), "{value}");
    // Scopes that a client declares are nobody's scopes.
    let claimed = [("x-openclaw-scopes", "*"), ("x-scopes", "runs:write")];
    let body = json!({ "task": "x", "scopes": ["*"], "scope": "*" }).to_string();
    let refused = operator
        .with_key(Some(&minter))
        .ask("POST", "/v1/runs", &claimed, &body);
    assert_eq!((refused.status, refused.code()), (403, "OC-2003"), "{}", refused.body);
}

#[test]
fn a_rotated_operators_key_is_found_by_the_next_command_and_by_the_next_life() {
    let home = TestHome::new("");
    let daemon = home.start();
    let before = home.operator_key();
    let keys = done(&home, &["key", "list"]);
    let own = text(&keys["keys"][0], "id").to_owned();
    done(&home, &["key", "rotate", &own, "--overlap", "1h"]);
    let after = home.operator_key();
    assert_ne!(before, after);
    let rim = Rim::of(&daemon);
    assert_eq!(rim.get("/v1/status").status, 200, "the old one overlaps");
    assert_eq!(rim.with_key(Some(&after)).get("/v1/status").status, 200);
    assert!(daemon.terminate().success());

    let daemon = home.start();
    assert_eq!(home.operator_key(), after, "it is the key of this home");
    assert_eq!(Rim::of(&daemon).get("/v1/status").status, 200);
    let rows = done(&home, &["audit"]);
    let rows = rows["rows"].as_array().expect("rows");
    let actions = rows.iter().rev().map(|row| text(row, "action"));
    let actions: Vec<&str> = actions.filter(|action| action.starts_with("key.")).collect();
    assert_eq!(actions, ["key.created", "key.rotated"]);
    assert_eq!(done(&home, &["audit", "--verify"])["sound"], true);
}

#[test]
fn an_audit_log_that_was_cut_off_at_its_end_is_told_from_a_whole_one() {
    let home = TestHome::new("");
    let daemon = home.start();
    assert!(daemon.terminate().success());
    let earlier = std::fs::read(home.store_file()).expect("the store");
    let daemon = home.start();
    done(&home, &["key", "create", "ci", "--scope", "runs:read"]);
    assert!(daemon.terminate().success());
    // The store of before the second life, beside the checkpoints of that life: the third writes its sixth row anew.
    std::fs::write(home.store_file(), earlier).expect("written");
    let _daemon = home.start();
    let (exit, value) = cli(&home, &["audit", "--verify"]);
    assert_eq!((exit, value["error"]["code"].as_str()), (1, Some("OC-2010")), "{value}");
    let message = text(&value["error"], "message");
    assert!(message.contains("row 6"), "{message}");
}
