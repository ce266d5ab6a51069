//! Keys of a running daemon, over its command line: what they open, and how soon they stop to.

use std::process::Output;
use std::time::{Duration, Instant};

use openclaw::runtime::crash_point::CrashPoint;
use serde_json::{Value, json};

use crate::admin::{Operator, ask_and_leave};
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
fn a_request_that_waits_ends_with_its_key_and_what_it_ordered_goes_on() {
    let home = TestHome::new("");
    let daemon = home.start();
    let operator = Rim::of(&daemon);
    let folder = home.workspace();
    let made = done(
        &home,
        &[
            "key",
            "create",
            "waiter",
            "--scope",
            "runs:read",
            "--scope",
            "runs:write",
        ],
    );
    let client = operator.with_key(Some(text(&made, "key")));
    let step = json!({ "id": "wait", "skill": "exec.run", "inputs": { "argv": ["sh", "-c", PROGRAM] }, "retries": 0 });
    let body = json!({ "task": "x", "workspace": folder, "plan": { "steps": [step] } });
    let waiting = std::thread::spawn(move || (client.post("/v1/runs?wait=60000", &body), Instant::now()));
    until("the program to begin", RUN_MAX, || {
        folder.join("begun").exists().then_some(()).ok_or("it has not")
    });
    done(&home, &["key", "revoke", text(&made, "id")]);
    let revoked = Instant::now();
    let (reply, ended) = waiting.join().expect("an answer");
    assert_eq!((reply.status, reply.code()), (401, "OC-2002"), "{}", reply.body);
    let took = ended.saturating_duration_since(revoked);
    assert!(took < REVOKED_WITHIN, "it took {took:?}");
    std::fs::write(folder.join("leave"), "").expect("written");
    let runs = operator.get("/v1/runs").body;
    let id = text(&runs["runs"][0], "id").to_owned();
    assert_eq!(operator.ended(&id)["status"], "succeeded");
}

#[test]
fn a_revocation_whose_client_left_holds() {
    const KEYS: u32 = 32;
    /// From the handshake on it takes some ten milliseconds: clients leave before it, at its steps, and after it.
    const MORE_PATIENCE: Duration = Duration::from_millis(4);
    let home = TestHome::new("");
    let daemon = home.start();
    let operator = Operator::of(&home);
    let rim = Rim::of(&daemon);
    let made: Vec<Value> = (0..KEYS)
        .map(|at| done(&home, &["key", "create", &format!("k{at}"), "--scope", "runs:read"]))
        .collect();
    for (made, at) in made.iter().zip(0..) {
        let path = format!("/admin/v1/keys/{}/revoke", text(made, "id"));
        ask_and_leave(&operator, &path, MORE_PATIENCE * at);
    }
    // The first may have left before they were heard; what is on record is in force.
    let revoked = until("the revocations to be on record", RUN_MAX, || {
        let rows = done(&home, &["audit", "--limit", "100"])["rows"].clone();
        let rows = rows.as_array().expect("rows").iter();
        let revoked = rows.filter(|row| row["action"] == "key.revoked");
        let revoked: Vec<String> = revoked.map(|row| text(row, "object").to_owned()).collect();
        if revoked.len() >= KEYS as usize / 2 {
            Ok(revoked)
        } else {
            Err(revoked.len())
        }
    });
    let keys = done(&home, &["key", "list"]);
    for key in keys["keys"].as_array().expect("keys") {
        if revoked.contains(&text(key, "id").to_owned()) {
            assert_eq!(text(key, "state"), "revoked", "{key}");
        }
    }
    // Each tenth: an address that asks with bad keys again and again is locked out.
    for made in made.iter().rev().step_by(10) {
        if revoked.contains(&text(made, "id").to_owned()) {
            let asked = rim.with_key(Some(text(made, "key"))).get("/v1/runs");
            assert_eq!((asked.status, asked.code()), (401, "OC-2002"), "{}", text(made, "name"));
        }
    }
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
fn checkpoints_that_were_taken_away_are_told_by_the_check_the_next_start_and_the_log_itself() {
    // The last row's checkpoint, and what announced it: with that alone the log is as a kill leaves it.
    fn shorter(text: &str) -> String {
        let lines: Vec<&str> = text.lines().collect();
        lines[..lines.len() - 2].join("\n") + "\n"
    }
    let check = |what: &str, tamper: Option<fn(&str) -> String>, is_running: bool| {
        let home = TestHome::new("");
        let path = home.path().join("state/audit.checkpoints");
        let mut daemon = home.start();
        assert_eq!(done(&home, &["audit", "--verify"])["sound"], true, "{what}");
        let tampers = || match tamper {
            Some(tamper) => {
                let text = std::fs::read_to_string(&path).expect("checkpoints");
                std::fs::write(&path, tamper(&text)).expect("written");
            }
            None => std::fs::remove_file(&path).expect("removed"),
        };
        if is_running {
            tampers();
        } else {
            assert!(daemon.terminate().success());
            tampers();
            daemon = home.start();
        }
        let (exit, value) = cli(&home, &["audit", "--verify"]);
        assert_eq!(
            (exit, value["error"]["code"].as_str()),
            (1, Some("OC-2010")),
            "{what}: {value}"
        );
        assert!(
            text(&value["error"], "message").contains("checkpoint"),
            "{what}: {value}"
        );
        let (_, health) = cli(&home, &["health"]);
        assert_eq!(health["checks"]["audit"]["good"], false, "{what}: {health}");
        if !is_running {
            assert!(home.words().contains("the end of the audit log is in doubt"), "{what}");
            let rows = done(&home, &["audit", "--limit", "100"]);
            let rows = rows["rows"].as_array().expect("rows").iter();
            assert_eq!(rows.filter(|row| row["action"] == "audit.doubted").count(), 1, "{what}");
        }
        drop(daemon);
    };
    check("removed while it runs", None, true);
    check("shortened while it runs", Some(shorter), true);
    check("removed between two lives", None, false);
    check("shortened between two lives", Some(shorter), false);
    // A life that ends in order leaves nothing in doubt.
    let home = TestHome::new("");
    for _ in 0..2 {
        let daemon = home.start();
        done(&home, &["key", "create", "ci", "--scope", "runs:read"]);
        assert_eq!(done(&home, &["audit", "--verify"])["sound"], true);
        assert!(daemon.terminate().success());
    }
}

#[test]
fn a_kill_before_or_after_the_commit_of_a_row_leaves_the_audit_log_sound() {
    let check = |variable: &str, commit: u32| {
        let home = TestHome::new("");
        let number = commit.to_string();
        let killed = home.spawn(&[(variable, &number)]).wait_ready();
        assert!(
            killed.is_err(),
            "{variable}={commit}: the first start has that many commits"
        );
        let _daemon = home.start();
        assert_eq!(
            done(&home, &["audit", "--verify"])["sound"],
            true,
            "{variable}={commit}"
        );
        let rows = done(&home, &["audit"]).to_string();
        assert!(!rows.contains("audit.doubted"), "{variable}={commit}: {rows}");
        assert!(rows.contains("authority.created"), "{variable}={commit}: {rows}");
    };
    for commit in 1..=3 {
        check(CrashPoint::AFTER, commit);
        check(CrashPoint::BEFORE, commit);
    }
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
