//! A collector of OpenTelemetry is told what runs did and what was logged, as the protocol wants it; where it takes
//! nothing, runs do not notice.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::accepting::serve_each;
use crate::support::daemon::TestHome;
use crate::support::model_server::ModelServer;
use crate::support::rim::Rim;
use crate::support::wait::until;

/// Longest wait until something was told.
const TOLD_MAX: Duration = Duration::from_secs(60);

/// A request that came.
#[derive(Debug, Clone)]
struct Came {
    path: String,
    authorization: String,
    body: Value,
}

/// A collector that refuses the first requests so and takes the rest.
#[derive(Clone)]
struct Collector {
    url: String,
    refuses: Arc<Mutex<Vec<&'static str>>>,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Collector {
    fn start(refuses: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let collector = Self {
            url: format!("http://{}", listener.local_addr().expect("an address")),
            refuses: Arc::new(Mutex::new(refuses.to_vec())),
            came: Arc::default(),
        };
        let serving = collector.clone();
        serve_each(listener, move |stream| while serving.serve(&stream).is_some() {});
        collector
    }

    fn serve(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|bytes| *bytes > 0)?;
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let refusal = self.refuses.lock().expect("unpoisoned").pop();
        if let Some(refusal) = refusal {
            let answer = format!("HTTP/1.1 {refusal}\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).ok()?;
            return Some(());
        }
        assert_eq!(
            headers.get("content-type").map(String::as_str),
            Some("application/json")
        );
        self.came.lock().expect("unpoisoned").push(Came {
            path: first.split(' ').nth(1)?.to_owned(),
            authorization: headers.remove("authorization").unwrap_or_default(),
            body: serde_json::from_slice(&body).expect("JSON"),
        });
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
            .ok()
    }

    /// Everything of one kind that came so far.
    fn all(&self, path: &str, outer: &str, inner: &str, items: &str) -> Vec<Value> {
        let came = self.came.lock().expect("unpoisoned").clone();
        let of_path = came.into_iter().filter(|came| came.path == path);
        let mut all = Vec::new();
        for came in of_path {
            assert_eq!(came.authorization, "Bearer of the collector");
            for resource in came.body[outer].as_array().expect("resources") {
                let service = resource["resource"]["attributes"].as_array().expect("attributes");
                assert!(service.contains(&json!({ "key": "service.name", "value": { "stringValue": "openclaw" } })));
                for scope in resource[inner].as_array().expect("scopes") {
                    all.extend(scope[items].as_array().expect("items").iter().cloned());
                }
            }
        }
        all
    }

    fn spans(&self) -> Vec<Value> {
        self.all("/v1/traces", "resourceSpans", "scopeSpans", "spans")
    }

    fn lines(&self) -> Vec<Value> {
        self.all("/v1/logs", "resourceLogs", "scopeLogs", "logRecords")
    }
}

fn is_hex(value: &Value, digits: usize) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == digits && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
}

/// A number of 64 bits, which the protocol writes as text.
fn number(value: &Value) -> u64 {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("a number as text, not {value}"));
    text.parse().expect("a number")
}

fn attribute<'of>(span: &'of Value, key: &str) -> Option<&'of Value> {
    let all = span["attributes"].as_array().expect("attributes");
    all.iter().find(|pair| pair["key"] == key).map(|pair| &pair["value"])
}

/// Every span is as the protocol wants it and hangs on another one of its trace.
fn is_a_trace(spans: &[Value]) {
    let ids: BTreeSet<&str> = spans.iter().filter_map(|span| span["spanId"].as_str()).collect();
    assert_eq!(ids.len(), spans.len(), "every id once: {spans:?}");
    for span in spans {
        assert!(is_hex(&span["traceId"], 32) && is_hex(&span["spanId"], 16), "{span}");
        let (begun, ended) = (number(&span["startTimeUnixNano"]), number(&span["endTimeUnixNano"]));
        assert!(begun <= ended && begun > 1_600_000_000_000_000_000, "{span}");
        assert!(matches!(span["kind"].as_u64(), Some(1 | 3)), "{span}");
        assert!(matches!(span["status"]["code"].as_u64(), Some(1 | 2)), "{span}");
        let parent = span["parentSpanId"].as_str().expect("text");
        assert!(
            ids.contains(parent) || (parent.is_empty() && span["name"] == "run"),
            "{span}"
        );
    }
    assert_eq!(spans.iter().filter(|span| span["name"] == "run").count(), 1);
}

#[test]
fn a_collector_is_told_each_run_as_a_trace_and_each_line_of_the_log_and_again_when_it_refused() {
    let collector = Collector::start(&["503 Service Unavailable", "429 Too Many Requests"]);
    let models = ModelServer::start();
    let config = format!(
        "{}[otlp]\nendpoint = \"{}/\"\nauthorization = \"${{TEST_COLLECTOR}}\"\n[log]\nlevel = \"info\"\n",
        models.config("far", "openai"),
        collector.url
    );
    let home = TestHome::new(&config);
    home.write_project();
    let variables = [("TEST_MODEL_KEY", "k"), ("TEST_COLLECTOR", "Bearer of the collector")];
    let daemon = home.start_with(&variables);
    let rim = Rim::of(&daemon);
    let task = "Summarise README.md";
    let order = json!({ "task": task, "agent": "executor", "workspace": home.workspace(), "model": "far" });
    let id = rim.submit(&order);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    let spans = until("the run to be told", TOLD_MAX, || {
        let spans: Vec<Value> = collector.spans();
        let of_run: Vec<Value> = spans
            .into_iter()
            .filter(|span| span["traceId"] == run["trace_id"])
            .collect();
        if of_run.is_empty() {
            Err(collector.came.lock().expect("unpoisoned").len())
        } else {
            Ok(of_run)
        }
    });
    is_a_trace(&spans);
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).collect::<Vec<_>>();
    assert_eq!(
        attribute(named("run")[0], "openclaw.run"),
        Some(&json!({ "stringValue": id }))
    );
    let chats = named("chat far");
    assert_eq!(
        chats.len(),
        models.asked().len(),
        "every request to the model: {spans:?}"
    );
    let tokens: u64 = chats
        .iter()
        .flat_map(|chat| ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"].map(|key| attribute(chat, key)))
        .map(|value| number(&value.expect("tokens")["intValue"]))
        .sum();
    assert_eq!(run["tokens"], tokens);
    assert!(!named("execute_tool fs.read").is_empty(), "{spans:?}");
    let told = format!("{spans:?}");
    assert!(!told.contains(task), "what was asked is nobody's affair: {told}");

    let lines = until("lines to be told", TOLD_MAX, || {
        let lines = collector.lines();
        if lines.is_empty() { Err(()) } else { Ok(lines) }
    });
    for line in &lines {
        assert!(
            number(&line["timeUnixNano"]) > 0 && line["body"]["stringValue"].is_string(),
            "{line}"
        );
        assert!(matches!(line["severityNumber"].as_u64(), Some(1..=24)), "{line}");
    }
    daemon.terminate();
}

#[test]
fn a_collector_that_is_not_there_costs_no_run_and_is_complained_of_once() {
    let config = "[otlp]\nendpoint = \"http://127.0.0.1:1\"\n[log]\nlevel = \"warn\"\n";
    let home = TestHome::new(config);
    home.write_project();
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let steps = json!([{ "id": "keep", "skill": "memory.put",
        "inputs": { "scope": "global", "key": "a", "text": "b" } }]);
    let complaint = "the collector does not take what it is told";
    for _ in 0..3 {
        let id = rim.submit_plan(&home.workspace(), &steps);
        assert_eq!(rim.ended(&id)["status"], "succeeded");
        until("a complaint", TOLD_MAX, || {
            let words = home.words();
            words.contains(complaint).then_some(()).ok_or(words)
        });
    }
    let words = home.words();
    let of_spans = words
        .lines()
        .filter(|line| line.contains(complaint) && line.contains("spans"));
    assert_eq!(of_spans.count(), 1, "{words}");
    daemon.terminate();
}
