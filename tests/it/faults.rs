//! Providers that fail, limit, or go away: every run ends as it should, and none is lost.

use std::time::Duration;

use openclaw::domain::conversation::{ModelAnswer, Stop, Usage};
use serde_json::{Value, json};

use crate::support::daemon::{TestDaemon, TestHome};
use crate::support::fault_server::{Act, Answer, Asked, FaultServer, Wire, events};
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{Event, Rim, of_kind};
use crate::support::wait::until;

const KEY: &str = "sk-test";
/// Longest wait for something that takes no longer than a moment.
const SOON: Duration = Duration::from_secs(20);
const BROKEN: Deed = Deed::Refuse(500, "", "{\"error\":{\"message\":\"broken\"}}");

fn start(home: &TestHome) -> TestDaemon {
    // Tests cannot wait for minutes: a wait of more than a second gives the slot back.
    home.start_with(&[("TEST_MODEL_KEY", KEY), ("OPENCLAW_REST_OVER_MS", "1000")])
}

fn order(home: &TestHome, model: &str) -> Value {
    json!({ "task": "say something", "agent": "executor", "workspace": home.workspace(), "model": model })
}

/// The time of the n-th event of a kind.
fn at(events: &[Event], kind: &str, nth: usize) -> jiff::Timestamp {
    let mut found = events.iter().filter(|event| event.kind == kind);
    let event = found
        .nth(nth)
        .unwrap_or_else(|| panic!("no {kind} {nth} in {events:?}"));
    let text = event.data["at"].as_str().expect("a time");
    text.parse().expect("RFC 3339")
}

/// A model's gate as the status shows it.
fn gate(rim: &Rim, alias: &str) -> Value {
    let status = rim.get("/v1/status").body;
    let models = status["models"].as_array().expect("models");
    let model = models.iter().find(|model| model["alias"] == alias);
    model.unwrap_or_else(|| panic!("no {alias} in {status}"))["gate"].clone()
}

fn wait_for_step(rim: &Rim, run: &str, expected: &str) {
    until("the step to stand there", SOON, || {
        let view = rim.run(run);
        let found = view["steps"][0]["status"].as_str().unwrap_or("").to_owned();
        if found == expected { Ok(()) } else { Err(view) }
    });
}

#[test]
fn a_long_wait_frees_the_slot_and_the_same_attempt_goes_on_after_a_kill() {
    let server = ModelServer::start();
    server.always(Deed::Text("done".into()));
    server.then([Deed::Refuse(429, "retry-after: 7\r\n", "{}")]);
    let config = format!("{}[agent]\nconcurrency = 1\n", server.config("far", "openai"));
    let home = TestHome::new(&config);
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let resting = rim.submit(&order(&home, "far"));
    wait_for_step(&rim, &resting, "resting");
    assert_eq!(gate(&rim, "far")["state"], "cooling");
    let other = rim.ended(&rim.submit(&order(&home, "offline")));
    assert_ne!(other["status"], "active", "the only slot is free for another: {other}");
    assert_eq!(rim.run(&resting)["status"], "active");
    daemon.kill();

    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let run = rim.ended(&resting);
    assert_eq!(
        (&run["status"], &run["result"]),
        (&json!("succeeded"), &json!("done")),
        "{run}"
    );
    assert_eq!(run["steps"][0]["attempts"], 1, "{run}");
    let events = rim.events(&resting);
    assert_eq!(of_kind(&events, "handoff.sent").len(), 1);
    assert!(!of_kind(&events, "step.rested").is_empty());
    assert_eq!(server.asked().len(), 2, "nothing was asked before its time");
    let waited = at(&events, "turn.intended", 1).duration_since(at(&events, "turn.failed", 0));
    assert!(waited.as_millis() >= 6_900, "{waited:?}");
}

#[test]
fn a_wait_beyond_the_deadline_fails_the_step_at_once_with_the_reason() {
    let server = ModelServer::start();
    server.always(Deed::Refuse(429, "retry-after: 3000\r\n", "{}"));
    let home = TestHome::new(&server.config("far", "openai"));
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let run = rim.ended(&rim.submit(&order(&home, "far")));
    assert_eq!(run["status"], "failed", "{run}");
    let reason = run["reason"].as_str().unwrap_or("");
    assert!(
        reason.contains("(deadline)") && reason.contains("after the deadline of the step") && reason.contains("429"),
        "{reason}"
    );
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn another_model_answers_for_one_that_is_down_until_it_is_well_again() {
    let (far, near) = (ModelServer::start(), ModelServer::start());
    far.always(BROKEN);
    near.always(Deed::Text("from near".into()));
    let config = format!(
        "{}fallback = [\"near\"]\n{}[agent]\nmaxRetries = 1\n",
        far.config("far", "openai"),
        near.config("near", "anthropic")
    );
    let home = TestHome::new(&config);
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let id = rim.submit(&order(&home, "far"));
    let run = rim.ended(&id);
    assert_eq!(
        (&run["status"], &run["result"]),
        (&json!("succeeded"), &json!("from near")),
        "{run}"
    );
    let events = rim.events(&id);
    let intended = of_kind(&events, "turn.intended");
    let asked: Vec<&str> = intended.iter().filter_map(|fact| fact["model"].as_str()).collect();
    assert_eq!(asked, ["far", "far", "near"]);

    // When its breaker is open it is not even asked.
    until("the breaker to open", SOON, || {
        let run = rim.ended(&rim.submit(&order(&home, "far")));
        assert_eq!(run["status"], "succeeded", "{run}");
        let gate = gate(&rim, "far");
        if gate["opened"].as_u64() > Some(0) {
            Ok(())
        } else {
            Err(gate)
        }
    });
    let shown = home.command().arg("status").output().expect("runs");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("far (open until 20") || shown.contains("far (half-open"),
        "{shown}"
    );

    far.always(Deed::Text("from far".into()));
    until("the model to be asked again", SOON, || {
        let run = rim.ended(&rim.submit(&order(&home, "far")));
        assert_eq!(run["status"], "succeeded", "{run}");
        if run["result"] == "from far" {
            Ok(())
        } else {
            Err(gate(&rim, "far"))
        }
    });
    assert_eq!(gate(&rim, "far")["state"], "closed");
}

#[test]
fn a_hundred_parallel_steps_at_a_provider_with_a_limit_all_end_and_few_are_refused() {
    let check = |headers: &'static str| {
        let server = ModelServer::start();
        server.always(Deed::Limit(25, headers));
        let config = format!(
            "{}[agent]\nconcurrency = 200\nmaxConcurrentSteps = 200\n",
            server.config("far", "openai")
        );
        let home = TestHome::new(&config);
        let daemon = home.start_with(&[("TEST_MODEL_KEY", KEY)]);
        let rim = Rim::of(&daemon);
        let steps: Vec<Value> = (0..100)
            .map(|index| json!({ "id": format!("s{index}"), "agent": "executor", "task": "say something" }))
            .collect();
        let body = json!({
            "task": "a test", "workspace": home.workspace(), "model": "far",
            "plan": { "goal": "g", "steps": steps, "result": "s0" },
        });
        let run = rim.ended(&rim.submit(&body));
        assert_eq!(run["status"], "succeeded", "{run}");
        let mut steps = run["steps"].as_array().expect("steps").iter();
        assert!(steps.all(|step| step["attempts"] == 1), "{run}");
        assert_eq!(server.asked().len() - server.limited(), 100);
        assert!(server.limited() <= 40, "{} were refused", server.limited());
    };
    check("");
    check("retry-after: 1\r\n");
}

#[test]
fn a_cancelled_run_hangs_up_on_its_provider() {
    let server = ModelServer::start();
    server.always(Deed::Hang);
    let home = TestHome::new(&server.config("far", "openai"));
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let id = rim.submit(&order(&home, "far"));
    server.wait_asked(1);
    assert_eq!(server.left(), 0);
    let reply = rim.post(&format!("/v1/runs/{id}/cancel"), &json!({}));
    assert_eq!(reply.status, 202, "{}", reply.body);
    assert_eq!(rim.ended(&id)["status"], "cancelled");
    until("the server to see the end of the connection", SOON, || {
        match server.left() {
            1 => Ok(()),
            other => Err(other),
        }
    });
    assert_eq!(gate(&rim, "far")["asking"], 0, "its place is free again");
}

const SAID: &str = "First line, with an \u{1f600}.\nSecond line.\nAnd the end.";

fn said(asked: &Asked) -> Answer {
    let answer = ModelAnswer {
        text: SAID.into(),
        calls: Vec::new(),
        stop: Stop::End,
        usage: Usage::default(),
        answered_by: "test".into(),
        kept: std::sync::Arc::new([]),
    };
    Answer::stream(events(asked.dialect, &answer))
}

fn streaming(server: &FaultServer) -> String {
    format!(
        "[models.far]\nprovider = \"openai\"\nid = \"far\"\nbaseUrl = \"{}/v1\"\ntimeout = 4000\n\
         [agent]\nmaxRetries = 2\n",
        server.url
    )
}

#[test]
fn answers_are_shown_while_they_arrive_and_a_turn_that_is_asked_again_says_so() {
    let server = FaultServer::start(Wire::Http1);
    let count = std::sync::atomic::AtomicUsize::new(0);
    server.always(move |asked| {
        // Time for a reader to come.
        let mut answer = said(asked);
        answer.acts.insert(0, Act::Wait(Duration::from_millis(700)));
        match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => answer.cut_after(4),
            _ => answer,
        }
    });
    let home = TestHome::new(&streaming(&server));
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let id = rim.submit(&order(&home, "far"));
    let mut stream = rim.stream(&id, None);
    let (mut kind, mut numbered, mut shown, mut restarts) = (String::new(), false, String::new(), 0);
    let mut before = String::new();
    while let Some(line) = stream.line() {
        match line.split_once(": ") {
            Some(("id", _)) => numbered = true,
            Some(("event", word)) => word.clone_into(&mut kind),
            Some(("data", text)) => {
                let data: Value = serde_json::from_str(text).expect("JSON");
                match (numbered, kind.as_str()) {
                    (false, "delta") => {
                        assert_eq!((&data["step"], &data["turn"]), (&json!("work"), &json!(1)), "{data}");
                        shown.push_str(data["text"].as_str().expect("text"));
                    }
                    (false, "restart") => {
                        restarts += 1;
                        before = std::mem::take(&mut shown);
                    }
                    (true, "turn.finished") => assert_eq!(shown, SAID, "all of it was shown before it was a fact"),
                    (numbered, kind) => assert!(numbered, "{kind} has no number"),
                }
            }
            _ => numbered = false,
        }
    }
    assert_eq!(restarts, 1);
    assert!(!before.is_empty() && SAID.starts_with(&before), "{before:?}");
    assert_eq!(rim.ended(&id)["result"], SAID);

    let mut followed = home.command();
    followed.args([
        "run",
        "--follow",
        "--agent",
        "executor",
        "--model",
        "far",
        "--workspace",
    ]);
    let followed = followed
        .arg(home.workspace())
        .arg("say something")
        .output()
        .expect("runs");
    let told = String::from_utf8_lossy(&followed.stderr).into_owned();
    for line in SAID.lines() {
        assert!(told.contains(line), "{line} is not in {told}");
    }
}

#[test]
fn whatever_a_provider_does_to_its_answer_the_run_goes_on_with_the_right_class() {
    let check = |what: &str, wrong: fn(&Asked) -> Answer, class: Option<&str>| {
        let server = FaultServer::start(Wire::Http1);
        let count = std::sync::atomic::AtomicUsize::new(0);
        server.always(
            move |asked| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => wrong(asked),
                _ => said(asked),
            },
        );
        let home = TestHome::new(&streaming(&server));
        let daemon = home.start();
        let rim = Rim::of(&daemon);
        let id = rim.submit(&order(&home, "far"));
        let run = rim.ended(&id);
        assert_eq!(
            (&run["status"], &run["result"]),
            (&json!("succeeded"), &json!(SAID)),
            "{what}: {run}"
        );
        let events = rim.events(&id);
        let failed = of_kind(&events, "turn.failed");
        let found: Vec<&str> = failed.iter().filter_map(|fact| fact["class"].as_str()).collect();
        assert_eq!(found, class.into_iter().collect::<Vec<_>>(), "{what}: {failed:?}");
    };
    check("one byte at a time", |asked| said(asked).dripping(), None);
    check("a cut", |asked| said(asked).cut_after(3), Some("transport"));
    check("an early end", |asked| said(asked).ended_after(2), Some("transport"));
    check("silence within", |asked| said(asked).hanging_after(3), Some("timeout"));
    check("silence before", |_| Answer::silence(), Some("timeout"));
    check("529", |_| Answer::refused(529, &[], "{}"), Some("overload"));
    check(
        "503 with a wait",
        |_| Answer::refused(503, &[("retry-after", "1")], "{}"),
        Some("overload"),
    );
    check(
        "429 without a wait",
        |_| Answer::refused(429, &[], "<html>"),
        Some("rate"),
    );
    check("no JSON", |_| Answer::whole("\u{0}garbage"), Some("malformed"));
}
