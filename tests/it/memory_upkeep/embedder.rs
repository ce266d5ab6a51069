//! A configured embedder: vectors come later, in the background, and nothing waits for them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{TestDaemon, TestHome};
use crate::support::embedding_server::{EmbeddingServer, Mood, POISON};
use crate::support::rim::Rim;
use crate::support::wait::until;

/// Retries wait a few seconds, and machines that test are busy.
const SOON: Duration = Duration::from_secs(60);

fn start(home: &TestHome) -> TestDaemon {
    home.start_with(&[("TEST_EMBEDDER_KEY", "the-embedder's-key")])
}

fn configure(home: &TestHome, config: &str) {
    std::fs::write(home.path().join("openclaw.toml"), config).expect("configuration");
}

fn put(rim: &Rim, text: &str) {
    let kept = rim.post("/v1/memory/global", &json!({ "text": text }));
    assert_eq!(kept.status, 201, "{kept:?}");
}

/// The best entry, and why only words were compared.
fn ask(rim: &Rim, query: &str) -> (String, Value) {
    let reply = rim.post(
        "/v1/memory/query",
        &json!({ "scope": "global", "query": query, "limit": 1 }),
    );
    assert_eq!(reply.status, 200, "{reply:?}");
    let best = reply.body["entries"][0]["text"].as_str().unwrap_or_default();
    (best.to_owned(), reply.body["words_alone"].clone())
}

/// Waits until the figures of the embedder are so.
fn wait(rim: &Rim, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(what, SOON, || {
        let embedder = rim.get("/v1/memory/stats").body["embedder"].clone();
        if is_so(&embedder) { Ok(embedder) } else { Err(embedder) }
    })
}

fn is_done(embedder: &Value) -> bool {
    embedder["due"] == 0 && embedder["parts_complete"] == embedder["parts"] && embedder["parts"] == 1
}

#[test]
fn vectors_come_later_a_refused_text_holds_nobody_up_and_without_the_server_words_answer() {
    let server = EmbeddingServer::start();
    let home = TestHome::new(&server.config("alpha", 8));
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    put(&rim, "The zibblewick stands behind the harbour.");
    put(&rim, &format!("This text is {POISON} for the server."));
    for number in 0..100 {
        put(&rim, &format!("Parcel number {number} was delivered."));
    }
    let embedder = wait(&rim, "all but one to have a vector", is_done);
    assert_eq!(
        (&embedder["refused"], &embedder["failure"]),
        (&json!(1), &Value::Null),
        "{embedder}"
    );
    let zibblewick = "The zibblewick stands behind the harbour.";
    assert_eq!(ask(&rim, "quanfrotz"), (zibblewick.to_owned(), Value::Null));
    assert!(
        ask(&rim, "poison").0.contains(POISON),
        "what was refused is found by its words"
    );
    assert!(server.keys().iter().all(|key| key == "the-embedder's-key"));

    let check = |mood: Mood, why: &str| {
        server.is(mood);
        let (found, words_alone) = ask(&rim, "where is the zibblewick");
        assert_eq!(
            (found.as_str(), &words_alone["code"]),
            (zibblewick, &json!("OC-8010")),
            "{mood:?}"
        );
        let said = words_alone["why"].as_str().unwrap_or_default();
        assert!(said.contains(why), "{mood:?}: {said}");
    };
    check(Mood::Short, "5 dimensions, not 8");
    check(Mood::Endless, "more than");
    check(Mood::WellFor(0), "503");
    put(&rim, "The second zibblewick is a lemon.");
    let waiting = wait(&rim, "a failure to be told", |embedder| embedder["failure"].is_string());
    assert_eq!(waiting["due"], 1, "{waiting}");
    assert_eq!(ask(&rim, "lemon").0, "The second zibblewick is a lemon.");
    let mut command = home.command();
    let said = command
        .args(["memory", "query", "--scope", "global", "lemon"])
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.starts_with("compared by words alone (OC-8010): "), "{said}");
    let said = home.command().args(["memory", "stats"]).output().expect("runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains("openai:alpha:8, serves 1 of 1 parts, 1 entries due, 1 refused"),
        "{said}"
    );
    server.is(Mood::Well);
    wait(&rim, "the last one to have a vector", is_done);
    let found = rim.post(
        "/v1/memory/query",
        &json!({ "scope": "global", "query": "quanfrotz", "limit": 2 }),
    );
    assert!(
        found.body.to_string().contains("lemon"),
        "the open index got it: {found:?}"
    );
}

#[test]
fn a_change_of_embedder_goes_on_after_a_kill_while_the_old_vectors_answer() {
    let server = EmbeddingServer::start();
    let home = TestHome::new("");
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    put(&rim, "My automobile needs new tires.");
    put(&rim, "The zibblewick stands behind the harbour.");
    for number in 0..250 {
        put(&rim, &format!("Parcel number {number} was delivered."));
    }
    let by_meaning = |rim: &Rim| {
        let expected = "My automobile needs new tires.".to_owned();
        assert_eq!(ask(rim, "car wheels"), (expected, Value::Null));
    };
    by_meaning(&rim);
    assert_eq!(rim.get("/v1/memory/stats").body["embedder"]["built_in"], true);
    daemon.kill();

    configure(&home, &server.config("alpha", 8));
    server.is(Mood::WellFor(2));
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let halfway = wait(&rim, "a failure in the middle", |embedder| {
        embedder["failure"].is_string()
    });
    assert_eq!(
        (&halfway["due"], &halfway["parts_complete"]),
        (&json!(124), &json!(0)),
        "{halfway}"
    );
    by_meaning(&rim);
    daemon.kill();

    server.is(Mood::Well);
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    wait(&rim, "all to have a vector", is_done);
    let made = server.made();
    assert_eq!(made.len(), 252, "each text");
    assert!(
        made.values().all(|times| *times == 1),
        "what was made before the kill is not made again: {made:?}"
    );
    assert_eq!(ask(&rim, "quanfrotz").0, "The zibblewick stands behind the harbour.");
    daemon.kill();

    configure(&home, &server.config("beta", 12));
    server.is(Mood::WellFor(0));
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    by_meaning(&rim);
    server.is(Mood::Well);
    wait(
        &rim,
        "all to have a vector of the other model, and of no other",
        |embedder| is_done(embedder) && embedder["parts_earlier"] == 0,
    );
    assert_eq!(ask(&rim, "quanfrotz").0, "The zibblewick stands behind the harbour.");
    let verified = rim.post("/v1/memory/verify", &json!({}));
    assert_eq!(
        (verified.status, &verified.body["clean"]),
        (200, &json!(true)),
        "{verified:?}"
    );
    daemon.kill();

    // What was made before has gone: back to it is a change like any other.
    configure(&home, &server.config("alpha", 8));
    server.is(Mood::WellFor(0));
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    by_meaning(&rim);
    server.is(Mood::Well);
    let back = wait(&rim, "the vectors of before, made anew", is_done);
    assert_eq!(back["name"], "openai:alpha:8");
    daemon.kill();
    configure(&home, "");
    let daemon = start(&home);
    by_meaning(&Rim::of(&daemon));
}
