//! Memory as clients see it: put, found again by key and by meaning, kept over a kill, closed between projects.

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::{Reply, Rim};

fn put(rim: &Rim, path: &str, text: &str) -> Reply {
    rim.ask("PUT", path, &[], &json!({ "text": text, "tags": ["note"] }).to_string())
}

fn found(rim: &Rim, body: &Value) -> Vec<String> {
    let reply = rim.post("/v1/memory/query", body);
    assert_eq!(reply.status, 200, "{reply:?}");
    let entries = reply.body["entries"].as_array().expect("a list").iter();
    entries
        .map(|entry| entry["text"].as_str().expect("text").to_owned())
        .collect()
}

#[test]
fn what_is_kept_is_found_by_key_and_by_meaning_also_after_a_kill_and_never_from_another_project() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let path = "/v1/memory/project/auth-pattern?project=/srv/a";
    assert_eq!(put(&rim, path, "Tokens are rotated every Monday.").status, 200);
    let again = put(&rim, path, "Tokens are rotated every Friday 👨‍👩‍👧.");
    assert_eq!((again.status, &again.body["version"]), (200, &json!(2)), "{again:?}");
    let loose = rim.post(
        "/v1/memory/project?project=/srv/a",
        &json!({ "text": "My automobile needs new tires.", "importance": 80 }),
    );
    assert_eq!(loose.status, 201, "{loose:?}");
    daemon.kill();

    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let entry = rim.get(path);
    assert_eq!(entry.body["text"], "Tokens are rotated every Friday 👨‍👩‍👧.", "{entry:?}");
    assert_eq!(entry.body["sources"][0]["by"], "person:operator", "{entry:?}");
    let ask = |project: &str, query: &str| {
        let body = json!({ "scope": "project", "project": project, "query": query, "limit": 1, "explain": true });
        found(&rim, &body)
    };
    assert_eq!(
        ask("/srv/a", "when do tokens rotate"),
        ["Tokens are rotated every Friday 👨‍👩‍👧."]
    );
    assert_eq!(ask("/srv/a", "car wheels"), ["My automobile needs new tires."]);
    assert_eq!(ask("/srv/b", "when do tokens rotate"), [] as [&str; 0]);
    assert_eq!(
        rim.get("/v1/memory/project/auth-pattern?project=/srv/b").code(),
        "OC-8001"
    );
    let listed = rim.get("/v1/memory/project?project=/srv/a");
    assert_eq!(listed.body["entries"].as_array().map(Vec::len), Some(2), "{listed:?}");
    assert_eq!(rim.ask("DELETE", path, &[], "").status, 200);
    assert_eq!(rim.get(path).status, 404);
    assert_eq!(
        ask("/srv/a", "when do tokens rotate"),
        ["My automobile needs new tires."],
        "it is not found any more"
    );
}

#[test]
fn what_cannot_be_used_is_refused_and_changes_nothing() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let check = |method: &str, path: &str, body: &str, status: u16, code: &str| {
        let reply = rim.ask(method, path, &[], body);
        assert_eq!(
            (reply.status, reply.code()),
            (status, code),
            "{method} {path} {body}: {reply:?}"
        );
    };
    let long = "x".repeat(64 * 1024 + 1);
    check("PUT", "/v1/memory/galaxy/k", r#"{"text":"x"}"#, 400, "OC-1001");
    check("PUT", "/v1/memory/project/k", r#"{"text":"x"}"#, 400, "OC-1001");
    check(
        "PUT",
        "/v1/memory/project/k?project=relative",
        r#"{"text":"x"}"#,
        400,
        "OC-1001",
    );
    check(
        "PUT",
        "/v1/memory/global/k?project=/a",
        r#"{"text":"x"}"#,
        400,
        "OC-1001",
    );
    check("PUT", "/v1/memory/global/k", r#"{"text":""}"#, 400, "OC-1001");
    check(
        "PUT",
        "/v1/memory/global/k",
        r#"{"text":"x","importance":101}"#,
        400,
        "OC-1001",
    );
    check(
        "PUT",
        "/v1/memory/global/k",
        r#"{"text":"x","other":1}"#,
        400,
        "OC-1001",
    );
    check("PUT", "/v1/memory/global/k", r#"{"text":"\ud800"}"#, 400, "OC-1001");
    check("PUT", "/v1/memory/global/k%00", r#"{"text":"x"}"#, 400, "OC-1001");
    check(
        "PUT",
        "/v1/memory/global/k",
        &json!({ "text": long }).to_string(),
        400,
        "OC-1001",
    );
    check(
        "POST",
        "/v1/memory/query",
        r#"{"scope":"global","query":" "}"#,
        400,
        "OC-1001",
    );
    check("DELETE", "/v1/memory/global/k", "", 404, "OC-8001");
    check("GET", "/v1/memory/global/k", "", 404, "OC-8001");
    let nobody = rim.with_key(None).get("/v1/memory/global/k");
    assert_eq!(nobody.status, 401);
    assert_eq!(rim.get("/v1/memory/global").body["entries"], json!([]));
}

#[test]
fn an_agentless_step_keeps_and_another_finds() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let steps = json!([
        { "id": "keep", "skill": "memory.put",
          "inputs": { "scope": "project", "key": "deploy", "text": "The deploy key is in the vault." } },
        { "id": "find", "skill": "memory.query", "needs": ["keep"],
          "inputs": { "scope": "project", "query": "where is the key for deployments" } },
    ]);
    let id = rim.submit_plan(&home.workspace(), &steps);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    let result = run["result"].to_string();
    assert!(result.contains("The deploy key is in the vault."), "{result}");
    assert!(result.contains("agent:none"), "it says where it comes from: {result}");
}
