//! The core against a naive model, and against a world that answers late and in any order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::{Just, ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as _;

use super::{Action, Answer, Core, Event, Key, Mode, NewChild, Phase, Request, StartOutcome};
use crate::{
    AutoShutdown, Backoff, ChildId, ChildPolicy, ExitReason, Flags, Intensity, Restart, Shutdown, StartError, Strategy,
};

type TestCore = Core<()>;

#[derive(Clone, Debug)]
enum Op {
    /// The child at this place ends by itself, if it runs.
    Exit(usize, bool),
    Start(usize, Restart, bool),
    Terminate(usize),
    Restart(usize),
    Delete(usize),
    /// Time passes, and retries get their turn.
    Tick(u64),
}

fn restarts() -> impl proptest::strategy::Strategy<Value = Restart> {
    prop_oneof![
        Just(Restart::Permanent),
        Just(Restart::Transient),
        Just(Restart::Temporary)
    ]
}

fn ops() -> impl proptest::strategy::Strategy<Value = Vec<(Op, Vec<bool>)>> {
    let op = prop_oneof![
        6 => (0..6usize, any::<bool>()).prop_map(|(n, orderly)| Op::Exit(n, orderly)),
        2 => (0..6usize, restarts(), any::<bool>()).prop_map(|(n, restart, significant)| Op::Start(n, restart, significant)),
        1 => (0..6usize).prop_map(Op::Terminate),
        1 => (0..6usize).prop_map(Op::Restart),
        1 => (0..6usize).prop_map(Op::Delete),
        2 => (0..4u64).prop_map(Op::Tick),
    ];
    // With every operation, whether the next starts succeed.
    proptest::collection::vec((op, proptest::collection::vec(prop::bool::weighted(0.7), 0..3)), 1..40)
}

fn flags() -> impl proptest::strategy::Strategy<Value = Flags> {
    let strategy = prop_oneof![
        Just(Strategy::OneForOne),
        Just(Strategy::OneForAll),
        Just(Strategy::RestForOne)
    ];
    let auto = prop_oneof![
        Just(AutoShutdown::Never),
        Just(AutoShutdown::AnySignificant),
        Just(AutoShutdown::AllSignificant)
    ];
    (strategy, auto, 0..5u32).prop_map(|(strategy, auto_shutdown, restarts)| Flags {
        strategy,
        auto_shutdown,
        intensity: Intensity {
            restarts,
            period: Duration::from_secs(3),
        },
        ..Flags::default()
    })
}

fn name(n: usize) -> ChildId {
    ChildId::from(format!("c{n}"))
}

fn child(n: usize, restart: Restart, significant: bool, shutdown: Shutdown) -> NewChild<()> {
    let policy = ChildPolicy {
        restart,
        significant,
        shutdown,
        backoff: Backoff::none(),
        ..ChildPolicy::worker()
    };
    NewChild {
        id: name(n),
        policy: Arc::new(policy),
        incarnation: 0,
        payload: (),
    }
}

/// A supervisor as one would write it on a napkin: one recursive step after the other, everything at once.
struct Model {
    flags: Flags,
    children: Vec<(ChildId, Restart, bool, State)>,
    charged: Vec<Duration>,
    retries: Vec<ChildId>,
    outcomes: VecDeque<bool>,
    log: Vec<String>,
    over: bool,
    now: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    Down,
    Retry,
}

impl Model {
    fn place(&self, id: &ChildId) -> Option<usize> {
        self.children.iter().position(|child| child.0 == *id)
    }

    fn start_one(&mut self, at: usize) -> bool {
        let succeeds = self.outcomes.pop_front().unwrap_or(true);
        self.log
            .push(format!("{}{}", if succeeds { '+' } else { '!' }, self.children[at].0));
        self.children[at].3 = if succeeds { State::Up } else { State::Down };
        succeeds
    }

    fn charge(&mut self) -> bool {
        let (now, intensity) = (self.now, self.flags.intensity);
        self.charged.push(now);
        self.charged
            .retain(|time| now.saturating_sub(*time) <= intensity.period);
        if self.charged.len() > intensity.restarts as usize {
            self.give_up();
            return false;
        }
        true
    }

    fn give_up(&mut self) {
        self.over = true;
        self.stop_from(0, false);
    }

    /// Stops in reverse down to this place; temporary ones are then gone.
    fn stop_from(&mut self, from: usize, forget: bool) {
        for at in (from..self.children.len()).rev() {
            if self.children[at].3 == State::Up {
                self.log.push(format!("-{}", self.children[at].0));
            }
            self.children[at].3 = State::Down;
            if forget && self.children[at].1 == Restart::Temporary {
                self.children.remove(at);
            }
        }
    }

    fn restart(&mut self, id: &ChildId) {
        let at = self.place(id).expect("the child to restart");
        let from = match self.flags.strategy {
            Strategy::OneForOne => {
                if !self.start_one(at) {
                    self.retry(at);
                }
                return;
            }
            Strategy::OneForAll => 0,
            Strategy::RestForOne => at,
        };
        self.stop_from(from, true);
        for at in from..self.children.len() {
            if !self.start_one(at) {
                self.retry(at);
                return;
            }
        }
    }

    fn retry(&mut self, at: usize) {
        self.children[at].3 = State::Retry;
        let id = self.children[at].0.clone();
        // A child waits for one retry at a time.
        self.retries.retain(|waiting| *waiting != id);
        self.retries.push(id);
    }

    fn exit(&mut self, id: &ChildId, orderly: bool) {
        let Some(at) = self.place(id).filter(|at| self.children[*at].3 == State::Up) else {
            return;
        };
        self.children[at].3 = State::Down;
        let (_, restart, significant, _) = self.children[at].clone();
        let restarted = restart == Restart::Permanent || (restart == Restart::Transient && !orderly);
        if restarted {
            if self.charge() {
                self.restart(id);
            }
            return;
        }
        if restart == Restart::Temporary {
            self.children.remove(at);
        }
        let left = self
            .children
            .iter()
            .any(|child| child.2 && child.0 != *id && child.3 != State::Down);
        let ends = match self.flags.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => significant,
            AutoShutdown::AllSignificant => significant && !left,
        };
        if ends {
            self.give_up();
        }
    }

    fn apply(&mut self, op: &Op) {
        if self.over {
            return;
        }
        match op {
            Op::Exit(n, orderly) => self.exit(&name(*n), *orderly),
            Op::Start(n, restart, significant) => {
                let bad =
                    *significant && (*restart == Restart::Permanent || self.flags.auto_shutdown == AutoShutdown::Never);
                if self.place(&name(*n)).is_none() && !bad {
                    self.children.push((name(*n), *restart, *significant, State::Down));
                    let at = self.children.len() - 1;
                    if !self.start_one(at) {
                        self.children.remove(at);
                    }
                }
            }
            Op::Terminate(n) => {
                if let Some(at) = self.place(&name(*n)) {
                    if self.children[at].3 == State::Up {
                        self.log.push(format!("-{}", name(*n)));
                    }
                    self.children[at].3 = State::Down;
                    if self.children[at].1 == Restart::Temporary {
                        self.children.remove(at);
                    }
                }
            }
            Op::Restart(n) => {
                if let Some(at) = self.place(&name(*n)).filter(|at| self.children[*at].3 == State::Down) {
                    self.start_one(at);
                }
            }
            Op::Delete(n) => {
                if let Some(at) = self.place(&name(*n)).filter(|at| self.children[*at].3 == State::Down) {
                    self.children.remove(at);
                }
            }
            Op::Tick(seconds) => {
                self.now += Duration::from_secs(*seconds);
                for id in std::mem::take(&mut self.retries) {
                    let waits = self.place(&id).is_some_and(|at| self.children[at].3 == State::Retry)
                        && !self.retries.contains(&id);
                    if waits && !self.over && self.charge() {
                        self.restart(&id);
                    }
                }
            }
        }
    }

    fn table(&self) -> String {
        let line = |child: &(ChildId, Restart, bool, State)| format!("{}:{:?}", child.0, child.3);
        self.children.iter().map(line).collect::<Vec<_>>().join(" ")
    }
}

/// A world that does at once what the core asks for.
struct Prompt {
    core: TestCore,
    live: BTreeMap<Key, u64>,
    outcomes: VecDeque<bool>,
    log: Vec<String>,
    finished: bool,
    answers: BTreeMap<u64, usize>,
    now: Duration,
}

impl Prompt {
    fn feed(&mut self, event: Event<()>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.core.handle(event, self.now);
            while let Some(action) = self.core.next_action() {
                events.extend(self.act(action));
            }
        }
    }

    fn act(&mut self, action: Action<()>) -> Option<Event<()>> {
        let id = |core: &TestCore, key| core.slot(key).map(|slot| slot.id.to_string()).unwrap_or_default();
        match action {
            Action::Start { key, incarnation, .. } => {
                assert!(!self.live.contains_key(&key), "started while it runs");
                let succeeds = self.outcomes.pop_front().unwrap_or(true);
                self.log
                    .push(format!("{}{}", if succeeds { '+' } else { '!' }, id(&self.core, key)));
                let outcome = if succeeds {
                    self.live.insert(key, incarnation);
                    StartOutcome::Running
                } else {
                    StartOutcome::Failed(StartError::failed("scripted"))
                };
                Some(Event::Started {
                    key,
                    incarnation,
                    outcome,
                })
            }
            Action::Stop { key } | Action::Kill { key } => {
                self.log.push(format!("-{}", id(&self.core, key)));
                let incarnation = self.live.remove(&key).expect("only what runs is stopped");
                Some(Event::Exited {
                    key,
                    incarnation,
                    reason: ExitReason::Shutdown,
                })
            }
            Action::Finish(_) => {
                assert!(!std::mem::replace(&mut self.finished, true), "finished twice");
                Some(Event::Shutdown)
            }
            Action::Reply { id, .. } => {
                *self.answers.entry(id).or_default() += 1;
                None
            }
            Action::CancelStart { .. } | Action::Abandon { .. } => panic!("nothing is late in this world"),
            _ => None,
        }
    }

    fn table(&self) -> String {
        let line = |slot: &super::Slot<()>| {
            let state = match slot.phase {
                Phase::Running => State::Up,
                Phase::Waiting { .. } => State::Retry,
                _ => State::Down,
            };
            format!("{}:{state:?}", slot.id)
        };
        self.core.slots().map(line).collect::<Vec<_>>().join(" ")
    }
}

fn request(op: &Op, shutdown: Shutdown) -> Option<Request<()>> {
    Some(match op {
        Op::Start(n, restart, significant) => Request::Start(child(*n, *restart, *significant, shutdown)),
        Op::Terminate(n) => Request::Terminate(name(*n)),
        Op::Restart(n) => Request::Restart(name(*n)),
        Op::Delete(n) => Request::Delete(name(*n)),
        Op::Exit(..) | Op::Tick(_) => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_core_does_what_the_model_does(
        flags in flags(),
        kinds in proptest::collection::vec((restarts(), any::<bool>()), 0..4),
        ops in ops(),
    ) {
        let mut model = Model {
            flags,
            children: Vec::new(),
            charged: Vec::new(),
            retries: Vec::new(),
            outcomes: VecDeque::new(),
            log: Vec::new(),
            over: false,
            now: Duration::ZERO,
        };
        let mut world = Prompt {
            core: Core::new(flags, Mode::Static, 0),
            live: BTreeMap::new(),
            outcomes: VecDeque::new(),
            log: Vec::new(),
            finished: false,
            answers: BTreeMap::new(),
            now: Duration::ZERO,
        };
        for (n, (restart, significant)) in kinds.into_iter().enumerate() {
            let significant = significant && restart != Restart::Permanent && flags.auto_shutdown != AutoShutdown::Never;
            world.core.add(child(n, restart, significant, Shutdown::Infinity));
            model.children.push((name(n), restart, significant, State::Down));
            model.start_one(n);
        }
        world.feed(Event::Init);
        let mut asked = 0;
        for (op, outcomes) in ops {
            if model.over {
                break;
            }
            model.outcomes = outcomes.iter().copied().collect();
            world.outcomes = model.outcomes.clone();
            model.apply(&op);
            match &op {
                Op::Exit(n, orderly) => {
                    let slot = world.core.find(&name(*n)).filter(|slot| slot.phase == Phase::Running);
                    if let Some(incarnation) = slot.map(|slot| slot.incarnation) {
                        let key = world.core.by_id[&name(*n)];
                        world.live.remove(&key);
                        let reason = if *orderly { ExitReason::Normal } else { ExitReason::Killed };
                        world.feed(Event::Exited { key, incarnation, reason });
                    }
                }
                Op::Tick(seconds) => {
                    world.now += Duration::from_secs(*seconds);
                    world.feed(Event::Due);
                }
                _ => {
                    if let Some(request) = request(&op, Shutdown::Infinity) {
                        world.feed(Event::Request { id: asked, request });
                        asked += 1;
                    }
                }
            }
            prop_assert_eq!(world.finished, model.over, "{:?}", op);
            prop_assert_eq!(&world.log, &model.log, "{:?}", op);
            if !model.over {
                prop_assert_eq!(world.table(), model.table(), "{:?}", op);
            }
        }
        prop_assert!((0..asked).all(|id| world.answers.get(&id) == Some(&1)), "every request has one answer");
    }
}

/// What the late world does next.
#[derive(Clone, Debug)]
enum Late {
    Op(Op),
    /// Answers one of the things asked for, in this way.
    Answer(usize, u8),
    Pass(u64),
}

fn lates() -> impl proptest::strategy::Strategy<Value = Vec<Late>> {
    let op =
        (any::<u8>(), 0..6usize, restarts(), any::<bool>()).prop_map(|(kind, n, restart, orderly)| match kind % 8 {
            0..=3 => Op::Exit(n, orderly),
            4 | 5 => Op::Start(n, restart, false),
            6 => Op::Terminate(n),
            _ => Op::Restart(n),
        });
    let late = prop_oneof![
        4 => op.prop_map(Late::Op),
        6 => (0..8usize, any::<u8>()).prop_map(|(which, how)| Late::Answer(which, how)),
        1 => (1..8u64).prop_map(Late::Pass),
    ];
    proptest::collection::vec(late, 1..80)
}

/// A world that answers late, in any order, sometimes badly, and sometimes only after it was given up.
struct Slow {
    core: TestCore,
    starting: BTreeMap<(Key, u64), bool>,
    live: BTreeSet<(Key, u64)>,
    stopping: BTreeSet<(Key, u64)>,
    zombies: BTreeSet<(Key, u64)>,
    answers: BTreeMap<u64, usize>,
    finished: bool,
    now: Duration,
}

impl Slow {
    fn feed(&mut self, event: Event<()>) {
        self.core.handle(event, self.now);
        while let Some(action) = self.core.next_action() {
            self.act(action);
        }
    }

    fn current(&self, key: Key) -> Option<(Key, u64)> {
        self.live.iter().find(|(live, _)| *live == key).copied()
    }

    fn act(&mut self, action: Action<()>) {
        match action {
            Action::Start {
                key,
                incarnation,
                unnamed,
            } => {
                assert!(self.current(key).is_none(), "the last incarnation still runs");
                assert!(
                    !self.starting.keys().any(|(other, _)| *other == key),
                    "one start at a time"
                );
                assert!(
                    unnamed || !self.zombies.iter().any(|(other, _)| *other == key),
                    "a zombie holds the name"
                );
                self.starting.insert((key, incarnation), false);
            }
            Action::CancelStart { key } => {
                let found = self.starting.iter_mut().find(|((other, _), _)| *other == key);
                *found.expect("only a start under way is cancelled").1 = true;
            }
            Action::Stop { key } | Action::Kill { key } => {
                let running = self.current(key).expect("only what runs is stopped");
                self.stopping.insert(running);
            }
            Action::Abandon { key, incarnation } => {
                let child = (key, incarnation);
                assert!(self.live.remove(&child) || self.starting.remove(&child).is_some());
                self.stopping.remove(&child);
                self.zombies.insert(child);
            }
            Action::Reply { id, answer } => {
                assert!(!matches!(answer, Answer::AlreadyStarted(key) if self.core.slot(key).is_none()));
                *self.answers.entry(id).or_default() += 1;
            }
            Action::Finish(_) => self.finished = true,
            _ => {}
        }
    }

    /// Answers one of the things under way.
    fn answer(&mut self, which: usize, how: u8) {
        let waiting: Vec<_> = self
            .starting
            .keys()
            .map(|child| (*child, true))
            .chain(self.stopping.iter().map(|child| (*child, false)))
            .collect();
        if waiting.is_empty() {
            return;
        }
        let (child, is_start) = waiting[which % waiting.len()];
        let (key, incarnation) = child;
        if !is_start {
            self.live.remove(&child);
            self.stopping.remove(&child);
            let reason = if how.is_multiple_of(2) {
                ExitReason::Shutdown
            } else {
                ExitReason::Killed
            };
            self.feed(Event::Exited {
                key,
                incarnation,
                reason,
            });
            return;
        }
        self.starting.remove(&child);
        let outcome = match how % 4 {
            0 => StartOutcome::Failed(StartError::Cancelled),
            1 => StartOutcome::Ignored,
            _ => {
                self.live.insert(child);
                StartOutcome::Running
            }
        };
        self.feed(Event::Started {
            key,
            incarnation,
            outcome,
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_late_world_finds_no_overlap_and_every_request_one_answer(
        flags in flags(),
        dynamic in any::<bool>(),
        ops in lates(),
    ) {
        let flags = Flags { auto_shutdown: AutoShutdown::Never, ..flags };
        let shutdown = Shutdown::Timeout(Duration::from_secs(2));
        let policy = child(0, Restart::Transient, false, shutdown).policy;
        let mode = if dynamic { Mode::Dynamic { max_children: 4, template: policy } } else { Mode::Static };
        let mut world = Slow {
            core: Core::new(flags, mode, 0),
            starting: BTreeMap::new(),
            live: BTreeSet::new(),
            stopping: BTreeSet::new(),
            zombies: BTreeSet::new(),
            answers: BTreeMap::new(),
            finished: false,
            now: Duration::ZERO,
        };
        if !dynamic {
            for n in 0..3 {
                world.core.add(child(n, Restart::Permanent, false, shutdown));
            }
        }
        world.feed(Event::Init);
        let mut asked = 0;
        for late in ops {
            match late {
                Late::Answer(which, how) => world.answer(which, how),
                Late::Pass(seconds) => {
                    world.now += Duration::from_secs(seconds);
                    world.feed(Event::Due);
                }
                Late::Op(Op::Exit(n, orderly)) => {
                    let free: Vec<_> = world.live.difference(&world.stopping).copied().collect();
                    if let Some(&(key, incarnation)) = free.get(n) {
                        world.live.remove(&(key, incarnation));
                        let reason = if orderly { ExitReason::Normal } else { ExitReason::Killed };
                        world.feed(Event::Exited { key, incarnation, reason });
                    }
                }
                Late::Op(op) => {
                    if let Some(request) = request(&op, shutdown) {
                        world.feed(Event::Request { id: asked, request });
                        asked += 1;
                    }
                }
            }
        }
        // A tree whose start failed is over already; every other one is stopped, however slowly the world answers.
        if !world.core.is_over() {
            world.feed(Event::Shutdown);
            for _ in 0..100 {
                world.now += Duration::from_secs(100);
                world.feed(Event::Due);
                world.answer(0, 0);
            }
        }
        prop_assert!(world.core.is_over(), "everything comes to an end: {:?}", world.core);
        prop_assert!(world.live.is_empty(), "and nothing is left running: {:?}", world.live);
        for id in 0..asked {
            prop_assert_eq!(world.answers.get(&id), Some(&1), "request {}", id);
        }
    }
}
