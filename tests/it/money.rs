//! Money, figures and metrics of a real daemon: what a model costs is booked, limited, shown and scraped.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use openclaw::runtime::telemetry::{METRICS, MetricKind};
use serde_json::{Value, json};

use crate::support::daemon::{TestDaemon, TestHome};
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{Rim, of_kind};

const KEY: [(&str, &str); 1] = [("TEST_MODEL_KEY", "sk-test-never-shown")];

/// A home whose model `far` answers with 10 tokens in and 5 out: 70 millionths of a US dollar.
fn home(server: &ModelServer, more: &str) -> TestHome {
    let model = server.config("far", "openai");
    let home = TestHome::new(&format!(
        "{model}price = {{ input = 2, output = \"10.00\" }}\n[metrics]\nport = 0\n{more}"
    ));
    std::fs::write(home.workspace().join("README.md"), "# Demo\n").expect("written");
    home
}

fn order(home: &TestHome) -> Value {
    json!({ "task": "What is this?", "agent": "executor", "workspace": home.workspace(), "model": "far" })
}

/// What a command prints.
fn printed(home: &TestHome, arguments: &[&str], exit: i32) -> String {
    let output = home.command().args(arguments).envs(KEY).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {text}{wrong}");
    text
}

/// The samples of a scrape by their text before the value, and the types by family.
struct Scrape {
    samples: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

fn scrape(daemon: &TestDaemon) -> Scrape {
    let url = Rim::of(daemon).get("/v1/status").body["metrics"].clone();
    let url = url.as_str().expect("metrics are served").trim_start_matches("http://");
    let rim = Rim {
        address: url.trim_end_matches("/metrics").to_owned(),
        key: None,
    };
    let mut text = String::new();
    let mut stream = rim.open("GET", "/metrics", &[], "");
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
    assert!(
        head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"),
        "{head}"
    );
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let mut scrape = Scrape {
        samples: BTreeMap::new(),
        types: BTreeMap::new(),
    };
    for line in body.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("name and type");
            assert!(
                scrape.types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{line}"
            );
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').expect("series and value");
            let value = value.parse().unwrap_or_else(|_| panic!("a number: {line}"));
            assert!(
                scrape.samples.insert(series.to_owned(), value).is_none(),
                "twice: {line}"
            );
        }
    }
    scrape
}

#[test]
fn what_a_model_costs_is_booked_limited_and_shown_over_a_kill() {
    let server = ModelServer::start();
    server.always(Deed::Text("It is a demo.".into()));
    let home = home(&server, "[agent.costBudget]\ndaily = 5\n");
    let daemon = home.start_with(&KEY);
    let rim = Rim::of(&daemon);
    let id = rim.submit(&order(&home));
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    let events = rim.events(&id);
    assert_eq!(of_kind(&events, "turn.finished")[0]["cost_micro_usd"], 70);

    // A run that may not cost what its first request may cost is refused that request.
    let mut dear = order(&home);
    dear["max_cost_usd"] = json!("0.000001");
    let refused = rim.submit(&dear);
    let run = rim.ended(&refused);
    assert_eq!(run["status"], "failed", "{run}");
    let reason = run["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("$0.000000 of $0.000001 are used"), "{reason}");
    let events = rim.events(&refused);
    assert_eq!(of_kind(&events, "step.failed")[0]["class"], "budget");
    assert!(of_kind(&events, "turn.intended").is_empty());
    assert_eq!(server.asked().len(), 1);

    dear["max_cost_usd"] = json!("a lot");
    assert_eq!(rim.post("/v1/runs", &dear).code(), "OC-1001");
    let mut unknown = order(&home);
    unknown["model"] = json!("nobody");
    assert_eq!(rim.post("/v1/runs", &unknown).code(), "OC-4001");

    let check = |rim: &Rim| {
        let stats = rim.get("/v1/agents/executor/stats").body;
        assert_eq!(stats["metrics"]["cost"], "$0.00007", "{stats}");
        assert_eq!(stats["metrics"]["success"], "50%", "{stats}");
        assert_eq!(stats["figures"]["cost_usd"], json!(0.00007), "{stats}");
        let tokens = &stats["figures"]["tokens"];
        assert_eq!(
            (&tokens["input"], &tokens["output"], &tokens["total"]),
            (&json!(10), &json!(5), &json!(15))
        );
        let of_model = stats["models"].as_array().expect("a list");
        let far = of_model.iter().find(|row| row["model"] == "far").expect("its model");
        assert_eq!(
            (&far["figures"]["done"], &far["figures"]["turns"]),
            (&json!(1), &json!(1))
        );
        assert!(
            stats["prompts"].as_array().is_some_and(|prompts| !prompts.is_empty()),
            "{stats}"
        );
        let usage = rim.get("/v1/usage?days=1").body;
        assert_eq!(usage["figures"], stats["figures"], "{usage}");
        assert_eq!(
            (&usage["agents"][0]["agent"], &usage["days"][0]["day"]),
            (&json!("executor"), &usage["to"])
        );
        let budgets = rim.get("/v1/budgets").body;
        let budgets = budgets["budgets"].as_array().expect("a list");
        let own = budgets
            .iter()
            .find(|budget| budget["agent"] == "executor")
            .expect("its budget");
        assert_eq!(
            own["daily"]["cost_usd"],
            json!({ "limit": 5.0, "used": 0.00007, "remaining": 4.99993 })
        );
    };
    check(&rim);
    assert_eq!(rim.get("/v1/agents/nobody/stats").code(), "OC-1005");
    assert_eq!(rim.get("/v1/usage?days=0").code(), "OC-1001");
    daemon.kill();
    let daemon = home.start_with(&KEY);
    check(&Rim::of(&daemon));

    let lines = printed(&home, &["agent", "stats"], 0);
    let line = lines
        .lines()
        .find(|line| line.starts_with("executor"))
        .expect("its line");
    assert!(
        line.contains("tokens 15  success 50%  cost $0.00007  turns 1"),
        "{line}"
    );
    let whole = printed(&home, &["agent", "stats", "executor"], 0);
    assert!(whole.contains("prompts") && whole.contains("  far "), "{whole}");

    let set = [
        "budget",
        "set",
        "--agent",
        "executor",
        "--daily-cost",
        "0.5",
        "--per-run-tokens",
        "4000",
    ];
    let set = printed(&home, &set, 0);
    assert!(set.contains("costBudget.daily: default → 0.5"), "{set}");
    daemon.kill();
    let _daemon = home.start_with(&KEY);
    let shown: Value =
        serde_json::from_str(&printed(&home, &["budget", "show", "executor", "--json"], 0)).expect("JSON");
    let own = &shown["budgets"][0];
    assert_eq!(
        (&own["daily"]["cost_usd"]["limit"], &own["per_run"]["tokens"]["limit"]),
        (&json!(0.5), &json!(4000))
    );
}

#[test]
fn metrics_are_served_as_prometheus_text_with_every_family_of_the_table() {
    let server = ModelServer::start();
    server.always(Deed::Text("It is a demo.".into()));
    let home = home(&server, "[agent]\ncostBudget.daily = 5\ntokenBudget.daily = 1000000\n");
    let daemon = home.start_with(&KEY);
    let rim = Rim::of(&daemon);
    rim.ended(&rim.submit(&order(&home)));
    rim.get("/v1/runs/run_that_a_client_made_up");
    rim.get("/made/up");
    let scrape = scrape(&daemon);
    let check = |series: &str, value: f64| {
        let found = scrape.samples.get(series).copied();
        assert_eq!(found, Some(value), "{series}: {:#?}", scrape.samples.keys());
    };
    check("openclaw_runs_total{agent=\"executor\",outcome=\"succeeded\"}", 1.0);
    check("openclaw_run_duration_seconds_count{agent=\"executor\"}", 1.0);
    check(
        "openclaw_turn_duration_seconds_bucket{agent=\"executor\",model=\"far\",le=\"+Inf\"}",
        1.0,
    );
    check(
        "openclaw_tokens_total{agent=\"executor\",model=\"far\",kind=\"input\"}",
        10.0,
    );
    check(
        "openclaw_tokens_total{agent=\"executor\",model=\"far\",kind=\"output\"}",
        5.0,
    );
    check("openclaw_cost_usd_total{agent=\"executor\",model=\"far\"}", 0.00007);
    check("openclaw_budget_remaining_tokens{agent=\"executor\"}", 999_985.0);
    check("openclaw_model_gate_open{model=\"gpt\"}", 1.0);
    check("openclaw_budget_remaining_usd{agent=\"executor\"}", 4.99993);
    check(
        "openclaw_gateway_requests_total{route=\"/v1/runs\",method=\"POST\",status=\"202\"}",
        1.0,
    );
    check(
        "openclaw_gateway_requests_total{route=\"/v1/runs/{id}\",method=\"GET\",status=\"404\"}",
        1.0,
    );
    check(
        "openclaw_gateway_requests_total{route=\"other\",method=\"GET\",status=\"404\"}",
        1.0,
    );
    check("openclaw_recovered_runs_total{how=\"parked\"}", 0.0);
    assert!(
        !scrape.samples.keys().any(|series| series.contains("made")),
        "what clients send is no label"
    );
    // Nothing has been restarted, no skill was called, there are no schedules, no embedder and no alerts, and nobody
    // has looked at checks, incidents and the tree yet: those families alone may have no series.
    let absent = [
        "openclaw_actors",
        "openclaw_mailbox_depth",
        "openclaw_health_check_up",
        "openclaw_incidents_open",
        "openclaw_alerts_total",
        "openclaw_actor_restarts_total",
        "openclaw_skill_call_duration_seconds",
        "openclaw_schedule_slots_total",
        "openclaw_schedule_last_success_timestamp_seconds",
        "openclaw_memory_embeddings_total",
        "openclaw_memory_vectors_due",
        "openclaw_memory_words_alone_total",
        // Only where a collector is configured.
        "openclaw_otlp_items_total",
    ];
    let expected = METRICS.iter().filter(|metric| !absent.contains(&metric.name));
    let expected: BTreeSet<(&str, &str)> = expected
        .map(|metric| {
            let kind = match metric.kind {
                MetricKind::Counter | MetricKind::Money => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram(_) => "histogram",
            };
            (metric.name, kind)
        })
        .collect();
    let found = scrape.types.iter().map(|(name, kind)| (name.as_str(), kind.as_str()));
    let found = found.filter(|(name, _)| !absent.contains(name));
    assert_eq!(found.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn a_taken_metrics_port_does_not_keep_a_daemon_from_starting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let home = TestHome::new(&format!("[metrics]\nport = {port}\n"));
    let daemon = home.start();
    assert_eq!(Rim::of(&daemon).get("/v1/status").body["metrics"], Value::Null);
    assert!(home.words().contains("metrics are not served"), "{}", home.words());
}

#[test]
fn doctor_asks_each_model_once_and_never_shows_a_key() {
    let server = ModelServer::start();
    let home = home(&server, "");
    std::fs::create_dir_all(home.path().join("agents")).expect("a folder");
    std::fs::write(home.path().join("agents/executor.toml"), "model = \"far\"\n").expect("written");
    let check = |deed: Deed, exit: i32, expected: &str| {
        server.then([deed]);
        let before = server.asked().len();
        let text = printed(&home, &["doctor", "--models"], exit);
        assert_eq!(server.asked().len(), before + 1);
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("offline (offline): ok in "), "{text}");
        assert!(!text.contains(KEY[0].1), "{text}");
    };
    check(Deed::Text("ok".into()), 0, "far (openai): ok in ");
    check(
        Deed::Refuse(401, "", "{\"error\":{\"message\":\"no such key {key}\"}}"),
        1,
        "the key is read from TEST_MODEL_KEY",
    );
    // Without the key nothing is sent, although the address is not the vendor's.
    let output = home
        .command()
        .args(["doctor", "--models", "--json"])
        .output()
        .expect("runs");
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let find = |list: &Value, key: &str, name: &str| {
        let mut items = list.as_array().expect("a list").iter();
        items.find(|item| item[key] == name).cloned()
    };
    let models = find(&value["checks"], "name", "models").expect("the check");
    let far = find(&models["detail"], "alias", "far");
    let far = far.expect("the model");
    assert_eq!(far["ok"], false, "{far}");
    assert_eq!(far["why"], "model `far` has no key: set TEST_MODEL_KEY");
    assert_eq!((output.status.code(), server.asked().len()), (Some(1), 2));
}
