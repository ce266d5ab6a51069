//! Carries out what the core decides, and tells it what came of it.
//!
//! There are two ways events come in. While the supervisor runs, ractor calls it. While it comes up and while it goes
//! down, ractor does not deliver anything, so the shell drives the core itself ([`Shell::drive`]). Work that takes time is
//! never awaited in a handler: it goes on in a task that puts its result into a queue and rings a bell.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use ractor::{ActorCell, ActorId, ActorProcessingErr, ActorRef, ActorStatus, RpcReplyPort, concurrency::JoinHandle};
use tokio::{sync::Notify, task::AbortHandle, time::Instant};

use crate::{
    ApiError, ChildId, ExitReason, Fact, Report, StartError, TreePath,
    actor::{Child, Message, Outcome, Running},
    child::{BoxFuture, Launch, Launched, StartContext},
    exit::SHUTDOWN,
    handle::{Shared, SupervisorRef},
    probe::Probe,
    report,
    state::{Action, Answer, Core, Event, Key, Phase, Request, RequestId, StartOutcome},
    supervisor::Blueprint,
    tree::Tree,
};

mod view;

/// How long an ended child may take to let go of what it holds before that is awaited elsewhere.
const RELEASE_PATIENCE: Duration = Duration::from_millis(1);

/// How long a restart waits for the previous holder of a registry name, in all.
const NAME_PATIENCE: Duration = Duration::from_secs(5);

/// How long the end of a child waits for actors that it had linked below itself and that were killed with it.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(5);

/// Work that came to an end.
enum Finished {
    Event(Event<Child>),
    Launched {
        key: Key,
        incarnation: u64,
        result: Result<Launched, StartError>,
    },
    ZombieEnded {
        key: Key,
        id: ChildId,
        incarnation: u64,
    },
}

/// Results of work done in tasks. Holds at most one entry for each task under way.
struct Queue {
    finished: Mutex<VecDeque<Finished>>,
    notify: Notify,
    bell: ActorRef<Message>,
}

impl Queue {
    fn push(&self, finished: Finished) {
        let mut queue = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push_back(finished);
        let first = queue.len() == 1;
        drop(queue);
        if first {
            // Rings in vain while the supervisor comes up or goes down; then the notification counts.
            let _ = self.bell.send_message(Message::Bell);
            self.notify.notify_one();
        }
    }

    fn pop(&self) -> Option<Finished> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// A supervisor's running parts.
pub(crate) struct Shell {
    core: Core<Child>,
    me: ActorRef<Message>,
    shared: Arc<Shared>,
    incarnation: u64,
    path: TreePath,
    tree: Arc<Tree>,
    epoch: Instant,
    by_actor: HashMap<ActorId, Key>,
    /// Ends of actors whose start is not through yet.
    early: HashMap<ActorId, ExitReason>,
    starts_under_way: usize,
    /// Starts that were given up although they could not be cancelled.
    stuck_starts: HashSet<(Key, u64)>,
    /// A child left behind that the core has forgotten, until what it carried arrives.
    abandoned: Option<(Key, u64)>,
    pending: HashMap<RequestId, RpcReplyPort<Result<Outcome, ApiError>>>,
    next_request: RequestId,
    queue: Arc<Queue>,
    timer: Option<(Duration, AbortHandle)>,
    /// While going down: the ends of children, which ractor no longer delivers.
    ends: Option<FuturesUnordered<BoxFuture<Event<Child>>>>,
    start_error: Option<StartError>,
    exit: ExitReason,
}

impl Shell {
    pub(crate) fn new(me: ActorRef<Message>, blueprint: &Blueprint, context: StartContext) -> Self {
        let shared = Arc::clone(&blueprint.shared);
        let tree = match &blueprint.sink {
            None => context.tree,
            Some(sink) => Arc::new(Tree {
                sink: Some(Arc::clone(sink)),
                zombies: Arc::clone(&context.tree.zombies),
            }),
        };
        let path = shared.path();
        shared.address.publish(me.get_cell(), context.incarnation);
        let queue = Arc::new(Queue {
            finished: Mutex::default(),
            notify: Notify::new(),
            bell: me.clone(),
        });
        Self {
            core: blueprint.core(),
            me,
            shared,
            incarnation: context.incarnation,
            path,
            tree,
            epoch: Instant::now(),
            by_actor: HashMap::new(),
            early: HashMap::new(),
            starts_under_way: 0,
            stuck_starts: HashSet::new(),
            abandoned: None,
            pending: HashMap::new(),
            next_request: 0,
            queue,
            timer: None,
            ends: None,
            start_error: None,
            exit: ExitReason::Killed,
        }
    }

    /// Starts the children; on an error everything is stopped again.
    pub(crate) async fn bring_up(&mut self) -> Result<(), ActorProcessingErr> {
        self.await_leftovers().await;
        // While coming up, a child's end is seen by waiting for it, as when going down.
        self.ends = Some(FuturesUnordered::new());
        self.dispatch(Event::Init).await;
        self.drive(Core::is_settled).await;
        if let Some(error) = self.start_error.take() {
            self.exit = ExitReason::Error(error.to_string());
            return Err(Box::new(error));
        }
        self.ends = None;
        let _ = self.me.send_message(Message::Bell);
        Ok(())
    }

    /// Stops the children in reverse order.
    pub(crate) async fn take_down(&mut self) {
        let ends = FuturesUnordered::new();
        let stopping: Vec<Key> = self.core.keys_stopping();
        for key in stopping {
            if let Some(end) = self.end_of(key) {
                ends.push(end);
            }
        }
        self.ends = Some(ends);
        self.dispatch(Event::Shutdown).await;
        self.drive(Core::is_over).await;
        if self.exit == ExitReason::Killed {
            self.exit = ExitReason::Shutdown;
        }
    }

    /// A killed predecessor could not wait for its children; nothing may start before they have ended.
    async fn await_leftovers(&mut self) {
        let leftovers = std::mem::take(&mut *self.shared.leftovers.lock().unwrap_or_else(PoisonError::into_inner));
        let patience = self.core.flags().zombie_after;
        let deadline = Instant::now() + patience;
        for (cell, join) in leftovers {
            cell.kill();
            let ended = async {
                match join {
                    Some(join) => drop(join.await),
                    None => drop(cell.wait(None).await),
                }
            };
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                self.report(None, 0, Fact::Zombie);
            }
        }
    }

    /// Drives the core while ractor delivers nothing.
    async fn drive(&mut self, until: fn(&Core<Child>) -> bool) {
        loop {
            self.drain_queue().await;
            if until(&self.core) {
                return;
            }
            let due = self.core.next_due().map(|due| self.epoch + due);
            let queue = Arc::clone(&self.queue);
            let mut ends = self.ends.take().unwrap_or_default();
            let event = tokio::select! {
                Some(event) = ends.next(), if !ends.is_empty() => Some(event),
                () = queue.notify.notified() => None,
                () = sleep_until(due), if due.is_some() => Some(Event::Due),
            };
            self.ends = Some(ends);
            if let Some(event) = event {
                self.take_event(event).await;
            }
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Gives an event to the core and carries out everything that follows from it.
    pub(crate) async fn dispatch(&mut self, event: Event<Child>) {
        let now = self.now();
        self.core.handle(event, now);
        while let Some(action) = self.core.next_action() {
            self.execute(action).await;
        }
    }

    async fn execute(&mut self, action: Action<Child>) {
        match action {
            Action::Start {
                key,
                incarnation,
                unnamed,
            } => self.start(key, incarnation, unnamed).await,
            Action::CancelStart { key } => {
                if let Some(task) = self.child(key).and_then(|child| child.start_task.take()) {
                    task.abort();
                }
            }
            Action::Stop { key } => self.stop(key),
            Action::Kill { key } => self.kill(key),
            Action::Abandon { key, incarnation } => self.abandon(key, incarnation),
            Action::Reply { id, answer } => self.reply(id, answer),
            Action::Report {
                child,
                incarnation,
                fact,
            } => self.report(child, incarnation, fact),
            Action::Forget { key, id, payload } => self.forget(key, id, payload),
            Action::Respec { key, payload } => {
                if let Some(slot) = self.core.slot_mut(key) {
                    let incarnation = slot.incarnation;
                    slot.payload.respec(payload, incarnation);
                }
            }
            Action::Ready => {}
            Action::StartFailed(error) => self.start_error = Some(error),
            Action::Finish(reason) => {
                self.me.stop(reason.to_stop_reason());
                self.exit = reason;
            }
        }
    }

    fn child(&mut self, key: Key) -> Option<&mut Child> {
        self.core.slot_mut(key).map(|slot| &mut slot.payload)
    }

    /// Begins a start. What can be done at once is done at once; the rest goes on in a task.
    async fn start(&mut self, key: Key, incarnation: u64, unnamed: bool) {
        let Some(slot) = self.core.slot(key) else { return };
        if incarnation == 1 && self.core.is_dynamic() {
            let (id, address) = (slot.id.clone(), Arc::clone(&slot.payload.address));
            self.shared
                .table
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id, address);
        }
        let Some(launch) = slot.payload.launch.clone() else {
            let error = StartError::failed("the start function of a temporary child is not kept");
            self.launched(key, incarnation, Err(error)).await;
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
        };
        if let Some(nested) = launch.nested() {
            *nested.path.write().unwrap_or_else(PoisonError::into_inner) = self.path.join(&slot.id);
        }
        let me = self.me.get_cell();
        let mut starting = if incarnation > 1 {
            Box::pin(launch_again(launch, context, me))
        } else {
            launch.launch(context, me)
        };
        match futures_util::poll!(starting.as_mut()) {
            std::task::Poll::Ready(result) => Box::pin(self.launched(key, incarnation, result)).await,
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

    /// A start came to an end.
    async fn launched(&mut self, key: Key, incarnation: u64, result: Result<Launched, StartError>) {
        let wanted = self
            .core
            .slot(key)
            .is_some_and(|slot| slot.incarnation == incarnation && matches!(slot.phase, Phase::Starting(_)));
        if !wanted {
            // Given up meanwhile: whatever came of it must not live on.
            if let Ok(Launched::Running { cell, .. }) = result {
                cell.kill();
            }
            if self.stuck_starts.remove(&(key, incarnation)) {
                self.tree.zombies.remove();
                self.core.zombie_ended(key);
            }
            return;
        }
        let outcome = match result {
            Ok(Launched::Ignored) => StartOutcome::Ignored,
            Err(error) => StartOutcome::Failed(error),
            Ok(Launched::Running {
                cell,
                join,
                probe,
                info,
            }) => {
                self.by_actor.insert(cell.get_id(), key);
                if join.is_none() {
                    // Nothing says that a custom actor is still linked to us when it ends.
                    let (cell, probe) = (cell.clone(), Arc::clone(&probe));
                    self.later(async move {
                        released(&cell, None, &probe).await;
                        Finished::Event(Event::Exited {
                            key,
                            incarnation,
                            reason: ExitReason::Unknown,
                        })
                    });
                }
                let temporary = self
                    .core
                    .slot(key)
                    .is_some_and(|slot| slot.policy.restart == crate::Restart::Temporary);
                if let Some(child) = self.child(key) {
                    child.start_task = None;
                    child.info = info;
                    if temporary {
                        child.launch = None;
                    }
                    let watched = join.is_none();
                    child.running = Some(Running {
                        cell,
                        join,
                        probe,
                        watched,
                    });
                    child.publish(incarnation);
                }
                StartOutcome::Running
            }
        };
        let early = self
            .child(key)
            .and_then(|child| child.cell().cloned())
            .and_then(|cell| self.early.remove(&cell.get_id()).map(|reason| (cell, reason)));
        Box::pin(self.dispatch(Event::Started {
            key,
            incarnation,
            outcome,
        }))
        .await;
        if let Some((cell, reason)) = early {
            Box::pin(self.child_ended(&cell, reason)).await;
        }
    }

    fn stop(&mut self, key: Key) {
        let Some(running) = self.child(key).and_then(|child| child.running.as_ref()) else {
            return;
        };
        running.cell.stop(Some(SHUTDOWN.to_owned()));
        self.watch_end(key);
    }

    fn kill(&mut self, key: Key) {
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
    fn end_of(&mut self, key: Key) -> Option<BoxFuture<Event<Child>>> {
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

    fn abandon(&mut self, key: Key, incarnation: u64) {
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

    fn forget(&mut self, key: Key, id: ChildId, mut payload: Child) {
        if self.core.is_dynamic() {
            self.shared
                .table
                .write()
                .unwrap_or_else(PoisonError::into_inner)
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

    fn reply(&mut self, id: RequestId, answer: Answer) {
        let Some(reply) = self.pending.remove(&id) else { return };
        let outcome = match answer {
            Answer::Started(key) => match self.child(key) {
                Some(child) => match child.cell().cloned() {
                    Some(cell) => Ok(Outcome::Running {
                        cell,
                        info: child.info.take(),
                    }),
                    None => Ok(Outcome::Ignored),
                },
                None => Ok(Outcome::Ignored),
            },
            Answer::Ignored => Ok(Outcome::Ignored),
            Answer::Done => Ok(Outcome::Done),
            Answer::AlreadyStarted(key) => Err(match self.core.slot(key) {
                Some(slot) => match slot.payload.cell().cloned() {
                    Some(cell) => ApiError::AlreadyStarted {
                        id: slot.id.clone(),
                        cell,
                    },
                    None => ApiError::AlreadyPresent(slot.id.clone()),
                },
                None => ApiError::Down,
            }),
            Answer::Refused(error) => Err(error),
        };
        let _ = reply.send(outcome);
    }

    fn report(&self, child: Option<ChildId>, incarnation: u64, fact: Fact) {
        let report = Report {
            supervisor: self.path.clone(),
            child,
            incarnation,
            fact,
        };
        report::emit(&report, self.tree.sink.as_ref());
    }

    /// Lets something go on in a task; its result comes back through the queue.
    fn later(&self, work: impl Future<Output = Finished> + Send + 'static) {
        let queue = Arc::clone(&self.queue);
        tokio::spawn(async move { queue.push(work.await) });
    }

    /// Takes what tasks have finished.
    pub(crate) async fn drain_queue(&mut self) {
        while let Some(finished) = self.queue.pop() {
            match finished {
                Finished::Event(event) => self.take_event(event).await,
                Finished::Launched {
                    key,
                    incarnation,
                    result,
                } => {
                    self.starts_under_way -= 1;
                    self.launched(key, incarnation, result).await;
                    if self.starts_under_way == 0 {
                        self.early.clear();
                    }
                }
                Finished::ZombieEnded { key, id, incarnation } => {
                    self.tree.zombies.remove();
                    self.core.zombie_ended(key);
                    self.report(Some(id), incarnation, Fact::ZombieEnded);
                }
            }
        }
    }

    async fn take_event(&mut self, event: Event<Child>) {
        if let Event::Exited {
            key,
            incarnation,
            reason,
        } = &event
        {
            let Some(slot) = self.core.slot_mut(*key).filter(|slot| slot.incarnation == *incarnation) else {
                return;
            };
            slot.payload.withdraw(*incarnation);
            slot.payload.last_exit = Some(reason.clone());
            if let Some(running) = slot.payload.running.take() {
                self.by_actor.remove(&running.cell.get_id());
            }
        }
        self.dispatch(event).await;
    }

    /// A timer is due.
    pub(crate) async fn wake(&mut self) {
        self.timer = None;
        self.dispatch(Event::Due).await;
    }

    /// Sees to it that the core hears when its next timer is due.
    pub(crate) fn arm(&mut self) {
        let Some(due) = self.core.next_due() else { return };
        if self.timer.as_ref().is_some_and(|(armed, _)| *armed <= due) {
            return;
        }
        if let Some((_, task)) = self.timer.take() {
            task.abort();
        }
        let (me, at) = (self.me.clone(), self.epoch + due);
        let task = tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            let _ = me.send_message(Message::Wake);
        });
        self.timer = Some((due, task.abort_handle()));
    }

    pub(crate) async fn request(&mut self, request: Request<Child>, reply: RpcReplyPort<Result<Outcome, ApiError>>) {
        let id = self.next_request;
        self.next_request += 1;
        self.pending.insert(id, reply);
        self.dispatch(Event::Request { id, request }).await;
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

impl Drop for Shell {
    /// Also when it was killed: those who wait must hear of it, and a successor must know what is left.
    fn drop(&mut self) {
        self.shared.address.withdraw(self.incarnation);
        if let Some((_, task)) = self.timer.take() {
            task.abort();
        }
        let mut leftovers = Vec::new();
        for child in self.core.payloads_mut() {
            if let Some(task) = child.start_task.take() {
                task.abort();
            }
            if let Some(running) = child.running.take() {
                leftovers.extend(subtree(&running.cell).into_iter().map(|cell| (cell, None)));
                leftovers.push((running.cell, running.join));
            }
        }
        for slot in self.core.slots() {
            slot.payload.withdraw(slot.incarnation);
        }
        self.shared
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.shared
            .leftovers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(leftovers);
        let exit = std::mem::replace(&mut self.exit, ExitReason::Unknown);
        self.shared.exit.send_replace(Some((self.incarnation, exit)));
    }
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
fn subtree(cell: &ActorCell) -> Vec<ActorCell> {
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
        let result = launch.launch(context.clone(), supervisor.clone()).await;
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

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}
