//! What others may know of the servers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::domain::name::ServerName;
use crate::domain::text;

use super::shared::{ServerState, Shared};
use super::tool::names;

/// One server, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    /// Its name.
    pub name: ServerName,
    /// `stdio` or `http`.
    pub way: &'static str,
    /// How it is.
    pub state: &'static str,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// The revision that is spoken.
    pub revision: Option<String>,
    /// Its tools: the server's own name and the skill's.
    pub tools: Vec<(String, String)>,
    /// Connections that were made.
    pub lives: u64,
    /// Notes of progress that were received.
    pub progress: u64,
    /// The end of what it wrote to its error stream.
    pub last_words: String,
}

/// A cheap clone.
#[derive(Debug, Clone, Default)]
pub struct McpHandle(Arc<[Arc<Shared>]>);

impl McpHandle {
    /// These servers.
    pub fn new(servers: impl IntoIterator<Item = Arc<Shared>>) -> Self {
        Self(servers.into_iter().collect())
    }

    /// All servers, by name.
    pub fn reports(&self) -> Vec<ServerReport> {
        self.0.iter().map(|shared| report(shared)).collect()
    }
}

fn report(shared: &Shared) -> ServerReport {
    let state = shared.state();
    let tools = shared.tools();
    let skills = names(&shared.config.name, &tools);
    let tools = tools
        .iter()
        .zip(skills)
        .map(|(tool, skill)| (tool.name.clone(), skill.to_string()));
    ServerReport {
        name: shared.config.name.clone(),
        way: shared.config.way_word(),
        state: state.word(),
        reason: state.reason().map(str::to_owned),
        revision: match &state {
            ServerState::Ready { revision, .. } => Some(revision.clone()),
            _ => None,
        },
        tools: tools.collect(),
        lives: shared.lives(),
        progress: shared.progress.load(Ordering::Relaxed),
        last_words: text::preview(&shared.last_words(), 1000),
    }
}
