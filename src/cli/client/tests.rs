//! The client against a small server on this machine.

use serde_json::json;

use super::*;
use crate::cli::error::Exit;
use crate::cli::events::{EventStream, Patience};
use crate::cli::fake::{Answer, with_gateway};

fn client(url: &str) -> Client {
    let target = Target {
        url: url.to_owned(),
        key: Some("ocl_1_2".into()),
        tls_dir: None,
    };
    Client::new(&target).expect("a client")
}

fn error(code: &str) -> Value {
    json!({ "error": { "code": code, "type": "word", "message": "no run has this id", "hint": "list them" } })
}

const IMPATIENT: Patience = Patience {
    silence_ms: 5_000,
    attempts_max: 3,
    pause_ms: 1,
    pause_ms_max: 1,
};

#[test]
fn a_request_carries_the_key_and_gives_back_json() {
    let (value, seen) = with_gateway(vec![Answer::Json(200, json!({ "ready": true }))], async |url| {
        client(&url).send(&Request::get("/v1/status")).await.expect("an answer")
    });
    assert_eq!(value, json!({ "ready": true }));
    assert_eq!(
        (seen[0].line.as_str(), seen[0].key.as_deref()),
        ("GET /v1/status", Some("Bearer ocl_1_2"))
    );
}

#[test]
fn a_refusal_keeps_code_message_and_hint() {
    let check = |status: u16, body: Value, code: &str, exit: Exit| {
        let (refused, _) = with_gateway(vec![Answer::Json(status, body)], async |url| {
            client(&url)
                .send(&Request::get("/v1/runs/x"))
                .await
                .expect_err("refused")
        });
        assert_eq!((refused.code(), refused.exit()), (code, exit), "{refused:?}");
    };
    check(404, error("OC-1004"), "OC-1004", Exit::NotFound);
    check(429, error("OC-1203"), "OC-1203", Exit::Refused);
    check(500, error("OC-9001"), "OC-9001", Exit::Bug);
    check(502, json!("a proxy's page"), "OC-7005", Exit::Bug);
}

#[test]
fn nobody_at_the_address_is_exit_5() {
    // The port was free a moment ago and nothing listens on it now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", free.local_addr().expect("bound"));
    drop(free);
    let (refused, _) = with_gateway(vec![], async |_| {
        client(&url).send(&Request::get("/livez")).await.expect_err("nobody")
    });
    assert_eq!(
        (refused.code(), refused.exit()),
        ("OC-7001", Exit::Unreachable),
        "{refused:?}"
    );
}

#[test]
fn a_submission_is_sent_again_under_its_key_when_the_connection_broke() {
    let script = || vec![Answer::Break, Answer::Json(202, json!({ "id": "run_1" }))];
    let body = json!({ "task": "x" });
    let (value, seen) = with_gateway(script(), async |url| {
        let request = Request {
            idempotency_key: Some("k"),
            ..Request::post("/v1/runs", &body)
        };
        client(&url).send(&request).await.expect("accepted")
    });
    assert_eq!(value["id"], "run_1");
    assert_eq!((seen.len(), &seen[0]), (2, &seen[1]), "the same request twice");
    let (refused, seen) = with_gateway(script(), async |url| {
        client(&url)
            .send(&Request::post("/v1/stop", &body))
            .await
            .expect_err("broken")
    });
    assert_eq!(
        (seen.len(), refused.exit()),
        (1, Exit::Unreachable),
        "without a key it is sent once"
    );
}

#[test]
fn a_key_does_not_leave_this_machine_in_clear_text() {
    let check = |url: &str, allowed: bool| {
        let target = Target {
            url: url.into(),
            key: None,
            tls_dir: None,
        };
        assert_eq!(Client::new(&target).is_ok(), allowed, "{url}");
    };
    check("http://127.0.0.1:8080", true);
    check("http://[::1]:8080", true);
    check("http://localhost:8080", true);
    check("https://example.org", true);
    check("http://example.org", false);
    check("http://127.0.0.1.example.org", false);
    check("ftp://127.0.0.1", false);
    check("8080", false);
}

fn frame(seq: u64, kind: &str) -> String {
    format!("id: {seq}\nevent: {kind}\ndata: {{\"seq\":{seq}}}\n\n")
}

fn events(answers: Vec<Answer>) -> (Result<Vec<u64>, CliError>, Vec<Option<String>>) {
    let (result, seen) = with_gateway(answers, async |url| {
        let client = client(&url);
        let mut stream = EventStream::new(&client, "run_1", None, IMPATIENT);
        let mut seqs = Vec::new();
        while let Some(event) = stream.next().await? {
            seqs.extend(event.seq);
        }
        Ok(seqs)
    });
    (result, seen.into_iter().map(|seen| seen.last_event_id).collect())
}

#[test]
fn a_broken_stream_goes_on_after_the_last_event_without_gap_or_repetition() {
    let (seqs, asked) = events(vec![
        Answer::Events(frame(3, "run.accepted") + &frame(5, "step.leased") + "id: 6\nevent: step.do"),
        Answer::Break,
        Answer::Json(503, error("OC-1012")),
        // A server that repeats itself is put up with.
        Answer::Events(frame(5, "step.leased") + &frame(6, "step.done")),
        Answer::Events(": keepalive\n\n".to_owned() + &frame(9, "run.done") + &frame(10, "never")),
    ]);
    assert_eq!(seqs.expect("followed to the end"), [3, 5, 6, 9]);
    let asked: Vec<Option<&str>> = asked.iter().map(Option::as_deref).collect();
    assert_eq!(asked, [None, Some("5"), Some("5"), Some("5"), Some("6")]);
}

#[test]
fn a_stream_is_given_up_after_a_bounded_number_of_vain_attempts() {
    let (result, asked) = events(vec![Answer::Break; 10]);
    assert_eq!(result.expect_err("given up").exit(), Exit::Unreachable);
    assert_eq!(asked.len(), 1 + IMPATIENT.attempts_max as usize);
}

#[test]
fn a_stream_that_is_refused_is_not_asked_for_again() {
    let (result, asked) = events(vec![Answer::Json(404, error("OC-1004"))]);
    assert_eq!(result.expect_err("refused").exit(), Exit::NotFound);
    assert_eq!(asked.len(), 1);
}

#[test]
fn the_operators_key_goes_to_the_daemon_of_this_home_alone() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::under(folder.path());
    home.create().expect("made");
    crate::daemon::config::file::replace(&home.operator_key_file(), b"ocl_1_2", 0o600).expect("written");
    let overrides = Overrides::default();
    let find = |url: Option<&str>, key: Option<&str>| Target::find(&home, &overrides, url, key);
    let check = |target: Result<Target, CliError>, url: &str, key: Option<&str>| {
        let target = target.expect("found");
        assert_eq!((target.url.as_str(), target.key.as_deref()), (url, key));
    };
    check(find(None, None), "http://127.0.0.1:8080", None);
    check(find(None, Some("ocl_3_4")), "http://127.0.0.1:8080", Some("ocl_3_4"));
    check(
        find(Some("http://127.0.0.1:1"), None),
        "http://127.0.0.1:1",
        Some("ocl_1_2"),
    );
    let daemon = |pid: u32| DaemonFile {
        pid,
        boot: "boot_1".into(),
        admin: None,
        gateway: "http://127.0.0.1:2".into(),
        started_at: crate::domain::time::UtcMillis(0),
    };
    daemon(std::process::id()).write(&home).expect("written");
    check(find(None, None), "http://127.0.0.1:2", Some("ocl_1_2"));
    daemon(i32::MAX as u32).write(&home).expect("written");
    assert_eq!(find(None, None).expect_err("nobody").exit(), Exit::Unreachable);
}
