//! A run that fails and undoes what it did, killed at each of its commits.

use std::path::Path;

use openclaw::runtime::crash_point::CrashPoint;
use serde_json::json;

use crate::process::block_on;
use crate::support::daemon::TestHome;
use crate::support::rim::Rim;

use super::every_commit::{at_each_commit, crash_at};

/// Commands that write their name down once for each key; two of them undo the two others, one always fails.
fn home() -> TestHome {
    let home = TestHome::new("");
    let folder = home.ledger_folder();
    std::fs::create_dir_all(&folder).expect("a folder for the ledger");
    std::fs::write(folder.join("ledger"), "").expect("an empty ledger");
    std::fs::write(home.path().join("openclaw.toml"), config(&folder)).expect("configuration");
    home
}

fn config(folder: &Path) -> String {
    const NOTE: &str =
        r#"grep -qF "$1 $OPENCLAW_EFFECT_KEY" "$0/ledger" || echo "$1 $OPENCLAW_EFFECT_KEY" >> "$0/ledger""#;
    let command = |name: &str, more: &str| {
        let argv = json!(["sh", "-c", NOTE, folder, name]);
        format!("[skills.commands.{name}]\nclass = \"idempotent\"\nargv = {argv}\n{more}\n")
    };
    [
        format!("[skills]\nwritePaths = {}\n", json!([folder])),
        command("book", "undo = \"unbook\""),
        command("unbook", ""),
        command("deploy", "undo = \"undeploy\""),
        command("undeploy", ""),
        "[skills.commands.break]\nclass = \"read\"\nargv = [\"false\"]\n".to_owned(),
    ]
    .concat()
}

fn check(variable: &'static str) {
    at_each_commit(|number| {
        let home = home();
        let body = json!({
            "task": "fails", "workspace": home.workspace(),
            "plan": { "goal": "fails", "result": "c", "steps": [
                { "id": "a", "skill": "book", "inputs": {} },
                { "id": "b", "skill": "deploy", "inputs": {}, "needs": ["a"] },
                { "id": "c", "skill": "break", "inputs": {}, "needs": ["b"], "retries": 0 },
            ]},
        });
        let lives = block_on(crash_at(&home, &body, variable, number));
        let id = lives.answers.last().expect("it was accepted");
        assert!(lives.answers.iter().all(|answer| answer == id), "{:?}", lives.answers);
        let run = Rim::of(&lives.daemon).ended(id);
        assert_eq!(run["status"], "failed", "{variable}={number}: {run}");
        let reason = run["reason"].as_str().expect("a reason");
        assert!(reason.ends_with("; undone: b, a"), "{variable}={number}: {reason}");
        let ledger = std::fs::read_to_string(home.ledger_folder().join("ledger")).expect("the ledger");
        let done: Vec<&str> = ledger.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(done, ["book", "deploy", "undeploy", "unbook"], "{variable}={number}");
        lives.crashed
    });
}

#[test]
fn a_kill_right_after_any_commit_of_a_run_that_fails_leaves_nothing_undone_twice_or_not_at_all() {
    check(CrashPoint::AFTER);
}

#[test]
fn a_kill_right_before_any_commit_of_a_run_that_fails_leaves_nothing_undone_twice_or_not_at_all() {
    check(CrashPoint::BEFORE);
}
