//! What is done to a supervisor, made up by chance.

use std::{sync::Arc, time::Duration};

use proptest::prelude::{Just, any, prop, prop_oneof};
use proptest::strategy::Strategy as _;

use super::super::{Core, NewChild, Request};
use crate::{AutoShutdown, Backoff, ChildId, ChildPolicy, Flags, Intensity, Restart, Shutdown, Strategy};

pub(super) type TestCore = Core<()>;

#[derive(Clone, Debug)]
pub(super) enum Op {
    /// The child at this place ends by itself, if it runs.
    Exit(usize, bool),
    Start(usize, Restart, bool),
    Terminate(usize),
    Restart(usize),
    Delete(usize),
    /// Time passes, and retries get their turn.
    Tick(u64),
}

pub(super) fn restarts() -> impl proptest::strategy::Strategy<Value = Restart> {
    prop_oneof![
        Just(Restart::Permanent),
        Just(Restart::Transient),
        Just(Restart::Temporary)
    ]
}

pub(super) fn ops() -> impl proptest::strategy::Strategy<Value = Vec<(Op, Vec<bool>)>> {
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

pub(super) fn flags() -> impl proptest::strategy::Strategy<Value = Flags> {
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

pub(super) fn name(n: usize) -> ChildId {
    ChildId::from(format!("c{n}"))
}

/// Two of the six stand apart from group restarts.
pub(super) fn is_apart(id: &ChildId) -> bool {
    [name(1), name(4)].contains(id)
}

pub(super) fn child(n: usize, restart: Restart, significant: bool, shutdown: Shutdown) -> NewChild<()> {
    let policy = ChildPolicy {
        restart,
        significant,
        apart: is_apart(&name(n)),
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

pub(super) fn request(op: &Op, shutdown: Shutdown) -> Option<Request<()>> {
    Some(match op {
        Op::Start(n, restart, significant) => Request::Start(child(*n, *restart, *significant, shutdown)),
        Op::Terminate(n) => Request::Terminate(name(*n)),
        Op::Restart(n) => Request::Restart(name(*n)),
        Op::Delete(n) => Request::Delete(name(*n)),
        Op::Exit(..) | Op::Tick(_) => return None,
    })
}
