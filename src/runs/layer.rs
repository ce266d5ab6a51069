//! The layer's branch of the supervision tree.
//!
//! ```text
//! runs (rest_for_one)
//! ├── checking: tasks that make checks
//! ├── dispatcher: grants slots
//! ├── active (dynamic, transient): one actor for each active run
//! ├── steward: takes up what has no actor
//! └── collector: lets go what was kept long enough
//! ```

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use supervisors::{Backoff, ChildSpec, DynamicSpec, Restart, Shutdown, Strategy, SupervisorSpec, TaskSupervisor};
use tokio::sync::watch;

use crate::domain::limits::ACTIVE_RUNS_MAX;

use super::actor::{RunActor, RunStart};
use super::asking::Asking;
use super::check_call::UnderWay;
use super::dispatcher::actor::Dispatcher;
use super::handle::RunsHandle;
use super::message::{RunArgument, RunMessage};
use super::parts::{RunsInside, RunsParts};
use super::retention::collector::{Collector, Retention};
use super::steward::Steward;

/// Checks that may be made at once.
const CHECKS_MAX: usize = 1024;
/// Tasks of the layer itself: the dispatcher's watch over the room on the disk, of two lives while one ends.
const WATCHES_MAX: usize = 2;

/// Makes the branch and the handle to it.
pub fn layer(parts: RunsParts, steps_concurrent_max: u32, retention: Retention) -> (SupervisorSpec, RunsHandle) {
    let slots = Arc::new(ArcSwap::from_pointee(parts.slots(steps_concurrent_max)));
    let limits = slots.clone();
    let checks = TaskSupervisor::new(CHECKS_MAX + WATCHES_MAX);
    let checking = checks.handle();

    // The run actors need a handle to the dispatcher and it one to them: both handles exist before either starts.
    let slot = std::sync::Arc::new(std::sync::OnceLock::<RunsInside>::new());
    let for_runs = slot.clone();
    let active: DynamicSpec<RunArgument, RunMessage> = DynamicSpec::actor(move |context, argument| {
        let inside = for_runs.get().expect("the handles are set before the layer starts").clone();
        (RunActor { inside }, RunStart { argument, restarted: context.incarnation() > 1 })
    })
    .restart(Restart::Transient)
    .shutdown(Shutdown::Timeout(Duration::from_secs(5)))
    .backoff(Backoff::jitter(Duration::from_millis(50), Duration::from_secs(5)))
    .max_children(ACTIVE_RUNS_MAX)
    // All runs share this window; a run that keeps crashing is parked by its own count before it is used up.
    .intensity(200, Duration::from_secs(30)).forgive_kills();
    let actors = active.handle();

    let for_dispatcher = actors.clone();
    let (room, watching) = (parts.room.clone(), checking.clone());
    let dispatcher = ChildSpec::actor("dispatcher", move |_| {
        (
            Dispatcher {
                limits: limits.clone(),
                runs: for_dispatcher.clone(),
                room: room.clone(),
                watching: watching.clone(),
            },
            (),
        )
    });
    let inside = RunsInside {
        parts,
        actors,
        dispatcher: dispatcher.address(),
        slots,
        checking,
        commands: UnderWay::default(),
        asking: Asking::default(),
        reopening: std::sync::Arc::default(),
    };
    slot.set(inside.clone()).ok();

    let (recovered, is_recovered) = watch::channel(false);
    let for_steward = inside.clone();
    let steward = ChildSpec::actor("steward", move |_| {
        (
            Steward {
                inside: for_steward.clone(),
                recovered: recovered.clone(),
            },
            (),
        )
    });
    let spec = SupervisorSpec::new(Strategy::RestForOne)
        .intensity(3, Duration::from_secs(60))
        .forgive_kills()
        .child(ChildSpec::tasks("checking", checks))
        .child(dispatcher)
        .child(ChildSpec::dynamic("active", active))
        .child(steward)
        .child(ChildSpec::actor("collector", move |_| {
            (Collector(retention.clone()), ())
        }));
    (spec, RunsHandle::new(inside, is_recovered))
}
