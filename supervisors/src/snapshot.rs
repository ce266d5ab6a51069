//! What a tree looks like right now: plain values for others to draw, serialise or compare.
//!
//! Nothing is kept for snapshots: a supervisor reads its table when it is asked.

use std::time::Duration;

use ractor::ActorCell;

use crate::{
    ChildId, ChildKind, Restart, Strategy,
    actor::Child,
    state::{Phase, Slot},
};

/// What a child is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChildStatus {
    /// A start is under way.
    Starting,
    /// It runs.
    Running,
    /// It was told to stop.
    Stopping,
    /// It ended, and waits for its restart.
    Restarting,
    /// It does not run, and nobody is going to start it without being asked.
    Down,
}

impl ChildStatus {
    pub(crate) fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Down => Self::Down,
            Phase::Starting(_) => Self::Starting,
            Phase::Running => Self::Running,
            Phase::Stopping { .. } => Self::Stopping,
            Phase::Waiting { .. } | Phase::Ended(_) => Self::Restarting,
        }
    }

    /// The status as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
            Self::Down => "down",
        }
    }
}

/// A line of `which_children`.
#[derive(Clone, Debug)]
pub struct ChildInfo {
    /// Its id.
    pub id: ChildId,
    /// The actor, if it runs.
    pub cell: Option<ActorCell>,
    /// What it is doing.
    pub status: ChildStatus,
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// When it is started again.
    pub restart: Restart,
    /// The number of its running or last incarnation.
    pub incarnation: u64,
    /// How often the supervisor restarted it by itself.
    pub restarts: u64,
}

impl ChildInfo {
    pub(crate) fn of(slot: &Slot<Child>) -> Self {
        Self {
            id: slot.id.clone(),
            cell: slot.payload.cell().cloned(),
            status: ChildStatus::of(&slot.phase),
            kind: slot.policy.kind,
            restart: slot.policy.restart,
            incarnation: slot.incarnation,
            restarts: slot.restarts,
        }
    }
}

/// How the children of a supervisor hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotStrategy {
    /// A list of children with this strategy.
    Static(Strategy),
    /// Instances of one template.
    Dynamic,
}

impl SnapshotStrategy {
    /// The strategy by OTP's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static(Strategy::OneForOne) => "one_for_one",
            Self::Static(Strategy::OneForAll) => "one_for_all",
            Self::Static(Strategy::RestForOne) => "rest_for_one",
            Self::Dynamic => "simple_one_for_one",
        }
    }
}

/// A child, or the root, with everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeSnapshot {
    /// From the root, joined by `/`.
    pub path: String,
    /// Its id in its supervisor, or the name of the root.
    pub id: String,
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// The strategy, for a supervisor that answered.
    pub strategy: Option<SnapshotStrategy>,
    /// What it is doing.
    pub status: ChildStatus,
    /// When it is started again.
    pub restart: Restart,
    /// How often its supervisor restarted it by itself.
    pub restarts: u64,
    /// The number of its running or last incarnation.
    pub incarnation: u64,
    /// How long it has been running.
    pub uptime: Option<Duration>,
    /// Messages admitted and not yet dropped, where the specification has a gauge.
    pub mailbox_depth: Option<usize>,
    /// Zombies in the whole tree; told by the root only.
    pub zombies: usize,
    /// False for a supervisor that runs but did not answer in time; its children are then missing.
    pub answered: bool,
    /// Its children in start order.
    pub children: Vec<TreeSnapshot>,
}

impl TreeSnapshot {
    /// Finds a descendant by its path.
    pub fn find(&self, path: &str) -> Option<&Self> {
        if self.path == path {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(path))
    }

    /// This line and every line below it, in start order.
    pub fn walk(&self) -> Vec<&Self> {
        let mut lines = vec![self];
        for child in &self.children {
            lines.extend(child.walk());
        }
        lines
    }
}
