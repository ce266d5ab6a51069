//! A model at a provider, on loopback: it speaks both dialects, thinks with the offline model, and misbehaves on order.
//!
//! Threads and sockets rather than a framework, because most of what it must do is not HTTP.

#![expect(clippy::match_bool, reason = "the two dialects stand side by side")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use openclaw::domain::conversation::{Arguments, CallRequest, ModelAnswer, Stop, Usage};
use openclaw::llm::dialect::serve;
use openclaw::llm::offline;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::accepting::serve_each;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Answers as it should.
    Answer,
    /// Answers with this status, further header and body; `{key}` in the body is what the client authenticated with.
    Refuse(u16, &'static str, &'static str),
    /// Sends half an answer and goes away.
    Cut,
    /// Says something that is no answer.
    Say(&'static str),
    /// Says nothing until the client has gone.
    Hang,
    /// Wants a call whose arguments are no JSON.
    BrokenCall,
    /// Wants one call of `fs.read` with this path.
    ReadFile(String),
    /// Gives this text as the model's final answer.
    Text(String),
    /// Wants one call of this skill, with its arguments as this text.
    Call(&'static str, String),
    /// The same, to so many requests in each second; the others are refused with 429 and these headers.
    Limit(u32, &'static str),
}

#[derive(Default)]
struct Shared {
    deeds: VecDeque<Deed>,
    always: Option<Deed>,
    thinks: Duration,
    asked: Vec<Value>,
    /// The present second of a limit, and how many requests came in it.
    second: (u64, u32),
    limited: usize,
    left: usize,
    keys: Vec<String>,
}

/// The server; it serves until the test program ends.
#[derive(Clone)]
pub struct ModelServer {
    shared: Arc<(Mutex<Shared>, Condvar)>,
    /// Where it is, without a path.
    pub url: String,
}

impl ModelServer {
    /// Starts it; it answers as it should.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Self {
            shared: Arc::default(),
            url: format!("http://{}", listener.local_addr().expect("an address")),
        };
        let serving = server.clone();
        serve_each(listener, move |stream| serving.serve(stream));
        server
    }

    /// What it does with the next requests, before it answers again as it should.
    pub fn then(&self, deeds: impl IntoIterator<Item = Deed>) {
        self.shared.0.lock().expect("no panic").deeds.extend(deeds);
    }

    /// What it does with every request that nothing else is said of.
    pub fn always(&self, deed: Deed) {
        self.shared.0.lock().expect("no panic").always = Some(deed);
    }

    /// How long it takes over each answer.
    pub fn thinks(&self, thinks: Duration) {
        self.shared.0.lock().expect("no panic").thinks = thinks;
    }

    /// The bodies of the requests so far.
    pub fn asked(&self) -> Vec<Value> {
        self.shared.0.lock().expect("no panic").asked.clone()
    }

    /// The keys that came with them.
    pub fn keys(&self) -> Vec<String> {
        self.shared.0.lock().expect("no panic").keys.clone()
    }

    /// How many requests a limit refused.
    pub fn limited(&self) -> usize {
        self.shared.0.lock().expect("no panic").limited
    }

    /// How many clients went away from an answer that hung.
    pub fn left(&self) -> usize {
        self.shared.0.lock().expect("no panic").left
    }

    /// Whether a limit lets one more through now.
    fn admits(&self, per_second: u32) -> bool {
        let second = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
        let mut shared = self.shared.0.lock().expect("no panic");
        if shared.second.0 != second {
            shared.second = (second, 0);
        }
        shared.second.1 += 1;
        let admits = shared.second.1 <= per_second;
        shared.limited += usize::from(!admits);
        admits
    }

    /// Waits until so many requests have come.
    pub fn wait_asked(&self, count: usize) {
        let (shared, changed) = &*self.shared;
        let shared = shared.lock().expect("no panic");
        let (shared, waited) = changed
            .wait_timeout_while(shared, Duration::from_secs(30), |shared| shared.asked.len() < count)
            .expect("no panic");
        assert!(!waited.timed_out(), "{} of {count} requests came", shared.asked.len());
    }

    /// The lines of `openclaw.toml` that make it the model `name`.
    pub fn config(&self, name: &str, provider: &str) -> String {
        let path = if provider == "openai" { "/v1" } else { "" };
        format!(
            "[models.{name}]\nprovider = \"{provider}\"\nid = \"{name}\"\nbaseUrl = \"{}{path}\"\n\
             apiKey = \"${{TEST_MODEL_KEY}}\"\n",
            self.url
        )
    }

    fn serve(&self, mut stream: TcpStream) {
        let Some((path, key, body)) = read(&stream) else { return };
        let (deed, thinks) = {
            let (shared, changed) = &*self.shared;
            let mut shared = shared.lock().expect("no panic");
            shared.asked.push(body.clone());
            shared.keys.push(key.clone());
            changed.notify_all();
            let next = shared.deeds.pop_front();
            let deed = next.or_else(|| shared.always.clone()).unwrap_or(Deed::Answer);
            (deed, shared.thinks)
        };
        std::thread::sleep(thinks);
        let is_openai = path == "/v1/chat/completions";
        assert!(is_openai || path == "/v1/messages", "{path}");
        let answer = match deed {
            Deed::Answer => answer(&body, is_openai).to_string(),
            Deed::Limit(per_second, headers) => {
                if !self.admits(per_second) {
                    return send(&mut stream, 429, headers, "{}", 2);
                }
                say("done", is_openai).to_string()
            }
            Deed::Text(text) => say(&text, is_openai).to_string(),
            Deed::BrokenCall => call("fs.read", "{\"path\": \"README", is_openai).to_string(),
            // In one dialect arguments are a text, in the other they stand in the answer as they are.
            Deed::Call(skill, arguments) => match serde_json::from_str::<IgnoredAny>(&arguments) {
                Ok(_) if !is_openai => call(skill, "{here}", false)
                    .to_string()
                    .replace("\"{here}\"", &arguments),
                _ => call(skill, &arguments, is_openai).to_string(),
            },
            Deed::ReadFile(path) => read_file(&path, is_openai).to_string(),
            Deed::Say(text) => text.to_owned(),
            Deed::Refuse(status, header, text) => {
                let text = text.replace("{key}", &key);
                return send(&mut stream, status, header, &text, text.len());
            }
            Deed::Cut => {
                let whole = answer(&body, is_openai).to_string();
                return send(&mut stream, 200, "", &whole[..whole.len() / 2], whole.len());
            }
            Deed::Hang => {
                // The client closes when it has had enough.
                stream.read_to_end(&mut Vec::new()).ok();
                self.shared.0.lock().expect("no panic").left += 1;
                return;
            }
        };
        send(&mut stream, 200, "", &answer, answer.len());
    }
}

/// Path, key and body of a request.
fn read(stream: &TcpStream) -> Option<(String, String, Value)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut key) = (0, String::new());
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => value.trim_start_matches("Bearer ").clone_into(&mut key),
            "x-api-key" => value.clone_into(&mut key),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, key, serde_json::from_slice(&body).expect("a request is JSON")))
}

fn send(stream: &mut TcpStream, status: u16, header: &str, body: &str, length: usize) {
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\
         {header}\r\n"
    );
    // The client may have gone.
    stream.write_all(format!("{head}{body}").as_bytes()).ok();
}

fn answer(body: &Value, is_openai: bool) -> Value {
    let request = match is_openai {
        true => serve::read_openai_chat(body),
        false => serve::read_anthropic(body),
    };
    write(
        &offline::answer(&request.expect("a request that can be read")),
        is_openai,
    )
}

fn write(answer: &ModelAnswer, is_openai: bool) -> Value {
    match is_openai {
        true => serve::write_openai_chat(answer, "chatcmpl-1", 1),
        false => serve::write_anthropic(answer, "msg_1"),
    }
}

fn say(text: &str, is_openai: bool) -> Value {
    match is_openai {
        true => json!({ "model": "test", "choices": [{ "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": text } }], "usage": { "prompt_tokens": 10, "completion_tokens": 5 } }),
        false => {
            json!({ "id": "msg_2", "type": "message", "role": "assistant", "model": "test", "stop_reason": "end_turn",
            "content": [{ "type": "text", "text": text }], "usage": { "input_tokens": 10, "output_tokens": 5 } })
        }
    }
}

fn read_file(path: &str, is_openai: bool) -> Value {
    let call = CallRequest {
        id: format!("call-{path}").into(),
        skill: "fs.read".into(),
        arguments: Arguments::Object(json!({ "path": path }).into()),
    };
    let answer = ModelAnswer {
        text: format!("I read {path}.").into(),
        calls: vec![call],
        stop: Stop::End,
        usage: Usage {
            input: 10,
            output: 5,
            ..Usage::default()
        },
        answered_by: "test".into(),
        kept: Arc::new([]),
    };
    write(&answer, is_openai)
}

fn call(skill: &str, arguments: &str, is_openai: bool) -> Value {
    let name = skill.replace('.', "__dot__");
    match is_openai {
        true => json!({ "model": "test", "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": null, "tool_calls": [{ "id": "c1", "type": "function",
                "function": { "name": name, "arguments": arguments } }] } }],
            "usage": { "prompt_tokens": 10, "completion_tokens": 5 } }),
        false => {
            json!({ "id": "msg_2", "type": "message", "role": "assistant", "model": "test", "stop_reason": "tool_use",
            "content": [{ "type": "tool_use", "id": "c1", "name": name, "input": arguments }],
            "usage": { "input_tokens": 10, "output_tokens": 5 } })
        }
    }
}
