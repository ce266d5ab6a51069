//! `http.request`: one request over HTTP, with method, headers and body.
//!
//! The class follows the method: GET and HEAD read; PUT and DELETE may be sent again under the same key; anything
//! else is sent at most once, unless the caller knows that the server honours `Idempotency-Key`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::effect::EffectClass;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::skill::{CallOutcome, SkillManifest};
use crate::domain::text;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::fetch::{FetchStop, Fetched, Fetcher, Redirects, Sending};
use crate::skills::network::NetworkPolicy;
use crate::skills::preview::Preview;
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};

const BYTES_MAX: usize = 2 * 1024 * 1024;
const TIMEOUT_MS: u64 = 60_000;
/// Headers that the connection decides, or that would lead past the guard.
const OWN_HEADERS: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "accept-encoding",
    "upgrade",
    "idempotency-key",
];

/// Words in the names of headers whose values may open something.
const SECRET_WORDS: [&str; 8] = [
    "auth",
    "token",
    "secret",
    "key",
    "cookie",
    "password",
    "signature",
    "credential",
];

#[derive(Deserialize)]
struct Wanted {
    url: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
}

fn get() -> String {
    "GET".to_owned()
}

/// The skill.
pub struct HttpRequest {
    manifest: SkillManifest,
    fetcher: Arc<Fetcher>,
}

impl HttpRequest {
    /// Makes the skill under this policy.
    pub fn new(policy: NetworkPolicy) -> Self {
        let manifest = Declaration {
            name: "http.request",
            description: "Sends one HTTP request and gives JSON with status, type and body. `body` is a text, or a \
                          JSON value that is sent as such. Private addresses are refused. A POST or PATCH is sent at \
                          most once; set idempotent when the server honours the Idempotency-Key header, which is \
                          sent with every request that changes something.",
            class: EffectClass::Once,
            timeout_ms: TIMEOUT_MS,
            concurrency: 8,
            properties: json!({
                "url": {"type": "string", "minLength": 1, "maxLength": 8192},
                "method": {"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], "description": "default GET"},
                "headers": {"type": "object", "maxProperties": 50, "additionalProperties": {"type": "string"}},
                "body": {},
                "idempotent": {"type": "boolean"},
            }),
            required: &["url"],
            examples: json!([
                {"url": "https://api.example.com/items/7"},
                {"url": "https://api.example.com/items", "method": "POST", "body": {"name": "seven"}, "idempotent": true},
            ]),
        }
        .manifest();
        Self {
            manifest,
            fetcher: Arc::new(Fetcher::new(policy)),
        }
    }
}

/// Whether a header's value may open something. It is bound by the hash of the arguments and need not be read by everybody
/// who is asked.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

fn sending(order: &CallOrder, wanted: Wanted) -> Result<Sending, String> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in wanted.headers {
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(format!("the header `{name}` cannot be set"));
        }
        headers.push((name, value));
    }
    let has_type = headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let body = match wanted.body {
        None => Vec::new(),
        Some(Value::String(text)) => text.into_bytes(),
        Some(value) => {
            if !has_type {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
            }
            value.to_string().into_bytes()
        }
    };
    if !matches!(wanted.method.as_str(), "GET" | "HEAD") {
        headers.push(("idempotency-key".to_owned(), order.key.to_string()));
    }
    Ok(Sending {
        method: wanted.method,
        headers,
        body,
    })
}

impl Skill for HttpRequest {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn class_of(&self, arguments: &Value) -> EffectClass {
        match arguments.get("method").and_then(Value::as_str).unwrap_or("GET") {
            "GET" | "HEAD" => EffectClass::Read,
            "PUT" | "DELETE" => EffectClass::Idempotent,
            _ if arguments.get("idempotent") == Some(&Value::Bool(true)) => EffectClass::Idempotent,
            _ => EffectClass::Once,
        }
    }

    fn preview(&self, order: CallOrder) -> BoxFuture<'static, Preview> {
        let wanted: Wanted = match arguments(&order) {
            Ok(wanted) => wanted,
            Err(reason) => return Preview::of(reason).at_once(),
        };
        let mut shown = format!("{} {}", wanted.method, wanted.url);
        for (name, value) in &wanted.headers {
            let _ = write!(
                shown,
                "\n{name}: {}",
                if is_secret(name) { "(not shown)" } else { value }
            );
        }
        match &wanted.body {
            None => {}
            Some(Value::String(text)) => {
                let _ = write!(shown, "\n\n{text}");
            }
            Some(value) => {
                let _ = write!(shown, "\n\n{value:#}");
            }
        }
        Preview::of(shown).at_once()
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let fetcher = Arc::clone(&self.fetcher);
        let class = self.class_of(&order.arguments);
        Box::pin(async move {
            let wanted: Wanted = match arguments(&order) {
                Ok(wanted) => wanted,
                Err(reason) => return Ok(CallEnd::refused(reason)),
            };
            let url = wanted.url.clone();
            let sending = match sending(&order, wanted) {
                Ok(sending) => sending,
                Err(reason) => return Ok(CallEnd::refused(reason)),
            };
            let redirects = Redirects::of(order.granted.clone(), order.agreed);
            let limit = order.deadline.min(Duration::from_millis(TIMEOUT_MS));
            match tokio::time::timeout(limit, fetcher.send(&url, &sending, BYTES_MAX, &redirects)).await {
                Ok(Ok(fetched)) => Ok(outcome(&fetched).into()),
                Ok(Err(FetchStop::Client(error))) => Err(SkillError::Client(error)),
                // Whether it reached the server is not known.
                Ok(Err(FetchStop::Broken(reason))) if class == EffectClass::Once => Err(SkillError::Lost { reason }),
                Ok(Err(FetchStop::Refused(reason) | FetchStop::Broken(reason))) => Ok(CallEnd::refused(reason)),
                Err(_) if class == EffectClass::Once => Err(SkillError::TimedOut {
                    limit_ms: limit.as_millis() as u64,
                }),
                Err(_) => Ok(CallEnd::refused(format!(
                    "{url} did not answer within {} ms",
                    limit.as_millis()
                ))),
            }
        })
    }
}

fn outcome(fetched: &Fetched) -> CallOutcome {
    let is_text = !fetched.body.iter().take(8192).any(|byte| *byte == 0);
    let body = if is_text {
        text::cut(&String::from_utf8_lossy(&fetched.body), RESULT_BYTES_MAX / 2)
    } else {
        format!("binary content, {} bytes", fetched.body.len())
    };
    let content = json!({
        "url": fetched.url.as_str(),
        "status": fetched.status.as_u16(),
        "type": fetched.content_type,
        "body": body,
        "truncated": fetched.truncated || body.len() < fetched.body.len() && is_text,
    });
    CallOutcome {
        is_error: fetched.status.is_client_error() || fetched.status.is_server_error(),
        ..CallOutcome::ok(text::cut(&content.to_string(), RESULT_BYTES_MAX))
    }
}
