//! Models at a provider: the main job through both dialects, every fault on the way, and the key that stays secret.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{Event, Rim, of_kind};

/// A key that must not be found anywhere but in the requests.
const KEY: &str = "sk-canary-4f1d9c7e2b";

/// Every file under a folder that holds this text.
fn holders(folder: &Path, text: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            holders(&path, text, found);
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(text.len()).any(|window| window == text.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn the_main_job_runs_through_both_dialects() {
    for provider in ["openai", "anthropic"] {
        let server = ModelServer::start();
        let home = TestHome::new(&server.config("far", provider));
        home.write_project();
        let daemon = home.start_with(&[("TEST_MODEL_KEY", KEY)]);
        let rim = Rim::of(&daemon);
        let id = rim.submit(&json!({
            "task": "review this folder and write REVIEW.md",
            "workspace": home.workspace(),
            "model": "far",
            "checks": [{ "type": "file", "path": "REVIEW.md", "fresh": true, "min_bytes": 200 }],
        }));
        let run = rim.ended(&id);
        assert_eq!(run["status"], "succeeded", "{provider}: {run}");
        let review = std::fs::read_to_string(home.workspace().join("REVIEW.md")).expect("a review");
        assert!(review.contains("src/main.rs"), "{review}");
        assert!(run["steps"].as_array().is_some_and(|steps| steps.len() >= 5), "{run}");
        let events = rim.events(&id);
        let answered = of_kind(&events, "turn.finished");
        assert_eq!(answered.len(), server.asked().len(), "every turn was asked there");
        assert!(
            answered.iter().all(|turn| turn["estimated"] == false),
            "usage is the provider's"
        );
        let tokens: u64 = answered.iter().filter_map(|turn| turn["tokens"].as_u64()).sum();
        assert_eq!(run["tokens"], tokens, "and is what the run is charged with");
        assert!(server.keys().iter().all(|key| key == KEY));
    }
}

/// One run of the executor against a server that does this first: its status and events.
fn run_with(provider: &str, deeds: Vec<Deed>, always: Option<Deed>) -> (Value, Vec<Event>, ModelServer) {
    let server = ModelServer::start();
    server.then(deeds);
    if let Some(deed) = always {
        server.always(deed);
    }
    let config = format!(
        "{}timeout = 1500\n[agent]\nmaxRetries = 1\n",
        server.config("far", provider)
    );
    let home = TestHome::new(&config);
    home.write_project();
    let daemon = home.start_with(&[("TEST_MODEL_KEY", KEY)]);
    let rim = Rim::of(&daemon);
    let body =
        json!({ "task": "Summarise README.md", "agent": "executor", "workspace": home.workspace(), "model": "far" });
    let id = rim.submit(&body);
    let run = rim.ended(&id);
    let events = rim.events(&id);
    let is_sum = |run: &Value| {
        let charged = |kind: &str, field: &str| -> u64 {
            of_kind(&events, kind)
                .iter()
                .filter_map(|fact| fact[field].as_u64())
                .sum()
        };
        run["tokens"] == charged("turn.finished", "tokens") + charged("turn.failed", "charged")
    };
    assert!(is_sum(&run), "the run is charged with what its turns say: {run}");
    // The provider saw the key, nobody else: not in answers, logs, the store, or any other file.
    let shown = [
        "/v1/status",
        "/v1/agents",
        "/v1/runs",
        &format!("/v1/runs/{id}/timeline"),
    ]
    .map(|path| rim.get(path).body);
    let told = format!("{run}{events:?}{shown:?}");
    assert!(!told.contains(KEY), "the key is shown: {told}");
    let mut found = Vec::new();
    holders(home.path().parent().expect("a folder"), KEY, &mut found);
    assert_eq!(found, [""; 0], "the key is kept");
    assert!(server.keys().iter().all(|key| key == KEY));
    (run, events, server)
}

#[test]
fn every_fault_of_a_provider_has_its_class_and_a_passing_one_loses_no_run() {
    const LIMITED: Deed = Deed::Refuse(
        429,
        "retry-after: 1\r\n",
        "{\"error\":{\"message\":\"slow down, {key}\"}}",
    );
    let check = |deeds: Vec<Deed>, classes: &[&str], free: bool| {
        for provider in ["openai", "anthropic"] {
            let (run, events, server) = run_with(provider, deeds.clone(), None);
            let told = format!("{provider} {deeds:?}: {run}");
            assert_eq!(run["status"], "succeeded", "{told}");
            let failed = of_kind(&events, "turn.failed");
            let found: Vec<&str> = failed.iter().filter_map(|fact| fact["class"].as_str()).collect();
            assert_eq!(found, classes, "{told}");
            for fact in &failed {
                let intended = of_kind(&events, "turn.intended");
                let charged = if free { &json!(0) } else { &intended[0]["reserved"] };
                assert_eq!(&fact["charged"], charged, "{told}: {fact}");
            }
            assert!(server.asked().len() > deeds.len(), "{told}");
        }
    };
    check(vec![LIMITED], &["rate"], true);
    check(
        vec![Deed::Refuse(500, "", "{\"error\":{\"message\":\"broken\"}}")],
        &["overload"],
        false,
    );
    check(
        vec![Deed::Cut, Deed::Refuse(502, "", "<html>")],
        &["transport", "transport"],
        false,
    );
    check(vec![Deed::Hang], &["timeout"], false);
}

#[test]
fn a_wish_to_wait_is_kept() {
    let deed = Deed::Refuse(429, "retry-after: 2\r\n", "{}");
    let (run, events, _) = run_with("openai", vec![deed], None);
    assert_eq!(run["status"], "succeeded", "{run}");
    let at = |kind: &str, nth: usize| {
        let events: Vec<&Event> = events.iter().filter(|event| event.kind == kind).collect();
        let text = events[nth].data["at"].as_str().expect("a time");
        text.parse::<jiff::Timestamp>().expect("RFC 3339")
    };
    let waited = at("turn.intended", 1).duration_since(at("turn.failed", 0));
    assert!(waited.as_millis() >= 1900, "{waited:?}");
}

#[test]
fn what_a_model_says_wrongly_is_told_to_it_or_fails_the_attempt_with_its_class() {
    for provider in ["openai", "anthropic"] {
        let (run, events, server) = run_with(provider, vec![Deed::BrokenCall], None);
        assert_eq!(run["status"], "succeeded", "{provider}: {run}");
        let refused = of_kind(&events, "call.finished");
        assert_eq!(refused[0]["error"], true, "{provider}: {}", refused[0]);
        assert!(
            of_kind(&events, "call.intended").is_empty(),
            "a malformed call is never made"
        );
        assert!(server.asked().len() >= 2);

        let (run, events, _) = run_with(provider, vec![Deed::Say("I am no JSON")], None);
        let failed: Vec<Value> = of_kind(&events, "turn.failed").into_iter().cloned().collect();
        assert_eq!(failed[0]["class"], "malformed", "{provider}: {failed:?}");
        assert_eq!(run["status"], "succeeded", "the next attempt is asked again: {run}");
    }
}

#[test]
fn a_provider_that_never_helps_ends_the_run_with_the_reason() {
    let check = |deed: Deed, class: &str, said: &str| {
        let (run, events, _) = run_with("openai", vec![], Some(deed.clone()));
        assert_eq!(run["status"], "failed", "{deed:?}: {run}");
        let failed = of_kind(&events, "step.failed");
        let last = failed.last().expect("a failed step");
        assert_eq!(
            (last["class"].as_str(), &last["retry_at"]),
            (Some(class), &Value::Null),
            "{deed:?}: {last}"
        );
        assert!(
            run["reason"].as_str().is_some_and(|reason| reason.contains(said)),
            "{run}"
        );
    };
    check(
        Deed::Refuse(401, "", "{\"error\":{\"message\":\"bad key {key}\"}}"),
        "config",
        "model `far` answered with status 401; the key is read from TEST_MODEL_KEY",
    );
    check(Deed::Say("{}"), "malformed", "no choice");
}

#[test]
fn a_model_without_its_key_or_without_a_definition_fails_the_step_with_the_reason() {
    let server = ModelServer::start();
    server.always(Deed::Refuse(401, "", "{\"error\":{\"message\":\"who are you?\"}}"));
    let config = server.config("far", "openai").replace("TEST_MODEL_KEY", "NO_SUCH_KEY");
    let home = TestHome::new(&config);
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let check = |model: &str, said: &str| {
        let body = json!({ "task": "x", "agent": "executor", "workspace": home.workspace(), "model": model });
        let run = rim.ended(&rim.submit(&body));
        assert_eq!((&run["status"], &run["tokens"]), (&json!("failed"), &json!(0)), "{run}");
        assert!(
            run["reason"].as_str().is_some_and(|reason| reason.contains(said)),
            "{run}"
        );
    };
    check("far", "NO_SUCH_KEY");
    check("claude-sonnet", "ANTHROPIC_API_KEY");
    // A name that nobody configured is refused when it is submitted.
    let body = json!({ "task": "x", "agent": "executor", "workspace": home.workspace(), "model": "nobody" });
    let refused = rim.post("/v1/runs", &body);
    let said = refused.body["error"]["message"].as_str().unwrap_or_default();
    assert!(
        refused.code() == "OC-4001" && said.contains("there is no model `nobody`"),
        "{}",
        refused.body
    );
}
