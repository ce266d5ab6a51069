//! Effects that are undone when their run ends without success: over a real daemon that is killed meanwhile.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::{RUN_MAX, Rim};
use crate::support::wait::until;

/// A command that writes its name, key and arguments down, and one that takes its time to undo it.
fn config(folder: &Path) -> String {
    let command = |name: &str, undo: &str, script: &str| {
        let script = script.replace("LEDGER", &folder.join("ledger").display().to_string());
        let script = script.replace("GATE", &folder.join("gate").display().to_string());
        format!(
            "[skills.commands.{name}]\nargv = {}\n{undo}\n",
            json!(["sh", "-c", script])
        )
    };
    let note =
        |name: &str| format!("read -r a; printf '%s\\n' \"{name} $OPENCLAW_EFFECT_KEY $a\" >> LEDGER; echo {name}");
    let slow = "class = \"idempotent\"\ndescription = \"Waits for the gate.\"";
    let wait = "read -r a; echo \"began $OPENCLAW_EFFECT_KEY\" >> LEDGER; while [ ! -e GATE ]; do sleep 0.05; done; \
                        echo \"undeploy $OPENCLAW_EFFECT_KEY $a\" >> LEDGER";
    [
        format!("[skills]\nwritePaths = {}\n", json!([folder])),
        command("deploy", "undo = \"undeploy\"", &note("deploy")),
        command("undeploy", slow, wait),
        command("book", "", &note("book")),
        command("unbook", "class = \"idempotent\"", &note("unbook")),
        command("break", "class = \"read\"", "echo broken >&2; exit 3"),
    ]
    .concat()
}

fn ledger(home: &TestHome) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(home.ledger_folder().join("ledger")).unwrap_or_default();
    let words = |line: &str| line.splitn(3, ' ').map(str::to_owned).collect();
    text.lines().map(words).collect()
}

fn of<'a>(ledger: &'a [Vec<String>], word: &str) -> Vec<&'a Vec<String>> {
    ledger.iter().filter(|line| line[0] == word).collect()
}

#[test]
fn a_failed_run_undoes_what_it_did_in_reverse_order_once_each_also_over_a_kill() {
    let home = TestHome::new("");
    std::fs::create_dir_all(home.ledger_folder()).expect("a folder");
    std::fs::write(home.path().join("openclaw.toml"), config(&home.ledger_folder())).expect("configuration");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let id = rim.submit_plan(
        &home.workspace(),
        &json!([
            { "id": "a", "skill": "book", "inputs": { "seat": 7 },
              "undo": { "skill": "unbook", "inputs": { "seat": 7, "said": { "from": "steps.a.out" } } } },
            { "id": "b", "skill": "deploy", "inputs": { "to": "prod" }, "needs": ["a"] },
            { "id": "c", "skill": "break", "needs": ["b"], "retries": 0 },
        ]),
    );
    until("the undoing to begin", RUN_MAX, || {
        let ledger = ledger(&home);
        if of(&ledger, "began").is_empty() {
            Err(rim.run(&id))
        } else {
            Ok(())
        }
    });
    let run = rim.run(&id);
    assert_eq!(run["status"], "active", "{run}");
    let steps = run["steps"].as_array().expect("steps");
    let undoes: Vec<(&Value, &Value)> = steps.iter().map(|step| (&step["undoes"], &step["status"])).collect();
    assert_eq!(
        undoes[3..],
        [(&json!("b"), &json!("running")), (&json!("a"), &json!("ready"))],
        "{run}"
    );

    daemon.kill();
    std::fs::write(home.ledger_folder().join("gate"), "").expect("opened");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "failed", "{run}");
    let reason = run["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("step c failed") && reason.ends_with("; undone: b, a"),
        "{reason}"
    );
    let ledger = ledger(&home);
    let done: Vec<&str> = ledger
        .iter()
        .map(|line| line[0].as_str())
        .filter(|word| *word != "began")
        .collect();
    assert_eq!(done, ["book", "deploy", "undeploy", "unbook"], "{ledger:?}");
    let began = of(&ledger, "began");
    assert!(
        began.iter().all(|line| line[1] == of(&ledger, "undeploy")[0][1]),
        "made again under the same key: {ledger:?}"
    );
    assert_eq!(
        of(&ledger, "undeploy")[0][2],
        "{\"to\":\"prod\"}",
        "the arguments of what is undone"
    );
    assert_eq!(of(&ledger, "unbook")[0][2], "{\"said\":\"book\\n\",\"seat\":7}");
    assert_ne!(
        of(&ledger, "undeploy")[0][1],
        of(&ledger, "deploy")[0][1],
        "a key of its own"
    );
    let shown = home
        .command()
        .args(["runs", "show", &id, "--timeline"])
        .output()
        .expect("ran");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("undo step b") && shown.contains("compensation.queued"),
        "{shown}"
    );
}

#[test]
fn a_cancelled_run_undoes_what_it_did() {
    let home = TestHome::new("");
    std::fs::create_dir_all(home.ledger_folder()).expect("a folder");
    std::fs::write(home.path().join("openclaw.toml"), config(&home.ledger_folder())).expect("configuration");
    std::fs::write(home.ledger_folder().join("gate"), "").expect("opened");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let id = rim.submit_plan(
        &home.workspace(),
        &json!([
            { "id": "a", "skill": "deploy", "inputs": {} },
            { "id": "b", "skill": "exec.run", "inputs": { "argv": ["sleep", "600"] }, "needs": ["a"] },
        ]),
    );
    until("the second step", RUN_MAX, || {
        let run = rim.run(&id);
        if run["steps"][1]["status"] == "running" {
            Ok(())
        } else {
            Err(run)
        }
    });
    assert_eq!(rim.post(&format!("/v1/runs/{id}/cancel"), &json!({})).status, 202);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "cancelled", "{run}");
    let ledger = ledger(&home);
    assert_eq!(
        (of(&ledger, "deploy").len(), of(&ledger, "undeploy").len()),
        (1, 1),
        "{ledger:?}"
    );
}

#[test]
fn an_unknown_call_is_shown_with_what_is_known_of_its_program() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let script = "echo half; echo odd >&2; touch ready; exec sleep 600";
    let id = rim.submit_plan(
        &home.workspace(),
        &json!([{ "id": "a", "skill": "exec.run", "inputs": { "argv": ["sh", "-c", script] } }]),
    );
    until("the program", RUN_MAX, || {
        if home.workspace().join("ready").exists() {
            Ok(())
        } else {
            Err(rim.run(&id))
        }
    });
    daemon.kill();
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "unknown", "{run}");
    let evidence = run["waiting"][0]["evidence"].as_str().expect("evidence");
    for known in [
        "\npid ",
        " started 20",
        "\nargv [\"sh\",\"-c\",\"echo half;",
        "\nstopped 20",
        "\noutput so far: half",
        "\nerror output so far: odd",
    ] {
        assert!(evidence.contains(known), "{known:?} in {evidence}");
    }
    let shown = home.command().args(["runs", "show", &id]).output().expect("ran");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("output so far: half"), "{shown}");
    let said = home
        .command()
        .args(["runs", "resolve", &id, "--abandon"])
        .output()
        .expect("ran");
    assert!(said.status.success(), "{said:?}");
    assert_eq!(rim.ended(&id)["status"], "failed");
}
