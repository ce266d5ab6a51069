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
use ractor::{ActorId, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::{sync::Notify, task::AbortHandle, time::Instant};

use crate::{
    ApiError, ChildId, ExitReason, Fact, Report, StartError, TreePath,
    actor::{Child, Message, Outcome},
    child::{BoxFuture, Launched, StartContext},
    handle::Shared,
    hash::ByInteger,
    report,
    state::{Action, Answer, Core, Event, Key, Request, RequestId},
    supervisor::Blueprint,
    tree::Tree,
};

mod children;
mod view;

use children::subtree;

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
    /// Events that the core is to hear next.
    inbox: VecDeque<Event<Child>>,
    me: ActorRef<Message>,
    shared: Arc<Shared>,
    incarnation: u64,
    path: TreePath,
    tree: Arc<Tree>,
    epoch: Instant,
    by_actor: HashMap<ActorId, Key, ByInteger>,
    /// Ends of actors whose start is not through yet.
    early: HashMap<ActorId, ExitReason>,
    starts_under_way: usize,
    /// Starts that were given up although they could not be cancelled.
    stuck_starts: HashSet<(Key, u64)>,
    /// A child left behind that the core has forgotten, until what it carried arrives.
    abandoned: Option<(Key, u64)>,
    pending: HashMap<RequestId, RpcReplyPort<Result<Outcome, ApiError>>, ByInteger>,
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
            inbox: VecDeque::new(),
            me,
            shared,
            incarnation: context.incarnation,
            path,
            tree,
            epoch: Instant::now(),
            by_actor: HashMap::default(),
            early: HashMap::new(),
            starts_under_way: 0,
            stuck_starts: HashSet::new(),
            abandoned: None,
            pending: HashMap::default(),
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
        if self.core.is_dynamic() {
            // Before any of them stops: ractor has one lock for all trees, and those that end need it too.
            for slot in self.core.slots() {
                if let Some(cell) = slot.payload.cell() {
                    cell.unlink(self.me.get_cell());
                }
            }
        }
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
        let queue = Arc::clone(&self.queue);
        let mut told = std::pin::pin!(queue.notify.notified());
        // Armed once and left alone while it is early enough: to hear that time has passed too soon does no harm.
        let mut sleep = std::pin::pin!(tokio::time::sleep_until(self.epoch));
        let mut armed: Option<Duration> = None;
        loop {
            self.drain_queue().await;
            if until(&self.core) {
                return;
            }
            if let Some(due) = self.core.next_due()
                && armed.is_none_or(|armed| armed > due)
            {
                armed = Some(due);
                sleep.as_mut().reset(self.epoch + due);
            }
            let mut ends = self.ends.take().unwrap_or_default();
            let event = tokio::select! {
                Some(event) = ends.next(), if !ends.is_empty() => Some(event),
                () = told.as_mut() => {
                    told.set(queue.notify.notified());
                    None
                }
                () = sleep.as_mut(), if armed.is_some() => {
                    armed = None;
                    Some(Event::Due)
                }
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
        self.inbox.push_back(event);
        // What a start comes to at once is put into the inbox too, so that many of them do not pile up on the stack.
        while let Some(event) = self.inbox.pop_front() {
            let now = self.now();
            self.core.handle(event, now);
            while let Some(action) = self.core.next_action() {
                self.execute(action).await;
            }
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
                    let event = self.launched(key, incarnation, result);
                    let early = self
                        .child(key)
                        .and_then(|child| child.cell().cloned())
                        .and_then(|cell| {
                            let reason = self.early.remove(&cell.get_id())?;
                            Some((cell, reason))
                        });
                    if let Some(event) = event {
                        self.dispatch(event).await;
                    }
                    if let Some((cell, reason)) = early {
                        self.child_ended(&cell, reason).await;
                    }
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
                // ractor kills what is linked; this one may not be any more.
                running.cell.kill();
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
