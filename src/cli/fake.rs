//! A gateway for tests: a small server on this machine that gives scripted answers and keeps what it saw.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// One request as the server saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Method and path.
    pub line: String,
    /// The `Authorization` header.
    pub key: Option<String>,
    /// The `Last-Event-ID` header.
    pub last_event_id: Option<String>,
    /// The `Idempotency-Key` header.
    pub idempotency_key: Option<String>,
    /// The body as JSON.
    pub body: Value,
}

/// One scripted answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status and a JSON body.
    Json(u16, Value),
    /// An event stream that ends after this text.
    Events(String),
    /// The connection breaks.
    Break,
}

/// Runs `test` against a server that answers the requests in this order; gives back what it saw.
pub fn with_gateway<T, F>(answers: Vec<Answer>, test: impl FnOnce(String) -> F) -> (T, Vec<Seen>)
where
    F: Future<Output = T>,
{
    with_stoppable_gateway(answers, |url, _| test(url))
}

/// The same; `test` is told when the server has answered `POST /admin/v1/stop`.
pub fn with_stoppable_gateway<T, F>(answers: Vec<Answer>, test: impl FnOnce(String, Arc<Notify>) -> F) -> (T, Vec<Seen>)
where
    F: Future<Output = T>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let script = Arc::new(Mutex::new((VecDeque::from(answers), Vec::new())));
        let stopped = Arc::new(Notify::new());
        let serving = serve(listener, Arc::clone(&script), Arc::clone(&stopped));
        let bounded = tokio::time::timeout(Duration::from_secs(20), test(url, stopped));
        let result = tokio::select! {
            result = bounded => result.expect("the test ends within its bound"),
            () = serving => unreachable!("the server never ends by itself"),
        };
        let seen = script.lock().expect("no test panicked").1.clone();
        (result, seen)
    })
}

type Script = Arc<Mutex<(VecDeque<Answer>, Vec<Seen>)>>;

/// Serves one connection after the other; each carries one request, because every answer closes it.
async fn serve(listener: TcpListener, script: Script, stopped: Arc<Notify>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let service = service_fn(|request| answer(request, Arc::clone(&script)));
        let connection = hyper::server::conn::http1::Builder::new()
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // A broken connection is what some tests ask for.
        let _ = connection.await;
        let last = script
            .lock()
            .expect("no test panicked")
            .1
            .last()
            .map(|seen| seen.line.clone());
        if last.as_deref() == Some("POST /admin/v1/stop") {
            stopped.notify_one();
        }
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    script: Script,
) -> Result<hyper::Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let mut seen = Seen {
        line: format!("{} {}", request.method(), request.uri()),
        key: header("authorization"),
        last_event_id: header("last-event-id"),
        idempotency_key: header("idempotency-key"),
        body: Value::Null,
    };
    let body = request.into_body().collect().await?.to_bytes();
    seen.body = serde_json::from_slice(&body).unwrap_or_default();
    let answer = {
        let mut script = script.lock().expect("no test panicked");
        script.1.push(seen);
        script.0.pop_front()
    };
    let (status, kind, body) = match answer {
        Some(Answer::Json(status, value)) => (status, "application/json", value.to_string()),
        Some(Answer::Events(text)) => (200, "text/event-stream", text),
        Some(Answer::Break) => return Err("broken on purpose".into()),
        None => (418, "text/plain", "no answer is left in the script".into()),
    };
    let response = hyper::Response::builder().status(status).header("content-type", kind);
    Ok::<_, Infallible>(response.body(Full::from(body)).expect("a response")).map_err(Into::into)
}
