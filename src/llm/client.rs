//! One request to a remote provider over HTTP: send the whole, read the whole, say what a failure means.
//!
//! Refuses to know: retries (they belong to the engine, which journals them), and what the bodies mean (that is a
//! dialect's). Invariants: one `ask` is one request; no redirect is followed, no ambient proxy used, no more than
//! [`BODY_BYTES_MAX`] read; a key is never in an error or a log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::HeaderValue;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use crate::domain::conversation::{ModelAnswer, ModelRequest};
use crate::domain::failure::FailureClass;
use crate::domain::text;
use crate::runtime::tls::install_provider;

use super::config::{ModelConfig, Provider, Secret};
use super::dialect::{anthropic, openai_chat};
use super::model::{AskError, Asking, Model, ModelDescription, Spent};
use super::retry_after;

/// Bytes of an answer that are read.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of an error's body that are read; it is only quoted.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// The connections that all remote models share. Nothing is opened, and no certificate store read, before the first
/// request: a start must not wait for it.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    clients: Arc<Mutex<BTreeMap<u64, Client>>>,
}

impl Connections {
    /// Makes an empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// The client for a time to connect; models that agree on it share one.
    fn client(&self, connect_ms: u64) -> Result<Client, reqwest::Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&connect_ms) {
            return Ok(client.clone());
        }
        install_provider();
        let client = Client::builder()
            .connect_timeout(Duration::from_millis(connect_ms))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("openclaw/", env!("CARGO_PKG_VERSION")))
            .build()?;
        clients.insert(connect_ms, client.clone());
        Ok(client)
    }
}

/// A model at a provider.
#[derive(Debug)]
pub struct RemoteModel {
    config: Arc<ModelConfig>,
    connections: Connections,
}

impl RemoteModel {
    /// Makes it; sends nothing.
    pub fn new(config: ModelConfig, connections: Connections) -> Self {
        Self {
            config: Arc::new(config),
            connections,
        }
    }
}

impl Model for RemoteModel {
    fn ask(&self, request: ModelRequest, asking: Asking) -> BoxFuture<'static, Result<ModelAnswer, AskError>> {
        let config = self.config.clone();
        let connections = self.connections.clone();
        Box::pin(async move {
            let total = asking.deadline.min(Duration::from_millis(config.timeouts.total_ms));
            if config.needs_key() && config.api_key.is_none() {
                let reason = format!("model `{}` has no key: set {}", config.alias, config.key_env());
                return Err(AskError::unspent(FailureClass::Config, reason));
            }
            if total.is_zero() {
                return Err(AskError::unspent(
                    FailureClass::Timeout,
                    "no time is left for a request",
                ));
            }
            let client = connections.client(config.timeouts.connect_ms).map_err(|error| {
                AskError::unspent(FailureClass::Config, "the HTTP client cannot be made").because(error)
            })?;
            let asked = tokio::time::timeout(total, exchange(&client, &config, &request)).await;
            asked.unwrap_or_else(|_| {
                let reason = format!(
                    "model `{}` did not answer within {} ms",
                    config.alias,
                    total.as_millis()
                );
                Err(AskError::unknown(FailureClass::Timeout, reason))
            })
        })
    }

    fn describe(&self) -> ModelDescription {
        ModelDescription {
            alias: self.config.alias.clone(),
            provider: self.config.provider.as_str(),
            id: self.config.id.clone(),
            endpoint: self.config.url().map(Into::into),
        }
    }
}

/// Sends and reads.
async fn exchange(client: &Client, config: &ModelConfig, request: &ModelRequest) -> Result<ModelAnswer, AskError> {
    let base = config.url().unwrap_or("");
    let (url, body) = if config.provider == Provider::Anthropic {
        // People write the address with and without the version.
        let base = base.strip_suffix("/v1").unwrap_or(base);
        let body = anthropic::write_request(request, &config.id);
        (format!("{base}/v1/messages"), body)
    } else {
        let body = openai_chat::write_request(request, &config.id, config.needs_key());
        (format!("{base}/chat/completions"), body)
    };
    let json = HeaderValue::from_static("application/json");
    let mut post = client.post(url).header("content-type", json).body(body);
    if config.provider == Provider::Anthropic {
        post = post.header("anthropic-version", anthropic::VERSION);
    }
    if let Some(key) = &config.api_key {
        let (name, value) = match config.provider {
            Provider::Anthropic => ("x-api-key", HeaderValue::from_str(key.expose())),
            _ => (
                "authorization",
                HeaderValue::from_str(&format!("Bearer {}", key.expose())),
            ),
        };
        let mut value = value.map_err(|_| {
            let reason = format!(
                "the key in {} has characters that no header can carry",
                config.key_env()
            );
            AskError::unspent(FailureClass::Config, reason)
        })?;
        value.set_sensitive(true);
        post = post.header(name, value);
    }
    let response = post.send().await.map_err(|error| {
        let error = error.without_url();
        if error.is_connect() {
            let reason = format!("model `{}` cannot be reached", config.alias);
            AskError::unspent(FailureClass::Transport, reason).because(error)
        } else if error.is_builder() {
            AskError::unspent(FailureClass::Config, "the request cannot be made").because(error)
        } else {
            let reason = format!("the connection to model `{}` broke before its answer", config.alias);
            AskError::unknown(FailureClass::Transport, reason).because(error)
        }
    })?;
    if !response.status().is_success() {
        return Err(refused(response, config).await);
    }
    let body = read(response, BODY_BYTES_MAX, config).await?;
    let mut answer = match config.provider {
        Provider::Anthropic => anthropic::read_answer(&body, request),
        _ => openai_chat::read_answer(&body, request),
    }
    .map_err(|error| AskError {
        reason: scrub(&error.reason, config.api_key.as_ref()).into(),
        ..error
    })?;
    if answer.answered_by.is_empty() {
        answer.answered_by = config.id.clone();
    }
    Ok(answer)
}

/// Reads a body up to a bound. Bytes that are no text become U+FFFD: the document around them may still be whole.
async fn read(mut response: Response, bytes_max: usize, config: &ModelConfig) -> Result<String, AskError> {
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > bytes_max => {
                let reason = format!("the answer of model `{}` has more than {bytes_max} bytes", config.alias);
                return Err(AskError::unknown(FailureClass::Malformed, reason));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => {
                let reason = format!("the connection to model `{}` broke within its answer", config.alias);
                return Err(AskError::unknown(FailureClass::Transport, reason).because(error.without_url()));
            }
        }
    }
    let text = String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Says what a status other than success means.
async fn refused(response: Response, config: &ModelConfig) -> AskError {
    let status = response.status();
    let retry_after_ms = retry_after::read(response.headers());
    // What the body says is a help; that it cannot be read changes nothing.
    let body = read(response, ERROR_BYTES_MAX, config).await.unwrap_or_default();
    let parsed: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let told = match config.provider {
        Provider::Anthropic => anthropic::error_class(&parsed),
        _ => openai_chat::error_class(&parsed),
    };
    let class = match told {
        Some(class) if !status.is_redirection() => class,
        _ => class_of(status),
    };
    let words = parsed["error"]["message"]
        .as_str()
        .or(parsed["error"].as_str())
        .or(parsed["message"].as_str())
        .or(parsed["detail"].as_str())
        .unwrap_or(&body);
    let mut reason = format!("model `{}` answered with status {}", config.alias, status.as_u16());
    if matches!(status.as_u16(), 401 | 403) && !config.key_env().is_empty() {
        reason.push_str("; the key is read from ");
        reason.push_str(config.key_env());
    }
    // Scrubbed before it is cut: half a key is still a key's half.
    let words = text::preview(&scrub(words, config.api_key.as_ref()), 300);
    if !words.is_empty() {
        reason.push_str(": ");
        reason.push_str(&words);
    }
    AskError {
        class,
        reason: reason.into(),
        retry_after_ms,
        spent: spent(status),
        delivered: false,
        source: None,
    }
}

/// Providers quote what they were sent; a key must not come back that way.
fn scrub(text: &str, key: Option<&Secret>) -> String {
    match key {
        Some(key) => text.replace(key.expose(), "(secret)"),
        None => text.to_owned(),
    }
}

fn class_of(status: StatusCode) -> FailureClass {
    match status.as_u16() {
        402 => FailureClass::Budget,
        408 | 504 => FailureClass::Timeout,
        429 => FailureClass::Rate,
        502 | 520..=527 => FailureClass::Transport,
        409 | 425 | 500..=599 => FailureClass::Overload,
        // The request itself is not allowed or not understood: the same one never will be.
        _ => FailureClass::Config,
    }
}

/// A request that was refused by its status was not worked on, unless the time ran out over it or something broke.
fn spent(status: StatusCode) -> Spent {
    match status.as_u16() {
        300..=407 | 409..=499 | 529 => Spent::Nothing,
        _ => Spent::Unknown,
    }
}
