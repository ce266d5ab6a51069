//! What sessions stand on, handed in once by the composition root.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use supervisors::Tasks;

use crate::domain::agent::AgentDefinition;
use crate::domain::approval::ApprovalRules;
use crate::domain::name::AgentName;
use crate::llm::registry::Models;
use crate::memory::handle::MemoryHandle;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::entropy::Entropy;
use crate::runtime::live::Live;
use crate::skills::handle::SkillsHandle;
use crate::storage::store::Store;

use super::players::Players;
use super::treasury::Treasury;

/// Everything below that a session uses.
#[derive(Clone)]
pub struct AgentsParts {
    /// Tells the time.
    pub clock: Clock,
    /// For ids.
    pub entropy: Entropy,
    /// The journal, for a session that starts again.
    pub store: Store,
    /// Writes.
    pub committer: Committer,
    /// Writes with bookings.
    pub treasury: Treasury,
    /// The models.
    pub models: Arc<Models>,
    /// Where pieces of answers go while they arrive.
    pub live: Live,
    /// The longest wait for a model for which a session keeps its slot.
    pub rest_over: Duration,
    /// The cassettes that are played.
    pub players: Players,
    /// Where model requests run.
    pub asking: Tasks,
    /// The skills.
    pub skills: SkillsHandle,
    /// The agents as configured now.
    pub definitions: Definitions,
    /// Who has to agree to which call, as configured now.
    pub approvals: Arc<ArcSwap<ApprovalRules>>,
    /// What earlier runs and people kept.
    pub memory: MemoryHandle,
}

/// The definitions by name.
pub type ByName = BTreeMap<AgentName, Arc<AgentDefinition>>;

/// The agents as configured; replaced as a whole when the configuration changes.
#[derive(Clone, Default)]
pub struct Definitions {
    agents: Arc<RwLock<Arc<ByName>>>,
    active: Arc<Mutex<BTreeMap<AgentName, u32>>>,
}

/// Counts a session of an agent for as long as it lives.
pub struct ActiveSession {
    agent: AgentName,
    active: Arc<Mutex<BTreeMap<AgentName, u32>>>,
}

impl Drop for ActiveSession {
    fn drop(&mut self) {
        let mut active = self.active.lock().expect("nothing panics while it holds the counts");
        if let Some(count) = active.get_mut(&self.agent) {
            *count -= 1;
        }
    }
}

impl Definitions {
    /// These agents.
    pub fn new(agents: impl IntoIterator<Item = AgentDefinition>) -> Self {
        let by_name = agents
            .into_iter()
            .map(|agent| (agent.name.clone(), Arc::new(agent)))
            .collect();
        Self {
            agents: Arc::new(RwLock::new(Arc::new(by_name))),
            active: Arc::default(),
        }
    }

    /// Puts others in their place. Sessions under way keep the definition with which they began.
    pub fn replace(&self, agents: impl IntoIterator<Item = AgentDefinition>) {
        let by_name = agents
            .into_iter()
            .map(|agent| (agent.name.clone(), Arc::new(agent)))
            .collect();
        *self
            .agents
            .write()
            .expect("nothing panics while it holds the definitions") = Arc::new(by_name);
    }

    /// All of them, by name.
    pub fn all(&self) -> Arc<ByName> {
        self.agents
            .read()
            .expect("nothing panics while it holds the definitions")
            .clone()
    }

    /// One of them.
    pub fn get(&self, name: &AgentName) -> Option<Arc<AgentDefinition>> {
        self.all().get(name).cloned()
    }

    /// Counts a session of an agent until the result is dropped.
    pub fn count_session(&self, agent: &AgentName) -> ActiveSession {
        *self
            .active
            .lock()
            .expect("nothing panics while it holds the counts")
            .entry(agent.clone())
            .or_default() += 1;
        ActiveSession {
            agent: agent.clone(),
            active: self.active.clone(),
        }
    }

    /// Sessions of an agent under way.
    pub fn active_of(&self, agent: &AgentName) -> u32 {
        self.active
            .lock()
            .expect("nothing panics while it holds the counts")
            .get(agent)
            .copied()
            .unwrap_or(0)
    }
}
