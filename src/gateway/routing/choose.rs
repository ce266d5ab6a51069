//! Looks at a request and says which agent gets it.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use axum::http::HeaderMap;

use crate::agents::handle::AgentsHandle;
use crate::domain::code;
use crate::domain::name::AgentName;
use crate::domain::text::preview;
use crate::gateway::error::ApiError;
use crate::identity::keyring::Principal;

use super::affinity::{Affinity, Session};
use super::rule::{Look, Rule};

/// Names the agent, whatever else the request says.
const AGENT: &str = "x-openclaw-agent";
/// Names the session.
const SESSION: &str = "x-openclaw-session";
/// Sessions whose agent is kept.
const SESSIONS_MAX: usize = 65_536;

/// The rules, and what they decided for sessions. Cheap to clone.
#[derive(Clone)]
pub struct Routing(Arc<Inside>);

struct Inside {
    rules: ArcSwap<Vec<Rule>>,
    sessions: Mutex<Affinity>,
}

/// A request that names no agent in its body.
pub struct Unnamed<'request> {
    /// Whose it is.
    pub key: &'request Principal,
    /// Its path.
    pub path: &'request str,
    /// Its headers.
    pub headers: &'request HeaderMap,
    /// Bytes of its body.
    pub bytes: usize,
}

impl Routing {
    /// By these rules, the first that takes a request.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(Arc::new(Inside {
            rules: ArcSwap::from_pointee(rules),
            sessions: Mutex::new(Affinity::new(SESSIONS_MAX)),
        }))
    }

    /// By other rules from now on. Sessions keep the agent that they have.
    pub fn replace(&self, rules: Vec<Rule>) {
        self.0.rules.store(Arc::new(rules));
    }

    /// The agent that the header names; none where there is no such header.
    ///
    /// **Errors**: there is no such agent.
    pub fn named(agents: &AgentsHandle, headers: &HeaderMap) -> Result<Option<AgentName>, ApiError> {
        let Some(value) = headers.get(AGENT) else {
            return Ok(None);
        };
        let text = value.to_str().unwrap_or("");
        let name = AgentName::new(text).ok();
        let known = name.filter(|name| agents.definitions().contains_key(name));
        known.map(Some).ok_or_else(|| {
            let message = format!("{AGENT} names no agent: `{}`", preview(text, 64));
            ApiError::new(code::AGENT_NOT_FOUND, message).hint("GET /v1/agents lists the agents")
        })
    }

    /// Who gets a request; none where nothing says.
    ///
    /// **Errors**: the header or the key names an agent that there is not.
    pub fn agent(&self, agents: &AgentsHandle, request: &Unnamed<'_>) -> Result<Option<AgentName>, ApiError> {
        if let Some(named) = Self::named(agents, request.headers)? {
            return Ok(Some(named));
        }
        let session = request
            .headers
            .get(SESSION)
            .map(|value| session(request.key, value.as_bytes()));
        let mut sessions = self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = session.as_ref().and_then(|session| sessions.of(session));
        if let Some(kept) = kept.filter(|kept| agents.definitions().contains_key(kept)) {
            return Ok(Some(kept));
        }
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let look = Look {
            path: request.path,
            header: &header,
            bytes: request.bytes,
        };
        let rules = self.0.rules.load();
        let ruled = rules.iter().find(|rule| rule.takes(&look));
        let agent = match ruled {
            Some(rule) => Some(rule.agent.clone()),
            None => of_key(agents, request.key)?,
        };
        if let (Some(session), Some(agent)) = (session, &agent) {
            sessions.keep(session, agent.clone());
        }
        Ok(agent)
    }
}

/// Of two keys the same name is not the same session.
fn session(key: &Principal, name: &[u8]) -> Session {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.key.to_bytes());
    hasher.update(name);
    *hasher.finalize().as_bytes()
}

fn of_key(agents: &AgentsHandle, key: &Principal) -> Result<Option<AgentName>, ApiError> {
    let Some(name) = key.default_agent() else {
        return Ok(None);
    };
    let known = AgentName::new(name).ok();
    let known = known.filter(|name| agents.definitions().contains_key(name));
    known.map(Some).ok_or_else(|| {
        let message = format!("the key `{}` is for the agent `{name}`, which there is not", key.name);
        ApiError::new(code::AGENT_NOT_FOUND, message).hint("GET /v1/agents lists the agents")
    })
}
