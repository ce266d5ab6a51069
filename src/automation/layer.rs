//! The layer's branch of the supervision tree.
//!
//! ```text
//! automation (rest_for_one)
//! ├── watching: tasks that wait for the ends of runs
//! ├── schedules (dynamic, permanent): one actor for each schedule
//! ├── keeper: starts what has no actor
//! └── backups: makes backups by itself; missing when nobody wants that
//! ```

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use supervisors::{Backoff, ChildSpec, DynamicSpec, Restart, Shutdown, Strategy, SupervisorSpec, TaskSupervisor};

use crate::domain::name::ScheduleName;
use crate::domain::schedule::definition::{SCHEDULES_MAX, Schedule};

use super::actor::ScheduleActor;
use super::backups::{Backups, BackupsActor};
use super::book::Book;
use super::decision::PARALLEL_MAX;
use super::handle::AutomationHandle;
use super::keeper::Keeper;
use super::message::ScheduleMessage;
use super::parts::{AutomationInside, AutomationParts};

/// Makes the branch and the handle to it.
pub fn layer(
    parts: AutomationParts,
    schedules: Vec<Schedule>,
    backups: Option<Backups>,
) -> (SupervisorSpec, AutomationHandle) {
    let watchers = TaskSupervisor::new(SCHEDULES_MAX * PARALLEL_MAX);
    let watching = watchers.handle();
    // The actors need a handle to their own supervisor: it exists before it starts.
    let slot = Arc::new(OnceLock::<AutomationInside>::new());
    let for_actors = slot.clone();
    let actors: DynamicSpec<ScheduleName, ScheduleMessage> = DynamicSpec::actor(move |_, name: ScheduleName| {
        let inside = for_actors
            .get()
            .expect("the handles are set before the layer starts")
            .clone();
        (ScheduleActor { inside, name }, ())
    })
    .restart(Restart::Permanent)
    .shutdown(Shutdown::Timeout(Duration::from_secs(5)))
    .backoff(Backoff::jitter(Duration::from_millis(50), Duration::from_secs(30)))
    .max_children(SCHEDULES_MAX)
    .intensity(100, Duration::from_secs(30))
    .forgive_kills();
    let inside = AutomationInside {
        parts,
        book: Book::new(schedules),
        actors: actors.handle(),
        watching,
        held: Arc::default(),
    };
    slot.set(inside.clone()).ok();
    let for_keeper = inside.clone();
    let keeper = ChildSpec::actor("keeper", move |_| {
        let inside = for_keeper.clone();
        (Keeper { inside }, ())
    });
    let spec = SupervisorSpec::new(Strategy::RestForOne)
        .intensity(3, Duration::from_secs(60))
        .forgive_kills()
        .child(ChildSpec::tasks("watching", watchers))
        .child(ChildSpec::dynamic("schedules", actors))
        .child(keeper);
    let spec = match backups {
        None => spec,
        Some(backups) => spec.child(ChildSpec::actor("backups", move |_| {
            (BackupsActor(backups.clone()), ())
        })),
    };
    (spec, AutomationHandle::new(inside))
}
