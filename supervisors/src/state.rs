//! The pure core of a supervisor: `(state, event, now) -> actions`.
//!
//! It knows no clock, no task and no actor: time comes in as a duration since the supervisor's birth, random numbers from
//! a seed, and everything it wants done goes out as an [`Action`]. Each child carries a payload `P` that the core never
//! looks at; the shell keeps its start function and its actor there, the tests keep nothing.
//!
//! Invariants:
//! - a child's next incarnation is started only after `Exited` for the previous one, or after it was called a zombie;
//! - at most one [`Plan`] (start of the tree, group restart, shutdown) is under way, and it does one step at a time;
//! - a child has at most one timer, whose meaning is its phase;
//! - requests that must wait (for a plan, or for a child in transition) are kept in order and answered exactly once.

mod lifecycle;
mod plan;
mod request;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

pub(crate) use request::{Answer, NewChild, Request};

use crate::{
    AutoShutdown, ChildId, ChildKind, ChildPolicy, ExitReason, Fact, Flags, StartError, decision::RestartWindow,
    hash::ByInteger,
};

/// A child inside one supervisor; never used twice.
pub(crate) type Key = u64;

/// A request that expects an answer.
pub(crate) type RequestId = u64;

/// What has happened.
#[derive(Debug)]
pub(crate) enum Event<P> {
    /// The supervisor itself starts.
    Init,
    /// A start came to an end.
    Started {
        key: Key,
        incarnation: u64,
        outcome: StartOutcome,
    },
    /// A running child ended and released everything.
    Exited {
        key: Key,
        incarnation: u64,
        reason: ExitReason,
    },
    /// Time has passed.
    Due,
    /// Somebody asks for something.
    Request { id: RequestId, request: Request<P> },
    /// A supervisor of the tree saw one zombie too many.
    ZombieLimit,
    /// The supervisor is to stop everything.
    Shutdown,
}

/// How a start ended.
#[derive(Debug)]
pub(crate) enum StartOutcome {
    Running,
    Ignored,
    Failed(StartError),
}

/// What is to be done, in this order.
#[derive(Debug)]
pub(crate) enum Action<P> {
    /// Start this incarnation and say `Started`.
    Start { key: Key, incarnation: u64, unnamed: bool },
    /// Cancel a start under way; `Started` will still be said.
    CancelStart { key: Key },
    /// Ask the child to stop and say `Exited`.
    Stop { key: Key },
    /// Kill the child and say `Exited`.
    Kill { key: Key },
    /// Leave the child behind: it does not die.
    Abandon { key: Key, incarnation: u64 },
    /// Answer a request.
    Reply { id: RequestId, answer: Answer },
    /// Tell a fact.
    Report {
        child: Option<ChildId>,
        incarnation: u64,
        fact: Fact,
    },
    /// The child is gone from the table.
    Forget { key: Key, id: ChildId, payload: P },
    /// The child got a new specification.
    Respec { key: Key, payload: P },
    /// The tree is up.
    Ready,
    /// The tree did not come up, and everything started is stopped again.
    StartFailed(StartError),
    /// The supervisor wants to end: stop it, which leads to `Shutdown`.
    Finish(ExitReason),
}

/// Where a child is in its life.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not running, and nobody is going to change that.
    Down,
    /// A start is under way, perhaps being cancelled.
    Starting(Option<Cancel>),
    /// Runs.
    Running,
    /// Was told to stop, or killed.
    Stopping { killed: bool, reply: Option<RequestId> },
    /// Waits for its next restart; `charged` tells whether that restart is already counted.
    Waiting { charged: bool },
    /// Ended by itself while a plan was under way; judged when the plan is done.
    Ended(ExitReason),
}

/// Why a start is being cancelled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    Deadline,
    Stop(Option<RequestId>),
}

/// One child.
#[derive(Debug)]
pub(crate) struct Slot<P> {
    pub(crate) id: ChildId,
    pub(crate) policy: Arc<ChildPolicy>,
    pub(crate) phase: Phase,
    pub(crate) incarnation: u64,
    /// Restarts the supervisor did by itself.
    pub(crate) restarts: u64,
    /// When the running incarnation started.
    pub(crate) started_at: Duration,
    pub(crate) payload: P,
    rank: u64,
    /// Restarts since it was healthy.
    attempt: u32,
    /// Incarnations that were killed and live on.
    zombies: u32,
    /// Whether the start under way is a restart by the supervisor.
    restarting: bool,
    /// Who waits for the start under way, and whether a failure removes the child.
    starter: Option<(RequestId, bool)>,
    timer: Option<(Duration, u64)>,
    waiting: Vec<(RequestId, Request<P>)>,
}

impl<P> Slot<P> {
    fn in_transition(&self) -> bool {
        matches!(self.phase, Phase::Starting(_) | Phase::Stopping { .. })
    }

    /// Whether it counts as active: running, or on the way there without having been seen down.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Stopping { .. })
    }
}

/// A group operation under way.
#[derive(Debug)]
pub(crate) enum Plan {
    Idle,
    /// Start everything in order.
    Init {
        cursor: u64,
        at: Option<Key>,
    },
    /// The start failed: stop everything in reverse, then say so.
    Unwind {
        cursor: u64,
        error: StartError,
    },
    /// Group restart, first half: stop from the end down to `from`.
    GroupStop {
        from: u64,
        cursor: u64,
        trigger: Key,
        delay: Duration,
    },
    /// Group restart, second half: start in order.
    GroupStart {
        cursor: u64,
        at: Option<Key>,
    },
    /// Stop everything in reverse.
    Shutdown {
        cursor: u64,
    },
    /// Stop everything at once.
    ShutdownAll {
        left: usize,
    },
    Over,
}

/// Static list or dynamic instances of one template.
#[derive(Debug)]
pub(crate) enum Mode {
    Static,
    Dynamic {
        max_children: usize,
        template: Arc<ChildPolicy>,
    },
}

/// The counts OTP's `count_children` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ChildCounts {
    /// Children known, running or not.
    pub specs: usize,
    /// Children that run.
    pub active: usize,
    /// Supervisors among the children known.
    pub supervisors: usize,
    /// Workers among the children known.
    pub workers: usize,
}

/// The whole state.
#[derive(Debug)]
pub(crate) struct Core<P> {
    flags: Flags,
    mode: Mode,
    /// Boxed, so that a growing table moves pointers.
    slots: HashMap<Key, Box<Slot<P>>, ByInteger>,
    by_id: HashMap<ChildId, Key>,
    order: BTreeMap<u64, Key>,
    next_key: Key,
    plan: Plan,
    window: RestartWindow,
    random: fastrand::Rng,
    timers: BTreeMap<(Duration, u64), Key>,
    next_timer: u64,
    /// Children to be judged once no plan is under way: they ended by themselves, or their wait for a restart is over.
    ripe: VecDeque<Key>,
    /// Requests that wait for the plan to be done.
    deferred: VecDeque<(RequestId, Request<P>)>,
    /// Set once the supervisor has decided to end.
    finishing: bool,
    now: Duration,
    actions: VecDeque<Action<P>>,
}

impl<P> Core<P> {
    /// Makes a supervisor without children.
    pub(crate) fn new(flags: Flags, mode: Mode, seed: u64) -> Self {
        Self {
            flags,
            mode,
            slots: HashMap::default(),
            by_id: HashMap::new(),
            order: BTreeMap::new(),
            next_key: 1,
            plan: Plan::Idle,
            window: RestartWindow::default(),
            random: fastrand::Rng::with_seed(seed),
            timers: BTreeMap::new(),
            next_timer: 0,
            ripe: VecDeque::new(),
            deferred: VecDeque::new(),
            finishing: false,
            now: Duration::ZERO,
            actions: VecDeque::new(),
        }
    }

    /// Takes an event; what is to be done is then found with [`next_action`](Self::next_action).
    pub(crate) fn handle(&mut self, event: Event<P>, now: Duration) {
        self.now = self.now.max(now);
        match event {
            Event::Init => self.plan = Plan::Init { cursor: 0, at: None },
            Event::Started {
                key,
                incarnation,
                outcome,
            } => self.started(key, incarnation, outcome),
            Event::Exited {
                key,
                incarnation,
                reason,
            } => self.exited(key, incarnation, reason),
            Event::Due => self.due(),
            Event::Request { id, request } => self.request(id, request),
            Event::ZombieLimit => self.give_up(None, crate::GiveUp::Zombies),
            Event::Shutdown => self.shut_down(),
        }
        self.advance();
    }

    /// The next thing to do.
    pub(crate) fn next_action(&mut self) -> Option<Action<P>> {
        self.actions.pop_front()
    }

    /// When the core wants to hear `Due`.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.timers.keys().next().map(|(due, _)| *due)
    }

    /// Whether the tree is up or failed to come up (after `Init`), or is down (after `Shutdown`).
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.plan, Plan::Idle | Plan::Over)
    }

    /// Whether everything is stopped for good.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.plan, Plan::Over)
    }

    pub(crate) fn flags(&self) -> &Flags {
        &self.flags
    }

    pub(crate) fn is_dynamic(&self) -> bool {
        matches!(self.mode, Mode::Dynamic { .. })
    }

    pub(crate) fn slot(&self, key: Key) -> Option<&Slot<P>> {
        self.slots.get(&key).map(|slot| &**slot)
    }

    pub(crate) fn slot_mut(&mut self, key: Key) -> Option<&mut Slot<P>> {
        self.slots.get_mut(&key).map(|slot| &mut **slot)
    }

    pub(crate) fn find(&self, id: &ChildId) -> Option<&Slot<P>> {
        self.by_id.get(id).and_then(|key| self.slot(*key))
    }

    /// The children in start order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot<P>> {
        self.order.values().filter_map(|key| self.slot(*key))
    }

    /// The children that were told to stop and have not ended.
    pub(crate) fn keys_stopping(&self) -> Vec<Key> {
        self.slots
            .iter()
            .filter(|(_, slot)| matches!(slot.phase, Phase::Stopping { .. }))
            .map(|(key, _)| *key)
            .collect()
    }

    pub(crate) fn payloads_mut(&mut self) -> impl Iterator<Item = &mut P> {
        self.slots.values_mut().map(|slot| &mut slot.payload)
    }

    pub(crate) fn count(&self) -> ChildCounts {
        let mut counts = ChildCounts {
            specs: self.slots.len(),
            ..ChildCounts::default()
        };
        for slot in self.slots.values() {
            counts.active += usize::from(slot.is_active());
            match slot.policy.kind {
                ChildKind::Supervisor => counts.supervisors += 1,
                ChildKind::Worker => counts.workers += 1,
            }
        }
        if self.is_dynamic() {
            counts.specs = 1;
        }
        counts
    }

    /// Puts a child into the table, last in the order.
    pub(crate) fn add(&mut self, child: NewChild<P>) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        let id = child.id;
        self.by_id.insert(id.clone(), key);
        self.order.insert(key, key);
        self.slots.insert(
            key,
            Box::new(Slot {
                id,
                policy: child.policy,
                phase: Phase::Down,
                incarnation: child.incarnation,
                restarts: 0,
                started_at: Duration::ZERO,
                payload: child.payload,
                rank: key,
                attempt: 0,
                zombies: 0,
                restarting: false,
                starter: None,
                timer: None,
                waiting: Vec::new(),
            }),
        );
        key
    }

    fn remove(&mut self, key: Key) {
        self.clear_timer(key);
        let Some(slot) = self.slots.remove(&key) else { return };
        self.by_id.remove(&slot.id);
        self.order.remove(&slot.rank);
        self.deferred.extend(slot.waiting);
        self.actions.push_back(Action::Forget {
            key,
            id: slot.id,
            payload: slot.payload,
        });
    }

    fn report(&mut self, key: Key, fact: Fact) {
        if let Some(slot) = self.slots.get(&key) {
            let (child, incarnation) = (Some(slot.id.clone()), slot.incarnation);
            self.actions.push_back(Action::Report {
                child,
                incarnation,
                fact,
            });
        }
    }

    fn reply(&mut self, id: RequestId, answer: Answer) {
        self.actions.push_back(Action::Reply { id, answer });
    }

    fn set_timer(&mut self, key: Key, after: Duration) {
        self.clear_timer(key);
        let timer = (self.now.saturating_add(after), self.next_timer);
        self.next_timer += 1;
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.timer = Some(timer);
            self.timers.insert(timer, key);
        }
    }

    fn clear_timer(&mut self, key: Key) {
        if let Some(timer) = self.slots.get_mut(&key).and_then(|slot| slot.timer.take()) {
            self.timers.remove(&timer);
        }
    }

    /// Puts the child into another phase; whatever its timer meant is over.
    fn enter(&mut self, key: Key, phase: Phase) {
        self.clear_timer(key);
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.phase = phase;
        }
    }

    fn auto_shutdown(&self) -> AutoShutdown {
        if self.is_dynamic() {
            AutoShutdown::Never
        } else {
            self.flags.auto_shutdown
        }
    }
}
