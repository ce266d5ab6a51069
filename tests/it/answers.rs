//! What persons are asked and say, over the API and the command line of a real daemon that is killed meanwhile.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::{RUN_MAX, Rim};
use crate::support::wait::until;

const ASKING: &str = "[agent]\napprovals = { \"exec.run\" = \"ask\", \"fs.write\" = \"ask\" }\n";

fn step(id: &str, script: &str) -> Value {
    json!({ "id": id, "skill": "exec.run", "inputs": { "argv": ["sh", "-c", script] }, "retries": 0 })
}

/// Waits until the run asks for something; gives the question.
fn question(rim: &Rim, id: &str) -> Value {
    until("a question", RUN_MAX, || {
        let run = rim.run(id);
        match run["waiting"].as_array().and_then(|waiting| waiting.first()) {
            Some(question) => Ok(question.clone()),
            None => Err(run),
        }
    })
}

/// Waits until the run has ended; gives it.
/// What is asked after that.
fn another_question(rim: &Rim, id: &str, first: &Value) -> Value {
    until("another question", RUN_MAX, || {
        let run = rim.run(id);
        match run["waiting"].as_array().and_then(|waiting| waiting.first()) {
            Some(question) if question["hash"] != first["hash"] => Ok(question.clone()),
            _ => Err(run),
        }
    })
}

fn ended(rim: &Rim, id: &str) -> Value {
    until("the run to end", RUN_MAX, || {
        let run = rim.run(id);
        if run["status"] == "active" { Err(run) } else { Ok(run) }
    })
}

fn approve(rim: &Rim, id: &str, hash: &Value, granted: bool) -> (u16, String) {
    let reply = rim.post(
        &format!("/v1/runs/{id}/approve"),
        &json!({ "hash": hash, "granted": granted }),
    );
    (reply.status, reply.code().to_owned())
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[test]
fn a_call_waits_for_its_yes_over_a_kill_and_is_made_once() {
    let home = TestHome::new(ASKING);
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let made = home.workspace().join("made");
    let id = rim.submit_plan(
        &home.workspace(),
        &json!([
            step("make", "echo made >> made"),
            { "id": "look", "skill": "fs.list", "inputs": { "path": "." } },
        ]),
    );
    let asked = question(&rim, &id);
    assert_eq!(
        (&asked["kind"], &asked["step"], &asked["call"]),
        (&json!("approval"), &json!("make"), &json!(0))
    );
    let shown = asked["shown"].as_str().expect("shown");
    assert!(shown.starts_with("$ sh -c 'echo made >> made'\n"), "{shown}");
    let listed = rim.get("/v1/approvals").body;
    assert_eq!(listed["approvals"][0]["hash"], asked["hash"], "{listed}");
    let steps = rim.run(&id)["steps"].clone();
    assert_eq!(steps[0]["status"], "asking", "{steps}");
    until("the other branch to go on", RUN_MAX, || {
        let run = rim.run(&id);
        if run["steps"][1]["status"] == "done" {
            Ok(())
        } else {
            Err(run)
        }
    });
    assert_eq!(approve(&rim, &id, &json!("00"), true), (409, "OC-1031".to_owned()));

    daemon.kill();
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let again = question(&rim, &id);
    assert_eq!(again["hash"], asked["hash"], "the same question");
    assert!(!made.exists(), "nothing is made before the yes");
    assert_eq!(approve(&rim, &id, &asked["hash"], true).0, 200);
    assert_eq!(approve(&rim, &id, &asked["hash"], true).0, 200, "said again");
    let contradicted = approve(&rim, &id, &asked["hash"], false);
    assert_eq!(contradicted, (409, "OC-1032".to_owned()));
    assert_eq!(ended(&rim, &id)["status"], "succeeded");
    assert_eq!(lines(&made), 1);
    assert_eq!(rim.get("/v1/approvals").body["approvals"], json!([]));
}

#[test]
fn a_yes_to_an_old_change_is_none_to_another_one() {
    let home = TestHome::new(ASKING);
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let file = home.workspace().join("a.txt");
    std::fs::write(&file, "one\ntwo\n").expect("written");
    let write = json!({
        "id": "w", "skill": "fs.write", "inputs": { "path": "a.txt", "content": "one\n2\n" }, "retries": 0,
    });
    let id = rim.submit_plan(&home.workspace(), &json!([write]));
    let first = question(&rim, &id);
    let shown = first["shown"].as_str().expect("shown");
    assert!(shown.contains("-two\n+2\n"), "{shown}");
    // Somebody changes the file after it was shown.
    std::fs::write(&file, "one\nthree\n").expect("written");
    assert_eq!(approve(&rim, &id, &first["hash"], true).0, 200);
    let second = another_question(&rim, &id, &first);
    assert!(
        second["shown"].as_str().is_some_and(|shown| shown.contains("-three")),
        "{second}"
    );
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "one\nthree\n");
    let claw = |line: &[&str]| home.command().args(line).output().expect("the program runs");
    // A yes is to what was shown, and this command shows it only now.
    let said = claw(&["runs", "approve", &id]);
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    let (hash, old) = (
        second["hash"].as_str().expect("a hash"),
        first["hash"].as_str().expect("a hash"),
    );
    let shown = String::from_utf8(claw(&["runs", "show", &id]).stdout).expect("text");
    assert!(
        shown.contains(&format!("runs approve {id} --hash {hash} [--deny]")),
        "{shown}"
    );
    let said = claw(&["runs", "approve", &id, "--hash", old]);
    assert!(!said.stderr.is_empty() || said.status.success(), "{said:?}");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "one\nthree\n");
    let said = claw(&["runs", "approve", &id, "--deny", "--reason", "not this file"]);
    assert!(said.status.success(), "{said:?}");
    let run = ended(&rim, &id);
    assert_eq!(run["status"], "failed", "{run}");
    assert!(run["reason"].as_str().is_some_and(|why| why.contains("not this file")));
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "one\nthree\n");
}

#[test]
fn a_yes_to_a_program_is_none_to_what_took_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("deploy");
    let package = folder.path().join("greet");
    let put = |word: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::create_dir_all(package.join("scripts")).expect("a folder");
        let text = "---\nname: greet\ndescription: Greets.\n---\nGreets.\n";
        std::fs::write(package.join("SKILL.md"), text).expect("written");
        std::fs::write(package.join("scripts/go.sh"), format!("echo {word} > said.txt\n")).expect("written");
        // Another file in its place, as an upgrade puts it.
        std::fs::remove_file(&script).ok();
        std::fs::write(&script, format!("#!/bin/sh\necho {word} > said.txt\n")).expect("written");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("set");
    };
    put("first");
    let home = TestHome::new(&format!(
        "[agent]\napprovals = {{ \"*\" = \"ask\" }}\n[skills]\nreadPaths = {}\n[skills.commands.deploy]\nargv = {}\n",
        json!([folder.path()]),
        json!([script, "--now"]),
    ));
    let add = || {
        let mut command = home.command();
        command.args(["skill", "add"]).arg(&package);
        let said = command
            .args(["--capability", "exec", "--capability", "fs.write"])
            .output();
        let said = said.expect("the program runs");
        assert!(said.status.success(), "{said:?}");
    };
    add();
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let said = home.workspace().join("said.txt");
    let check = |step: Value, is_shown: &str| {
        put("first");
        add();
        let id = rim.submit_plan(&home.workspace(), &json!([step]));
        let first = question(&rim, &id);
        let shown = first["shown"].as_str().expect("shown");
        assert!(shown.contains(is_shown), "{shown}");
        put("second");
        add();
        assert_eq!(approve(&rim, &id, &first["hash"], true).0, 200);
        let second = another_question(&rim, &id, &first);
        assert!(!said.exists(), "nothing ran that nobody agreed to");
        assert_eq!(approve(&rim, &id, &second["hash"], true).0, 200);
        let run = ended(&rim, &id);
        assert_eq!(run["status"], "succeeded", "{run}");
        assert_eq!(std::fs::read_to_string(&said).expect("there"), "second\n");
        std::fs::remove_file(&said).expect("removed");
    };
    check(
        json!({ "id": "a", "skill": "deploy", "inputs": {}, "retries": 0 }),
        "--now",
    );
    check(
        json!({ "id": "a", "skill": "skill.run", "inputs": { "skill": "greet", "script": "go.sh" }, "retries": 0 }),
        "go.sh",
    );
}

#[test]
fn nobody_is_asked_to_agree_to_more_than_is_shown() {
    let home = TestHome::new(ASKING);
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let content = "x".repeat(40_000);
    let inputs = json!({ "path": "a.txt", "content": content });
    let write = json!({ "id": "w", "skill": "fs.write", "inputs": inputs, "retries": 0 });
    let run = ended(&rim, &rim.submit_plan(&home.workspace(), &json!([write])));
    assert_eq!(run["status"], "failed", "{run}");
    let why = run["reason"].as_str().expect("a reason");
    assert!(why.contains("32768 bytes") && why.contains("smaller parts"), "{why}");
    assert!(!home.workspace().join("a.txt").exists());
}

#[test]
fn no_answer_in_time_is_a_no_and_a_denial_is_never_asked() {
    let config = "[agent]\napprovalTimeout = 1000\napprovals = { \"exec.run\" = \"ask\", \"fs.list\" = \"deny\" }\n";
    let home = TestHome::new(config);
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let check = |step: Value, reason: &str| {
        let id = rim.submit_plan(&home.workspace(), &json!([step]));
        let run = ended(&rim, &id);
        assert_eq!(run["status"], "failed", "{run}");
        let told = run["reason"].as_str().unwrap_or_default();
        assert!(told.contains(reason), "{told}");
    };
    check(step("a", "true"), "nobody answered in time");
    check(
        json!({ "id": "a", "skill": "fs.list", "inputs": { "path": "." }, "retries": 0 }),
        "the operator does not allow fs.list",
    );
}

#[test]
fn a_check_that_runs_a_command_is_no_way_around_the_policy() {
    let check = |policy: &str, status: &str, reason: &str| {
        let home = TestHome::new(&format!("[agent]\napprovals = {{ \"exec.run\" = \"{policy}\" }}\n"));
        let daemon = home.start();
        let rim = Rim::of(&daemon);
        let command = json!({ "type": "command", "argv": ["touch", "made"] });
        let id = rim.submit_plan(
            &home.workspace(),
            &json!([{ "id": "a", "skill": "fs.list", "inputs": { "path": "." }, "retries": 0, "checks": [command] }]),
        );
        let run = ended(&rim, &id);
        assert_eq!(run["status"], status, "{run}");
        let told = run["reason"].as_str().unwrap_or_default();
        assert!(told.contains(reason), "{told}");
        assert_eq!(
            home.workspace().join("made").exists(),
            status == "succeeded",
            "{policy}"
        );
    };
    check("auto", "succeeded", "");
    check("ask", "failed", "checks ask nobody");
    check("deny", "failed", "the operator does not allow exec.run");
}

/// A run whose `once` call was under way at a kill; what its program left says that it had begun.
fn interrupted(home: &TestHome) -> String {
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let pay = step(
        "pay",
        "echo $OPENCLAW_EFFECT_KEY >> paid; [ -e go ] || sleep 100; echo receipt",
    );
    let mut after = step("after", "echo after >> done");
    after["needs"] = json!(["pay"]);
    let id = rim.submit_plan(&home.workspace(), &json!([pay, after]));
    let paid = home.workspace().join("paid");
    until("the call to begin", RUN_MAX, || {
        let lines = lines(&paid);
        if lines == 1 { Ok(()) } else { Err(lines) }
    });
    daemon.kill();
    std::fs::write(home.workspace().join("go"), "").expect("written");
    id
}

/// Waits until nothing is left of any program: a session sweeps behind itself right after it has reported.
fn spool_is_empty(home: &TestHome) {
    until("an empty spool", RUN_MAX, || {
        let files = spooled(home);
        if files.is_empty() { Ok(()) } else { Err(files) }
    });
}

fn spooled(home: &TestHome) -> Vec<String> {
    let files = std::fs::read_dir(home.path().join("state/spool")).expect("a spool");
    let name = |file: std::io::Result<std::fs::DirEntry>| file.expect("readable").file_name();
    files.map(|file| name(file).to_string_lossy().into_owned()).collect()
}

#[test]
fn a_report_that_was_harvested_after_a_kill_is_gone_with_its_trace() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let pay = step(
        "pay",
        "echo once >> paid; until [ -e go ]; do sleep 0.05; done; echo receipt",
    );
    let id = rim.submit_plan(&home.workspace(), &json!([pay]));
    let paid = home.workspace().join("paid");
    until("the call to begin", RUN_MAX, || match lines(&paid) {
        1 => Ok(()),
        lines => Err(lines),
    });
    // Nobody hears of its end, and its shim is there to write it down.
    daemon.signal(Signal::STOP);
    std::fs::write(home.workspace().join("go"), "").expect("written");
    until("the report", RUN_MAX, || {
        let files = spooled(&home);
        let is_there = files
            .iter()
            .any(|file| Path::new(file).extension().is_some_and(|kind| kind == "json"));
        if is_there { Ok(()) } else { Err(files) }
    });
    daemon.kill();
    let daemon = home.start();
    let run = ended(&Rim::of(&daemon), &id);
    assert_eq!(run["status"], "succeeded", "{run}");
    assert_eq!(lines(&paid), 1, "it was not made again");
    spool_is_empty(&home);
}

#[test]
fn a_person_says_what_became_of_a_call_and_the_run_goes_on() {
    let check = |answer: &[&str], status: &str, paid: usize, done: usize| {
        let home = TestHome::new("");
        let id = interrupted(&home);
        let daemon = home.start();
        let rim = Rim::of(&daemon);
        let run = ended(&rim, &id);
        assert_eq!(run["status"], "unknown", "{run}");
        let question = &run["waiting"][0];
        assert_eq!(
            (&question["kind"], &question["skill"], &question["class"]),
            (&json!("unknown"), &json!("exec.run"), &json!("once")),
            "{run}"
        );
        assert!(
            question["started_at"].is_string() && question["key"].is_string(),
            "{question}"
        );
        assert_eq!(question["arguments"]["argv"][0], "sh", "{question}");
        let say = |answer: &[&str]| {
            let said = home
                .command()
                .args(["runs", "resolve", &id])
                .args(answer)
                .output()
                .expect("the program runs");
            (said.status.code(), String::from_utf8_lossy(&said.stderr).into_owned())
        };
        let (code, told) = say(answer);
        assert_eq!(code, Some(0), "{told}");
        let run = ended(&rim, &id);
        spool_is_empty(&home);
        assert_eq!(run["status"], *status, "{run}");
        assert_eq!(lines(&home.workspace().join("paid")), paid, "{answer:?}");
        assert_eq!(lines(&home.workspace().join("done")), done, "{answer:?}");
        let keys = std::fs::read_to_string(home.workspace().join("paid")).expect("there");
        let keys: std::collections::BTreeSet<&str> = keys.lines().collect();
        assert_eq!(keys.len(), 1, "one effect has one key: {keys:?}");
        let (code, told) = say(answer);
        assert_eq!(code, Some(0), "said again: {told}");
        let other = if answer[0] == "--abandon" {
            "--not-happened"
        } else {
            "--abandon"
        };
        let (code, told) = say(&[other]);
        assert_eq!(code, Some(4), "{told}");
        assert!(told.contains("OC-1032"), "{told}");
        // A stream from the beginning goes past the first end.
        let kinds: Vec<String> = rim.stream(&id, None).map(|event| event.kind).collect();
        assert_eq!(kinds.iter().filter(|kind| *kind == "run.done").count(), 2, "{kinds:?}");
        assert!(kinds.contains(&"run.reopened".to_owned()), "{kinds:?}");
    };
    check(&["--happened", "--output", "receipt 7"], "succeeded", 1, 1);
    check(&["--not-happened"], "succeeded", 2, 1);
    check(&["--abandon"], "failed", 1, 0);
}
