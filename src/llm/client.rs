//! One request to a remote provider over HTTP: send the whole, read what comes, say what a failure means.
//!
//! Refuses to know: retries (they belong to the engine, which journals them), and what the bodies mean (that is a
//! dialect's). Invariants: one `ask` is one request; no redirect is followed, no ambient proxy used, no more than
//! [`BODY_BYTES_MAX`] of a whole answer and [`STREAM_BYTES_MAX`] of a stream read; no wait is without a bound; a key
//! is never in an error or a log; a dropped `ask` ends the request on the wire.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::HeaderValue;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use crate::domain::conversation::{ModelAnswer, ModelRequest};
use crate::domain::failure::FailureClass;
use crate::domain::text;
use crate::runtime::tls::http_client;

use super::config::{ModelConfig, Secret};
use super::dialect::anthropic;
use super::dialect::failure::{ContextExceeded, Told, class_of_status, told, words};
use super::dialect::gathered::Heard;
use super::dialect::kind::Dialect;
use super::model::{AskError, Asking, Listener, Model, ModelDescription, Spent};
use super::wire::memo::{Hand, Memo};
use super::wire::sse::{FrameError, SseFramer};
use super::{rate_limits, retry_after};

/// Bytes of an answer that comes as a whole.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of an answer that comes as a stream: of a long answer every token has an event of hundreds of bytes.
pub const STREAM_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of an error's body that are read; it is only quoted.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// The wait for the end of a body after its last event, so that the connection serves again.
const END_WAIT: Duration = Duration::from_millis(5);
/// After so long without a frame on a shared connection it is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(20);
/// The wait for the answer to that.
const PING_WAIT: Duration = Duration::from_secs(10);

/// Which wait came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// Nobody took the connection.
    #[error("no connection within {ms} ms")]
    Connect {
        /// The bound.
        ms: u64,
    },
    /// Not one byte of the answer came.
    #[error("no byte of an answer within {ms} ms")]
    FirstByte {
        /// The bound.
        ms: u64,
    },
    /// The answer began and nothing more came, not even a comment.
    #[error("no further byte of the answer within {ms} ms")]
    Idle {
        /// The bound.
        ms: u64,
    },
    /// The answer was not complete.
    #[error("no complete answer within {ms} ms")]
    Total {
        /// The bound.
        ms: u64,
    },
}

impl WaitError {
    /// The wait that an error comes from, if it comes from one.
    pub fn of(error: &AskError) -> Option<Self> {
        error.source.as_ref()?.downcast_ref().copied()
    }

    fn error(self, config: &ModelConfig) -> AskError {
        let alias = &config.alias;
        let reason = match self {
            Self::Connect { ms } => format!("model `{alias}` took no connection within {ms} ms"),
            Self::FirstByte { ms } => format!("model `{alias}` sent nothing within {ms} ms"),
            Self::Idle { ms } => format!("model `{alias}` fell silent for {ms} ms within its answer"),
            Self::Total { ms } => format!("model `{alias}` did not answer within {ms} ms"),
        };
        let error = match self {
            Self::Connect { .. } => AskError::unspent(FailureClass::Timeout, reason),
            _ => AskError::unknown(FailureClass::Timeout, reason),
        };
        error.because(self)
    }
}

/// The connections that all remote models share. Nothing is opened, and no certificate store read, before the first
/// request: a start must not wait for it.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    clients: Arc<Mutex<BTreeMap<u64, Client>>>,
    roots: Arc<[reqwest::Certificate]>,
}

impl Connections {
    /// Makes an empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an empty pool that trusts these authorities, too.
    pub fn trusting(roots: impl IntoIterator<Item = reqwest::Certificate>) -> Self {
        Self {
            clients: Arc::default(),
            roots: roots.into_iter().collect(),
        }
    }

    /// The client for a time to connect; models that agree on it share one.
    fn client(&self, connect_ms: u64) -> Result<Client, reqwest::Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&connect_ms) {
            return Ok(client.clone());
        }
        let client = http_client(|builder| {
            let builder = builder
                .connect_timeout(Duration::from_millis(connect_ms))
                .http2_keep_alive_interval(PING_EVERY)
                .http2_keep_alive_timeout(PING_WAIT)
                .user_agent(concat!("openclaw/", env!("CARGO_PKG_VERSION")));
            if self.roots.is_empty() {
                builder
            } else {
                builder.tls_certs_merge(self.roots.iter().cloned())
            }
        })?;
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
            if config.lacks_key() {
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
            let mut heard = Heard::new(&*asking.listener);
            let exchange = exchange(&client, &config, &request, &asking.memo, &*asking.listener, &mut heard);
            let asked = timeout(total, exchange).await.unwrap_or_else(|_| {
                let ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
                Err(WaitError::Total { ms }.error(&config))
            });
            asked.map_err(|error| AskError {
                reason: scrub(&error.reason, config.api_key.as_ref()).into(),
                delivered: heard.any(),
                ..error
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
async fn exchange(
    client: &Client,
    config: &ModelConfig,
    request: &ModelRequest,
    memo: &Memo,
    listener: &dyn Listener,
    heard: &mut Heard<'_>,
) -> Result<ModelAnswer, AskError> {
    let Some(dialect) = Dialect::of(config.provider) else {
        let reason = format!("model `{}` is not at a provider", config.alias);
        return Err(AskError::unspent(FailureClass::Config, reason));
    };
    // A whole answer is sent when it is complete, so its first byte may come as late as its last.
    let first_byte_ms = if config.stream {
        config.timeouts.first_byte_ms
    } else {
        config.timeouts.total_ms
    };
    let first_byte = Instant::now() + Duration::from_millis(first_byte_ms);
    let late = || WaitError::FirstByte { ms: first_byte_ms }.error(config);
    let post = post(client, config, dialect, request, memo)?;
    let response = timeout_at(first_byte, post.send()).await.map_err(|_| late())?;
    let response = response.map_err(|error| unsent(error, config))?;
    if let Some(limits) = rate_limits::read(response.headers()) {
        listener.limits(limits);
    }
    if !response.status().is_success() {
        return Err(refused(response, config).await);
    }
    let mut body = Body {
        response,
        config,
        bytes: 0,
    };
    let first = timeout_at(first_byte, body.response.chunk())
        .await
        .map_err(|_| late())?;
    let mut answer = read(&mut body, first, dialect, request, heard).await?;
    if answer.answered_by.is_empty() {
        answer.answered_by = config.id.clone();
    }
    Ok(answer)
}

/// Makes the request.
fn post(
    client: &Client,
    config: &ModelConfig,
    dialect: Dialect,
    request: &ModelRequest,
    memo: &Memo,
) -> Result<RequestBuilder, AskError> {
    let hand = Hand {
        dialect: dialect.as_str(),
        model_id: config.id.clone(),
        stream: config.stream,
        vendor: config.needs_key(),
    };
    let body = dialect.write_request(request, &hand, memo);
    let json = HeaderValue::from_static("application/json");
    let url = dialect.url(config.url().unwrap_or(""));
    let mut post = client.post(url).header("content-type", json).body(body);
    if dialect == Dialect::Anthropic {
        post = post.header("anthropic-version", anthropic::VERSION);
    }
    if let Some(key) = &config.api_key {
        let (name, value) = match dialect {
            Dialect::Anthropic => ("x-api-key", HeaderValue::from_str(key.expose())),
            Dialect::OpenAiChat | Dialect::OpenAiResponses => (
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
    Ok(post)
}

/// What it means that no answer began.
fn unsent(error: reqwest::Error, config: &ModelConfig) -> AskError {
    let error = error.without_url();
    if error.is_connect() && error.is_timeout() {
        WaitError::Connect {
            ms: config.timeouts.connect_ms,
        }
        .error(config)
    } else if error.is_connect() {
        let reason = format!("model `{}` cannot be reached", config.alias);
        AskError::unspent(FailureClass::Transport, reason).because(error)
    } else if error.is_builder() {
        AskError::unspent(FailureClass::Config, "the request cannot be made").because(error)
    } else {
        let reason = format!("the connection to model `{}` broke before its answer", config.alias);
        AskError::unknown(FailureClass::Transport, reason).because(error)
    }
}

type Chunk = Result<Option<hyper::body::Bytes>, reqwest::Error>;

/// The body of an answer as it is read.
struct Body<'c> {
    response: Response,
    config: &'c ModelConfig,
    bytes: usize,
}

impl Body<'_> {
    /// The next bytes; none at the end.
    async fn next(&mut self, bytes_max: usize) -> Result<Option<hyper::body::Bytes>, AskError> {
        let ms = self.config.timeouts.idle_ms;
        let chunk = timeout(Duration::from_millis(ms), self.response.chunk()).await;
        self.count(chunk.map_err(|_| WaitError::Idle { ms }.error(self.config))?, bytes_max)
    }

    fn count(&mut self, chunk: Chunk, bytes_max: usize) -> Result<Option<hyper::body::Bytes>, AskError> {
        let alias = &self.config.alias;
        let chunk = chunk.map_err(|error| {
            let reason = format!("the connection to model `{alias}` broke within its answer");
            AskError::unknown(FailureClass::Transport, reason).because(error.without_url())
        })?;
        self.bytes += chunk.as_ref().map_or(0, hyper::body::Bytes::len);
        if self.bytes > bytes_max {
            let reason = format!("the answer of model `{alias}` has more than {bytes_max} bytes");
            return Err(AskError::unknown(FailureClass::Malformed, reason));
        }
        Ok(chunk)
    }

    /// Reads on to the end, from what there is. Bytes that are no text become U+FFFD: the document around them may
    /// still be whole.
    async fn rest(&mut self, mut bytes: Vec<u8>, bytes_max: usize) -> Result<String, AskError> {
        while let Some(chunk) = self.next(bytes_max).await? {
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(bytes);
        let text = text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
    }
}

/// Reads an answer. Whether it comes whole or as a stream is seen from its first byte, because servers stream or do
/// not whatever they were asked for, and name their content in many ways.
async fn read(
    body: &mut Body<'_>,
    first: Chunk,
    dialect: Dialect,
    request: &ModelRequest,
    heard: &mut Heard<'_>,
) -> Result<ModelAnswer, AskError> {
    let named = body
        .response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok());
    let is_document = named.is_some_and(|named| named.contains("json") || named.contains("html"));
    let mut next = body.count(first, STREAM_BYTES_MAX)?;
    let mut begun: Vec<u8> = Vec::new();
    while let Some(chunk) = next {
        begun.extend_from_slice(&chunk);
        let is_text = |byte: &&u8| !byte.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(byte);
        let is_whole = match chunk.iter().find(is_text) {
            Some(b'{' | b'[' | b'<') => true,
            // The first letters of the fields of an event, and of a comment.
            Some(b'd' | b'e' | b'i' | b'r' | b':') => false,
            Some(_) => is_document,
            // White space without end is bounded as a whole answer is.
            None => {
                next = body.next(BODY_BYTES_MAX).await?;
                continue;
            }
        };
        if is_whole {
            let whole = body.rest(begun, BODY_BYTES_MAX).await?;
            return dialect.read_answer(&whole, request, heard);
        }
        return follow(body, &begun, dialect, request, heard).await;
    }
    let reason = format!("model `{}` answered with nothing", body.config.alias);
    Err(AskError::unknown(FailureClass::Transport, reason))
}

/// Reads a stream from its first bytes to its closing event.
async fn follow(
    body: &mut Body<'_>,
    begun: &[u8],
    dialect: Dialect,
    request: &ModelRequest,
    heard: &mut Heard<'_>,
) -> Result<ModelAnswer, AskError> {
    let unframed = |error: FrameError| {
        let reason = format!("the answer of model `{}` cannot be read", body.config.alias);
        AskError::unknown(FailureClass::Malformed, reason).because(error)
    };
    let mut framer = SseFramer::new();
    let mut reader = dialect.reader(request);
    framer.push(begun);
    loop {
        while let Some(event) = framer.next() {
            if reader.event(&event.map_err(unframed)?, heard)? {
                if body.response.version() < reqwest::Version::HTTP_2 {
                    // What is left is the end of the body, usually here already.
                    timeout(END_WAIT, body.response.chunk()).await.ok();
                }
                return reader.finish(request);
            }
        }
        match body.next(STREAM_BYTES_MAX).await? {
            Some(chunk) => framer.push(&chunk),
            None => break,
        }
    }
    while let Some(event) = framer.finish() {
        if reader.event(&event.map_err(unframed)?, heard)? {
            break;
        }
    }
    reader.finish(request)
}

/// Says what a status other than success means.
async fn refused(response: Response, config: &ModelConfig) -> AskError {
    let status = response.status();
    let retry_after_ms = retry_after::read(response.headers());
    let header = response
        .headers()
        .get("x-should-retry")
        .and_then(|value| value.to_str().ok());
    let should_retry = header.and_then(|word| word.trim().to_ascii_lowercase().parse::<bool>().ok());
    // What the body says is a help; that it cannot be read changes nothing.
    let mut body = Body {
        response,
        config,
        bytes: 0,
    };
    let body = body.rest(Vec::new(), ERROR_BYTES_MAX).await.unwrap_or_default();
    let parsed: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let said = if status.is_redirection() { None } else { told(&parsed) };
    let is_too_long = said == Some(Told::TooLong) || status == StatusCode::PAYLOAD_TOO_LARGE;
    let of_status = class_of_status(status.as_u16());
    let class = match said {
        Some(Told::TooLong) => FailureClass::Config,
        // A server that broke did so whatever it calls it.
        Some(Told::Class(class)) if class != FailureClass::Config => class,
        _ => of_status,
    };
    let class = match should_retry {
        Some(false) if class == FailureClass::Rate => FailureClass::Budget,
        Some(false) if class.retries_turn() => FailureClass::Config,
        Some(true) if !class.retries_turn() && said.is_none() => FailureClass::Overload,
        _ => class,
    };
    let mut reason = format!("model `{}` answered with status {}", config.alias, status.as_u16());
    if matches!(status.as_u16(), 401 | 403) && !config.key_env().is_empty() {
        reason.push_str("; the key is read from ");
        reason.push_str(config.key_env());
    }
    // Scrubbed before it is cut: half a key is still a key's half.
    let words = words(&parsed).unwrap_or(&body);
    let words = text::preview(&scrub(words, config.api_key.as_ref()), 300);
    if !words.is_empty() {
        reason.push_str(": ");
        reason.push_str(&words);
    }
    let error = AskError {
        retry_after_ms,
        spent: spent(status),
        ..AskError::unspent(class, reason)
    };
    if is_too_long {
        return error.because(ContextExceeded);
    }
    error
}

/// Providers quote what they were sent; a key must not come back that way.
fn scrub(text: &str, key: Option<&Secret>) -> String {
    match key {
        Some(key) => text.replace(key.expose(), "(secret)"),
        None => text.to_owned(),
    }
}

/// A request that was refused by its status was not worked on, unless the time ran out over it or something broke.
fn spent(status: StatusCode) -> Spent {
    match status.as_u16() {
        300..=407 | 409..=499 | 529 => Spent::Nothing,
        _ => Spent::Unknown,
    }
}
