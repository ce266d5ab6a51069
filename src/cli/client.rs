//! Requests to the gateway.
//!
//! **Invariants**: every request has a deadline and every answer a largest size; a key is sent over plain HTTP to
//! this machine only; a submission is repeated only under an idempotency key.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;

use super::error::CliError;
use crate::daemon::config::{DaemonFile, Home, Overrides, load};
use crate::identity::authority::client::{ClientError, Credentials, client_config};
use crate::runtime::tls::http_client;

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time for the connection to this machine or a near one.
const CONNECT_MS: u64 = 3_000;
/// Time for an answer that nobody waits for on the other side.
const ANSWER_MS: u64 = 30_000;

/// Where the gateway is and who asks.
#[derive(Debug, Clone)]
pub struct Target {
    /// Address with scheme.
    pub url: String,
    /// The key, when there is one.
    pub key: Option<String>,
    /// For the daemon of a home over TLS: the folder of its authority, by which it is known and shown who asks.
    pub tls_dir: Option<PathBuf>,
}

impl Target {
    /// The gateway of a home: `--url` or `OPENCLAW_URL`, else what the running daemon wrote, else the
    /// configuration. The key: `--key`, else `OPENCLAW_KEY`, else the operator's own when the daemon of this home
    /// is known to run or an address was given.
    pub fn find(home: &Home, overrides: &Overrides, url: Option<&str>, key: Option<&str>) -> Result<Self, CliError> {
        let own_key = given(key, &overrides.environment, "OPENCLAW_KEY");
        let operator_key = |own: Option<String>| match own {
            Some(key) => Ok(Some(key)),
            None => home.read_operator_key(),
        };
        if let Some(url) = given(url, &overrides.environment, "OPENCLAW_URL") {
            let key = operator_key(own_key)?;
            return Ok(Self {
                url,
                key,
                tls_dir: None,
            });
        }
        if let Some(daemon) = DaemonFile::read(home)? {
            // After a crash the file stays, and anybody may listen on the port by now: the key is not for them.
            if !daemon.is_alive() {
                return Err(CliError::Unreachable {
                    url: daemon.gateway,
                    source: Some(format!("its process {} has ended without a word", daemon.pid).into()),
                });
            }
            let key = operator_key(own_key)?;
            return Ok(Self {
                url: daemon.gateway,
                key,
                tls_dir: Some(home.tls_dir()),
            });
        }
        // No daemon of this home runs. What listens at the configured address is not known, so only a key that was
        // given for it is sent.
        let gateway = load(home, overrides)?.config.gateway;
        let scheme = if gateway.tls.mode.is_on() { "https" } else { "http" };
        let url = format!("{scheme}://{}", std::net::SocketAddr::new(gateway.bind, gateway.port));
        Ok(Self {
            url,
            key: own_key,
            tls_dir: Some(home.tls_dir()),
        })
    }
}

/// Where the operators' listener of a home is.
fn operators_url(home: &Home, overrides: &Overrides) -> Result<String, CliError> {
    if let Some(daemon) = DaemonFile::read(home)? {
        if !daemon.is_alive() {
            return Err(CliError::Unreachable {
                url: daemon.admin.unwrap_or(daemon.gateway),
                source: Some(format!("its process {} has ended without a word", daemon.pid).into()),
            });
        }
        if let Some(url) = daemon.admin {
            return Ok(url);
        }
    }
    let admin = load(home, overrides)?.config.admin;
    Ok(format!("https://{}", std::net::SocketAddr::new(admin.bind, admin.port)))
}

fn given(flag: Option<&str>, environment: &BTreeMap<String, String>, name: &str) -> Option<String> {
    let variable = environment.get(name).filter(|value| !value.is_empty()).cloned();
    flag.map(str::to_owned).or(variable)
}

/// A client of one gateway.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<String>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request<'request> {
    /// How.
    pub method: Method,
    /// Path and query, from `/`.
    pub path: &'request str,
    /// JSON body.
    pub body: Option<&'request Value>,
    /// A body that is no JSON.
    pub raw: Option<&'request str>,
    /// Makes a submission repeatable.
    pub idempotency_key: Option<&'request str>,
    /// How long the daemon itself may wait before it answers.
    pub wait_ms: u64,
}

impl<'request> Request<'request> {
    /// A GET.
    pub fn get(path: &'request str) -> Self {
        Self {
            method: Method::GET,
            path,
            body: None,
            raw: None,
            idempotency_key: None,
            wait_ms: 0,
        }
    }

    /// A POST.
    pub fn post(path: &'request str, body: &'request Value) -> Self {
        Self {
            method: Method::POST,
            body: Some(body),
            ..Self::get(path)
        }
    }
}

impl Client {
    /// A client of the operators' listener of this home, with the operator's certificate. `url` is what the daemon
    /// said; else what it wrote, else what is configured. `OPENCLAW_ADMIN_URL` comes before all.
    pub fn of_operator(
        home: &Home,
        overrides: &Overrides,
        url: Option<&str>,
        key: Option<&str>,
    ) -> Result<Self, CliError> {
        let given_url = overrides
            .environment
            .get("OPENCLAW_ADMIN_URL")
            .filter(|url| !url.is_empty());
        let url = match given_url.map(String::as_str).or(url) {
            Some(url) => url.to_owned(),
            None => operators_url(home, overrides)?,
        };
        let key = match given(key, &overrides.environment, "OPENCLAW_KEY") {
            Some(key) => Some(key),
            None => home.read_operator_key()?,
        };
        let target = Target {
            url,
            key,
            tls_dir: Some(home.tls_dir()),
        };
        Self::new(&target)
    }

    /// Makes a client; nothing is sent yet. Towards the daemon of a home it shows the operator's certificate, where TLS
    /// is spoken.
    pub fn new(target: &Target) -> Result<Self, CliError> {
        // A listener without TLS is only ever one on this machine.
        let folder = target.tls_dir.as_ref().filter(|_| target.url.starts_with("https://"));
        let Some(folder) = folder else {
            return Self::build(target, |builder| builder);
        };
        let read = Credentials::read(folder);
        let tls = read.and_then(|Credentials { bundle, own }| client_config(&bundle, own?.as_deref()));
        let tls = tls.map_err(|error| match error {
            ClientError::File { path, source } => CliError::Io {
                verb: "read",
                what: path.display().to_string(),
                source,
            },
            error => CliError::Daemon {
                step: "use the operator's certificate",
                code: crate::domain::code::AUTHORITY_FILES,
                hint: Some("the daemon of this home makes one at its start".into()),
                source: Box::new(error),
            },
        })?;
        Self::build(target, |builder| builder.tls_backend_preconfigured(tls.clone()))
    }

    fn build(
        target: &Target,
        with: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, CliError> {
        let hint = "an address looks like http://127.0.0.1:8080";
        let base = Url::parse(&target.url)
            .map_err(|error| CliError::usage(format!("`{}` is not an address: {error}", target.url), hint))?;
        let host = base.host_str().unwrap_or_default().to_owned();
        match base.scheme() {
            "https" => {}
            "http" if is_this_machine(&host) => {}
            "http" => {
                return Err(CliError::usage(
                    format!("a key is not sent to {host} in clear text"),
                    "use https://, or a tunnel that ends on this machine",
                ));
            }
            other => {
                return Err(CliError::usage(
                    format!("`{other}` is not a scheme of the gateway"),
                    hint,
                ));
            }
        }
        let http = http_client(|builder| {
            let builder = builder
                .connect_timeout(Duration::from_millis(CONNECT_MS))
                .user_agent(concat!("openclaw/", env!("CARGO_PKG_VERSION")));
            with(builder)
        });
        let http = http.map_err(|error| CliError::Unreachable {
            url: target.url.clone(),
            source: Some(error.into()),
        })?;
        Ok(Self {
            http,
            base,
            key: target.key.clone(),
        })
    }

    /// The gateway's address.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Sends a request and reads the whole answer as JSON.
    pub async fn send(&self, request: &Request<'_>) -> Result<Value, CliError> {
        let bytes = self.read(request).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.protocol(request.path, error.to_string()))
    }

    /// Sends a request and reads the whole answer. A submission under an idempotency key is sent a second
    /// time when the connection broke, because then nobody knows whether the first arrived.
    pub async fn read(&self, request: &Request<'_>) -> Result<Vec<u8>, CliError> {
        let mut response = match self
            .open(request, Some(ANSWER_MS.saturating_add(request.wait_ms)))
            .await
        {
            Err(Broken::OnTheWay(_)) if request.idempotency_key.is_some() => {
                self.open(request, Some(ANSWER_MS.saturating_add(request.wait_ms)))
                    .await
            }
            first => first,
        }
        .map_err(|broken| broken.into_error(self.url()))?;
        let status = response.status();
        let mut bytes = Vec::new();
        loop {
            let chunk = response.chunk().await.map_err(|error| self.unreachable(error))?;
            let Some(chunk) = chunk else { break };
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.protocol(request.path, format!("more than {ANSWER_BYTES_MAX} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            return Err(self.refusal(request.path, status, &bytes));
        }
        Ok(bytes)
    }

    /// Opens an event stream; the answer's body is read by the caller.
    pub(super) async fn open_stream(&self, path: &str, last_event_id: Option<u64>) -> Result<Response, CliError> {
        let mut builder = self.builder(&Request::get(path)).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            builder = builder.header("last-event-id", id);
        }
        // The answer's head must come soon; its body may last for days and has no deadline of its own.
        let answer = tokio::time::timeout(Duration::from_millis(ANSWER_MS), builder.send());
        let mut response = match answer.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unreachable(error)),
            Err(_) => {
                return Err(CliError::TimedOut {
                    what: format!("an answer of {}", self.url()),
                    ms: ANSWER_MS,
                });
            }
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let mut bytes = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > 64 * 1024 {
                break;
            }
        }
        Err(self.refusal(path, status, &bytes))
    }

    async fn open(&self, request: &Request<'_>, timeout_ms: Option<u64>) -> Result<Response, Broken> {
        let mut builder = self.builder(request);
        if let Some(ms) = timeout_ms {
            builder = builder.timeout(Duration::from_millis(ms));
        }
        builder.send().await.map_err(|error| {
            if error.is_connect() || error.is_builder() {
                Broken::BeforeIt(error)
            } else {
                Broken::OnTheWay(error)
            }
        })
    }

    fn builder(&self, request: &Request<'_>) -> reqwest::RequestBuilder {
        let url = format!("{}{}", self.url(), request.path);
        let mut builder = self.http.request(request.method.clone(), url);
        if let Some(key) = &self.key {
            builder = builder.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        if let Some(key) = request.idempotency_key {
            builder = builder.header("idempotency-key", key);
        }
        if let Some(raw) = request.raw {
            return builder
                .header(CONTENT_TYPE, "text/plain; charset=utf-8")
                .body(raw.to_owned());
        }
        match request.body {
            Some(body) => builder.header(CONTENT_TYPE, "application/json").body(body.to_string()),
            None => builder,
        }
    }

    pub(super) fn unreachable(&self, error: reqwest::Error) -> CliError {
        Broken::OnTheWay(error).into_error(self.url())
    }

    pub(super) fn protocol(&self, path: &str, reason: impl Into<String>) -> CliError {
        CliError::Protocol {
            url: format!("{}{path}", self.url()),
            reason: reason.into(),
        }
    }

    fn refusal(&self, path: &str, status: StatusCode, body: &[u8]) -> CliError {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = &value["error"];
        let text = |name: &str| error[name].as_str().map(str::to_owned);
        match (text("code"), text("message")) {
            (Some(code), Some(message)) => CliError::Api {
                status: status.as_u16(),
                kind: text("type").unwrap_or_default(),
                hint: text("hint").or_else(|| self.key_hint(status)),
                details: error["details"].as_array().cloned().unwrap_or_default(),
                code,
                message,
            },
            _ => self.protocol(
                path,
                format!("status {} without an error of this protocol", status.as_u16()),
            ),
        }
    }

    fn key_hint(&self, status: StatusCode) -> Option<String> {
        let missing = status == StatusCode::UNAUTHORIZED && self.key.is_none();
        missing.then(|| "no key was found: `openclaw init` makes one, --key or OPENCLAW_KEY names another".into())
    }
}

/// How far a request came.
enum Broken {
    /// No connection: the daemon has not seen it.
    BeforeIt(reqwest::Error),
    /// It may have been seen.
    OnTheWay(reqwest::Error),
}

impl Broken {
    fn into_error(self, url: &str) -> CliError {
        let (Self::BeforeIt(error) | Self::OnTheWay(error)) = self;
        CliError::Unreachable {
            url: url.to_owned(),
            source: Some(root(&error).into()),
        }
    }
}

/// The innermost cause: the layers of the library around it say nothing to a person.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
