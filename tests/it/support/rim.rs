//! The gateway asked byte by byte, so that a test can leave early, stay silent, or read a stream as it comes.
//!
//! Speaks HTTP/1.0: an answer ends with its connection, so that a stream needs no unwrapping.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::contract;
use super::daemon::TestDaemon;
use super::wait::until;

/// Longest silence of a daemon that should answer.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Longest time of a run in these tests.
pub const RUN_MAX: Duration = Duration::from_secs(60);

/// One daemon's gateway.
#[derive(Clone)]
pub struct Rim {
    /// Host and port.
    pub address: String,
    /// Sent with each request.
    pub key: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    head: String,
    /// The body as JSON; null when it is none.
    pub body: Value,
}

impl Reply {
    /// A header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The code of an error.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("")
    }
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place in the journal.
    pub id: u64,
    /// What happened.
    pub kind: String,
    /// The fact.
    pub data: Value,
}

impl Rim {
    /// With the operator's key.
    pub fn of(daemon: &TestDaemon) -> Self {
        Self {
            address: daemon.url.trim_start_matches("http://").to_owned(),
            key: Some(daemon.key.clone()),
        }
    }

    /// Any address, without a key.
    pub fn at(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            key: None,
        }
    }

    /// With this key, or none.
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self {
            key: key.map(str::to_owned),
            ..self.clone()
        }
    }

    /// Sends a request; the answer is still to be read.
    pub fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("the gateway listens");
        stream.set_read_timeout(Some(SILENCE_MAX)).expect("a time-out");
        let mut head = format!("{method} {path} HTTP/1.0\r\n");
        let mut put = |name: &str, value: &str| head.extend([name, ": ", value, "\r\n"]);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            put("host", &self.address);
        }
        if let Some(key) = &self.key {
            put("authorization", &format!("Bearer {key}"));
        }
        for (name, value) in headers {
            put(name, value);
        }
        if !body.is_empty() {
            put("content-type", "application/json");
            put("content-length", &body.len().to_string());
        }
        head.push_str("\r\n");
        // A gateway that refuses a body need not read it to its end.
        stream.write_all(head.as_bytes()).expect("the head is sent");
        stream.write_all(body.as_bytes()).ok();
        stream
    }

    /// Sends a request and reads the answer.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let stream = self.open(method, path, headers, body);
        let reply = answer(stream).unwrap_or_else(|heard| panic!("{method} {path}: no answer: {heard}"));
        contract::check(method, path, reply.status, &reply.body);
        reply
    }

    /// Reads the answer of what was opened.
    pub fn answer(stream: TcpStream) -> Reply {
        answer(stream).unwrap_or_else(|heard| panic!("no answer: {heard}"))
    }

    /// GET from a gateway that may just be killed; none when the connection breaks.
    pub fn get_if_up(&self, path: &str) -> Option<Reply> {
        answer(self.open("GET", path, &[], "")).ok()
    }

    /// GET.
    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "")
    }

    /// GET of something that is no single JSON document: status and text.
    pub fn text(&self, path: &str) -> (u16, String) {
        let mut bytes = Vec::new();
        let read = self.open("GET", path, &[], "").read_to_end(&mut bytes);
        read.expect("an answer to its end");
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// POST with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, &[], &body.to_string())
    }

    /// Submits a run and gives its id.
    pub fn submit(&self, body: &Value) -> String {
        let reply = self.post("/v1/runs", body);
        assert_eq!(reply.status, 202, "{}", reply.body);
        reply.body["id"].as_str().expect("an id").to_owned()
    }

    /// Submits a plan for this workspace and gives the run's id.
    pub fn submit_plan(&self, workspace: &std::path::Path, steps: &Value) -> String {
        self.submit(&json!({ "task": "a test", "workspace": workspace, "plan": { "steps": steps } }))
    }

    /// The run as it stands.
    pub fn run(&self, id: &str) -> Value {
        let reply = self.get(&format!("/v1/runs/{id}"));
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body
    }

    /// Waits until the run has ended.
    pub fn ended(&self, id: &str) -> Value {
        until("the run to end", RUN_MAX, || {
            let run = self.run(id);
            match run["status"].as_str() {
                Some("active") => Err(run),
                _ => Ok(run),
            }
        })
    }

    /// The stream of a run's events.
    pub fn stream(&self, id: &str, after: Option<u64>) -> EventStream {
        let after = after.map(|after| after.to_string());
        let headers: Vec<(&str, &str)> = after.iter().map(|after| ("last-event-id", after.as_str())).collect();
        let stream = self.open("GET", &format!("/v1/runs/{id}/events"), &headers, "");
        let mut stream = EventStream {
            lines: BufReader::new(stream),
            comments: 0,
        };
        let status = stream.line().expect("a status");
        assert!(status.contains(" 200 "), "{status}");
        while stream.line().is_some_and(|line| !line.is_empty()) {}
        stream
    }

    /// All events of a run; waits for its end.
    pub fn events(&self, id: &str) -> Vec<Event> {
        self.stream(id, None).collect()
    }
}

/// Reads an answer to its end, or says what came instead.
fn answer(mut stream: TcpStream) -> Result<Reply, String> {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let parts = text.split_once("\r\n\r\n");
    let (head, body) = parts.ok_or_else(|| format!("{read:?}: {text}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Reply {
        status: status.ok_or_else(|| head.to_owned())?,
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or_default(),
    })
}

/// Reads events until the stream ends.
pub struct EventStream {
    lines: BufReader<TcpStream>,
    /// Comments that came so far.
    pub comments: usize,
}

impl EventStream {
    /// One line; none at the end.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let bytes = self.lines.read_line(&mut line).expect("a line or the end in time");
        if line.starts_with(':') {
            self.comments += 1;
        }
        (bytes > 0).then(|| line.trim_end().to_owned())
    }
}

impl Iterator for EventStream {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut event = Event {
            id: 0,
            kind: String::new(),
            data: Value::Null,
        };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                if event.id > 0 {
                    return Some(event);
                }
                continue;
            }
            match line.split_once(':').expect("a field or a comment") {
                // A comment, or when to come back.
                ("" | "retry", _) => {}
                ("id", value) => event.id = value.trim().parse().expect("a number"),
                ("event", value) => value.trim().clone_into(&mut event.kind),
                ("data", value) => event.data = serde_json::from_str(value).expect("JSON"),
                (name, _) => panic!("unknown field {name}"),
            }
        }
    }
}

/// The events of one kind.
pub fn of_kind<'events>(events: &'events [Event], kind: &str) -> Vec<&'events Value> {
    let found = events.iter().filter(|event| event.kind == kind);
    found.map(|event| &event.data).collect()
}
