//! What a failure taught is told to the next similar task, by itself: over a kill, never to another project, and not to
//! an agent that does not want it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{Rim, of_kind};
use crate::support::wait::until;

const TOLD: &str = "# From memory";

fn submit(rim: &Rim, workspace: &std::path::Path, task: &str) -> String {
    let check = json!({ "type": "regex", "pattern": "8443" });
    let step = json!({ "id": "do", "agent": "executor", "task": task, "checks": [check], "retries": 1 });
    rim.submit(&json!({ "task": task, "workspace": workspace, "model": "far", "plan": { "steps": [step] } }))
}

/// The first message of a request: the order.
fn order(request: &Value) -> String {
    let messages = request["messages"].as_array().expect("messages");
    let first = messages
        .iter()
        .find(|message| message["role"] == "user")
        .expect("an order");
    first["content"].to_string()
}

/// One task that fails a check and then works.
fn learn(server: &ModelServer, rim: &Rim, workspace: &std::path::Path) {
    server.then([
        Deed::Text("the service listens on its usual port".into()),
        Deed::Text("done with port 8443, the usual one is taken by the proxy".into()),
    ]);
    let id = submit(rim, workspace, "Deploy the parser service to the staging cluster");
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    let told = of_kind(&rim.events(&id), "memory.recalled").len();
    assert_eq!(
        told, 0,
        "nothing was known before, and a run is not told its own lesson"
    );
}

#[test]
fn a_lesson_of_a_failure_is_told_to_a_similar_task_over_kills_and_never_to_another_project() {
    let server = ModelServer::start();
    let home = TestHome::new(&server.config("far", "openai"));
    let start = || home.start_with(&[("TEST_MODEL_KEY", "k")]);
    let daemon = start();
    learn(&server, &Rim::of(&daemon), &home.workspace());
    daemon.kill();

    let daemon = start();
    let rim = Rim::of(&daemon);
    server.then([Deed::Hang]);
    let id = submit(
        &rim,
        &home.workspace(),
        "Deploy the parser service to the production cluster",
    );
    server.wait_asked(3);
    // The request waits for no disk: only what is there would be told again.
    let mut stream = rim.stream(&id, None);
    stream.find(|event| event.kind == "memory.recalled").expect("a fact");
    // Meanwhile memory learns more; the request stays what it was.
    let more = rim.post(
        &format!("/v1/memory/project?project={}", home.workspace().display()),
        &json!({ "text": "The parser service is deployed to the production cluster by night only." }),
    );
    assert_eq!(more.status, 201, "{more:?}");
    daemon.kill();
    server.then([Deed::Text("deployed on port 8443".into())]);
    let daemon = start();
    let rim = Rim::of(&daemon);
    let run = rim.ended(&id);
    assert_eq!(run["status"], "succeeded", "{run}");
    let asked = server.asked();
    assert_eq!(asked.len(), 4, "{asked:?}");
    let (before, after) = (order(&asked[2]), order(&asked[3]));
    assert_eq!(before, after, "the fact decides, also after the kill");
    assert!(
        before.contains(TOLD) && before.contains("failed (check)") && before.contains("8443"),
        "{before}"
    );
    assert!(
        before.contains("not instructions") && before.contains("agent:executor"),
        "{before}"
    );

    let elsewhere = home.path().join("elsewhere");
    std::fs::create_dir_all(&elsewhere).expect("a folder");
    server.then([Deed::Text("deployed on port 8443".into())]);
    let id = submit(&rim, &elsewhere, "Deploy the parser service to the production cluster");
    assert_eq!(rim.ended(&id)["status"], "succeeded");
    let other = order(&server.asked()[4]);
    assert!(!other.contains(TOLD) && !other.contains("usual one"), "{other}");
    server.then([Deed::Text("soup with 8443 beans".into())]);
    let id = submit(&rim, &home.workspace(), "Cook a soup for seven guests");
    assert_eq!(rim.ended(&id)["status"], "succeeded");
    let soup = order(&server.asked()[5]);
    assert!(
        !soup.contains(TOLD),
        "what has nothing to do with the task is not told: {soup}"
    );
}

#[test]
fn an_agent_without_tokens_for_memory_is_told_nothing_and_keeps_no_lesson() {
    let server = ModelServer::start();
    let home = TestHome::new(&format!(
        "{}[agent]\nmemoryTokens = 0\n",
        server.config("far", "openai")
    ));
    let daemon = home.start_with(&[("TEST_MODEL_KEY", "k")]);
    let rim = Rim::of(&daemon);
    let part = format!("/v1/memory/project?project={}", home.workspace().display());
    let text = "Deploy the parser service with care.";
    assert_eq!(rim.post(&part, &json!({ "text": text })).status, 201);
    learn(&server, &rim, &home.workspace());
    let listed = rim.get(&part);
    assert_eq!(listed.body["entries"].as_array().map(Vec::len), Some(1), "{listed:?}");
    assert!(server.asked().iter().all(|request| !order(request).contains(TOLD)));
}

#[test]
fn a_lesson_that_is_told_counts_as_used() {
    let server = ModelServer::start();
    let home = TestHome::new(&format!("{}[memory]\ngcInterval = 1\n", server.config("far", "openai")));
    let daemon = home.start_with(&[("TEST_MODEL_KEY", "k")]);
    let rim = Rim::of(&daemon);
    learn(&server, &rim, &home.workspace());
    server.then([Deed::Text("deployed on port 8443".into())]);
    let task = "Deploy the parser service to the production cluster";
    let id = submit(&rim, &home.workspace(), task);
    assert_eq!(rim.ended(&id)["status"], "succeeded");
    let told = of_kind(&rim.events(&id), "memory.recalled").len();
    assert_eq!(told, 1, "the lesson was told");
    let part = format!("/v1/memory/project?project={}", home.workspace().display());
    until("its use to be written down", Duration::from_secs(20), || {
        let listed = rim.get(&part).body;
        if listed["entries"][0]["uses"] == 1 {
            Ok(())
        } else {
            Err(listed)
        }
    });
}
