//! Token budgets of a real daemon: never over the limit, kept over a kill, shown to people.

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{RUN_MAX, Rim, of_kind};
use crate::support::wait::until;

fn tokens(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("tokens: {value}"))
}

/// An order that takes the executor a few turns.
fn order(home: &TestHome) -> Value {
    json!({ "task": "Summarise README.md", "agent": "executor", "workspace": home.workspace() })
}

fn home_with(config: &str) -> TestHome {
    let home = TestHome::new(config);
    std::fs::write(home.workspace().join("README.md"), "# Demo\n\nA small project.\n").expect("written");
    home
}

#[test]
fn a_run_over_its_budget_fails_with_that_class_before_the_model_is_asked() {
    let home = home_with("[agent.tokenBudget]\nperRun = 1000000\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let whole = rim.ended(&rim.submit(&order(&home)));
    assert_eq!(whole["status"], "succeeded", "{whole}");

    // One token is never enough; what the first turn may cost is, but not for the second.
    let events = rim.events(whole["id"].as_str().expect("an id"));
    let first = tokens(&of_kind(&events, "turn.intended")[0]["reserved"]);
    let check = |limit: u64, turns: usize| {
        let mut order = order(&home);
        order["tokens_max"] = limit.into();
        let id = rim.submit(&order);
        let run = rim.ended(&id);
        assert_eq!(run["status"], "failed", "{limit}: {run}");
        assert!(tokens(&run["tokens"]) <= limit, "{limit}: {run}");
        let events = rim.events(&id);
        assert_eq!(of_kind(&events, "turn.intended").len(), turns, "{limit}: {run}");
        let failed = of_kind(&events, "step.failed");
        assert_eq!(
            (failed.len(), &failed[0]["class"]),
            (1, &json!("budget")),
            "no second try: {failed:?}"
        );
        assert!(
            run["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains(&limit.to_string())),
            "{run}"
        );
    };
    check(1, 0);
    check(first, 1);
}

#[test]
fn twenty_runs_at_once_stay_together_within_the_day_of_their_agent() {
    let home = home_with("");
    let agent = "role = \"executor\"\n[tokenBudget]\ndaily = 30000\n";
    std::fs::create_dir_all(home.path().join("agents")).expect("a folder");
    std::fs::write(
        home.path().join("agents/executor.toml"),
        format!("concurrency = 20\n{agent}"),
    )
    .expect("written");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let sent: Vec<_> = (0..20).map(|_| scope.spawn(|| rim.submit(&order(&home)))).collect();
        sent.into_iter().map(|sent| sent.join().expect("accepted")).collect()
    });
    let runs: Vec<Value> = ids.iter().map(|id| rim.ended(id)).collect();
    let agent = rim.get("/v1/agents/executor").body;
    let sum: u64 = runs.iter().map(|run| tokens(&run["tokens"])).sum();
    let with = |status: &str| runs.iter().filter(|run| run["status"] == status).count();
    assert!(
        with("failed") > 0 && with("failed") + with("succeeded") == 20,
        "{runs:?}"
    );
    assert!(sum > 0 && sum <= 30_000, "{sum}");
    assert_eq!(
        (tokens(&agent["tokens_today"]), &agent["tokens_daily_max"]),
        (sum, &json!(30_000))
    );
    for run in runs.iter().filter(|run| run["status"] == "failed") {
        let events = rim.events(run["id"].as_str().expect("an id"));
        let failed = of_kind(&events, "step.failed");
        assert_eq!((failed.len(), &failed[0]["class"]), (1, &json!("budget")), "{failed:?}");
    }

    // The next life knows what the last one used.
    daemon.kill();
    let daemon = home.start();
    let agent = Rim::of(&daemon).get("/v1/agents/executor").body;
    assert_eq!(tokens(&agent["tokens_today"]), sum);
    let shown = home
        .command()
        .args(["agent", "show", "executor", "--json"])
        .output()
        .expect("runs");
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(
        (tokens(&shown["tokens_today"]), &shown["tokens_daily_max"]),
        (sum, &json!(30_000))
    );
}

#[test]
fn a_request_in_flight_at_a_kill_is_charged_at_its_ceiling() {
    let server = ModelServer::start();
    server.then([Deed::Hang]);
    let home = home_with(&server.config("far", "openai"));
    let key = [("TEST_MODEL_KEY", "k")];
    let daemon = home.start_with(&key);
    let rim = Rim::of(&daemon);
    let mut order = order(&home);
    order["model"] = "far".into();
    let id = rim.submit(&order);
    server.wait_asked(1);
    let mut stream = rim.stream(&id, None);
    let reserved = stream
        .find(|event| event.kind == "turn.intended")
        .expect("an intent")
        .data["reserved"]
        .clone();
    let before = tokens(&rim.get("/v1/agents/executor").body["tokens_today"]);
    assert_eq!(before, tokens(&reserved), "what is in flight is booked");
    daemon.kill();

    let daemon = home.start_with(&key);
    let rim = Rim::of(&daemon);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    let events = rim.events(&id);
    let failed = of_kind(&events, "turn.failed");
    assert_eq!(
        (failed[0]["class"].as_str(), &failed[0]["charged"]),
        (Some("crash"), &reserved),
        "{failed:?}"
    );
    let used: u64 = of_kind(&events, "turn.finished")
        .iter()
        .map(|turn| tokens(&turn["tokens"]))
        .sum();
    assert_eq!(tokens(&run["tokens"]), used + before, "{run}");
    assert_eq!(
        tokens(&rim.get("/v1/agents/executor").body["tokens_today"]),
        used + before
    );
}

/// Wants a program to run that never ends, and has used nearly all that its agent may use per run.
const DEAR_CALL: &str = r#"{ "model": "far", "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": {
    "role": "assistant", "content": null, "tool_calls": [{ "id": "c1", "type": "function", "function": {
        "name": "exec__dot__run", "arguments": "{\"argv\": [\"sh\", \"-c\", \"echo 1 > begun; sleep 100\"]}" } }] } }],
    "usage": { "prompt_tokens": 10, "completion_tokens": 59000 } }"#;

#[test]
fn a_run_that_a_person_reopens_goes_on_with_what_is_left_of_its_agents_budget() {
    let server = ModelServer::start();
    server.then([Deed::Say(DEAR_CALL), Deed::Text("It is done.".to_owned())]);
    let home = home_with(&server.config("far", "openai"));
    std::fs::create_dir_all(home.path().join("agents")).expect("a folder");
    let agent = "role = \"executor\"\n[tokenBudget]\nperRun = 60000\n";
    std::fs::write(home.path().join("agents/executor.toml"), agent).expect("written");
    let key = [("TEST_MODEL_KEY", "k")];
    let daemon = home.start_with(&key);
    let rim = Rim::of(&daemon);
    let mut order = order(&home);
    order["model"] = "far".into();
    let id = rim.submit(&order);
    until("the program to begin", RUN_MAX, || {
        let begun = home.workspace().join("begun").exists();
        begun.then_some(()).ok_or_else(|| rim.run(&id))
    });
    daemon.kill();

    let daemon = home.start_with(&key);
    let rim = Rim::of(&daemon);
    let run = rim.ended(&id);
    assert_eq!(
        (&run["status"], tokens(&run["tokens"])),
        (&json!("unknown"), 59_010),
        "{run}"
    );
    let said = rim.post(
        &format!("/v1/runs/{id}/resolve"),
        &json!({ "resolution": "happened", "output": "it did" }),
    );
    assert_eq!(said.status, 200, "{}", said.body);
    let run = rim.ended(&id);
    assert_eq!(
        (&run["status"], tokens(&run["tokens"])),
        (&json!("failed"), 59_010),
        "{run}"
    );
    let failed = of_kind(&rim.events(&id), "step.failed")[0].clone();
    assert_eq!(failed["class"], "budget", "{failed}");
}
