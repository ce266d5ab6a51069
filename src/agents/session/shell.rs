//! What a session's actor is made of and what it holds while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use supervisors::TaskRef;

use crate::agents::order::SessionOrder;
use crate::agents::parts::{ActiveSession, AgentsParts};
use crate::agents::turn::state::TurnState;
use crate::domain::agent::AgentDefinition;
use crate::domain::compaction::SinceSnapshot;
use crate::domain::effect::EffectKey;
use crate::llm::wire::memo::Memo;
use crate::runtime::timer::Timer;
use crate::skills::handle::Ticket;

use super::surroundings::SessionSurroundings;
use super::tape::SessionTape;

/// The actor.
pub struct SessionActor {
    /// What it stands on.
    pub parts: AgentsParts,
}

/// How a session starts.
pub struct SessionStart {
    /// The order.
    pub order: SessionOrder,
    /// Its agent; none for a step done by a skill.
    pub definition: Option<Arc<AgentDefinition>>,
    /// Which incarnation it is, from 1; later ones may find facts of earlier ones.
    pub incarnation: u64,
}

/// What a running session holds.
pub struct SessionState {
    pub(super) order: SessionOrder,
    pub(super) definition: Option<Arc<AgentDefinition>>,
    pub(super) turn: TurnState,
    pub(super) around: SessionSurroundings,
    pub(super) asking: Option<TaskRef>,
    pub(super) calls: BTreeMap<u32, Ticket>,
    pub(super) ending: Option<Ending>,
    /// Whether facts of this attempt may be in the journal.
    pub(super) resumes: bool,
    pub(super) since_snapshot: SinceSnapshot,
    /// What is kept of its model traffic, when something is.
    pub(super) tape: Option<SessionTape>,
    /// What its requests leave behind, so that each message is written once.
    pub(super) memo: Memo,
    /// Effects of this session whose programs may have left a report.
    pub(super) spooled: BTreeSet<EffectKey>,
    /// The time to send a request that waits.
    pub(super) rest: Option<Timer>,
    pub(super) _deadline: Timer,
    pub(super) _counted: Option<ActiveSession>,
}

impl Drop for SessionState {
    fn drop(&mut self) {
        // Also on a kill: nothing that this session started may outlive it.
        if let Some(asking) = &self.asking {
            asking.cancel();
        }
        for call in self.calls.values() {
            call.cancel();
        }
    }
}

/// Why the session is winding down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Stopped,
    Deadline,
    Suspended,
}
