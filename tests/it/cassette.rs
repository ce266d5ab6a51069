//! A run recorded and replayed: the same work without any model, and a clear word when it is not the same.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{TestDaemon, TestHome};
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{Rim, of_kind};

const KEY: &str = "sk-canary-7f3e9a1c5d2b4860";
/// Recorded by `CASSETTES=record cargo test --test it cassette`, committed, and replayed by everybody.
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/cassettes/summary.jsonl");

fn home(config: &str) -> TestHome {
    let home = TestHome::new(config);
    let write = |path: &str, text: &str| std::fs::write(home.workspace().join(path), text).expect("written");
    write(
        "README.md",
        "# Demo\n\nA small project that greets everybody it meets.\n",
    );
    write("notes.txt", "remember the milk\n");
    home
}

/// An agent that only a change of its one skill changes.
fn with_reader(config: &str) -> TestHome {
    let home = home(config);
    std::fs::create_dir_all(home.path().join("agents")).expect("a folder");
    let agent = "role = \"executor\"\nprompt = \"You answer from files.\"\nskills = [\"fs.read\"]\n";
    std::fs::write(home.path().join("agents/reader.toml"), agent).expect("written");
    home
}

fn start(home: &TestHome) -> TestDaemon {
    home.start_with(&[("TEST_MODEL_KEY", KEY)])
}

fn order(home: &TestHome) -> Value {
    json!({ "task": "Summarise README.md", "agent": "executor", "workspace": home.workspace(), "model": "far" })
}

fn recorded(home: &TestHome) -> Value {
    let mut order = order(home);
    order["record"] = true.into();
    order
}

fn replayed(home: &TestHome, cassette: &str) -> Value {
    let mut order = order(home);
    order["replay"] = cassette.into();
    order
}

/// The cassette of a run as the gateway gives it.
fn cassette(rim: &Rim, id: &str) -> String {
    let (status, text) = rim.text(&format!("/v1/runs/{id}/cassette"));
    assert_eq!(status, 200, "{text}");
    text
}

/// The answered requests of a cassette: what was asked and what was answered.
fn lines(cassette: &str) -> Vec<Value> {
    let lines = cassette.lines().skip(1);
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn what_was_recorded_is_replayed_without_a_model_and_is_recorded_the_same() {
    let server = ModelServer::start();
    let first = home(&server.config("far", "openai"));
    let daemon = start(&first);
    let rim = Rim::of(&daemon);
    // The key comes back in an answer, as providers that quote do it.
    server.then([
        Deed::Refuse(500, "", "{}"),
        Deed::Text(format!("not JSON, and {KEY} with it")),
    ]);
    let mut order = recorded(&first);
    order["output_schema"] = json!({ "type": "object" });
    let id = rim.submit(&order);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    let text = cassette(&rim, &id);
    let workspace = first.workspace().display().to_string();
    for secret in [KEY, &workspace, &id, &rim.key.clone().expect("a key")] {
        assert!(!text.contains(secret), "{secret} is in the cassette: {text}");
    }
    assert!(text.contains("(secret) with it"), "the canary was there: {text}");
    assert_eq!(
        lines(&text).len(),
        server.asked().len() - 1,
        "answers are kept, failures are not"
    );
    drop(daemon);

    // Another home, where nobody knows the model.
    let second = home("");
    let daemon = second.start();
    let rim = Rim::of(&daemon);
    let asked = server.asked().len();
    let mut order = replayed(&second, &text);
    order["output_schema"] = json!({ "type": "object" });
    let again = rim.ended(&rim.submit(&order));
    assert_eq!(
        (&again["status"], &again["result"]),
        (&run["status"], &run["result"]),
        "{again}"
    );
    assert_eq!(server.asked().len(), asked, "nobody was asked");
    let copy = cassette(&rim, again["id"].as_str().expect("an id"));
    assert_eq!(copy, text, "a replay records what it replays");
}

#[test]
fn parallel_steps_are_replayed_each_with_its_own_answers() {
    let server = ModelServer::start();
    let first = home(&server.config("far", "anthropic"));
    let daemon = start(&first);
    let rim = Rim::of(&daemon);
    let step = |id: &str, needs: &[&str]| json!({ "id": id, "agent": "executor", "task": "Summarise README.md", "needs": needs });
    let order = |home: &TestHome| {
        json!({
            "task": "thrice", "workspace": home.workspace(), "model": "far",
            "plan": { "steps": [step("a", &[]), step("b", &[]), step("c", &["a", "b"])] },
        })
    };
    let mut first_order = order(&first);
    first_order["record"] = true.into();
    let run = rim.ended(&rim.submit(&first_order));
    assert_eq!(run["status"], "succeeded", "{run}");
    let text = cassette(&rim, run["id"].as_str().expect("an id"));
    drop(daemon);
    let second = home("");
    let daemon = second.start();
    let rim = Rim::of(&daemon);
    let mut second_order = order(&second);
    second_order["replay"] = text.as_str().into();
    let again = rim.ended(&rim.submit(&second_order));
    assert_eq!(again["status"], "succeeded", "{again}");
    assert_eq!(again["result"], run["result"]);
}

#[test]
fn a_run_that_goes_another_way_fails_with_the_difference() {
    let server = ModelServer::start();
    let first = home(&server.config("far", "openai"));
    let daemon = start(&first);
    let rim = Rim::of(&daemon);
    let id = rim.submit(&recorded(&first));
    assert_eq!(rim.ended(&id)["status"], "succeeded");
    let text = cassette(&rim, &id);
    std::fs::write(first.workspace().join("README.md"), "# Demo\n\nSomething else.\n").expect("written");
    let asked = server.asked().len();
    let id = rim.submit(&replayed(&first, &text));
    let run = rim.ended(&id);
    assert_eq!(run["status"], "failed", "{run}");
    let reason = run["reason"].as_str().expect("a reason");
    for said in [
        "OC-4101",
        "(results) differs from byte",
        "greets everybody",
        "Something else",
    ] {
        assert!(reason.contains(said), "{said}: {reason}");
    }
    let failed = rim.events(&id);
    assert_eq!(of_kind(&failed, "turn.failed").len(), 1, "a miss is not asked again");
    // The same work again is played again: it must never reach the model by accident.
    let reply = rim.post(&format!("/v1/runs/{id}/retry"), &json!({}));
    let again = rim.ended(reply.body["id"].as_str().expect("an id"));
    assert!(
        again["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("OC-4101")),
        "{again}"
    );
    assert_eq!(server.asked().len(), asked, "nobody was asked");
}

#[test]
fn a_recording_survives_a_kill_and_so_does_a_replay() {
    let server = ModelServer::start();
    let home = home(&server.config("far", "openai"));
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    // The second request hangs, so that the first answer is journaled when the process dies.
    server.then([Deed::Answer, Deed::Hang]);
    let id = rim.submit(&recorded(&home));
    server.wait_asked(2);
    // A turn of reads waits for no disk, so the answer is waited for.
    let mut stream = rim.stream(&id, None);
    stream
        .find(|event| event.kind == "call.finished")
        .expect("an answer and its call");
    let before = cassette(&rim, &id);
    assert_eq!(lines(&before).len(), 1, "{before}");
    daemon.kill();
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    let text = cassette(&rim, &id);
    assert!(text.starts_with(&before), "what was answered before the kill is kept");
    assert_eq!(lines(&text).len(), server.asked().len() - 1);

    // A replay is stopped in its middle by a kill and goes on from its cassette.
    let daemon = {
        let id = rim.submit(&replayed(&home, &text));
        let mut stream = rim.stream(&id, None);
        stream.find(|event| event.kind == "turn.finished").expect("a turn");
        daemon.signal(Signal::KILL);
        daemon.kill();
        let daemon = home.start();
        let run = Rim::of(&daemon).ended(&id);
        assert_eq!(run["status"], "succeeded", "{run}");
        daemon
    };
    drop(daemon);
}

#[test]
fn a_run_that_fails_has_its_cassette_and_one_that_was_not_recorded_has_none() {
    let server = ModelServer::start();
    let home = home(&server.config("far", "openai"));
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    server.then([Deed::Answer]);
    server.always(Deed::Refuse(401, "", "{}"));
    let id = rim.submit(&recorded(&home));
    assert_eq!(rim.ended(&id)["status"], "failed");
    assert_eq!(lines(&cassette(&rim, &id)).len(), 1);
    let mut plain = order(&home);
    plain["task"] = "another".into();
    let id = rim.submit(&plain);
    rim.ended(&id);
    let refused = rim.get(&format!("/v1/runs/{id}/cassette"));
    assert_eq!((refused.status, refused.code()), (404, "OC-4103"), "{}", refused.body);
    let refused = rim.post("/v1/runs", &replayed(&home, "{\"cassette\":1}\nnonsense"));
    assert_eq!((refused.status, refused.code()), (400, "OC-4102"), "{}", refused.body);
}

#[test]
fn the_commands_record_and_replay_a_file() {
    let server = ModelServer::start();
    let home = home(&server.config("far", "openai"));
    let daemon = start(&home);
    let file = home.path().join("run.jsonl");
    let run = |flags: &[&Path]| {
        let mut command = home.command();
        command.args([
            "run",
            "Summarise README.md",
            "--agent",
            "executor",
            "--model",
            "far",
            "--json",
            "--workspace",
        ]);
        command.arg(home.workspace()).args(flags);
        let output = command.output().expect("runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = said.lines().last().unwrap_or_default();
        let value: Value = serde_json::from_str(last).unwrap_or_default();
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        value["run"]["result"].clone()
    };
    let first = run(&["--record".as_ref(), &file]);
    let asked = server.asked().len();
    let again = run(&["--follow".as_ref(), "--replay".as_ref(), &file]);
    assert_eq!((&first, server.asked().len()), (&again, asked));
    drop(daemon);
}

#[test]
fn a_committed_cassette_is_replayed_by_everybody() {
    let by_reader = |mut order: Value| {
        order["agent"] = "reader".into();
        order
    };
    if std::env::var("CASSETTES").is_ok_and(|what| what == "record") {
        let server = ModelServer::start();
        let home = with_reader(&server.config("far", "openai"));
        let daemon = start(&home);
        let rim = Rim::of(&daemon);
        let id = rim.submit(&by_reader(recorded(&home)));
        assert_eq!(rim.ended(&id)["status"], "succeeded");
        std::fs::write(COMMITTED, cassette(&rim, &id)).expect("written");
    }
    let text = std::fs::read_to_string(COMMITTED).expect("the committed cassette");
    let home = with_reader("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let run = rim.ended(&rim.submit(&by_reader(replayed(&home, &text))));
    assert_eq!(
        run["status"], "succeeded",
        "record it again when a prompt or skill has changed: {run}"
    );
    assert!(run["result"].to_string().contains("greets everybody"), "{run}");
}
