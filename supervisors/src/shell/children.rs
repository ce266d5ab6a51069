//! The children as actors: starting, stopping, killing, leaving behind, and hearing of their ends.

use std::{sync::Arc, time::Duration};

use ractor::{ActorCell, ActorProcessingErr, ActorStatus, concurrency::JoinHandle};
use tokio::time::Instant;

use super::{Finished, Shell};
use crate::{
    ChildId, ExitReason, Restart, StartError,
    actor::{Child, Running},
    child::{BoxFuture, Launch, Launched, StartContext},
    exit::SHUTDOWN,
    handle::SupervisorRef,
    probe::Probe,
    state::{Event, Key, Phase, StartOutcome},
};

/// How long an ended child may take to let go of what it holds before that is awaited elsewhere.
const RELEASE_PATIENCE: Duration = Duration::from_millis(1);

/// How many new children may come between two calls of [`make_room`].
const ROOM_EVERY: u64 = 8;

/// How long a restart waits for the previous holder of a registry name, in all.
const NAME_PATIENCE: Duration = Duration::from_secs(5);

/// How long the end of a child waits for actors that it had linked below itself and that were killed with it.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(5);

impl Shell {
    /// Begins a start. What can be done at once is done at once; the rest goes on in a task.
    pub(super) async fn start(&mut self, key: Key, incarnation: u64, unnamed: bool) {
        let Some(slot) = self.core.slot(key) else { return };
        if incarnation == 1 && self.core.is_dynamic() {
            let (id, address) = (slot.id.clone(), Arc::clone(&slot.payload.address));
            self.shared
                .table
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert(id, address);
        }
        let Some(launch) = slot.payload.launch.clone() else {
            let error = StartError::failed("the start function of a temporary child is not kept");
            let event = self.launched(key, incarnation, Err(error));
            self.inbox.extend(event);
            return;
        };
        let registry_name = slot
            .policy
            .registry_name
            .as_ref()
            .filter(|_| !unnamed)
            .map(|name| (**name).to_owned());
        let context = StartContext {
            id: slot.id.clone(),
            incarnation,
            registry_name,
            supervisor: SupervisorRef {
                shared: Arc::clone(&self.shared),
            },
            tree: Arc::clone(&self.tree),
            last_exit: slot.payload.last_exit.clone(),
            address: Arc::clone(&slot.payload.address),
        };
        if let Some(nested) = launch.nested() {
            *nested.path.write().unwrap_or_else(std::sync::PoisonError::into_inner) = self.path.join(&slot.id);
        }
        if incarnation == 1 && key.is_multiple_of(ROOM_EVERY) {
            make_room();
        }
        let me = self.me.get_cell();
        let mut starting = if incarnation > 1 {
            Box::pin(launch_again(launch, context, me))
        } else {
            launch.launch(context, me)
        };
        match futures_util::poll!(starting.as_mut()) {
            std::task::Poll::Ready(result) => {
                let event = self.launched(key, incarnation, result);
                self.inbox.extend(event);
            }
            std::task::Poll::Pending => {
                let task = tokio::spawn(starting);
                if let Some(child) = self.child(key) {
                    child.start_task = Some(task.abort_handle());
                }
                self.starts_under_way += 1;
                self.later(async move {
                    let result = task.await.unwrap_or(Err(StartError::Cancelled));
                    Finished::Launched {
                        key,
                        incarnation,
                        result,
                    }
                });
            }
        }
    }

    /// A start came to an end: what the core is to hear of it.
    pub(super) fn launched(
        &mut self,
        key: Key,
        incarnation: u64,
        result: Result<Launched, StartError>,
    ) -> Option<Event<Child>> {
        let slot = self.core.slot_mut(key);
        let wanted = slot.filter(|slot| slot.incarnation == incarnation && matches!(slot.phase, Phase::Starting(_)));
        let Some(slot) = wanted else {
            // Given up meanwhile: whatever came of it must not live on.
            if let Ok(Launched::Running { cell, probe, .. }) = result {
                probe.withdraw();
                cell.kill();
            }
            if self.stuck_starts.remove(&(key, incarnation)) {
                self.tree.zombies.remove();
                self.core.zombie_ended(key);
            }
            return None;
        };
        slot.payload.start_task = None;
        let outcome = match result {
            Ok(Launched::Ignored) => StartOutcome::Ignored,
            Err(error) => {
                // A start that was cut off may have come as far as being published.
                slot.payload.withdraw(incarnation);
                StartOutcome::Failed(error)
            }
            Ok(Launched::Running {
                cell,
                join,
                probe,
                info,
            }) => {
                slot.payload.info = info;
                if slot.policy.restart == Restart::Temporary {
                    slot.payload.launch = None;
                }
                self.by_actor.insert(cell.get_id(), key);
                let watched = join.is_none();
                slot.payload.running = Some(Running {
                    cell,
                    join,
                    probe,
                    watched,
                });
                slot.payload.publish(incarnation);
                if watched {
                    self.watch_custom(key, incarnation);
                }
                StartOutcome::Running
            }
        };
        Some(Event::Started {
            key,
            incarnation,
            outcome,
        })
    }

    /// Nothing says that a custom actor is still linked to us when it ends.
    fn watch_custom(&mut self, key: Key, incarnation: u64) {
        let Some(running) = self.child(key).and_then(|child| child.running.as_ref()) else {
            return;
        };
        let (cell, probe) = (running.cell.clone(), Arc::clone(&running.probe));
        self.later(async move {
            released(&cell, None, &probe).await;
            Finished::Event(Event::Exited {
                key,
                incarnation,
                reason: ExitReason::Unknown,
            })
        });
    }

    pub(super) fn stop(&mut self, key: Key) {
        let running = self.core.slot(key).and_then(|slot| slot.payload.running.as_ref());
        let Some(running) = running else { return };
        if self.ends.is_some() && !self.core.is_dynamic() {
            // Nobody would read the event, and a hundred thousand of them would lie in the mailbox with their states.
            running.cell.unlink(self.me.get_cell());
        }
        running.cell.stop(Some(SHUTDOWN.to_owned()));
        self.watch_end(key);
    }

    pub(super) fn kill(&mut self, key: Key) {
        let Some(running) = self.child(key).and_then(|child| child.running.as_ref()) else {
            return;
        };
        // Those below are killed with it, but nobody waits for them unless we do.
        running.probe.add_orphans(subtree(&running.cell));
        running.cell.kill();
        self.watch_end(key);
    }

    /// Makes sure that the end of a child told to stop is seen: ractor tells it only while we run and it is linked.
    fn watch_end(&mut self, key: Key) {
        if self.ends.is_some() {
            if let Some(end) = self.end_of(key)
                && let Some(ends) = &self.ends
            {
                ends.push(end);
            }
            return;
        }
        let me = self.me.get_id();
        let linked = self.child(key).and_then(|child| child.cell()).is_some_and(|cell| {
            cell.try_get_supervisor()
                .is_some_and(|supervisor| supervisor.get_id() == me)
        });
        if !linked && let Some(end) = self.end_of(key) {
            self.later(async move { Finished::Event(end.await) });
        }
    }

    /// Waits for the end of a running child. Its reason is what the probe saw.
    pub(super) fn end_of(&mut self, key: Key) -> Option<BoxFuture<Event<Child>>> {
        let slot = self.core.slot_mut(key)?;
        let incarnation = slot.incarnation;
        let running = slot.payload.running.as_mut().filter(|running| !running.watched)?;
        running.watched = true;
        let (cell, join, probe) = (running.cell.clone(), running.join.take(), Arc::clone(&running.probe));
        Some(Box::pin(async move {
            released(&cell, join, &probe).await;
            Event::Exited {
                key,
                incarnation,
                reason: probe.exit_reason(),
            }
        }))
    }

    pub(super) fn abandon(&mut self, key: Key, incarnation: u64) {
        self.tree.zombies.add();
        match self.core.slot_mut(key) {
            Some(slot) => {
                let (id, running) = (slot.id.clone(), slot.payload.leave_behind(incarnation));
                self.watch_zombie(key, id, incarnation, running);
            }
            // The core has forgotten the child already: what it carried comes with the next action.
            None => self.abandoned = Some((key, incarnation)),
        }
    }

    pub(super) fn forget(&mut self, key: Key, id: ChildId, mut payload: Child) {
        if self.core.is_dynamic() {
            self.shared
                .table
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .remove(&id);
        }
        if let Some((_, incarnation)) = self.abandoned.take_if(|(abandoned, _)| *abandoned == key) {
            let running = payload.leave_behind(incarnation);
            self.watch_zombie(key, id, incarnation, running);
        }
    }

    /// Waits for the end of a zombie, or of a start that cannot be cancelled.
    fn watch_zombie(&mut self, key: Key, id: ChildId, incarnation: u64, running: Option<Running>) {
        let Some(running) = running else {
            self.stuck_starts.insert((key, incarnation));
            return;
        };
        self.by_actor.remove(&running.cell.get_id());
        // It is no part of the tree any more: nobody above may wait for it.
        running.cell.unlink(self.me.get_cell());
        self.later(async move {
            released(&running.cell, running.join, &running.probe).await;
            Finished::ZombieEnded { key, id, incarnation }
        });
    }

    /// ractor says that a child failed.
    pub(crate) async fn child_failed(&mut self, cell: &ActorCell, error: ActorProcessingErr) {
        let panicked = self
            .by_actor
            .get(&cell.get_id())
            .and_then(|key| self.core.slot(*key))
            .and_then(|slot| slot.payload.running.as_ref())
            .is_some_and(|running| running.probe.panicked());
        let text = error.to_string();
        drop(error);
        let reason = if panicked {
            ExitReason::Panicked(text)
        } else {
            ExitReason::Error(text)
        };
        self.child_ended(cell, reason).await;
    }

    /// ractor says that a child ended. It still has to let go of what it holds before that counts.
    pub(crate) async fn child_ended(&mut self, cell: &ActorCell, reason: ExitReason) {
        // Anybody can send such an event; a real one comes from an actor that is on its way out.
        if cell.get_status() < ActorStatus::Stopping {
            return;
        }
        let Some(key) = self.by_actor.get(&cell.get_id()).copied() else {
            if self.starts_under_way > 0 {
                self.early.insert(cell.get_id(), reason);
            }
            return;
        };
        let Some(slot) = self.core.slot_mut(key) else { return };
        let incarnation = slot.incarnation;
        slot.payload.withdraw(incarnation);
        let Some(running) = slot.payload.running.as_mut() else {
            return;
        };
        running.watched = true;
        let (join, probe) = (running.join.take(), Arc::clone(&running.probe));
        let mut release: BoxFuture<()> = {
            let cell = cell.clone();
            Box::pin(async move { released(&cell, join, &probe).await })
        };
        let event = Event::Exited {
            key,
            incarnation,
            reason,
        };
        if tokio::time::timeout(RELEASE_PATIENCE, &mut release).await.is_ok() {
            self.take_event(event).await;
            return;
        }
        let patience = self.core.flags().zombie_after;
        self.later(async move {
            let _ = tokio::time::timeout(patience, release).await;
            Finished::Event(event)
        });
    }
}

/// Lets the allocator grow once for several children. glibc extends the heap of any thread but the main one by what the
/// next allocation lacks, a page or two, with a system call each time that stops the page faults of all threads; what is
/// allocated and freed at its end stays. Elsewhere it is an allocation like any other.
fn make_room() {
    // Just below the size from which glibc looks for something to give back.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(60 * 1024)));
}

/// Waits until an actor, its state and the actors it left behind are gone.
async fn released(cell: &ActorCell, join: Option<JoinHandle<()>>, probe: &Probe) {
    match join {
        // The task's end, unlike the actor's status, says that its state is dropped.
        Some(join) => drop(join.await),
        None => drop(cell.wait(None).await),
    }
    let orphans = probe.take_orphans();
    if orphans.is_empty() {
        return;
    }
    let ended = async {
        for orphan in &orphans {
            let _ = orphan.wait(None).await;
        }
    };
    if tokio::time::timeout(ORPHAN_PATIENCE, ended).await.is_err() {
        tracing::warn!(target: "supervisors", ?cell, "actors below a child do not end and are left behind");
    }
}

/// Everything linked below an actor.
pub(super) fn subtree(cell: &ActorCell) -> Vec<ActorCell> {
    let mut found = cell.get_children();
    let mut next = 0;
    while let Some(cell) = found.get(next) {
        let below = cell.get_children();
        found.extend(below);
        next += 1;
    }
    found
}

/// Starts a later incarnation: a name still held by what the previous one left behind is waited for, and that costs
/// nothing, because it is not the child's failure.
async fn launch_again(
    launch: Arc<dyn Launch>,
    context: StartContext,
    supervisor: ActorCell,
) -> Result<Launched, StartError> {
    let deadline = Instant::now() + NAME_PATIENCE;
    loop {
        let result = Arc::clone(&launch).launch(context.clone(), supervisor.clone()).await;
        let Err(StartError::NameTaken { name, holder }) = result else {
            return result;
        };
        match holder {
            Some(holder) if Instant::now() < deadline => {
                if tokio::time::timeout_at(deadline, holder.wait(None)).await.is_err() {
                    return Err(StartError::NameTaken {
                        name,
                        holder: Some(holder),
                    });
                }
            }
            None if Instant::now() < deadline => tokio::task::yield_now().await,
            holder => return Err(StartError::NameTaken { name, holder }),
        }
    }
}
