//! One tool of a server as a skill: a call goes to the connection that is there, or waits for one.
//!
//! Invariants: a call that was not sent says so and did not happen; a call whose server was lost after it was sent is
//! not known; a cancelled or late call is cancelled with the server too; every request carries the effect's key.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rmcp::RoleClient;
use rmcp::model::{CallToolRequestParams, CallToolResponse, RequestMetaObject};
use rmcp::service::{Peer, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpError;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::domain::capability::CapabilitySet;
use crate::domain::fault::in_one_line;
use crate::domain::skill::SkillManifest;
use crate::domain::text;
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};

use super::config::Way;
use super::outcome::outcome;
use super::shared::{ServerState, Shared};
use super::tool::{ToolEntry, manifest, names};

/// Under which name a request carries the key of its effect.
pub const EFFECT_KEY_META: &str = "io.openclaw/effect-key";

/// The skill.
pub struct ToolSkill {
    manifest: SkillManifest,
    tool: String,
    shared: Arc<Shared>,
}

/// The skills of all tools of a server, as they are known now.
pub fn skills(shared: &Arc<Shared>) -> Vec<Arc<dyn Skill>> {
    let tools: Arc<[ToolEntry]> = shared.tools();
    let names = names(&shared.config.name, &tools);
    let made = names.into_iter().zip(tools.iter()).map(|(name, tool)| {
        let skill = ToolSkill {
            manifest: manifest(&shared.config, name, tool),
            tool: tool.name.clone(),
            shared: Arc::clone(shared),
        };
        Arc::new(skill) as Arc<dyn Skill>
    });
    made.collect()
}

impl Skill for ToolSkill {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn needs(&self, _: &Value, _: &Path) -> CapabilitySet {
        self.shared.config.needs()
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let (shared, tool) = (Arc::clone(&self.shared), self.tool.clone());
        Box::pin(async move {
            let limit = order.deadline.min(shared.config.timeout);
            let until = Instant::now() + limit;
            let mut request = CallToolRequestParams::new(tool);
            if let Value::Object(arguments) = order.arguments {
                request = request.with_arguments(arguments);
            }
            let mut meta = RequestMetaObject::new();
            meta.insert(EFFECT_KEY_META.to_owned(), json!(order.key.to_string()));
            request.meta = Some(meta);
            loop {
                let peer = ready(&shared, until).await?;
                // Dropping the request, now or when the call is cancelled, tells the server that it is cancelled.
                match timeout_at(until, peer.call_tool_once(request.clone())).await {
                    // Nobody has seen it: it waits for the next connection as one that comes now would.
                    Ok(Err(error)) if was_not_sent(&error) => shared.doubt(&in_one_line(&error)),
                    Ok(answer) => return judge(&shared, answer),
                    Err(_) => {
                        let limit_ms = limit.as_millis() as u64;
                        return Err(SkillError::TimedOut { limit_ms });
                    }
                }
            }
        })
    }
}

/// A connection that is open, as soon as there is one.
async fn ready(shared: &Shared, until: Instant) -> Result<Peer<RoleClient>, SkillError> {
    let down = |reason: String| SkillError::ServerDown {
        server: shared.config.name.to_string(),
        reason,
    };
    let until = until.min(Instant::now() + shared.config.start_timeout);
    let mut watch = shared.watch();
    let settled = watch.wait_for(|state| match state {
        ServerState::Ready { peer, .. } => !peer.is_transport_closed(),
        ServerState::GaveUp { .. } | ServerState::Stopped => true,
        ServerState::Starting | ServerState::Failed { .. } => false,
    });
    let state = match timeout_at(until, settled).await {
        Ok(Ok(state)) => state.clone(),
        _ => shared.state(),
    };
    match state {
        ServerState::Ready { peer, .. } if !peer.is_transport_closed() => Ok(peer),
        ServerState::GaveUp { reason } => Err(down(format!(
            "it was lost too often and is not started again: {reason}"
        ))),
        ServerState::Stopped => Err(down("the daemon is stopping".to_owned())),
        ServerState::Failed { reason } => Err(down(reason)),
        ServerState::Ready { .. } | ServerState::Starting => Err(down("it has not started in time".to_owned())),
    }
}

fn judge(shared: &Shared, answer: Result<CallToolResponse, ServiceError>) -> Result<CallEnd, SkillError> {
    let lost = |reason: String| SkillError::ServerLost {
        server: shared.config.name.to_string(),
        reason: text::preview(&reason, 400),
    };
    match answer {
        Ok(CallToolResponse::Complete(result)) => Ok(outcome(&result).into()),
        Ok(CallToolResponse::InputRequired(_)) => Ok(CallEnd::refused(
            "the tool asks for more input, and nobody here gives it; it did not finish",
        )),
        Ok(_) => Err(lost(
            "it took the call as a task of its own, which is not followed here".to_owned(),
        )),
        // The server has the last word about a request that it refuses.
        Err(ServiceError::McpError(error)) => Ok(CallEnd::refused(format!(
            "the server refused: {}",
            text::preview(&error.message, 4000)
        ))),
        Err(error) => {
            if let Some((status, said)) = refusal(&error) {
                if matches!(status, 401 | 404) {
                    shared.doubt(&said);
                }
                return Ok(CallEnd::refused(format!(
                    "the server refused: {}",
                    text::preview(&said, 4000)
                )));
            }
            let reason = innermost(&error);
            if matches!(shared.config.way, Way::Http { .. }) {
                shared.doubt(&reason);
            }
            Err(lost(reason))
        }
    }
}

/// The status by which a server says that it has not taken the request, and what it says with it. Any other status is
/// none: what failed within a server may have happened.
fn refusal(error: &ServiceError) -> Option<(u16, String)> {
    // What fails later, with an answer that is under way, says nothing about the request.
    let ServiceError::TransportSend(sent) = error else {
        return None;
    };
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&*sent.error);
    while let Some(cause) = source {
        let found = match cause.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
            Some(StreamableHttpError::AuthRequired(_)) => Some((401, "HTTP 401 Unauthorized".to_owned())),
            Some(StreamableHttpError::InsufficientScope(_)) => Some((403, "HTTP 403 Forbidden".to_owned())),
            Some(StreamableHttpError::HttpStatus(status)) => Some((status.status, format!("HTTP {}", status.status))),
            // The library has no other place for these.
            Some(StreamableHttpError::UnexpectedServerResponse(said)) => {
                let status = said.strip_prefix("HTTP ").and_then(|rest| rest.get(..3)?.parse().ok());
                status.map(|status| (status, said.to_string()))
            }
            _ => None,
        };
        if found.is_some() {
            let refuses = |status: u16| matches!(status, 300..=399 | 400 | 401 | 403..=406 | 413 | 415 | 429 | 431);
            return found.filter(|(status, _)| refuses(*status));
        }
        source = cause.source();
    }
    None
}

/// What went wrong first; the layers above name types of a library.
fn innermost(error: &ServiceError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Whether no connection came about, so that the server cannot have seen the request.
fn was_not_sent(error: &ServiceError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        // The transport's own error holds the client's without naming it as its cause.
        let of_client = match cause.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
            Some(StreamableHttpError::Client(error)) => Some(error),
            _ => cause.downcast_ref::<reqwest::Error>(),
        };
        if of_client.is_some_and(reqwest::Error::is_connect) {
            return true;
        }
        source = cause.source();
    }
    false
}
