//! Memory as clients see it: put, found again by key and by meaning, kept over a kill, closed between projects.

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::{RUN_MAX, Reply, Rim};
use crate::support::wait::until;

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
    assert_eq!((loose.status, &loose.body["id"]), (201, &json!(3)), "{loose:?}");
    let slip = rim.post("/v1/memory/project?project=/srv/a", &json!({ "text": "A slip." }));
    // Its number is all that names it.
    let slip = format!("/v1/memory/project?project=/srv/a&id={}", slip.body["id"]);
    assert_eq!(rim.ask("DELETE", &slip, &[], "").status, 200);
    // What is put under a key is what there is, also beside the same text.
    for body in [
        json!({ "text": "same", "importance": 90, "tags": ["a"] }),
        json!({ "text": "same", "importance": 10, "tags": ["b"], "expires_in_s": 1_000 }),
    ] {
        let kept = rim.ask("PUT", "/v1/memory/global/same", &[], &body.to_string());
        assert_eq!(
            (
                &kept.body["importance"],
                &kept.body["tags"],
                kept.body["expires_at"].is_string()
            ),
            (&body["importance"], &body["tags"], body["expires_in_s"].is_number()),
            "{kept:?}"
        );
    }
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
    for expires_in_s in [0, 400_000_000, 300_000_000_000, 1_000_000_000_000_000, u64::MAX] {
        let body = json!({ "text": "x", "expires_in_s": expires_in_s }).to_string();
        check("PUT", "/v1/memory/global/k", &body, 400, "OC-1001");
        check("POST", "/v1/memory/global", &body, 400, "OC-1001");
    }
    for tag in ["", "a\nb", "a\0"] {
        let body = json!({ "text": "x", "tags": [tag] }).to_string();
        check("PUT", "/v1/memory/global/k", &body, 400, "OC-1001");
    }
    // A key shows all its characters, by each way in.
    for (key, encoded) in [
        ("a\u{202e}b", "a%E2%80%AEb"),
        ("a\u{200d}b", "a%E2%80%8Db"),
        ("\u{feff}a", "%EF%BB%BFa"),
    ] {
        let path = format!("/v1/memory/global/{encoded}");
        check("PUT", &path, r#"{"text":"x"}"#, 400, "OC-1001");
        check("GET", &path, "", 404, "OC-8001");
        let lines = json!({ "part": { "scope": "global" }, "entries": [{ "key": key, "text": "x" }] });
        check("POST", "/v1/memory/import", &lines.to_string(), 400, "OC-8005");
    }
    check("PUT", "/v1/memory/global/..", r#"{"text":"x"}"#, 400, "OC-1001");
    check("PUT", "/v1/memory/global/%2E", r#"{"text":"x"}"#, 400, "OC-1001");
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
fn a_project_is_one_part_however_its_folder_is_written() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let real = home.workspace().canonicalize().expect("there");
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&real, &link).expect("a link");
    let (real, link) = (real.display(), link.display());
    let check = |written: &str, same: &str| {
        let path = |project: &str| format!("/v1/memory/project/k?project={project}");
        let kept = put(&rim, &path(written), "The kettle is blue.");
        assert_eq!((kept.status, &kept.body["namespace"]), (200, &json!(same)), "{kept:?}");
        assert_eq!(rim.ask("DELETE", &path(same), &[], "").status, 200, "{written} {same}");
        assert_eq!(rim.get(&path(written)).status, 404, "{written} {same}");
    };
    check(&link.to_string(), &real.to_string());
    check(&format!("{link}/."), &real.to_string());
    check(&format!("/{real}//"), &real.to_string());
    // What is not there, or not any more, has no links.
    check("/srv/nowhere/a/../b/./", "/srv/nowhere/b");
    check("/srv/nowhere/../../..", "/");
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

/// One filter, as each way in spells it.
struct Filter {
    body: Value,
    flags: &'static [&'static str],
    expected: &'static [&'static str],
}

/// The texts that a command, a request and a step find with a filter.
fn found_by_every_way(home: &TestHome, rim: &Rim, filter: &Filter) -> [Vec<String>; 3] {
    let texts = |entries: &Value| {
        let entries = entries.as_array().expect("a list").iter();
        let mut texts: Vec<String> = entries
            .map(|entry| entry["text"].as_str().expect("a text").to_owned())
            .collect();
        texts.sort_unstable();
        texts
    };
    let workspace = home.workspace().canonicalize().expect("the workspace is there");
    let mut inputs = filter.body.clone();
    inputs["scope"] = "project".into();
    inputs["query"] = "the nightly backup".into();
    let steps = json!([{ "id": "find", "skill": "memory.query", "inputs": inputs }]);
    let run = rim.ended(&rim.submit_plan(&workspace, &steps));
    assert_eq!(run["status"], "succeeded", "{run}");
    let mut body = inputs;
    body["project"] = workspace.display().to_string().into();
    let http = rim.post("/v1/memory/query", &body);
    let mut command = home.command();
    command.current_dir(&workspace).args(["memory", "query", "--json"]);
    let command = command.args(filter.flags).arg("the nightly backup");
    let output = command.output().expect("the binary runs");
    let cli: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    [
        texts(&cli["entries"]),
        texts(&http.body["entries"]),
        texts(&run["result"]["entries"]),
    ]
}

#[test]
fn every_filter_narrows_a_question_by_every_way_in() {
    const A: &str = "The nightly backup goes to the vault.";
    const B: &str = "The nightly backup of staging is dropped.";
    const C: &str = "The nightly backup went to tape once.";
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let workspace = home.workspace().canonicalize().expect("the workspace is there");
    let entry = |text: &str, by: &str, tags: &[&str], at: &str| json!({ "text": text, "tags": tags, "sources": [{ "by": by }], "created_at": at, "updated_at": at });
    let entries = [
        entry(A, "agent:coder", &["ops", "backup"], "2026-03-01T12:00:00Z"),
        entry(B, "person:anna", &["ops"], "2026-03-02T12:00:00Z"),
        entry(C, "file:notes.md", &[], "2026-03-03T12:00:00Z"),
    ];
    let part = json!({ "scope": "project", "project": workspace.display().to_string() });
    let taken = rim.post("/v1/memory/import", &json!({ "part": part, "entries": entries }));
    assert_eq!(taken.status, 200, "{taken:?}");
    // 2 March 2026, noon and midnight, in milliseconds.
    let (midnight, noon) = (1_772_409_600_000u64, 1_772_452_800_000u64);
    let check = |body: Value, flags: &'static [&'static str], expected: &'static [&'static str]| {
        let filter = Filter { body, flags, expected };
        for (way, found) in ["command", "request", "step"]
            .iter()
            .zip(found_by_every_way(&home, &rim, &filter))
        {
            assert_eq!(found, filter.expected, "{way}: {}", filter.body);
        }
    };
    check(json!({}), &[], &[A, B, C]);
    check(json!({ "tags": ["ops"] }), &["--tag", "ops"], &[A, B]);
    let both: &[&str] = &["--tag", "ops", "--tag", "backup"];
    check(json!({ "tags": ["ops", "backup"] }), both, &[A]);
    check(json!({ "source": "agent:" }), &["--source", "agent:"], &[A]);
    check(json!({ "source": "person:anna" }), &["--source", "person:anna"], &[B]);
    check(
        json!({ "since_ms": noon }),
        &["--since", "2026-03-02T12:00:00Z"],
        &[B, C],
    );
    check(json!({ "until_ms": noon }), &["--until", "2026-03-02T12:00:00Z"], &[A]);
    check(json!({ "since_ms": midnight }), &["--since", "2026-03-02"], &[B, C]);
    let day: &[&str] = &["--since", "2026-03-02", "--until", "2026-03-03"];
    check(
        json!({ "since_ms": midnight, "until_ms": midnight + 86_400_000 }),
        day,
        &[B],
    );
    let none: &[&str] = &["--tag", "ops", "--source", "file:"];
    check(json!({ "tags": ["ops"], "source": "file:" }), none, &[]);
    // A key is exact, and nothing narrows it.
    let by_key = |body: Value| rim.post("/v1/memory/query", &body);
    assert_eq!(put(&rim, "/v1/memory/global/style", "Short sentences.").status, 200);
    let style = by_key(json!({ "scope": "global", "key": "style" }));
    assert_eq!(style.body["entries"][0]["text"], "Short sentences.", "{style:?}");
    for bad in [
        json!({ "scope": "global" }),
        json!({ "scope": "global", "key": "style", "query": "style" }),
        json!({ "scope": "global", "key": "style", "tags": ["note"] }),
    ] {
        assert_eq!(by_key(bad.clone()).code(), "OC-1001", "{bad}");
    }
}

#[test]
fn what_a_step_keeps_with_tags_and_an_end_is_found_by_them_and_ends() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let put = |id: &str, needs: &[&str], text: &str, more: Value| {
        let mut inputs = json!({ "scope": "project", "text": text });
        inputs
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
        json!({ "id": id, "skill": "memory.put", "needs": needs, "inputs": inputs })
    };
    let steps = json!([
        put(
            "a",
            &[],
            "The canary runs for a day.",
            json!({ "tags": ["canary"], "importance": 90 })
        ),
        put("b", &[], "The canary stops for an hour.", json!({ "expires_in_s": 1 })),
        put(
            "c",
            &["a"],
            "The canary runs for a day!",
            json!({ "tags": ["release"] })
        ),
    ]);
    let workspace = home.workspace();
    let run = rim.ended(&rim.submit_plan(&workspace, &steps));
    assert_eq!(run["status"], "succeeded", "{run}");
    let project = workspace.display();
    let list = || rim.get(&format!("/v1/memory/project?project={project}")).body["entries"].clone();
    until("the second one has ended", RUN_MAX, || {
        let entries = list();
        (entries.as_array().map(Vec::len) == Some(1))
            .then_some(())
            .ok_or_else(|| entries.to_string())
    });
    let entry = &list()[0];
    assert_eq!(
        (&entry["key"], &entry["text"]),
        (&Value::Null, &json!("The canary runs for a day."))
    );
    let mut tags: Vec<&str> = entry["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    tags.sort_unstable();
    assert_eq!(
        (tags.as_slice(), &entry["importance"]),
        (&["canary", "release"][..], &json!(90)),
        "{entry}"
    );
}
