//! The actor that minds the launcher, and the branch that it lives in.
//!
//! ```text
//! launcher (temporary: a minder that fails without a pause gives up; then each program starts a launcher by itself)
//! ├── waiting: the one task, which waits for the launcher's end
//! └── minder (permanent, with a backoff): starts it before the first program, and again after its end
//! ```
//!
//! A launcher that has gone touches no program that runs: their shims are processes of their own. Its end is mostly no
//! fault of anything here: somebody killed it, or there is no descriptor for another one just now. So the branch bears
//! more restarts than the backoff lets happen, and never stays down for that.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Backoff, ChildSpec, Restart, Strategy, SupervisorSpec, TaskExit, TaskRef, TaskSupervisor, Tasks};

use super::runner::ProcessRunner;

/// More than the waits between them leave room for.
const RESTARTS: u32 = 60;
const PERIOD: Duration = Duration::from_secs(60);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What the minder is told.
#[derive(Debug)]
pub(super) enum MinderMessage {
    /// The launcher is gone, or there could be none.
    LauncherEnded(String),
}

struct Minder {
    runner: Arc<ProcessRunner>,
    waiting: Tasks,
}

/// Stops waiting when the actor goes.
struct Waiting(TaskRef);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The branch that minds the launcher of this runner.
pub fn child(runner: &Arc<ProcessRunner>) -> ChildSpec {
    // The next minder may come before the task of the last one has gone.
    let tasks = TaskSupervisor::new(2);
    let waiting = tasks.handle();
    let runner = Arc::clone(runner);
    let minder = ChildSpec::actor("minder", move |_| {
        let minder = Minder {
            runner: runner.clone(),
            waiting: waiting.clone(),
        };
        (minder, ())
    })
    .restart(Restart::Permanent)
    .backoff(Backoff::jitter(BACKOFF_MIN, BACKOFF_MAX));
    let branch = SupervisorSpec::new(Strategy::RestForOne)
        .intensity(RESTARTS, PERIOD)
        .forgive_kills()
        .child(ChildSpec::tasks("waiting", tasks))
        .child(minder);
    ChildSpec::supervisor("launcher", branch).restart(Restart::Temporary)
}

impl Actor for Minder {
    type Msg = MinderMessage;
    type State = Waiting;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<MinderMessage>, (): ()) -> Result<Waiting, ActorProcessingErr> {
        let runner = Arc::clone(&self.runner);
        let waiting = async move {
            match runner.launcher_ended().await {
                Ok(()) => "it ended".to_owned(),
                Err(error) => crate::domain::fault::in_one_line(&error),
            }
        };
        let task = self.waiting.spawn("launcher", waiting, move |exit| {
            let reason = match exit {
                TaskExit::Done(reason) | TaskExit::Panicked(reason) => reason,
                TaskExit::Cancelled => return,
            };
            myself.cast(MinderMessage::LauncherEnded(reason)).ok();
        })?;
        Ok(Waiting(task))
    }

    async fn handle(
        &self,
        _myself: ActorRef<MinderMessage>,
        MinderMessage::LauncherEnded(reason): MinderMessage,
        _state: &mut Waiting,
    ) -> Result<(), ActorProcessingErr> {
        Err(format!("the launcher of programs is gone, another one is started: {reason}").into())
    }
}
