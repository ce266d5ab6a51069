//! What ends by itself, what makes room, and what says the same.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::rim::Rim;
use crate::support::wait::until;

const SOON: Duration = Duration::from_secs(20);

fn put(rim: &Rim, path: &str, body: &Value) -> Value {
    let reply = rim.ask("PUT", path, &[], &body.to_string());
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

fn entries(rim: &Rim, path: &str) -> Vec<Value> {
    let reply = rim.get(path);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body["entries"].as_array().expect("a list").clone()
}

fn clean(rim: &Rim) {
    let verified = rim.post("/v1/memory/verify", &json!({}));
    assert_eq!(verified.body["clean"], true, "{verified:?}");
}

#[test]
fn what_has_expired_is_not_found_goes_to_the_archive_comes_back_and_is_deleted() {
    let home = TestHome::new("[memory]\ngcInterval = 1\narchiveKeep = 2\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    put(
        &rim,
        "/v1/memory/global/short",
        &json!({ "text": "a cat sat", "expires_in_s": 1 }),
    );
    let archived = until("the entry to be archived", SOON, || {
        let archived = entries(&rim, "/v1/memory/global?state=archived");
        archived.first().cloned().ok_or(archived)
    });
    assert_eq!(archived["archived"]["why"], "its time was over", "{archived}");
    assert_eq!(rim.get("/v1/memory/global/short").status, 404);
    let place = json!({ "part": { "scope": "global" }, "id": archived["id"] });
    let restored = rim.post("/v1/memory/restore", &place);
    assert_eq!(
        (restored.status, &restored.body["expires_at"]),
        (200, &Value::Null),
        "{restored:?}"
    );
    assert_eq!(rim.get("/v1/memory/global/short").body["text"], "a cat sat");
    clean(&rim);
    put(
        &rim,
        "/v1/memory/global/gone",
        &json!({ "text": "a dog ran", "expires_in_s": 1 }),
    );
    let path = format!("/v1/memory/global?id={}", archived["id"]);
    assert_eq!(rim.ask("DELETE", &path, &[], "").status, 200);
    until("everything to be deleted, with its part", SOON, || {
        let stats = rim.get("/v1/memory/stats").body;
        if stats["parts"] == json!([]) {
            Ok(())
        } else {
            Err(stats)
        }
    });
    let missing = rim.post("/v1/memory/restore", &json!({ "part": { "scope": "global" }, "id": 1 }));
    assert_eq!(missing.code(), "OC-8001", "{missing:?}");
}

/// The address of a session's part.
fn list_of(session: &str) -> String {
    format!("/v1/memory/session?session={}", session.replace('/', "%2F"))
}

#[test]
fn a_session_ends_with_its_run_and_what_is_promoted_stays() {
    let home = TestHome::new("[memory]\ngcInterval = 1\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let steps = json!([
        { "id": "keep", "skill": "memory.put",
          "inputs": { "scope": "session", "key": "finding", "text": "The port is 8443." } },
        { "id": "read", "skill": "memory.get", "needs": ["keep"],
          "inputs": { "scope": "session", "key": "finding" } },
    ]);
    let run = rim.submit_plan(&home.workspace(), &steps);
    rim.ended(&run);
    let session = format!("{run}/keep");
    let path = format!("/v1/memory/session/finding?session={}", session.replace('/', "%2F"));
    assert_eq!(rim.get(&path).status, 404, "the session has ended");
    // What nobody would find is not taken, by no way in.
    let part = json!({ "scope": "session", "session": session });
    for late in [
        rim.ask("PUT", &path, &[], r#"{"text":"late"}"#),
        rim.post(&list_of(&session), &json!({ "text": "late" })),
        rim.post(
            "/v1/memory/import",
            &json!({ "part": part, "entries": [{ "text": "late" }] }),
        ),
    ] {
        assert_eq!((late.status, late.code()), (409, "OC-8007"), "{late:?}");
    }
    let list = format!("{}&state=all", list_of(&session));
    let archived = until("the session to be archived", SOON, || {
        let archived = entries(&rim, &list);
        archived.first().cloned().ok_or(archived)
    });
    assert_eq!(archived["archived"]["why"], "its session has ended", "{archived}");
    assert_eq!(entries(&rim, &list).len(), 1, "nothing came in late");
    let restored = rim.post("/v1/memory/restore", &json!({ "part": part, "id": archived["id"] }));
    assert_eq!((restored.status, restored.code()), (409, "OC-8007"), "{restored:?}");
    let wanted = json!({
        "part": part, "id": archived["id"],
        "to": { "scope": "project", "project": "/srv/a" },
    });
    for _ in 0..2 {
        let promoted = rim.post("/v1/memory/promote", &wanted);
        assert_eq!(promoted.status, 200, "{promoted:?}");
    }
    let kept = entries(&rim, "/v1/memory/project?project=/srv/a");
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(
        (&kept[0]["key"], &kept[0]["text"]),
        (&json!("finding"), &json!("The port is 8443."))
    );
    assert_eq!(kept[0]["sources"][0]["run"], json!(run), "{kept:?}");
    assert_eq!(entries(&rim, "/v1/memory/project?project=/srv/b"), [] as [Value; 0]);
    clean(&rim);
}

#[test]
fn a_full_part_makes_room_with_the_least_valuable_or_refuses() {
    let add = |rim: &Rim, text: &str, importance: u8| {
        let body = json!({ "text": text, "importance": importance });
        rim.post("/v1/memory/project?project=/srv/a", &body)
    };
    let home = TestHome::new("[memory]\nmaxEntries = 4\n[metrics]\nport = 0\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    for (text, importance) in [
        ("pinned", 100),
        ("weak", 5),
        ("middle", 50),
        ("strong", 90),
        ("newer", 60),
    ] {
        let reply = add(&rim, text, importance);
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    let texts = |state: &str| {
        let found = entries(&rim, &format!("/v1/memory/project?project=/srv/a&state={state}"));
        found
            .iter()
            .map(|entry| entry["text"].as_str().expect("text").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts("live"), ["pinned", "middle", "strong", "newer"]);
    assert_eq!(texts("archived"), ["weak"]);
    let metrics = rim.get("/v1/status").body["metrics"].as_str().map(str::to_owned);
    let metrics = Rim {
        address: metrics
            .expect("an address")
            .trim_start_matches("http://")
            .trim_end_matches("/metrics")
            .to_owned(),
        key: None,
    };
    let (_, figures) = metrics.text("/metrics");
    for line in [
        "openclaw_memory_entries{tier=\"project\"} 4",
        "openclaw_memory_archived_entries{tier=\"project\"} 1",
        "openclaw_memory_bytes{tier=\"project\"} 23",
        "openclaw_memory_archived_total{tier=\"project\",why=\"evicted\"} 1",
    ] {
        assert!(figures.contains(line), "{line}: {figures}");
    }
    clean(&rim);
    daemon.kill();

    let home = TestHome::new("[memory]\nmaxEntries = 2\nmaxBytes = 1024\nwhenFull = \"refuse\"\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    for text in ["one", "two"] {
        assert_eq!(add(&rim, text, 50).status, 201);
    }
    let full = add(&rim, "three", 90);
    assert_eq!((full.status, full.code()), (429, "OC-8003"), "{full:?}");
    let key = "/v1/memory/project/k?project=/srv/b";
    put(&rim, key, &json!({ "text": "a" }));
    put(&rim, "/v1/memory/project/l?project=/srv/b", &json!({ "text": "b" }));
    put(
        &rim,
        key,
        &json!({ "text": "what takes a place of its own needs no more room" }),
    );
    let long = "x".repeat(1_000);
    let full = rim.ask("PUT", key, &[], &json!({ "text": long }).to_string());
    assert_eq!((full.status, full.code()), (429, "OC-8003"), "{full:?}");
    // An import is held to the same limits, whatever it comes after.
    let import = |letter: &str| {
        let part = json!({ "scope": "project", "project": format!("/srv/of-{letter}") });
        let lines = [json!({ "text": letter.repeat(400) })];
        rim.post("/v1/memory/import", &json!({ "part": part, "entries": lines }))
            .status
    };
    assert_eq!(["c", "d", "e", "f"].map(import), [200, 200, 429, 429]);
    // Agents are told the same.
    let steps = json!([{ "id": "keep", "skill": "memory.put",
        "inputs": { "scope": "global", "key": "k", "text": long } }]);
    let run = rim.submit_plan(&home.workspace(), &steps);
    let ended = rim.ended(&run).to_string();
    assert!(ended.contains("at most 1024 are allowed"), "{ended}");
}

#[test]
fn an_import_that_never_fits_is_refused_and_archives_nothing() {
    let home = TestHome::new("[memory]\nmaxEntries = 10\nmaxBytes = 2000\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let import = |lines: Vec<Value>| {
        let part = json!({ "scope": "project", "project": "/srv/a" });
        rim.post("/v1/memory/import", &json!({ "part": part, "entries": lines }))
    };
    let line = |number: usize, bytes: usize, importance: u8| {
        let text = format!("{number:0bytes$}");
        json!({ "text": text, "importance": importance })
    };
    let some = (0..8).map(|number| line(number, 20, if number < 4 { 100 } else { 90 }));
    assert_eq!(import(some.collect()).status, 200);
    let check = |lines: Vec<Value>, says: &str| {
        let full = import(lines);
        assert_eq!((full.status, full.code()), (429, "OC-8003"), "{full:?}");
        assert!(full.body.to_string().contains(says), "{full:?}");
        let live = entries(&rim, "/v1/memory/project?project=/srv/a");
        assert_eq!(live.len(), 8, "nothing made room for what is refused: {live:?}");
    };
    let more = |count: usize, bytes: usize| (100..100 + count).map(|number| line(number, bytes, 50)).collect();
    check(
        more(11, 20),
        "what is to be kept holds 11 entries, at most 10 are allowed",
    );
    check(
        more(3, 700),
        "what is to be kept holds 2100 bytes of text, at most 2000 are allowed",
    );
    // Four are pinned, so that six places can be had at most.
    check(
        more(7, 20),
        "this part of the memory holds 8 entries, at most 10 are allowed",
    );
    check(
        more(2, 990),
        "the memory holds 160 bytes of text, at most 2000 are allowed",
    );
    assert_eq!(import(more(6, 20)).status, 200);
    assert_eq!(entries(&rim, "/v1/memory/project?project=/srv/a").len(), 10);
    clean(&rim);
}

#[test]
fn texts_that_say_the_same_are_one_with_all_who_said_it_and_those_that_do_not_stay_apart() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let add = |text: &str, source: &str| {
        let body = json!({ "text": text, "source": source });
        let reply = rim.post("/v1/memory/global", &body);
        assert_eq!(reply.status, 201, "{reply:?}");
    };
    add("The deploy key is in the vault.", "file:notes.md");
    add("the deploy key  is in the vault", "step:run_1/plan");
    add("The deploy key is not in the vault.", "person:ada");
    add("The deploy key is in vault 2.", "person:ada");
    add("The deploy key is in vault 3.", "run:run_1");
    let kept = entries(&rim, "/v1/memory/global");
    let sources: Vec<Vec<&str>> = kept
        .iter()
        .map(|entry| {
            entry["sources"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|source| source["by"].as_str())
                .collect()
        })
        .collect();
    assert_eq!(
        sources,
        [
            vec!["file:notes.md", "step:run_1/plan"],
            vec!["person:ada"],
            vec!["person:ada"],
            vec!["run:run_1"]
        ]
    );
    let odd = rim.post("/v1/memory/global", &json!({ "text": "x", "source": "rumour:pub" }));
    assert_eq!(odd.code(), "OC-1001", "{odd:?}");
    // Under a key the newer text counts, and the older one says so.
    for text in ["Deploys are on Monday.", "Deploys are on Friday."] {
        put(&rim, "/v1/memory/global/deploys", &json!({ "text": text }));
    }
    let entry = rim.get("/v1/memory/global/deploys?history=true").body;
    assert_eq!(entry["text"], "Deploys are on Friday.", "{entry}");
    let older = &entry["history"][0];
    assert_eq!(
        (&older["text"], &older["state"], &older["newer"]),
        (&json!("Deploys are on Monday."), &json!("superseded"), &entry["id"])
    );
    let found = rim.post(
        "/v1/memory/query",
        &json!({ "scope": "global", "query": "when are deploys on Monday" }),
    );
    assert!(!found.body.to_string().contains("on Monday."), "{found:?}");
    clean(&rim);
}

#[test]
fn a_prune_says_what_goes_and_why_before_it_does_it() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let then = "2020-01-01T00:00:00Z";
    let old = |text: &str, importance: u8, uses: u64| json!({ "text": text, "importance": importance, "uses": uses, "created_at": then, "used_at": then });
    let part = json!({ "scope": "project", "project": "/srv/a" });
    let lines = json!([
        old("forgotten", 50, 0), old("pinned", 100, 0), { "text": "fresh", "importance": 0 },
        // What a conversation of long ago was is no reason to put it out of sight on the day that it is taken in.
        { "text": "taken in today", "importance": 0, "created_at": then },
    ]);
    let taken = rim.post("/v1/memory/import", &json!({ "part": part, "entries": lines }));
    assert_eq!(taken.status, 200, "{taken:?}");
    let dry = rim.post("/v1/memory/prune", &json!({ "dry_run": true })).body;
    assert_eq!(
        (&dry["archived"], &dry["entries"][0]["text"]),
        (&json!(1), &json!("forgotten")),
        "{dry}"
    );
    let why = dry["entries"][0]["why"].as_str().expect("a reason");
    assert!(
        why.starts_with("of little value: importance 50, used 0 times, last "),
        "{why}"
    );
    let path = "/v1/memory/project?project=/srv/a";
    assert_eq!(entries(&rim, path).len(), 4, "nothing has changed");
    let other = json!({ "part": { "scope": "global" } });
    assert_eq!(rim.post("/v1/memory/prune", &other).body["archived"], 0);
    let done = rim.post("/v1/memory/prune", &json!({ "part": part })).body;
    assert_eq!(
        (&done["archived"], &done["dry_run"]),
        (&json!(1), &json!(false)),
        "{done}"
    );
    assert_eq!(entries(&rim, path).len(), 3);
    let taken = rim.post(
        "/v1/memory/import",
        &json!({ "part": part, "entries": [lines[3], lines[2]] }),
    );
    assert_eq!(taken.status, 200, "{taken:?}");
    let found = rim.post(
        "/v1/memory/query",
        &json!({ "scope": "project", "project": "/srv/a", "query": "forgotten" }),
    );
    assert!(!found.body.to_string().contains("forgotten"), "{found:?}");
    let restored = rim.post("/v1/memory/restore", &json!({ "part": part, "id": 1 }));
    assert_eq!(restored.status, 200, "{restored:?}");
    let done = rim.post("/v1/memory/prune", &json!({ "part": part })).body;
    assert_eq!(done["archived"], 0, "what was just restored counts as used: {done}");
    clean(&rim);
}

#[test]
fn what_is_asked_for_counts_as_used_and_what_is_put_listed_or_looked_for_to_forget_it_does_not() {
    let home = TestHome::new("[memory]\ngcInterval = 1\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    for text in ["The kettle is blue.", "The kettle is red.", "The kettle is red."] {
        put(&rim, "/v1/memory/global/kettle", &json!({ "text": text }));
    }
    put(&rim, "/v1/memory/global/other", &json!({ "text": "a violin" }));
    entries(&rim, "/v1/memory/global");
    let uses = |wanted: u64| {
        until("the uses to be written down", SOON, || {
            let kettle = entries(&rim, "/v1/memory/global").remove(0);
            if kettle["uses"].as_u64() >= Some(wanted) {
                Ok(kettle["uses"].clone())
            } else {
                Err(kettle)
            }
        })
    };
    let query = rim.post(
        "/v1/memory/query",
        &json!({ "scope": "global", "query": "kettle", "limit": 1 }),
    );
    assert_eq!(query.body["entries"][0]["text"], "The kettle is red.", "{query:?}");
    assert_eq!(uses(1), 1, "one question, three puts");
    assert_eq!(rim.get("/v1/memory/global/kettle").status, 200);
    assert_eq!(uses(2), 2, "and one look by its key");
    clean(&rim);
}

#[test]
fn what_is_forgotten_by_its_key_leaves_nothing_of_the_key_in_the_archive_either() {
    let home = TestHome::new("[memory]\ngcInterval = 1\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let path = "/v1/memory/global/pw";
    put(
        &rim,
        "/v1/memory/global/other",
        &json!({ "text": "other", "expires_in_s": 1 }),
    );
    put(&rim, path, &json!({ "text": "hunter1" }));
    let gone = |texts: &[&str]| {
        for text in texts {
            put(&rim, path, &json!({ "text": text, "expires_in_s": 1 }));
        }
        until("what ends to be archived", SOON, || {
            let left = entries(&rim, "/v1/memory/global");
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
    };
    gone(&["hunter2", "hunter3"]);
    gone(&["hunter4"]);
    put(&rim, path, &json!({ "text": "hunter5" }));
    let forgotten = rim.ask("DELETE", path, &[], "");
    assert_eq!(
        (forgotten.status, &forgotten.body["id"]),
        (200, &json!(6)),
        "{forgotten:?}"
    );
    let left = entries(&rim, "/v1/memory/global?state=all");
    let left: Vec<&Value> = left.iter().map(|entry| &entry["text"]).collect();
    assert_eq!(left, ["other"], "all of the key is gone and nothing else");
    for id in 2..=6 {
        let restored = rim.post(
            "/v1/memory/restore",
            &json!({ "part": { "scope": "global" }, "id": id }),
        );
        assert_eq!(restored.code(), "OC-8001", "{restored:?}");
    }
    assert_eq!(rim.ask("DELETE", path, &[], "").status, 404);
    // One that is archived alone can be forgotten by its key too.
    assert_eq!(rim.ask("DELETE", "/v1/memory/global/other", &[], "").status, 200);
    assert_eq!(entries(&rim, "/v1/memory/global?state=all"), [] as [Value; 0]);
    clean(&rim);
}

#[test]
fn what_is_promoted_keeps_all_who_said_it_and_an_end_that_lies_ahead() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    for (key, end) in [("kept", Value::Null), ("ends", json!(100_000))] {
        let said = ["person:ada", "file:notes.md"].map(|source| {
            let body = json!({ "text": key, "source": source, "expires_in_s": end });
            put(&rim, &format!("/v1/memory/global/{key}"), &body)
        });
        let own = &said[1];
        let wanted = json!({
            "part": { "scope": "global" }, "id": own["id"], "to": { "scope": "project", "project": "/srv/a" },
        });
        let promoted = rim.post("/v1/memory/promote", &wanted);
        assert_eq!(promoted.status, 200, "{promoted:?}");
        let copy = rim.get(&format!("/v1/memory/project/{key}?project=/srv/a")).body;
        assert_eq!(own["sources"].as_array().map(Vec::len), Some(2), "{own}");
        assert_eq!(
            (&copy["sources"], &copy["expires_at"]),
            (&own["sources"], &own["expires_at"]),
            "{copy}"
        );
    }
    clean(&rim);
}
