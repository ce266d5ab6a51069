//! A real Prometheus over a real daemon: what the files in `ops/` ask for exists, `promtool` finds nothing to say, a
//! scrape under load is whole, and an alert fires when its fault is there.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use openclaw::runtime::telemetry::{METRICS, MetricKind};
use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::Rim;
use crate::support::wait::until;

/// Longest time until a scrape, a rule or an alert shows.
const SHOWN_MAX: Duration = Duration::from_secs(60);

/// Names of the interfaces that operators rely on, with their labels.
const PROMISED: &[(&str, &[&str])] = &[
    ("openclaw_runs_total", &["agent", "outcome"]),
    ("openclaw_run_duration_seconds", &["agent"]),
    ("openclaw_turn_duration_seconds", &["agent", "model"]),
    ("openclaw_tokens_total", &["agent", "model", "kind"]),
    ("openclaw_cost_usd_total", &["agent", "model"]),
    ("openclaw_budget_remaining_tokens", &["agent"]),
    ("openclaw_skill_calls_total", &["skill", "outcome"]),
    ("openclaw_actor_restarts_total", &["supervisor", "kind", "reason"]),
    ("openclaw_actors", &["kind"]),
    ("openclaw_mailbox_depth", &["kind"]),
    ("openclaw_gateway_requests_total", &["route", "method", "status"]),
    ("openclaw_gateway_request_duration_seconds", &["route"]),
    ("openclaw_memory_entries", &["tier"]),
    ("openclaw_memory_query_duration_seconds", &["kind"]),
    ("openclaw_schedule_slots_total", &["schedule", "result"]),
    ("openclaw_schedule_last_success_timestamp_seconds", &["schedule"]),
    ("openclaw_health_check_up", &["check"]),
    ("openclaw_incidents_open", &["severity"]),
    ("openclaw_store_commit_duration_seconds", &[]),
    ("openclaw_store_commit_batch_size", &[]),
    ("openclaw_node_up", &["node"]),
    ("openclaw_recovered_runs_total", &["how"]),
];

fn ops(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ops").join(path)
}

#[test]
fn every_promised_metric_is_there_with_its_labels() {
    for (name, labels) in PROMISED {
        let found = METRICS.iter().find(|metric| metric.name == *name);
        let found = found.unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(found.labels, *labels, "{name}");
    }
    for family in ["process_", "tokio_"] {
        assert!(METRICS.iter().any(|metric| metric.name.starts_with(family)), "{family}");
    }
}

/// The names of metrics in a text of queries.
fn names(text: &str) -> BTreeSet<String> {
    let word = regex::Regex::new(r"\b(?:openclaw|process|tokio)[a-z0-9_:]*").expect("a pattern");
    let found = word.find_iter(text).map(|name| name.as_str().to_owned());
    found.collect()
}

/// What a query may name: every metric, with the parts of a histogram.
fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for metric in METRICS {
        if matches!(metric.kind, MetricKind::Histogram(_)) {
            known.extend(["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", metric.name)));
        } else {
            known.insert(metric.name.to_owned());
        }
    }
    known
}

fn queries_of(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(query) if name == "expr" || name == "query" => into.push(query.to_owned()),
                    _ => queries_of(value, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries_of(item, into)),
        _ => {}
    }
}

#[test]
fn dashboard_and_rules_ask_only_for_metrics_that_exist() {
    let mut known = known();
    let rules = fs::read_to_string(ops("prometheus/recording.rules.yml")).expect("read");
    let recorded = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    known.extend(recorded.map(str::to_owned));
    let expressions = |text: &str| {
        // Everything but what is said to people.
        let kept = text.lines().filter(|line| {
            let line = line.trim();
            let skipped = ["#", "summary:", "action:", "- name:", "- alert:"];
            !skipped.iter().any(|start| line.starts_with(start))
        });
        kept.collect::<Vec<_>>().join("\n")
    };
    let alerts = fs::read_to_string(ops("prometheus/alerts.rules.yml")).expect("read");
    let text = fs::read_to_string(ops("grafana/openclaw.json")).expect("read");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut queries = Vec::new();
    queries_of(&dashboard, &mut queries);
    assert!(queries.len() > 20, "{queries:?}");
    let asked = [expressions(&rules), expressions(&alerts), queries.join("\n")].join("\n");
    let asked = asked.replace("job=\"openclaw\"", "");
    let asked: BTreeSet<String> = names(&asked)
        .into_iter()
        .filter(|name| name.len() > "openclaw_".len())
        .collect();
    let missing: Vec<&String> = asked.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Whether the programs are there. A test run that calls itself `CI`, or the gate, which installs
/// them, must have them.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn has_prometheus() -> bool {
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if runs("promtool") && runs("prometheus") {
        return true;
    }
    let needed = ["CI", "OPENCLAW_PROMETHEUS_NEEDED"].map(std::env::var_os);
    assert!(
        needed.iter().all(Option::is_none),
        "prometheus and promtool are needed here and cannot be used"
    );
    eprintln!("SKIPPED: install the package `prometheus` for this test");
    false
}

fn promtool(arguments: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(ops("prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes())
        .expect("written");
    let ended = child.wait_with_output().expect("it ends");
    let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(ended.status.success(), "promtool {arguments:?}: {said:?}");
}

#[test]
fn promtool_has_nothing_to_say_and_every_alert_has_a_test_that_fires() {
    if !has_prometheus() {
        return;
    }
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(&["test", "rules", "tests.yml"], "");
    let tests = fs::read_to_string(ops("prometheus/tests.yml")).expect("read");
    let alerts = fs::read_to_string(ops("prometheus/alerts.rules.yml")).expect("read");
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        for end in ["fires", "is silent"] {
            assert!(tests.contains(&format!("- name: {alert} {end}\n")), "{alert} {end}");
        }
    }
}

/// A Prometheus of the test's own; it ends with the test.
struct Prometheus {
    process: Child,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn get(url: &str) -> Value {
    let address = url.trim_start_matches("http://");
    let (address, path) = address.split_once('/').expect("a path");
    let rim = Rim::at(address);
    rim.get_if_up(&format!("/{path}"))
        .map(|reply| reply.body)
        .unwrap_or_default()
}

impl Prometheus {
    /// Scrapes every second; rules wait for nothing.
    fn start(folder: &Path, target: &str) -> Self {
        let wait = regex::Regex::new(r"for: \w+").expect("a pattern");
        for name in ["recording.rules.yml", "alerts.rules.yml"] {
            let text = fs::read_to_string(ops("prometheus").join(name)).expect("read");
            fs::write(folder.join(name), wait.replace_all(&text, "for: 0s").as_ref()).expect("written");
        }
        let text = fs::read_to_string(ops("prometheus/prometheus.yml")).expect("read");
        let text = text.replace("127.0.0.1:9464", target).replace("15s", "1s");
        fs::write(folder.join("prometheus.yml"), text).expect("written");
        let port = free_port();
        let said = fs::File::create(folder.join("prometheus.log")).expect("a file");
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("a file"))
            .stderr(said)
            .spawn()
            .expect("prometheus starts");
        let url = format!("http://127.0.0.1:{port}");
        let prometheus = Self { process, url };
        until("prometheus to be ready", SHOWN_MAX, || {
            let found = prometheus.value("vector(1)");
            found.map(drop).ok_or("it does not answer")
        });
        prometheus
    }

    /// The value of the first series of a query without blanks.
    fn value(&self, query: &str) -> Option<f64> {
        if std::net::TcpStream::connect(self.url.trim_start_matches("http://")).is_err() {
            return None;
        }
        let found = get(&format!(
            "{}/api/v1/query?query={}",
            self.url,
            query.replace('"', "%22")
        ));
        found["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    fn firing(&self) -> BTreeSet<String> {
        let alerts = get(&format!("{}/api/v1/alerts", self.url));
        let alerts = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing
            .filter_map(|alert| Some(alert["labels"]["alertname"].as_str()?.to_owned()))
            .collect()
    }
}

#[test]
fn a_prometheus_scrapes_a_daemon_under_load_and_an_alert_fires_with_its_fault() {
    if !has_prometheus() {
        return;
    }
    let door = free_port();
    let metrics = free_port();
    let config = format!(
        "[metrics]\nport = {metrics}\n[health]\ninterval = 5\nfailures = 1\n\
         [health.checks.door]\ntcp = \"127.0.0.1:{door}\"\ntimeout = 1000\n"
    );
    let home = TestHome::new(&config);
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let opened = TcpListener::bind(("127.0.0.1", door)).expect("the door");
    let folder = tempfile::tempdir().expect("a folder");
    let target = format!("127.0.0.1:{metrics}");
    let prometheus = Prometheus::start(folder.path(), &target);
    let plan = json!([{ "id": "write", "skill": "fs.write", "inputs": { "path": "out", "content": "x" } }]);
    let runs: Vec<String> = (0..50).map(|_| rim.submit_plan(&home.workspace(), &plan)).collect();
    for run in &runs {
        assert_eq!(rim.ended(run)["status"], "succeeded");
    }
    until("all runs to be counted", SHOWN_MAX, || {
        let counted = prometheus.value("sum(openclaw_runs_total{outcome=\"succeeded\"})");
        if counted == Some(50.0) { Ok(()) } else { Err(counted) }
    });
    until("actors and checks to be counted", SHOWN_MAX, || {
        let actors = prometheus.value("openclaw_actors{kind=\"acceptor\"}");
        let door = prometheus.value("openclaw_health_check_up{check=\"door\"}");
        if actors == Some(1.0) && door == Some(1.0) {
            Ok(())
        } else {
            Err((actors, door))
        }
    });
    assert_eq!(prometheus.value("up{job=\"openclaw\"}"), Some(1.0));
    let (status, text) = Rim::at(&target).text("/metrics");
    assert_eq!(status, 200);
    promtool(&["check", "metrics"], &text);
    assert!(
        !prometheus.firing().contains("OpenclawCheckFails"),
        "{:?}",
        prometheus.firing()
    );

    drop(opened);
    until("the alert to fire", SHOWN_MAX, || {
        let firing = prometheus.firing();
        if firing.contains("OpenclawCheckFails") {
            Ok(())
        } else {
            Err(firing)
        }
    });
    daemon.kill();
    until("the alert of a daemon that is gone", SHOWN_MAX, || {
        let firing = prometheus.firing();
        if firing.contains("OpenclawDown") {
            Ok(())
        } else {
            Err(firing)
        }
    });
}
