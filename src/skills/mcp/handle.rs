//! What others may know of the servers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use supervisors::{ApiError, ChildSpec, SupervisorRef};

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
pub struct McpHandle {
    servers: Arc<[Arc<Shared>]>,
    branch: Option<Branch>,
}

/// Makes the branch of one server.
type MakeChild = Arc<dyn Fn(&Arc<Shared>) -> ChildSpec + Send + Sync>;

/// The supervisor of the servers, and how a child of it is made.
#[derive(Clone)]
struct Branch {
    supervisor: SupervisorRef,
    child: MakeChild,
}

impl std::fmt::Debug for Branch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Branch").finish_non_exhaustive()
    }
}

/// Why a server was not started again.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// There is none of this name.
    #[error("restart the server `{0}`: there is none of this name")]
    NoServer(ServerName),
    /// The branch of the servers is not up.
    #[error("restart the server `{0}`: the servers are down")]
    Down(ServerName),
    /// It did not stop or start.
    #[error("restart the server `{server}`")]
    Refused {
        /// Which.
        server: ServerName,
        /// Why.
        #[source]
        source: ApiError,
    },
}

impl McpHandle {
    /// These servers.
    pub fn new(servers: impl IntoIterator<Item = Arc<Shared>>) -> Self {
        Self {
            servers: servers.into_iter().collect(),
            branch: None,
        }
    }

    /// All servers, by name.
    pub fn reports(&self) -> Vec<ServerReport> {
        self.servers.iter().map(|shared| report(shared)).collect()
    }

    /// The same, under this supervisor: then servers can be started again. `child` makes the branch of one of them.
    #[must_use]
    pub fn under(
        mut self,
        supervisor: SupervisorRef,
        child: impl Fn(&Arc<Shared>) -> ChildSpec + Send + Sync + 'static,
    ) -> Self {
        let child = Arc::new(child);
        self.branch = Some(Branch { supervisor, child });
        self
    }

    /// Ends a server's connection and program and starts it anew, also when it was given up: it may be lost as often
    /// again. Calls under way end; they are handled by their effect class.
    pub async fn restart(&self, name: &ServerName) -> Result<(), RestartError> {
        let shared = self.servers.iter().find(|shared| shared.config.name == *name);
        let shared = shared.ok_or_else(|| RestartError::NoServer(name.clone()))?;
        let branch = self.branch.as_ref().ok_or_else(|| RestartError::Down(name.clone()))?;
        let refused = |source| RestartError::Refused {
            server: name.clone(),
            source,
        };
        match branch.supervisor.terminate_child(name.as_str()).await {
            // One that was given up is gone already.
            Ok(()) | Err(ApiError::NotFound(_)) => {}
            Err(error) => return Err(refused(error)),
        }
        shared.begin_again();
        let child = (branch.child)(shared);
        branch.supervisor.start_child(child).await.map(drop).map_err(refused)
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
