//! The core does what a supervisor written down naively does.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::{
    super::{Action, Core, Event, Key, Mode, Phase, Slot, StartOutcome},
    generate::{Op, TestCore, child, flags, is_apart, name, ops, request, restarts},
};
use crate::{AutoShutdown, ChildId, ExitReason, Flags, Restart, Shutdown, StartError, Strategy};

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

    /// Stops in reverse down to this place; those for a group restart pass by who stands apart, and temporary ones are
    /// then gone.
    fn stop_from(&mut self, from: usize, forget: bool) {
        for at in (from..self.children.len()).rev() {
            if forget && is_apart(&self.children[at].0) {
                continue;
            }
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
        let strategy = if is_apart(id) {
            Strategy::OneForOne
        } else {
            self.flags.strategy
        };
        let from = match strategy {
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
            if is_apart(&self.children[at].0) {
                continue;
            }
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
                // Who stands apart waits for nobody.
                let (apart, others): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut self.retries).into_iter().partition(is_apart);
                for id in apart.into_iter().chain(others) {
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
        let line = |slot: &Slot<()>| {
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
