//! The guard of the store: dies when a commit has failed, so that the tree gives up and the process is replaced.
//!
//! Nothing is repaired in place: after a failed commit only a new process, which opens the file anew, knows what is
//! on the disk.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{ChildSpec, Strategy, SupervisorSpec, TaskRef, TaskSupervisor, Tasks};

use crate::runtime::committer::Committer;
use crate::runtime::room::watcher::RoomWatcher;

/// Told when a commit has failed.
#[derive(Debug)]
pub struct CommitFailed(String);

/// The actor.
pub struct StoreGuard {
    committer: Committer,
    watching: Tasks,
}

/// Ends the watch with the actor.
pub struct WatchTask(TaskRef);

impl Drop for WatchTask {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Actor for StoreGuard {
    type Msg = CommitFailed;
    type State = WatchTask;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<CommitFailed>, (): ()) -> Result<WatchTask, ActorProcessingErr> {
        let committer = self.committer.clone();
        let watch = async move {
            let error = committer.failed().await;
            myself.cast(CommitFailed(error.to_string())).ok();
        };
        Ok(WatchTask(self.watching.spawn("watch the committer", watch, |_| {})?))
    }

    async fn handle(
        &self,
        _myself: ActorRef<CommitFailed>,
        CommitFailed(reason): CommitFailed,
        _state: &mut WatchTask,
    ) -> Result<(), ActorProcessingErr> {
        Err(format!("a commit failed: {reason}").into())
    }
}

/// The branch of the storage layer.
pub fn storage_layer(committer: &Committer, room: RoomWatcher) -> SupervisorSpec {
    let tasks = TaskSupervisor::new(1);
    let watching = tasks.handle();
    let committer = committer.clone();
    let guard = ChildSpec::actor("guard", move |_| {
        (
            StoreGuard {
                committer: committer.clone(),
                watching: watching.clone(),
            },
            (),
        )
    });
    // Under a supervisor of its own: a crash of the watch over the disk is not a failed commit.
    let disk = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(5, Duration::from_secs(30))
        .forgive_kills()
        .child(ChildSpec::actor("room", move |_| (room.clone(), ())));
    SupervisorSpec::new(Strategy::RestForOne)
        // A second look at a failed commit cannot help.
        .intensity(0, Duration::from_secs(60)).forgive_kills()
        .child(ChildSpec::tasks("watching", tasks))
        .child(guard)
        .child(ChildSpec::supervisor("disk", disk))
}
