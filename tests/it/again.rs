//! A vendor's client that sends its request again, because its answer did not reach it, gets the run that goes on.

use std::time::Duration;

use serde_json::json;

use crate::support::daemon::TestHome;
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{Reply, Rim};
use crate::support::wait::until;

const TRIES: &str = "x-stainless-retry-count";

/// At most so many requests at once: where it is one, the next passes when the one before it has been given up.
fn home(model: &ModelServer, at_once: u32) -> TestHome {
    let config = model.config("slow", "openai");
    TestHome::new(&format!("[gateway]\nrateLimit.atOncePerKey = {at_once}\n{config}"))
}

fn body(text: &str) -> String {
    json!({ "model": "slow", "max_tokens": 50, "messages": [{ "role": "user", "content": text }] }).to_string()
}

fn tried(rim: &Rim, path: &str, tries: &str, text: &str) -> Reply {
    until("the request before it to be given up", Duration::from_secs(30), || {
        let reply = rim.ask("POST", path, &[(TRIES, tries)], &body(text));
        if reply.status == 429 {
            Err(reply.body)
        } else {
            Ok(reply)
        }
    })
}

fn runs(rim: &Rim) -> Vec<String> {
    let listed = rim.get("/v1/runs");
    let runs = listed.body["runs"].as_array().expect("a list").iter();
    runs.map(|run| run["id"].as_str().expect("an id").to_owned()).collect()
}

fn names(reply: &Reply, run: &str) -> bool {
    assert_eq!(reply.status, 200, "{}", reply.body);
    let id = reply.body["id"].as_str().expect("an id");
    id.ends_with(run.trim_start_matches("run_"))
}

#[test]
fn a_client_that_comes_back_gets_the_run_that_goes_on_and_a_new_request_is_a_new_run() {
    let model = ModelServer::start();
    let home = home(&model, 1);
    let daemon = home.start_with(&[("TEST_MODEL_KEY", "sk-test")]);
    let rim = Rim::of(&daemon);
    model.thinks(Duration::from_millis(700));
    for (asked, path) in [(1, "/v1/chat/completions"), (4, "/v1/messages")] {
        let before = runs(&rim);
        model.always(Deed::Text("here".into()));
        let first = rim.open("POST", path, &[(TRIES, "0")], &body("hello"));
        model.wait_asked(asked);
        drop(first);
        let again = tried(&rim, path, "1", "hello");
        let made: Vec<String> = runs(&rim).into_iter().filter(|run| !before.contains(run)).collect();
        assert_eq!(made.len(), 1, "{path}: {made:?}");
        assert!(names(&again, &made[0]), "{}", again.body);
        // It has its answer: whatever comes now is another request, whatever it says.
        for tries in ["0", "1"] {
            assert!(!names(&tried(&rim, path, tries, "hello"), &made[0]), "{path}: {tries}");
        }
        assert_eq!(runs(&rim).len(), before.len() + 3, "{path}");
    }
}

#[test]
fn a_client_that_a_kill_cut_off_gets_its_run_from_the_next_life() {
    let model = ModelServer::start();
    let home = home(&model, 9);
    let variables = [("TEST_MODEL_KEY", "sk-test")];
    let daemon = home.start_with(&variables);
    model.then([Deed::Hang]);
    let first = Rim::of(&daemon).open("POST", "/v1/messages", &[(TRIES, "0")], &body("hello"));
    model.wait_asked(1);
    // Its acceptance is on disk.
    let rim = Rim::of(&daemon);
    until("the run to be listed", Duration::from_secs(30), || {
        let all = runs(&rim);
        if all.len() == 1 { Ok(()) } else { Err(all) }
    });
    daemon.kill();
    drop(first);
    model.always(Deed::Text("here".into()));
    let daemon = home.start_with(&variables);
    let rim = Rim::of(&daemon);
    let other = tried(&rim, "/v1/messages", "1", "something else");
    let again = tried(&rim, "/v1/messages", "1", "hello");
    let all = runs(&rim);
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(names(&again, &all[1]), "the older of {all:?}: {}", again.body);
    assert!(names(&other, &all[0]), "the newer of {all:?}: {}", other.body);
    assert_eq!(again.body["content"][0]["text"], "here");
}
