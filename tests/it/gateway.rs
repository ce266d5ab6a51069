//! The network rim of a real daemon: who may, what is refused and how, waiting, and streams that resume.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{Event, RUN_MAX, Rim};
use crate::support::wait::until;

/// A step that ends when the file is there.
fn waiting_step(id: &str, needs: &[&str], file: &str) -> Value {
    let script = format!("until [ -e {file} ]; do sleep 0.02; done");
    json!({ "id": id, "skill": "exec.run", "needs": needs, "inputs": { "argv": ["sh", "-c", script] } })
}

/// A step that lists the workspace.
fn quick_step(id: &str, needs: &[&str]) -> Value {
    json!({ "id": id, "skill": "fs.list", "needs": needs, "inputs": { "path": "." } })
}

fn touch(file: &Path) {
    std::fs::write(file, "").expect("written");
}

#[test]
fn who_may_not_is_told_so_and_probes_need_no_key() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let key = daemon.key.clone();
    let mut other = key.clone();
    let last = if other.pop() == Some('a') { 'b' } else { 'a' };
    other.push(last);
    let check = |key: Option<&str>, host: &str, method: &str, path: &str, status: u16, code: &str| {
        let rim = rim.with_key(key);
        let body = if method == "POST" { "{\"task\":\"x\"}" } else { "" };
        let reply = rim.ask(method, path, &[("host", host)], body);
        let told = format!("{method} {path} {host} {key:?}: {}", reply.body);
        assert_eq!((reply.status, reply.code()), (status, code), "{told}");
        if status >= 400 {
            assert!(reply.body["error"]["message"].is_string(), "{told}");
            assert_eq!(reply.header("www-authenticate").is_some(), status == 401, "{told}");
        }
        if matches!(code, "OC-2001" | "OC-2002" | "OC-2004") {
            assert!(reply.body["error"]["hint"].is_string(), "{told}");
        }
    };
    let here = rim.address.as_str();
    for path in ["/v1/runs", "/v1/agents", "/v1/status", "/v1/incidents"] {
        check(None, here, "GET", path, 401, "OC-2001");
        check(Some("secret"), here, "GET", path, 401, "OC-2002");
    }
    for path in ["/v1/runs", "/v1/runs/run_01arz3ndektsv4rrffq69g5fav/cancel"] {
        check(None, here, "POST", path, 401, "OC-2001");
        check(Some(&other), here, "POST", path, 401, "OC-2002");
    }
    check(Some(&key), "rebound.example", "GET", "/v1/runs", 403, "OC-2004");
    check(Some(&key), "rebound.example:80", "GET", "/livez", 403, "OC-2004");
    check(
        Some(&key),
        "localhost.rebound.example",
        "GET",
        "/v1/runs",
        403,
        "OC-2004",
    );
    check(Some(&key), "localhost", "GET", "/v1/runs", 200, "");
    check(None, here, "GET", "/livez", 200, "");
    check(None, here, "GET", "/readyz", 200, "");
    check(Some(&key), here, "GET", "/v1/nothing", 404, "OC-1010");
    // What operators do is on their own listener.
    for path in ["/v1/tree", "/v1/stop", "/admin/v1/tree", "/admin/v1/keys"] {
        check(Some(&key), here, "GET", path, 404, "OC-1010");
    }
    let anthropic = rim.with_key(None).ask("GET", "/v1/runs", &[("x-api-key", &key)], "");
    assert_eq!(anthropic.status, 200, "the header of Anthropic's clients counts too");
    assert_eq!(rim.get("/v1/runs").body["runs"], json!([]), "nothing was accepted");
}

#[test]
fn a_body_that_is_refused_unread_ends_its_connection_and_says_so() {
    let home = TestHome::new("[gateway]\nmaxBodyBytes = 65536\n");
    let daemon = home.start();
    let check = |path: &str| {
        let address = daemon.url.strip_prefix("http://").expect("in clear");
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a bound");
        let key = &daemon.key;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-length: 100000\r\n\r\n"
        );
        // More than is taken, and less than was promised.
        let sent = head + &"x".repeat(66_000);
        stream.write_all(sent.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        // What was not read may make the system end the connection hard, after the answer.
        stream.read_to_end(&mut answer).ok();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{path}: {answer}");
    };
    check("/v1/runs");
    check("/v1/chat/completions");
    check("/v1/messages");
}

#[test]
fn what_cannot_be_used_is_refused_with_its_place_and_nothing_is_accepted() {
    let home = TestHome::new("[gateway]\nmaxBodyBytes = 65536\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let check = |body: String, status: u16, code: &str, said: &str| {
        let reply = rim.ask("POST", "/v1/runs", &[], &body);
        let shown: String = body.chars().take(200).collect();
        assert_eq!((reply.status, reply.code()), (status, code), "{shown}: {}", reply.body);
        assert!(reply.body.to_string().contains(said), "{shown}: {}", reply.body);
    };
    let plan = |steps: Value| json!({ "task": "x", "plan": { "steps": steps } }).to_string();
    let deep = format!(
        "{{\"task\":\"x\",\"output_schema\":{}{}}}",
        "[".repeat(100),
        "]".repeat(100)
    );
    check(
        json!({ "task": "x".repeat(70_000) }).to_string(),
        413,
        "OC-1008",
        "65536",
    );
    check(String::from("{\"task\":"), 400, "OC-1001", "line 1 column");
    check(json!({ "task": "x", "taks": 1 }).to_string(), 400, "OC-1001", "`taks`");
    check(json!({}).to_string(), 400, "OC-1001", "`task`");
    check(json!({ "task": 3 }).to_string(), 400, "OC-1001", "string");
    check(json!({ "task": " " }).to_string(), 400, "OC-1001", "empty");
    check(
        json!({ "task": "x", "origin": "else" }).to_string(),
        400,
        "OC-1001",
        "origin",
    );
    check(
        json!({ "task": "x", "agent": "nobody" }).to_string(),
        404,
        "OC-1005",
        "nobody",
    );
    check(
        json!({ "task": "x", "workspace": "/no/such" }).to_string(),
        400,
        "OC-1009",
        "/no/such",
    );
    check(
        json!({ "task": "x", "workspace": "." }).to_string(),
        400,
        "OC-1009",
        "absolute",
    );
    check(deep, 400, "OC-1001", "deep");
    check(
        json!({ "task": "x", "checks": [{ "type": "tea" }] }).to_string(),
        400,
        "OC-1002",
        "/checks/0/type",
    );
    check(plan(json!([])), 400, "OC-1002", "/steps");
    check(
        plan(json!([quick_step("a", &["b"]), quick_step("b", &["a"])])),
        400,
        "OC-1002",
        "/steps/0/needs",
    );
    check(
        plan(json!([quick_step("a", &["ghost"])])),
        400,
        "OC-1002",
        "/steps/0/needs/0",
    );
    check(
        plan(json!([{ "id": "a", "agent": "executor", "task": "t", "speed": 1 }])),
        400,
        "OC-1002",
        "/steps/0/speed",
    );
    let many: Vec<Value> = (0..257).map(|n| quick_step(&format!("s{n}"), &[])).collect();
    check(plan(many.into()), 400, "OC-1002", "at most 256");
    let long = json!({ "task": "x", "deadline_ms": 1000, "plan": { "steps": [
        { "id": "a", "agent": "executor", "task": "t", "est_ms": 60_000 },
    ] } });
    check(long.to_string(), 400, "OC-1002", "ms are left");

    let reply = rim.post(
        "/v1/runs",
        &json!({ "task": "x", "plan": { "steps": [quick_step("a", &["ghost"])] } }),
    );
    insta::assert_snapshot!(serde_json::to_string_pretty(&reply.body).expect("JSON"), @r#"
    {
      "error": {
        "code": "OC-1002",
        "details": [
          {
            "message": "there is no step `ghost`",
            "pointer": "/steps/0/needs/0"
          }
        ],
        "hint": "each entry of details names a place in the plan",
        "message": "accept a run: the plan is wrong in 1 places",
        "type": "plan_rejected"
      }
    }
    "#);
    let unknown = "/v1/runs/run_01arz3ndektsv4rrffq69g5fav";
    let refused = |method: &str, path: &str, headers: &[(&str, &str)], status: u16, code: &str| {
        let reply = rim.ask(method, path, headers, "");
        assert_eq!((reply.status, reply.code()), (status, code), "{path}: {}", reply.body);
    };
    refused("GET", unknown, &[], 404, "OC-1004");
    refused("GET", &format!("{unknown}/events"), &[], 404, "OC-1004");
    refused("POST", &format!("{unknown}/cancel"), &[], 404, "OC-1004");
    refused("POST", &format!("{unknown}/retry"), &[], 404, "OC-1004");
    refused("GET", "/v1/runs/..%2f..%2fetc", &[], 404, "OC-1004");
    refused("GET", "/v1/runs?status=happy", &[], 400, "OC-1001");
    refused("GET", "/v1/runs?cursor=bogus", &[], 400, "OC-1001");
    refused("PUT", "/v1/runs", &[], 405, "OC-1013");
    refused("GET", "/v1/agents/nobody", &[], 404, "OC-1005");
    let long_key = "k".repeat(300);
    let body = json!({ "task": "x" }).to_string();
    let reply = rim.ask("POST", "/v1/runs", &[("idempotency-key", &long_key)], &body);
    assert_eq!((reply.status, reply.code()), (400, "OC-1001"));
    assert_eq!(rim.get("/v1/runs").body["runs"], json!([]), "nothing was accepted");
}

#[test]
fn a_submission_that_is_sent_again_is_the_same_run() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let body = json!({ "task": "x", "workspace": home.workspace(), "plan": { "steps": [quick_step("a", &[])] } });
    let send = |body: &str| rim.ask("POST", "/v1/runs", &[("idempotency-key", "one")], body);
    let replies: Vec<_> = std::thread::scope(|scope| {
        let sent: Vec<_> = (0..12).map(|_| scope.spawn(|| send(&body.to_string()))).collect();
        sent.into_iter().map(|sent| sent.join().expect("answered")).collect()
    });
    let first = replies[0].body["id"].as_str().expect("an id");
    assert!(
        replies
            .iter()
            .all(|reply| reply.status == 202 && reply.body["id"] == first),
        "{replies:?}"
    );
    let new = replies
        .iter()
        .filter(|reply| reply.header("idempotent-replayed").is_none());
    assert_eq!(new.count(), 1, "one was new");
    let location = format!("/v1/runs/{first}");
    assert!(replies.iter().all(|reply| reply.header("location") == Some(&location)));

    let spaced = serde_json::to_string_pretty(&body).expect("JSON");
    assert_eq!(send(&spaced).body["id"], first, "blanks do not make another body");
    rim.ended(first);
    assert_eq!(send(&body.to_string()).body["id"], first, "nor does its end");
    let mut other = body.clone();
    other["task"] = "y".into();
    let reply = send(&other.to_string());
    assert_eq!((reply.status, reply.code()), (409, "OC-1003"), "{}", reply.body);
    assert!(
        reply.body["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains(first))
    );
    assert_eq!(rim.get("/v1/runs").body["runs"].as_array().map(Vec::len), Some(1));

    // What was accepted before a kill is known after it.
    daemon.kill();
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let reply = rim.ask("POST", "/v1/runs", &[("idempotency-key", "one")], &body.to_string());
    assert_eq!((reply.status, &reply.body["id"]), (202, &json!(first)));
    assert_eq!(reply.header("idempotent-replayed"), Some("true"));
}

#[test]
fn a_repetition_that_is_sent_again_is_the_same_run() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let first = rim.submit_plan(&home.workspace(), &json!([quick_step("a", &[])]));
    let other = rim.submit_plan(&home.workspace(), &json!([quick_step("b", &[])]));
    rim.ended(&first);
    rim.ended(&other);
    let retry = |run: &str, key: &str| {
        let path = format!("/v1/runs/{run}/retry");
        rim.ask("POST", &path, &[("idempotency-key", key)], "")
    };
    let again = retry(&first, "one");
    assert_eq!(again.status, 202, "{}", again.body);
    let id = again.body["id"].as_str().expect("an id").to_owned();
    rim.ended(&id);
    let replayed = retry(&first, "one");
    assert_eq!((replayed.status, &replayed.body["id"]), (202, &json!(id)));
    assert_eq!(replayed.header("idempotent-replayed"), Some("true"));
    assert_ne!(retry(&first, "two").body["id"], json!(id));
    let reply = retry(&other, "one");
    assert_eq!((reply.status, reply.code()), (409, "OC-1003"), "{}", reply.body);
}

#[test]
fn waiting_ends_with_the_run_or_with_its_address_and_the_run_goes_on() {
    let home = TestHome::new("[gateway]\ntimeout = 400\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let folder = home.workspace();
    let body = |steps: Value| json!({ "task": "x", "workspace": folder, "plan": { "steps": steps } });

    let preferring = |seconds: &str| {
        let body = body(json!([quick_step("a", &[])])).to_string();
        rim.ask("POST", "/v1/runs", &[("prefer", seconds)], &body)
    };
    until("an answer in time to who prefers it", RUN_MAX, || {
        let reply = preferring("respond-async, wait=30");
        if reply.status == 200 { Ok(()) } else { Err(reply.body) }
    });
    assert_eq!(preferring("return=minimal").status, 202);
    assert_eq!(preferring("wait=soon").code(), "OC-1001");
    let quick = until("an answer in time", RUN_MAX, || {
        // The time-out of this daemon is short, so a busy machine may need more than one try.
        let reply = rim.post("/v1/runs?wait=30000", &body(json!([quick_step("a", &[])])));
        if reply.status == 200 {
            Ok(reply)
        } else {
            Err(reply.body)
        }
    });
    assert_eq!(quick.body["status"], "succeeded", "{}", quick.body);

    let began = Instant::now();
    let slow = rim.post("/v1/runs?wait=100", &body(json!([waiting_step("a", &[], "go1")])));
    assert_eq!(
        (slow.status, slow.body["status"].as_str()),
        (202, Some("active")),
        "{}",
        slow.body
    );
    let bounded = rim.post("/v1/runs?wait=600000", &body(json!([waiting_step("a", &[], "go2")])));
    assert_eq!(bounded.status, 202, "gateway.timeout bounds the wait");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let result = rim.get(&format!("{}/result", slow.header("location").expect("an address")));
    assert_eq!((result.status, result.code()), (409, "OC-1011"));
    for (reply, file) in [(slow, "go1"), (bounded, "go2")] {
        let id = reply.body["id"].as_str().expect("an id");
        assert_eq!(rim.run(id)["status"], "active");
        touch(&folder.join(file));
        assert_eq!(rim.ended(id)["status"], "succeeded");
        assert_eq!(rim.get(&format!("/v1/runs/{id}/result")).status, 200);
    }
}

#[test]
fn a_client_that_leaves_stops_nothing() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let folder = home.workspace();
    let body = json!({ "task": "x", "workspace": folder, "plan": { "steps": [
        waiting_step("a", &[], "go"), quick_step("b", &["a"]),
    ] } });
    let waiting = rim.open("POST", "/v1/runs?wait=60000", &[], &body.to_string());
    let id = until("the run to be accepted", RUN_MAX, || {
        let runs = rim.get("/v1/runs").body;
        runs["runs"][0]["id"].as_str().map(str::to_owned).ok_or(runs)
    });
    let mut watching = rim.stream(&id, None);
    watching.next().expect("an event");
    drop((waiting, watching));
    touch(&folder.join("go"));
    assert_eq!(rim.ended(&id)["status"], "succeeded");
}

#[test]
fn a_stream_resumes_at_every_event_without_gap_or_double() {
    let home = TestHome::new("[gateway]\nkeepalive = 100\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let folder = home.workspace();
    let steps = json!([
        quick_step("a", &[]),
        waiting_step("b", &["a"], "go"),
        quick_step("c", &["b"])
    ]);
    let id = rim.submit_plan(&folder, &steps);

    let mut live = rim.stream(&id, None);
    let mut before: Vec<Event> = Vec::new();
    while !before
        .last()
        .is_some_and(|event| event.kind == "call.intended" && event.data["step"] == "b")
    {
        before.push(live.next().expect("the run goes on"));
    }
    let places = || std::iter::once(0).chain(before.iter().map(|event| event.id));
    // The run waits: nothing but comments comes, on this stream as on each that resumes.
    let resumed: Vec<_> = places().map(|place| (place, rim.stream(&id, Some(place)))).collect();
    while live.comments < 2 {
        live.line().expect("the stream stays open");
    }
    touch(&folder.join("go"));

    let mut all = before.clone();
    all.extend(live.by_ref());
    let last = all.last().expect("events");
    assert_eq!(
        (last.kind.as_str(), &last.data["outcome"]),
        ("run.done", &json!("succeeded")),
        "the stream ends with it"
    );
    assert!(all.windows(2).all(|pair| pair[0].id < pair[1].id), "ids rise");
    assert!(
        all.iter()
            .all(|event| event.data["seq"] == event.id && event.data["kind"] == event.kind)
    );
    let after = |place: u64| all.iter().filter(|event| event.id > place).cloned().collect::<Vec<_>>();
    for (place, stream) in resumed {
        assert_eq!(
            stream.collect::<Vec<_>>(),
            after(place),
            "resumed at {place} while it ran"
        );
    }
    for event in &all {
        let got: Vec<Event> = rim.stream(&id, Some(event.id)).collect();
        assert_eq!(got, after(event.id), "resumed at {} after its end", event.id);
    }
    assert_eq!(
        rim.stream(&id, Some(last.id)).next(),
        None,
        "nothing comes after the end"
    );
    // Nobody has seen an event that is not there; a stream after it would never say anything.
    for bad in ["seven", "-1", &(last.id + 1).to_string(), "18446744073709551615"] {
        let path = format!("/v1/runs/{id}/events");
        let reply = rim.ask("GET", &path, &[("last-event-id", bad)], "");
        assert_eq!((reply.status, reply.code()), (400, "OC-1001"), "{bad}: {}", reply.body);
    }
    let entries = rim.get(&format!("/v1/runs/{id}/timeline")).body["entries"].take();
    assert_eq!(
        entries.as_array().map(Vec::len),
        Some(all.len()),
        "the time line has the same facts"
    );
}

#[test]
fn a_stream_goes_on_after_a_kill_without_gap_or_double() {
    let model = ModelServer::start();
    model.always(Deed::Text("done".into()));
    model.then([Deed::Hang]);
    let home = TestHome::new(&model.config("m", "openai"));
    let start = || home.start_with(&[("TEST_MODEL_KEY", "sk-test")]);
    let daemon = start();
    let rim = Rim::of(&daemon);
    let folder = home.workspace();
    let body = json!({ "task": "x", "workspace": folder, "model": "m", "plan": { "steps": [
        quick_step("a", &[]),
        { "id": "b", "agent": "executor", "task": "say that you are done", "needs": ["a"] },
        quick_step("c", &["b"]),
    ] } });
    let id = rim.submit(&body);
    let mut live = rim.stream(&id, None);
    let mut before: Vec<Event> = Vec::new();
    while before.last().is_none_or(|event| event.kind != "turn.intended") {
        before.push(live.next().expect("the run goes on"));
    }
    // The request that hangs is out: the next life's is another one.
    model.wait_asked(1);
    daemon.kill();
    let daemon = start();
    let rim = Rim::of(&daemon);
    let resumed: Vec<_> = before
        .iter()
        .map(|event| (event.id, rim.stream(&id, Some(event.id))))
        .collect();
    let all = rim.events(&id);
    assert_eq!(all[..before.len()], before, "what was seen stays as it was");
    assert_eq!(
        all.last().map(|event| &event.data["outcome"]),
        Some(&json!("succeeded"))
    );
    assert!(all.windows(2).all(|pair| pair[0].id < pair[1].id), "ids rise");
    for (place, stream) in resumed {
        let after: Vec<Event> = all.iter().filter(|event| event.id > place).cloned().collect();
        assert_eq!(stream.collect::<Vec<_>>(), after, "resumed at {place} in the next life");
    }
}

#[test]
fn a_client_that_says_nothing_or_half_is_closed_at_its_limit() {
    let home = TestHome::new("[gateway]\nheadTimeout = 300\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let check = |said: &str| {
        let mut stream = TcpStream::connect(&rim.address).expect("the gateway listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a time-out");
        stream.write_all(said.as_bytes()).expect("said");
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        // Reset or orderly: it is closed before the client's own limit.
        let timed_out = read.is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock));
        assert!(
            !timed_out,
            "{said:?}: still open; heard {:?}",
            String::from_utf8_lossy(&rest)
        );
    };
    check("");
    check("GET /livez HT");
    check("GET /livez HTTP/1.1\r\nHost: localhost\r\n");
    check("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(rim.get("/livez").status, 200);
}

#[test]
fn a_daemon_that_is_told_to_stop_ends_streams_and_accepts_nothing_more() {
    let home = TestHome::new("");
    let mut daemon = home.start();
    let rim = Rim::of(&daemon);
    let id = rim.submit_plan(&home.workspace(), &json!([waiting_step("a", &[], "go")]));
    let mut stream = rim.stream(&id, None);
    while stream.next().expect("an event").kind != "call.intended" {}
    let stopping = home
        .command()
        .args(["stop", "--quiet"])
        .spawn()
        .expect("the command runs");
    assert!(
        stream.all(|event| event.kind != "run.done"),
        "the stream ends, the run has not"
    );
    assert!(daemon.wait_end(RUN_MAX).success(), "{}", home.words());
    assert!(stopping.wait_with_output().expect("it ends").status.success());

    // Its program was stopped with the daemon; what may have happened is for a person, and the run is not lost.
    let daemon = home.start();
    let run = Rim::of(&daemon).ended(&id);
    assert!(
        matches!(run["status"].as_str(), Some("unknown" | "succeeded" | "failed")),
        "{run}"
    );
}
