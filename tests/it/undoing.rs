//! Effects that are undone when their run ends without success: over a real daemon that is killed meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

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

/// How long the runs have whose time is over before the daemon is back.
const LATE: Duration = Duration::from_secs(8);

/// A run whose one call was under way at a kill, and whose time passed before the daemon was started again; whether the
/// program came to its end meanwhile.
fn late(home: &TestHome, has_ended: bool) -> String {
    let folder = home.ledger_folder();
    std::fs::create_dir_all(&folder).expect("a folder");
    let command = |name: &str, more: &str, script: &str| {
        let argv = json!(["sh", "-c", script, folder]);
        format!("[skills.commands.{name}]\nargv = {argv}\n{more}\n")
    };
    let pay = "echo pay >> $0/ledger; until [ -e $0/gate ]; do sleep 0.05; done; echo receipt";
    let config = [
        format!("[skills]\nwritePaths = {}\n", json!([folder])),
        command("pay", "undo = \"unpay\"", pay),
        command("unpay", "class = \"idempotent\"", "echo unpay >> $0/ledger"),
    ];
    std::fs::write(home.path().join("openclaw.toml"), config.concat()).expect("configuration");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let plan = json!({ "steps": [{ "id": "a", "skill": "pay", "inputs": {}, "retries": 0 }] });
    let began = Instant::now();
    let deadline_ms = LATE.as_millis() as u64;
    let id =
        rim.submit(&json!({ "task": "x", "workspace": home.workspace(), "plan": plan, "deadline_ms": deadline_ms }));
    until("the call to begin", RUN_MAX, || {
        if of(&ledger(home), "pay").is_empty() {
            Err(rim.run(&id))
        } else {
            Ok(())
        }
    });
    if has_ended {
        // Nobody hears of its end, and its shim is there to write it down.
        daemon.signal(rustix::process::Signal::STOP);
        std::fs::write(folder.join("gate"), "").expect("opened");
        until("the report", RUN_MAX, || {
            let files = std::fs::read_dir(home.path().join("state/spool")).expect("a spool");
            let names: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
            let is_there = names
                .iter()
                .any(|file| file.extension().is_some_and(|kind| kind == "json"));
            if is_there { Ok(()) } else { Err(names) }
        });
    }
    daemon.kill();
    assert!(began.elapsed() < LATE, "the call was under way in time");
    until("the time of the run to be over", RUN_MAX, || {
        let elapsed = began.elapsed();
        if elapsed > LATE { Ok(()) } else { Err(elapsed) }
    });
    id
}

#[test]
fn a_call_that_ended_unheard_is_undone_although_the_time_of_its_run_is_over() {
    let home = TestHome::new("");
    let id = late(&home, true);
    let daemon = home.start();
    let run = Rim::of(&daemon).ended(&id);
    assert_eq!(run["status"], "expired", "{run}");
    assert!(
        run["reason"].as_str().is_some_and(|why| why.ends_with("; undone: a")),
        "{run}"
    );
    let words: Vec<String> = ledger(&home).into_iter().flatten().collect();
    assert_eq!(words, ["pay", "unpay"]);
}

#[test]
fn a_call_of_which_nobody_knows_waits_for_a_person_although_the_time_of_its_run_is_over() {
    let home = TestHome::new("");
    let id = late(&home, false);
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "unknown", "{run}");
    let question = &run["waiting"][0];
    assert_eq!(
        (&question["kind"], &question["skill"], &question["class"]),
        (&json!("unknown"), &json!("pay"), &json!("once")),
        "{run}"
    );
    let said = home
        .command()
        .args(["runs", "resolve", &id, "--happened", "--output", "receipt"])
        .output()
        .expect("ran");
    assert!(said.status.success(), "{said:?}");
    let run = rim.ended(&id);
    assert_eq!(run["status"], "expired", "{run}");
    let words: Vec<String> = ledger(&home).into_iter().flatten().collect();
    assert_eq!(words, ["pay", "unpay"], "{run}");
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
