//! A model server that takes no time: the OpenAI chat dialect, scripted by the name of the model.
//!
//! A model is called `<skill>/<turns>`: it asks for one call of the skill per turn, each with other arguments, until
//! the history holds that many results; then it answers. It lives on a thread of its own, so that the daemon under
//! measurement and the floor meet the same server.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;

/// Keys that the reading script goes round.
pub const KEYS: usize = 64;
/// Bytes of a text that the writing scripts keep.
const TEXT_BYTES: usize = 200;

/// The server; its thread lives as long as the process.
#[derive(Clone)]
pub struct ModelServer {
    address: SocketAddr,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    gaps: Option<Vec<Duration>>,
    bodies: Option<Vec<Bytes>>,
    answered_at: Option<Instant>,
    asked: u64,
}

impl ModelServer {
    /// Starts it on a free port of the loopback.
    pub fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let notes = Arc::<Mutex<Notes>>::default();
        let for_thread = Arc::clone(&notes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("model".into()).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, serve(listener, for_thread)).ok();
        })?;
        Ok(Self { address, notes })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base address, as `models.<alias>.baseUrl` takes it.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// From now on keeps the time from each answer to the request that follows it. Means something only while one
    /// conversation is under way.
    pub fn measure(&self) {
        let mut notes = self.notes();
        notes.gaps = Some(Vec::new());
        notes.answered_at = None;
    }

    /// The times since [`Self::measure`]; the first request of a conversation has none.
    pub fn gaps(&self) -> Vec<Duration> {
        self.notes().gaps.take().unwrap_or_default()
    }

    /// From now on keeps the bodies of the requests.
    pub fn record(&self) {
        self.notes().bodies = Some(Vec::new());
    }

    /// The bodies since [`Self::record`].
    pub fn recorded(&self) -> Vec<Bytes> {
        self.notes().bodies.take().unwrap_or_default()
    }

    /// Requests answered so far.
    pub fn asked(&self) -> u64 {
        self.notes().asked
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: std::net::TcpListener, notes: Arc<Mutex<Notes>>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let notes = Arc::clone(&notes);
        let service = service_fn(move |request| {
            let notes = Arc::clone(&notes);
            async move { answer(request, &notes).await }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::task::spawn_local(async move {
            // A client that goes away in the middle of an answer is the client's affair.
            connection.await.ok();
        });
    }
}

async fn answer(request: Request<Incoming>, notes: &Mutex<Notes>) -> Result<Response<Full<Bytes>>, Infallible> {
    let arrived = Instant::now();
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let text = String::from_utf8_lossy(&body);
    let results = results_in(&text);
    let answer = script(&text, results);
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    notes.asked += 1;
    if let Some(bodies) = &mut notes.bodies {
        bodies.push(body.clone());
    }
    let before = notes.answered_at;
    if let (Some(gaps), Some(before), true) = (&mut notes.gaps, before, results > 0) {
        gaps.push(arrived.duration_since(before));
    }
    notes.answered_at = Some(Instant::now());
    drop(notes);
    let response = Response::builder()
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(answer)));
    Ok(response.expect("the head is constant"))
}

/// Results in the history. Within texts quotes are escaped, so only the messages themselves match.
fn results_in(body: &str) -> usize {
    body.matches(r#""role":"tool""#).count()
}

fn script(body: &str, results: usize) -> String {
    let model = body
        .split_once(r#""model":""#)
        .and_then(|(_, rest)| rest.split_once('"'))
        .map_or("", |(model, _)| model);
    let (skill, turns) = model.split_once('/').unwrap_or((model, "0"));
    let turns: usize = turns.parse().unwrap_or(0);
    let usage = json!({ "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110 });
    let text = format!("{results} {}", "x".repeat(TEXT_BYTES));
    let key = format!("k{}", results % KEYS);
    let arguments = match skill {
        "memory.get" => json!({ "scope": "global", "key": key }),
        "memory.put" => json!({ "scope": "session", "key": format!("k{results}"), "text": text }),
        "seed" => json!({ "scope": "global", "key": key, "text": text }),
        "fs.read" => json!({ "path": format!("{key}.txt") }),
        "fs.write" => json!({ "path": format!("out-{key}.txt"), "content": text }),
        _ => json!({}),
    };
    let message = if results < turns {
        let skill = if skill == "seed" { "memory.put" } else { skill };
        let name = openclaw::llm::wire::names::encode(skill);
        json!({ "role": "assistant", "content": null, "tool_calls": [{
            "id": format!("call_{results}"), "type": "function",
            "function": { "name": name, "arguments": arguments.to_string() },
        }] })
    } else {
        json!({ "role": "assistant", "content": "done" })
    };
    json!({ "id": "chatcmpl-1", "object": "chat.completion", "model": model, "usage": usage,
            "choices": [{ "index": 0, "finish_reason": "stop", "message": message }] })
    .to_string()
}
