//! What runs stand on, handed in once by the composition root.

use std::sync::Arc;

use arc_swap::ArcSwap;
use supervisors::{ChildRef, Tasks};

use crate::agents::handle::AgentsHandle;
use crate::domain::id::BootId;
use crate::domain::name::AgentName;
use crate::domain::plan::Plan;
use crate::llm::cassette::redact::Redactor;
use crate::runtime::bus::Bus;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::entropy::Entropy;
use crate::runtime::room::handle::Room;
use crate::skills::handle::SkillsHandle;
use crate::storage::store::Store;

use super::asking::Asking;
use super::check_call::UnderWay;
use super::dispatcher::actor::DispatchMessage;
use super::dispatcher::state::SlotLimits;
use super::grounds::Grounds;
use super::message::RunActors;

/// A plan kept as a file, offered to the planner.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Its name.
    pub name: Arc<str>,
    /// A regular expression over tasks.
    pub matches: Arc<str>,
    /// The plan.
    pub plan: Arc<Plan>,
}

/// Everything below that a run uses.
#[derive(Clone)]
pub struct RunsParts {
    /// Tells the time.
    pub clock: Clock,
    /// For ids.
    pub entropy: Entropy,
    /// This life of the process.
    pub boot: BootId,
    /// The journal.
    pub store: Store,
    /// Writes.
    pub committer: Committer,
    /// Room on the disk.
    pub room: Room,
    /// Committed facts.
    pub bus: Bus,
    /// The agents.
    pub agents: AgentsHandle,
    /// The skills, for checks that run a command.
    pub skills: SkillsHandle,
    /// What runs take from the configuration as it is now.
    pub settings: Arc<ArcSwap<RunsSettings>>,
    /// Plans kept as files.
    pub pipelines: Arc<[Pipeline]>,
}

impl RunsParts {
    /// How many steps may run, in all and of each agent as it is configured now.
    pub fn slots(&self, steps_concurrent_max: u32) -> SlotLimits {
        SlotLimits {
            global: steps_concurrent_max,
            per_agent: self
                .agents
                .definitions()
                .values()
                .map(|agent| (agent.name.clone(), agent.concurrency))
                .collect(),
        }
    }
}

/// What runs take from the configuration; replaced as a whole when that changes.
#[derive(Debug, Clone)]
pub struct RunsSettings {
    /// The agent that makes plans.
    pub planner: AgentName,
    /// Takes secrets out of what is kept for later runs.
    pub redactor: Redactor,
    /// How long a step done by a skill may take when the plan does not say, in milliseconds.
    pub skill_timeout_ms: u64,
    /// Where runs may work.
    pub grounds: Grounds,
}

/// What the actors of the layer share among themselves.
#[derive(Clone)]
pub struct RunsInside {
    /// Everything below.
    pub parts: RunsParts,
    /// The run actors.
    pub actors: RunActors,
    /// The dispatcher.
    pub dispatcher: ChildRef<DispatchMessage>,
    /// How many steps it lets run.
    pub slots: Arc<ArcSwap<SlotLimits>>,
    /// Where checks run.
    pub checking: Tasks,
    /// The commands that they run.
    pub commands: UnderWay,
    /// The runs that wait for a yes.
    pub asking: Asking,
    /// Held while a run that has ended or is parked is reopened.
    pub reopening: Arc<tokio::sync::Mutex<()>>,
}
