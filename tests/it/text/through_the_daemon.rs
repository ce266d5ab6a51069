//! Naughty strings through the doors of a real daemon, over HTTP: what went in comes out, also after a kill.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::{Value, json};

use super::naughty::NAUGHTY;
use crate::support::daemon::TestHome;
use crate::support::model_server::{Deed, ModelServer};
use crate::support::rim::{Rim, of_kind};

/// The text with all its characters above ASCII, and many below, as `\uXXXX` escapes.
fn escaped(text: &str) -> String {
    let mut json = String::from("\"");
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_alphanumeric() => json.push(char::from(byte)),
            _ => write!(json, "\\u{unit:04X}").expect("a string"),
        }
    }
    json.push('"');
    json
}

#[test]
fn a_task_comes_out_as_it_went_in_however_it_was_escaped_and_after_a_kill() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let mut runs = Vec::new();
    for (number, (name, text)) in NAUGHTY.iter().enumerate() {
        let key = format!("k {number}");
        let plan = json!({ "steps": [
            { "id": "put", "skill": "memory.put", "inputs": { "scope": "project", "key": key, "text": text } },
            { "id": "get", "skill": "memory.get", "needs": ["put"], "inputs": { "scope": "project", "key": key } },
        ] });
        let task = format!("naughty {text}");
        let body = json!({ "task": task, "workspace": home.workspace(), "plan": plan });
        let id = rim.submit(&body);
        let run = rim.ended(&id);
        assert_eq!(run["status"], "succeeded", "{name}: {run}");
        assert_eq!(run["task"], task, "{name}");
        let recalled: Value =
            serde_json::from_str(run["result"].as_str().unwrap_or_default()).unwrap_or(run["result"].clone());
        assert_eq!(recalled["text"], *text, "{name}: {run}");
        // The same body in other clothes is the same body.
        let first = rim.ask("POST", "/v1/runs", &[("idempotency-key", name)], &body.to_string());
        let plain = json!({ "workspace": home.workspace(), "plan": plan }).to_string();
        let dressed = format!("{{\"task\":{},{}", escaped(&task), &plain[1..]);
        let second = rim.ask("POST", "/v1/runs", &[("idempotency-key", name)], &dressed);
        assert_eq!(second.body["id"], first.body["id"], "{name}: {}", second.body);
        let events = rim.events(&id);
        assert_eq!(of_kind(&events, "run.accepted")[0]["task"], task, "{name}");
        runs.push((
            name,
            id,
            task,
            rim.run(first.body["id"].as_str().expect("an id"))["id"].clone(),
        ));
    }
    for (_, _, _, second) in &runs {
        rim.ended(second.as_str().expect("an id"));
    }
    daemon.kill();
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    for (name, id, task, _) in &runs {
        let run = rim.run(id);
        assert_eq!(
            (&run["task"], &run["status"]),
            (&json!(task), &json!("succeeded")),
            "{name}"
        );
        assert_eq!(
            rim.events(id).last().map(|event| event.kind.clone()),
            Some("run.done".to_owned()),
            "{name}"
        );
    }
    // What a person reads on a terminal cannot drive it.
    for (name, id, ..) in &runs {
        let shown = home
            .command()
            .args(["--url", &daemon.url, "runs", "show", id])
            .output()
            .expect("runs");
        let shown = String::from_utf8(shown.stdout).expect("UTF-8");
        assert!(shown.starts_with(id.as_str()), "{name}: {shown}");
        let odd = shown
            .chars()
            .find(|c| (c.is_control() && *c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
        assert_eq!(odd, None, "{name}: {}", shown.escape_debug());
    }
}

#[test]
fn a_body_that_could_mean_two_things_is_refused_with_a_hint_and_nothing_is_accepted() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let check = |body: &[u8], said: &str, hint: &str| {
        let mut stream = rim.open("POST", "/v1/runs", &[("content-length", &body.len().to_string())], "");
        stream.write_all(body).expect("sent");
        let reply = Rim::answer(stream);
        let told = format!("{}: {}", body.escape_ascii(), reply.body);
        assert_eq!((reply.status, reply.code()), (400, "OC-1001"), "{told}");
        assert!(
            reply.body["error"]["message"]
                .as_str()
                .is_some_and(|message| message.contains(said)),
            "{told}"
        );
        assert!(
            reply.body["error"]["hint"].as_str().unwrap_or_default().contains(hint),
            "{told}"
        );
    };
    let deep = format!(
        "{{\"task\":\"x\",\"output_schema\":{}{}}}",
        "[".repeat(64),
        "]".repeat(64)
    );
    check(
        br#"{"task":"x\ud83d"}"#,
        "half of a character at line 1 column 11",
        "\\ud83d\\ude00",
    );
    check(
        br#"{"task":"\ude00\ud83d"}"#,
        "half of a character at line 1 column 10",
        "both of its escapes",
    );
    check(br#"{"task":"x","task":"y"}"#, "`task` comes twice", "once");
    check(
        br#"{"task":"x","output_schema":{"type":"object","\u0074ype":"array"}}"#,
        "`type` comes twice",
        "once",
    );
    check(
        br#"{"task":"x","tokens_max":18446744073709551616}"#,
        "does not fit 64 bits",
        "as strings",
    );
    check(
        br#"{"task":"x","output_schema":{"minimum":1e999}}"#,
        "out of range",
        "as strings",
    );
    check(deep.as_bytes(), "deeper than 64 levels", "nest less");
    check(b"{\"task\":\"x\xff\"}", "byte 10 is not UTF-8", "UTF-8");
    check(b"{\"task\":\"x\xed\xa0\xbd\"}", "byte 10 is not UTF-8", "UTF-8");
    check(
        b"\xef\xbb\xbf{\"task\":\"x\"}",
        "byte order mark",
        "without a byte order mark",
    );
    check(b"{\"task\":\"x\0\"}", "control character", "");
    check(b"{\"task\":\"x\"} {}", "trailing characters", "");
    assert_eq!(rim.get("/v1/runs").body["runs"], json!([]), "nothing was accepted");
}

#[test]
fn names_are_plain_or_refused() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    for (name, text) in NAUGHTY {
        let reply = rim.post(
            "/v1/runs",
            &json!({ "task": "x", "workspace": home.workspace(), "agent": text }),
        );
        assert!(matches!(reply.code(), "OC-1001" | "OC-1005"), "{name}: {}", reply.body);
        let message = reply.body["error"]["message"].as_str().expect("a message").to_owned();
        assert!(
            !message.contains(['\0', '\u{1b}', '\u{202e}', '\n', '\u{e0001}']),
            "{name}: {message:?}"
        );
        for steps in [
            json!([{ "id": text, "skill": "fs.list", "inputs": { "path": "." } }]),
            json!([{ "id": "a", "skill": text, "inputs": {} }]),
            json!([{ "id": "a", "skill": "fs.list", "needs": [text], "inputs": { "path": "." } }]),
        ] {
            let body = json!({ "task": "x", "workspace": home.workspace(), "plan": { "steps": steps } });
            let reply = rim.post("/v1/runs", &body);
            assert!(
                matches!(reply.code(), "OC-1002" | "OC-5001"),
                "{name}: {steps}: {}",
                reply.body
            );
        }
        if !text.contains('\0') {
            let mut command = home.command();
            let made = command.args(["agent", "create", "--model", "offline", "--", text]);
            let made = made.output().expect("runs");
            assert_eq!(made.status.code(), Some(2), "{name}: {made:?}");
        }
    }
    assert_eq!(rim.get("/v1/runs").body["runs"], json!([]), "nothing was accepted");
}

/// Every text in a value, names of members among them.
fn any_text(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(items) => items.iter().for_each(|item| any_text(item, found)),
        Value::Object(members) => {
            for (name, member) in members {
                found(name);
                any_text(member, found);
            }
        }
        _ => {}
    }
}

#[test]
fn a_key_of_memory_shows_itself_or_is_refused() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    for (name, text) in NAUGHTY {
        let inputs = json!({ "scope": "global", "key": text, "text": name });
        let id = rim.submit_plan(
            &home.workspace(),
            &json!([
                { "id": "put", "skill": "memory.put", "inputs": inputs },
                { "id": "get", "skill": "memory.get", "needs": ["put"], "inputs": { "scope": "global", "key": text } },
            ]),
        );
        let run = rim.ended(&id);
        if openclaw::domain::text_policy::is_visible(text) {
            assert_eq!(run["status"], "succeeded", "{name}: {run}");
        } else {
            assert_eq!(run["status"], "failed", "{name}: {run}");
            assert!(
                run["reason"].as_str().is_some_and(|reason| reason.contains("a key")),
                "{name}: {run}"
            );
        }
    }
}

#[test]
fn what_a_model_says_is_the_result_byte_by_byte() {
    for provider in ["openai", "anthropic"] {
        let server = ModelServer::start();
        let home = TestHome::new(&server.config("far", provider));
        let daemon = home.start_with(&[("TEST_MODEL_KEY", "k")]);
        let rim = Rim::of(&daemon);
        for (name, text) in NAUGHTY {
            // In brackets, because an answer that is JSON is a value, and blanks around it are not kept.
            let said = format!("[{text}]!");
            server.then([Deed::Text(said.clone())]);
            let id = rim.submit(&json!({
                "task": format!("say {text}"), "agent": "executor", "workspace": home.workspace(), "model": "far",
            }));
            let run = rim.ended(&id);
            assert_eq!(run["status"], "succeeded", "{provider} {name}: {run}");
            assert_eq!(run["result"], said, "{provider} {name}");
            let asked = server.asked().pop().expect("asked");
            any_text(&asked, &mut |text| {
                let odd = text.chars().find(|c| {
                    (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{feff}' | '\u{e0068}')
                });
                assert_eq!(odd, None, "{provider} {name}: {}", text.escape_debug());
            });
        }
    }
}

#[test]
fn arguments_of_a_model_reach_the_file_byte_by_byte_and_a_later_step_as_data() {
    for provider in ["openai", "anthropic"] {
        let server = ModelServer::start();
        let home = TestHome::new(&server.config("far", provider));
        let daemon = home.start_with(&[("TEST_MODEL_KEY", "k")]);
        let rim = Rim::of(&daemon);
        for (number, (name, text)) in NAUGHTY.iter().enumerate() {
            let path = format!("out-{number}.txt");
            let arguments = if number % 2 == 0 {
                json!({ "path": path, "content": text }).to_string()
            } else {
                format!("{{\"path\":\"{path}\",\"content\":{}}}", escaped(text))
            };
            let said = format!("[{text}]!");
            server.then([
                Deed::Call("fs.write", arguments),
                Deed::Text(said.clone()),
                Deed::Text(format!("b{said}")),
            ]);
            let id = rim.submit(&json!({
                "task": "two steps", "workspace": home.workspace(), "model": "far",
                "plan": { "steps": [
                    { "id": "a", "agent": "executor", "task": "write it" },
                    { "id": "b", "agent": "executor", "task": "use it", "needs": ["a"], "inputs": { "said": { "from": "steps.a.out" } } },
                ] },
            }));
            let run = rim.ended(&id);
            assert_eq!(run["status"], "succeeded", "{provider} {name}: {run}");
            assert_eq!(run["result"], format!("b{said}"), "{provider} {name}");
            let bytes = std::fs::read(home.workspace().join(&path)).expect("written");
            assert_eq!(bytes, text.as_bytes(), "{provider} {name}");
        }
    }
}

#[test]
fn arguments_that_could_mean_two_things_are_not_executed_and_the_model_is_told() {
    for provider in ["openai", "anthropic"] {
        let server = ModelServer::start();
        let home = TestHome::new(&server.config("far", provider));
        let daemon = home.start_with(&[("TEST_MODEL_KEY", "k")]);
        let rim = Rim::of(&daemon);
        let check = |arguments: &str, told: &str| {
            server.then([
                Deed::Call("fs.write", arguments.to_owned()),
                Deed::Text("I could not.".to_owned()),
            ]);
            let id = rim.submit(&json!({
                "task": "write it", "agent": "executor", "workspace": home.workspace(), "model": "far",
            }));
            let run = rim.ended(&id);
            assert_eq!(run["status"], "succeeded", "{provider} {arguments}: {run}");
            let mut found = false;
            any_text(&server.asked().pop().expect("asked"), &mut |text| {
                found |= text.contains(told);
            });
            assert!(found, "{provider} {arguments}: the model was not told `{told}`");
            let left = std::fs::read_dir(home.workspace()).expect("a folder").count();
            assert_eq!(left, 0, "{provider} {arguments}: something was written");
        };
        check(r#"{"path":"a","path":"b","content":"x"}"#, "`path` comes twice");
        check(r#"{"path":"a","content":"x""#, "line 1 column");
        check(r#"["a","x"]"#, "expected an object");
        check(
            r#"{"path":"a","content":"x","n":18446744073709551616}"#,
            "does not fit 64 bits",
        );
        check(
            &format!("{{\"path\":\"a\",\"content\":{}1{}}}", "[".repeat(64), "]".repeat(64)),
            "deeper than 64 levels",
        );
        check("", "path");
        check("7", "expected an object");
        check(r#"{"path":"a\u0000","content":"x"}"#, "path");
    }
}
