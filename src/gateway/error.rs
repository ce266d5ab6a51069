//! Errors as clients see them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::domain::code::{self, Code};
use crate::domain::fault::{Fault, in_one_line};
use crate::domain::handoff::Finding;
use crate::domain::id::RunId;
use crate::identity::keyring::KeyError;
use crate::runs::grounds::GroundsError;
use crate::runs::handle::RunsError;

use super::standing::Standing;

/// Seconds after which a refused client may try again.
const RETRY_AFTER_SECONDS: u64 = 1;

/// One error answer.
#[derive(Debug, Clone)]
pub struct ApiError {
    code: Code,
    message: String,
    hint: Option<String>,
    details: Option<Box<Value>>,
    about: Box<About>,
}

/// What an error is about; apart, because results carry errors by value.
#[derive(Debug, Clone, Default)]
struct About {
    param: Option<String>,
    run: Option<RunId>,
    retry_after: Option<u64>,
    standing: Option<Standing>,
}

/// Where a run is asked about.
pub fn run_address(run: RunId) -> String {
    format!("/v1/runs/{run}")
}

impl ApiError {
    /// An error of this code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            details: None,
            about: Box::default(),
        }
    }

    /// A request that cannot be used.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_REQUEST, message)
    }

    /// What is wrong, in words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the member of the body that it is about.
    #[must_use]
    pub fn at(mut self, param: impl Into<String>) -> Self {
        self.about.param = Some(param.into());
        self
    }

    /// With the run that goes on or has ended.
    #[must_use]
    pub fn of_run(mut self, run: RunId) -> Self {
        self.about.run = Some(run);
        self
    }

    /// With the seconds after which it may be sent again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.about.retry_after = Some(seconds);
        self
    }

    /// With what is left of the limit that it is over.
    #[must_use]
    pub fn standing(mut self, standing: Standing) -> Self {
        self.about.standing = Some(standing);
        self
    }

    /// The run that goes on or has ended.
    pub fn run(&self) -> Option<RunId> {
        self.about.run
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The member of the body that it is about.
    pub fn param(&self) -> Option<&str> {
        self.about.param.as_deref()
    }

    /// Code, hint, details and run, for bodies of another shape.
    pub fn rest(&self) -> Value {
        let mut rest = json!({ "code": self.code.id, "type": self.code.kind });
        if let Some(hint) = &self.hint {
            rest["hint"] = hint.as_str().into();
        }
        if let Some(details) = &self.details {
            rest["details"] = (**details).clone();
        }
        if let Some(run) = self.about.run {
            rest["run"] = run_address(run).into();
        }
        rest
    }

    /// With the wrong places of a document.
    #[must_use]
    pub fn findings(mut self, findings: &[Finding]) -> Self {
        let items = findings
            .iter()
            .map(|finding| json!({ "pointer": finding.pointer, "message": finding.message }));
        self.details = Some(Box::new(items.collect()));
        self
    }

    /// The HTTP status of the code.
    pub fn status(&self) -> StatusCode {
        match (self.code.id, self.code.fault) {
            (id, _) if id == code::METHOD_NOT_ALLOWED.id => StatusCode::METHOD_NOT_ALLOWED,
            (id, _) if id == code::BODY_TOO_LARGE.id => StatusCode::PAYLOAD_TOO_LARGE,
            (id, _) if id == code::KEY_MISSING.id || id == code::KEY_INVALID.id => StatusCode::UNAUTHORIZED,
            (id, _) if id == code::ANSWER_NOT_READY.id || id == code::BODY_TOO_SLOW.id => StatusCode::REQUEST_TIMEOUT,
            (id, _)
                if [
                    code::TOO_MANY_RUNS.id,
                    code::TOO_MANY_CONNECTIONS.id,
                    code::OVERLOADED.id,
                ]
                .contains(&id) =>
            {
                StatusCode::SERVICE_UNAVAILABLE
            }
            (id, _) if id == code::DISK_FULL.id => StatusCode::INSUFFICIENT_STORAGE,
            (_, Fault::Invalid) => StatusCode::BAD_REQUEST,
            (_, Fault::NotFound) => StatusCode::NOT_FOUND,
            (_, Fault::Conflict) => StatusCode::CONFLICT,
            (_, Fault::Denied) => StatusCode::FORBIDDEN,
            (_, Fault::Overloaded) => StatusCode::TOO_MANY_REQUESTS,
            (_, Fault::Unavailable | Fault::TimedOut) => StatusCode::SERVICE_UNAVAILABLE,
            (_, Fault::Corrupt | Fault::Bug) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut error = self.rest();
        error["message"] = self.message.as_str().into();
        let mut response = (status, Json(json!({ "error": error }))).into_response();
        let headers = response.headers_mut();
        let may_pass = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::INSUFFICIENT_STORAGE,
        ];
        if may_pass.contains(&status) {
            headers.insert(
                header::RETRY_AFTER,
                self.about.retry_after.unwrap_or(RETRY_AFTER_SECONDS).into(),
            );
        }
        if let Some(standing) = &self.about.standing {
            standing.write(headers);
        }
        // The rest of the body is not read, so the connection ends: a client that is not told would use it again.
        if [code::BODY_TOO_LARGE.id, code::BODY_TOO_SLOW.id].contains(&self.code.id) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Routes that speak another protocol say it in the shape of that one.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<RunsError> for ApiError {
    fn from(error: RunsError) -> Self {
        let answer = Self::new(error.code(), in_one_line(&error));
        match &error {
            RunsError::Plan(findings) => answer
                .findings(findings)
                .hint("each entry of details names a place in the plan"),
            RunsError::NoAgent(_) => answer.hint("GET /v1/agents lists the agents"),
            RunsError::Workspace(GroundsError::Closed { .. }) => answer
                .hint("name a folder of the work alone: no run works where the daemon keeps its own files, or above"),
            RunsError::Workspace(GroundsError::Outside { .. }) => {
                answer.hint("name a folder within one of agent.workspaces, or have the operator add one")
            }
            RunsError::Workspace(_) => answer.hint("give the absolute path of a folder that the daemon can read"),
            RunsError::IdempotencyConflict(_) => answer.hint("use a new Idempotency-Key for a new request"),
            RunsError::TooMany { .. } => answer.hint("nothing was accepted; send it again after Retry-After"),
            RunsError::DiskFull => {
                answer.hint("nothing was accepted; work is taken again when there is room on the disk")
            }
            RunsError::NotFound(_) => answer.hint("GET /v1/runs lists the runs"),
            RunsError::Ended { .. } => answer.hint("POST /v1/runs/{id}/retry makes the same work a new run"),
            RunsError::Active(_) => answer.hint("wait for its end, or cancel it first"),
            RunsError::NotRecorded(_) => answer.hint("submit it with `record`, or run it with --record FILE"),
            RunsError::Task(_) => answer.hint("say in `task` what is to be done"),
            RunsError::Answer(_) => answer.hint("GET /v1/runs/{id} lists under `waiting` what is asked now"),
            RunsError::SeveralUnknown(which) => {
                answer.hint(format!("say which by `step` and `call`: {}", which.join(", ")))
            }
            RunsError::Slot(_) => answer.hint("GET /v1/schedules/{name}/slots shows the ledger"),
            RunsError::Commit(_) | RunsError::Store(_) | RunsError::Balance(_) => answer,
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let hint = match &error {
            KeyError::Text(_) | KeyError::NotValid => {
                "send `Authorization: Bearer ocl_…`; `openclaw init` made one key"
            }
            KeyError::NotFound(_) | KeyError::Ended { .. } => "GET /admin/v1/keys lists the keys",
            KeyError::Scope(_) | KeyError::Outlives => "ask with a key that carries it, and for no longer than that",
            KeyError::Terms(_) => "such as {\"name\": \"ci\", \"scopes\": [\"runs:read\"]}",
            KeyError::TooMany => "keys that have ended stay in the list; use fewer, with more scopes",
            KeyError::Store(_) | KeyError::Commit(_) => return Self::new(error.code(), in_one_line(&error)),
        };
        Self::new(error.code(), in_one_line(&error)).hint(hint)
    }
}
