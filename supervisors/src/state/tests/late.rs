//! Nothing overlaps, nothing is forgotten and everything ends, however late and badly the world answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as _;

use super::{
    super::{Action, Answer, Core, Event, Key, Mode, StartOutcome},
    generate::{Op, TestCore, child, flags, request, restarts},
};
use crate::{AutoShutdown, ExitReason, Flags, Restart, Shutdown, StartError};

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
