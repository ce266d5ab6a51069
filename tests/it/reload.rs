//! The configuration read again by a daemon at work: what it can take is in force at once, the rest is named, and files
//! that cannot be used change nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::Rim;
use crate::support::wait::until;

const WAIT_MAX: Duration = Duration::from_secs(30);

struct House {
    server: ModelServer,
    home: TestHome,
}

impl House {
    fn new() -> Self {
        let server = ModelServer::start();
        let home = TestHome::new("");
        std::fs::create_dir_all(home.path().join("agents")).expect("a folder");
        let house = Self { server, home };
        house.main("[gateway]\nmaxBodyBytes = 100000\n");
        house.agent("executor", "ALPHA");
        house
    }

    /// Writes `openclaw.toml`.
    fn main(&self, text: &str) {
        let model = self.server.config("far", "openai").replace("apiKey", "# apiKey");
        std::fs::write(self.home.path().join("openclaw.toml"), format!("{text}{model}")).expect("written");
    }

    /// Writes an agent's file.
    fn agent(&self, name: &str, prompt: &str) {
        let text = format!("role = \"executor\"\nmodel = \"far\"\nprompt = \"You are {prompt}.\"\n");
        let file = self.home.path().join(format!("agents/{name}.toml"));
        std::fs::write(file, text).expect("written");
    }

    fn order(&self, agent: &str) -> Value {
        json!({ "task": "say hello", "workspace": self.home.workspace(), "agent": agent })
    }

    /// Which of these words each request to the model had in it.
    fn prompts(&self) -> Vec<&'static str> {
        let asked = self.server.asked();
        let words = ["ALPHA", "BETA", "GAMMA"];
        let of = |body: &Value| {
            let text = body.to_string();
            words.into_iter().find(|word| text.contains(word)).unwrap_or("none")
        };
        asked.iter().map(of).collect()
    }

    /// Waits until the daemon has said so, so many times.
    fn said(&self, words: &str, times: usize) {
        until(words, WAIT_MAX, || {
            let found = self.home.words();
            if found.matches(words).count() >= times {
                Ok(())
            } else {
                Err(found)
            }
        });
    }

    fn reload(&self) -> (Value, bool) {
        let ended = self.home.command().args(["config", "reload", "--json"]).output();
        let ended = ended.expect("the command runs");
        let text = if ended.status.success() {
            ended.stdout
        } else {
            ended.stderr
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (value, ended.status.success())
    }
}

const TAKEN: &str = "the configuration was read again";
const REFUSED: &str = "the configuration was not taken";

#[test]
fn a_reload_under_work_takes_what_it_can_names_the_rest_and_refuses_what_cannot_be_used() {
    let house = House::new();
    house.home.write_project();
    let daemon = house.home.start();
    let rim = Rim::of(&daemon);
    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let neighbour = {
        let (rim, over, answered) = (rim.clone(), over.clone(), answered.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for path in ["/livez", "/v1/agents", "/v1/runs"] {
                    assert_eq!(rim.get(path).status, 200, "{path}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    // A run that is between its first and its second request.
    house.server.thinks(Duration::from_millis(600));
    house.server.then([Deed::ReadFile("README.md".into())]);
    let under_way = rim.submit(&house.order("executor"));
    house.server.wait_asked(1);

    house.main("[gateway]\nmaxBodyBytes = 2000\n[health]\nseverity = \"error\"\n");
    house.agent("executor", "BETA");
    house.agent("poet", "GAMMA");
    daemon.signal(Signal::HUP);
    house.said(TAKEN, 1);
    let first = rim.ended(&under_way);
    assert_eq!(first["status"], "succeeded", "{first}");
    let began = house.prompts();
    assert!(began.len() >= 2, "it asked again after the reload: {began:?}");
    assert!(
        began.iter().all(|prompt| *prompt == "ALPHA"),
        "it keeps what it began with: {began:?}"
    );
    // The next run of an agent works by its new definition, and a new agent works.
    house.server.thinks(Duration::ZERO);
    for (agent, prompt) in [("executor", "BETA"), ("poet", "GAMMA")] {
        let before = house.prompts().len();
        let ended = rim.ended(&rim.submit(&house.order(agent)));
        assert_eq!(ended["status"], "succeeded", "{agent}: {ended}");
        let asked = house.prompts();
        assert!(
            asked.len() > before && asked[before..].iter().all(|found| *found == prompt),
            "{asked:?}"
        );
    }
    // A key of the gateway is in force; one that cannot be is named, again and again.
    let large = json!({ "task": "x".repeat(3_000) }).to_string();
    let json = [("content-type", "application/json")];
    assert_eq!(rim.ask("POST", "/v1/runs", &json, &large).status, 413);
    let (value, done) = house.reload();
    assert!(done, "{value}");
    assert_eq!(value, json!({ "applied": [], "at_restart": ["health.severity"] }));

    // Files that cannot be used change nothing, and an incident says so until they can.
    house.main("[gateway]\nmaxBodyBytes = 100000\n[agent]\nmaxTurns = -1\n");
    house.agent("executor", "ALPHA");
    daemon.signal(Signal::HUP);
    house.said(REFUSED, 1);
    let (value, done) = house.reload();
    assert!(
        !done && value.to_string().contains("OC-6002") && value.to_string().contains("maxTurns"),
        "{value}"
    );
    assert_eq!(
        rim.ask("POST", "/v1/runs", &json, &large).status,
        413,
        "the last good one stays"
    );
    let before = house.prompts().len();
    rim.ended(&rim.submit(&house.order("executor")));
    assert!(
        house.prompts()[before..].iter().all(|found| *found == "BETA"),
        "{:?}",
        house.prompts()
    );
    let incident = || {
        let incidents = rim.get("/v1/incidents").body;
        let found = incidents["incidents"].as_array().expect("incidents").iter();
        let found: Vec<Value> = found
            .filter(|incident| incident["of"] == "config:reload")
            .cloned()
            .collect();
        assert_eq!(found.len(), 1, "{incidents}");
        found[0].clone()
    };
    let open = incident();
    assert_eq!((&open["open"], &open["times"]), (&json!(true), &json!(2)), "{open}");

    house.main("[gateway]\nmaxBodyBytes = 100000\n");
    let (value, done) = house.reload();
    assert!(done, "{value}");
    assert_eq!(
        value,
        json!({ "applied": ["gateway.maxBodyBytes", "agents/executor"], "at_restart": [] })
    );
    assert_eq!(incident()["open"], false);
    let actions = audit(&house.home);
    for action in ["config.reloaded", "config.not-reloaded"] {
        assert!(
            actions.iter().any(|found| found == action),
            "{action} is in the audit log: {actions:?}"
        );
    }
    over.store(true, Ordering::Relaxed);
    neighbour.join().expect("nobody was refused meanwhile");
    assert!(answered.load(Ordering::Relaxed) > 50);
    daemon.terminate();
}

fn audit(home: &TestHome) -> Vec<String> {
    let ended = home.command().args(["audit", "--json"]).output().expect("runs");
    let value: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    let rows = value["rows"].as_array().cloned().unwrap_or_default();
    rows.iter()
        .filter_map(|row| row["action"].as_str().map(str::to_owned))
        .collect()
}
