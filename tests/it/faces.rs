//! The vendors' protocols where a run does not go straight: a call that nobody knows of, a restart, a repeat while the
//! daemon takes no new work; and what their conversations take along.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::{TestDaemon, TestHome};
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{RUN_MAX, Reply, Rim};
use crate::support::wait::until;

const TRIES: &str = "x-stainless-retry-count";
const KEY: &str = "idempotency-key";

/// A home whose agent `helper` asks this server, and may run programs.
fn home(model: &ModelServer) -> TestHome {
    let home = TestHome::new(&model.config("slow", "openai"));
    let agents = home.path().join("agents");
    std::fs::create_dir_all(&agents).expect("a folder");
    let helper = "role = \"executor\"\nmodel = \"slow\"\nskills = [\"exec.run\"]\n";
    std::fs::write(agents.join("helper.toml"), helper).expect("written");
    home
}

fn start(home: &TestHome) -> TestDaemon {
    home.start_with(&[("TEST_MODEL_KEY", "sk-test")])
}

/// The only run that there is, when there is one.
fn run_of(rim: &Rim) -> String {
    let listed = rim.get("/v1/runs").body;
    let runs = listed["runs"].as_array().expect("a list");
    assert_eq!(runs.len(), 1, "{listed}");
    runs[0]["id"].as_str().expect("an id").to_owned()
}

fn count(rim: &Rim) -> usize {
    rim.get("/v1/runs").body["runs"].as_array().map_or(0, Vec::len)
}

fn id(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body["id"].as_str().expect("an id").to_owned()
}

/// Waits until the response is over.
fn over(rim: &Rim, response: &str) -> Value {
    until("the response to be over", RUN_MAX, || {
        let body = rim.get(&format!("/v1/responses/{response}")).body;
        match body["status"].as_str() {
            Some("queued" | "in_progress") => Err(body),
            _ => Ok(body),
        }
    })
}

fn texts(response: &Value) -> Vec<&str> {
    let items = response["output"].as_array().expect("a list").iter();
    items.filter_map(|item| item["content"][0]["text"].as_str()).collect()
}

/// What the system said in the last request to the model.
fn system(model: &ModelServer) -> String {
    let asked = model.asked();
    let messages = asked.last().expect("asked")["messages"].as_array().expect("a list");
    let system = messages.iter().filter(|message| message["role"] == "system");
    system.filter_map(|message| message["content"].as_str()).collect()
}

#[test]
fn a_response_whose_run_was_reopened_is_what_comes_of_it_then() {
    let model = ModelServer::start();
    let home = home(&model);
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let script = "echo begun > paid; sleep 100";
    model.then([Deed::Call(
        "exec.run",
        json!({ "argv": ["sh", "-c", script] }).to_string(),
    )]);
    let body = json!({ "model": "helper", "input": "pay", "background": true });
    let response = id(&rim.post("/v1/responses", &body));
    let run = run_of(&rim);
    let paid = PathBuf::from(rim.run(&run)["workspace"].as_str().expect("a folder")).join("paid");
    until("the call to begin", RUN_MAX, || {
        if paid.exists() { Ok(()) } else { Err(rim.run(&run)) }
    });
    daemon.kill();
    std::fs::remove_file(&paid).expect("removed");
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    assert_eq!(over(&rim, &response)["status"], "failed");
    assert_eq!(rim.run(&run)["status"], "unknown");

    model.then([Deed::Text("The bill is paid.".into())]);
    let happened = json!({ "resolution": "happened", "output": "receipt 7" });
    let said = rim.post(&format!("/v1/runs/{run}/resolve"), &happened);
    assert!(said.status < 300, "{}", said.body);
    assert_eq!(rim.ended(&run)["status"], "succeeded");
    let answer = over(&rim, &response);
    assert_eq!(
        (&answer["status"], &answer["error"], texts(&answer)),
        (&json!("completed"), &Value::Null, vec!["The bill is paid."]),
        "{answer}"
    );
    // A stream that nobody had before goes past the first end.
    let (status, events) = rim.text(&format!("/v1/responses/{response}?stream=true"));
    assert_eq!(status, 200);
    assert!(events.contains("event: response.completed"), "{events}");
    assert!(!events.contains("event: response.failed"), "{events}");
    model.then([Deed::Text("Yes.".into())]);
    let next = rim.post(
        "/v1/responses",
        &json!({ "model": "helper", "input": "really?", "previous_response_id": response }),
    );
    assert_eq!(texts(&next.body), ["Yes."], "{}", next.body);
}

#[test]
fn what_was_answered_before_a_restart_is_not_taken_by_a_request_that_says_the_same() {
    let model = ModelServer::start();
    let home = home(&model);
    model.always(Deed::Hang);
    let job = json!({ "model": "slow", "input": "work", "background": true }).to_string();
    let chat =
        json!({ "model": "slow", "stream": true, "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let first = id(&rim.ask("POST", "/v1/responses", &[(TRIES, "0")], &job));
    let mut stream = rim.open("POST", "/v1/chat/completions", &[(TRIES, "0")], &chat);
    let mut begun = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut begun).expect("the stream begins");
    model.wait_asked(2);
    assert!(daemon.terminate().success());
    drop(stream);
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    // The port was closed at the first try of the second job.
    let second = id(&rim.ask("POST", "/v1/responses", &[(TRIES, "1")], &job));
    assert_ne!(second, first);
    let mut again = rim.open("POST", "/v1/chat/completions", &[(TRIES, "1")], &chat);
    std::io::Read::read_exact(&mut again, &mut begun).expect("the stream begins");
    until("four runs", Duration::from_secs(30), || match count(&rim) {
        4 => Ok(()),
        other => Err(other),
    });
}

#[test]
fn a_repeat_finds_its_run_while_no_new_work_is_taken() {
    let model = ModelServer::start();
    model.always(Deed::Text("here".into()));
    let home = home(&model);
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let task = |text: &str| json!({ "task": text, "model": "slow", "agent": "executor" }).to_string();
    let chat = json!({ "model": "slow", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    let submit = |key: &str, body: &str| rim.ask("POST", "/v1/runs", &[(KEY, key)], body);
    let first = submit("a", &task("one"));
    assert_eq!(first.status, 202, "{}", first.body);
    let run = first.body["id"].as_str().expect("an id").to_owned();
    rim.ended(&run);
    let retry = |key: &str| rim.ask("POST", &format!("/v1/runs/{run}/retry"), &[(KEY, key)], "");
    let retried = retry("b");
    assert_eq!(retried.status, 202, "{}", retried.body);
    let said = id(&rim.ask("POST", "/v1/chat/completions", &[(KEY, "c")], &chat));

    let drained = home.command().arg("drain").output().expect("the program runs");
    assert!(drained.status.success(), "{drained:?}");
    let again = submit("a", &task("one"));
    assert_eq!((again.status, &again.body["id"]), (202, &json!(run)), "{}", again.body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let again = retry("b");
    assert_eq!(
        (again.status, &again.body["id"]),
        (202, &retried.body["id"]),
        "{}",
        again.body
    );
    assert_eq!(id(&rim.ask("POST", "/v1/chat/completions", &[(KEY, "c")], &chat)), said);
    assert_eq!(submit("a", &task("two")).code(), "OC-1003", "another body");
    assert_eq!(submit("new", &task("one")).code(), "OC-7019");
    assert_eq!(retry("new").code(), "OC-7019");
    let refused = rim.ask("POST", "/v1/chat/completions", &[(KEY, "new")], &chat);
    assert_eq!(refused.status, 503, "{}", refused.body);
}

#[test]
fn rules_of_a_conversation_go_on_with_it_and_instructions_do_not() {
    let model = ModelServer::start();
    model.always(Deed::Text("Bien.".into()));
    let home = home(&model);
    let daemon = start(&home);
    let rim = Rim::of(&daemon);
    let rule = "Answer in French only.";
    let first = json!({ "model": "slow", "instructions": "Be brief.", "input": [
        { "role": "developer", "content": rule },
        { "role": "user", "content": "How are you?" },
    ] });
    let first = id(&rim.post("/v1/responses", &first));
    assert!(
        system(&model).contains(rule) && system(&model).contains("Be brief."),
        "{}",
        system(&model)
    );
    let items = |response: &str| {
        let listed = rim.get(&format!("/v1/responses/{response}/input_items?order=asc")).body;
        let items = listed["data"].as_array().expect("a list").iter();
        let said = items.map(|item| format!("{}: {}", item["role"], item["content"][0]["text"]));
        said.collect::<Vec<String>>()
    };
    let of_rule = format!("\"developer\": \"{rule}\"");
    assert_eq!(items(&first), [of_rule, "\"user\": \"How are you?\"".to_owned()]);
    let mut previous = first;
    for text in ["And you?", "And now?"] {
        let body = json!({ "model": "slow", "input": text, "previous_response_id": previous });
        let next = rim.post("/v1/responses", &body);
        assert_eq!(next.body.get("rules"), None);
        previous = id(&next);
        let system = system(&model);
        assert!(system.contains(rule), "{system}");
        assert!(!system.contains("Be brief."), "{system}");
        assert_eq!(items(&previous), [format!("\"user\": \"{text}\"")]);
    }
}

#[test]
fn the_header_that_names_the_agent_holds_for_every_protocol_and_every_name_of_a_model_is_shown() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let talk = json!([{ "role": "user", "content": "hello" }]);
    let messages = json!({ "model": "claude-sonnet-4-5", "max_tokens": 50, "messages": talk });
    let mut stream = messages.clone();
    stream["stream"] = true.into();
    let input = json!({ "model": "gpt-5", "input": "hello" });
    let check = |path: &str, body: &Value| {
        let named = [("x-openclaw-agent", "executor")];
        let reply = rim.ask("POST", path, &named, &body.to_string());
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        let reply = rim.ask("POST", path, &[], &body.to_string());
        assert_eq!(reply.status, 404, "{path}: {}", reply.body);
    };
    check("/v1/messages", &messages);
    check("/v1/messages", &stream);
    check("/v1/messages/count_tokens", &messages);
    check("/v1/responses/input_tokens", &input);
    for name in ["executor", "openclaw", "openclaw%2Fexecutor", "openclaw%2Fdefault"] {
        let shown = rim.get(&format!("/v1/models/{name}"));
        assert_eq!(shown.status, 200, "{name}: {}", shown.body);
        assert_eq!(shown.body["id"], name.replace("%2F", "/"));
    }
    assert_eq!(rim.get("/v1/models/nobody").status, 404);
}
