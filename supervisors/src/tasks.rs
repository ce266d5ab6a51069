//! Supervised futures: for work that is no actor but must not be lost sight of either.
//!
//! A task costs a tokio task and an entry in a table. It is bounded in number, it dies with its supervisor, a panic in it
//! is contained, and whoever started it hears of its end exactly once, however it came about.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::AbortHandle,
};
use tracing::Instrument as _;

use crate::{Admission, ChildId, ChildSpec, Permit, child::panic_text};

/// How long a new incarnation waits for the tasks of a killed one.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(2);

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskExit<T> {
    /// It came to its end.
    Done(T),
    /// It panicked, with this text.
    Panicked(String),
    /// It was cancelled, by its handle or because its supervisor stopped; the future has been dropped.
    Cancelled,
}

/// A task was not started; `on_exit` will not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskRefused {
    /// There are as many tasks as allowed.
    #[error("overloaded: all {capacity} tasks are running")]
    Overloaded {
        /// How many there may be.
        capacity: usize,
    },
    /// The task supervisor is down.
    #[error("task supervisor is down")]
    Down,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    abort: AbortHandle,
}

#[derive(Debug, Default)]
struct Table {
    open: bool,
    next: u64,
    running: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Hall {
    admission: Admission,
    table: Mutex<Table>,
    /// Told whenever a task has ended.
    ended: Notify,
    /// Told whenever tasks are taken again.
    opened: Notify,
    /// Whether tasks are asked to come to their end.
    winding_down: watch::Sender<bool>,
    /// What tasks have for that before they are cancelled.
    grace: Duration,
}

impl Hall {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) {
        self.table().open = true;
        self.winding_down.send_replace(false);
        self.opened.notify_waiters();
    }

    /// Takes no more tasks; tells whether it took some before.
    fn close(&self) -> bool {
        std::mem::replace(&mut self.table().open, false)
    }

    fn cancel_all(&self) {
        let running: Vec<AbortHandle> = self.table().running.values().map(|entry| entry.abort.clone()).collect();
        running.iter().for_each(AbortHandle::abort);
    }

    /// The orderly end: the tasks are asked to come to theirs, and cancelled when their grace is over.
    async fn wind_down(&self) {
        self.close();
        self.winding_down.send_replace(true);
        if !self.grace.is_zero() {
            tokio::time::timeout(self.grace, self.empty()).await.ok();
        }
        self.cancel_all();
        self.empty().await;
    }

    /// The supervisor was killed: what it watched over goes on when the next incarnation is there within the grace.
    fn orphan(self: &Arc<Self>) {
        if !self.close() {
            return;
        }
        match Handle::try_current() {
            Ok(runtime) if !self.grace.is_zero() => {
                let hall = Arc::clone(self);
                runtime.spawn(async move {
                    let adopted = Tasks {
                        hall: Arc::clone(&hall),
                    };
                    if tokio::time::timeout(hall.grace, adopted.open()).await.is_err() {
                        hall.cancel_all();
                    }
                });
            }
            // Without grace, or in a runtime that is going down.
            _ => self.cancel_all(),
        }
    }

    async fn empty(&self) {
        loop {
            let ended = self.ended.notified();
            if self.table().running.is_empty() {
                return;
            }
            ended.await;
        }
    }
}

/// Tells of a task's end exactly once, at the latest when it is dropped with the future.
struct ExitGuard<T, E: FnOnce(TaskExit<T>)> {
    on_exit: Option<E>,
    hall: Arc<Hall>,
    id: u64,
    permit: Option<Permit>,
    value: std::marker::PhantomData<fn(T)>,
}

impl<T, E: FnOnce(TaskExit<T>)> ExitGuard<T, E> {
    fn finish(&mut self, exit: TaskExit<T>) {
        let Some(on_exit) = self.on_exit.take() else { return };
        if std::panic::catch_unwind(AssertUnwindSafe(|| on_exit(exit))).is_err() {
            tracing::error!(target: "supervisors", task = self.id, "the exit function of a task panicked");
        }
        self.hall.table().running.remove(&self.id);
        self.permit = None;
        self.hall.ended.notify_waiters();
    }
}

impl<T, E: FnOnce(TaskExit<T>)> Drop for ExitGuard<T, E> {
    fn drop(&mut self) {
        self.finish(TaskExit::Cancelled);
    }
}

/// The future before the guard: fields are dropped in this order, so the exit is told after the future is gone.
struct Parts<F, G> {
    future: F,
    guard: G,
}

/// A handle for starting tasks: cheap to clone, valid before the task supervisor runs and over its restarts.
#[derive(Clone, Debug)]
pub struct Tasks {
    hall: Arc<Hall>,
}

impl Tasks {
    /// Starts a future as a task. `on_exit` is called exactly once, from the task itself, after the future is dropped.
    ///
    /// **Errors** the future is dropped and `on_exit` never called.
    pub fn spawn<T, F, E>(&self, name: impl AsRef<str>, future: F, on_exit: E) -> Result<TaskRef, TaskRefused>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
        E: FnOnce(TaskExit<T>) + Send + 'static,
    {
        let mut table = self.hall.table();
        if !table.open {
            return Err(TaskRefused::Down);
        }
        let permit = self.hall.admission.try_admit();
        let permit = permit.map_err(|full| TaskRefused::Overloaded {
            capacity: full.capacity,
        })?;
        let id = table.next;
        table.next += 1;
        let guard = ExitGuard {
            on_exit: Some(on_exit),
            hall: Arc::clone(&self.hall),
            id,
            permit: Some(permit),
            value: std::marker::PhantomData,
        };
        let parts = Parts { future, guard };
        let work = async move {
            let Parts { future, mut guard } = parts;
            let exit = match AssertUnwindSafe(future).catch_unwind().await {
                Ok(value) => TaskExit::Done(value),
                Err(panic) => TaskExit::Panicked(panic_text(&*panic)),
            };
            guard.finish(exit);
        };
        // What it logs belongs to what it is done for.
        let abort = tokio::spawn(work.in_current_span()).abort_handle();
        let name: Arc<str> = Arc::from(name.as_ref());
        table.running.insert(
            id,
            Entry {
                name: Arc::clone(&name),
                abort: abort.clone(),
            },
        );
        Ok(TaskRef { name, abort })
    }

    /// Resolves when tasks are taken: at once while the task supervisor runs, else when it is there again. It may be gone
    /// by the time of the next line, so a caller still has to live with [`TaskRefused::Down`].
    ///
    /// **Cancel**: nothing is left.
    pub async fn open(&self) {
        loop {
            let opened = self.hall.opened.notified();
            if self.hall.table().open {
                return;
            }
            opened.await;
        }
    }

    /// Asks the tasks that run to come to their end: [`winding_down`](Self::winding_down) says so. New ones are taken on.
    pub fn wind_down(&self) {
        self.hall.winding_down.send_replace(true);
    }

    /// Tells tasks that they should come to their end: somebody [asked for it](Self::wind_down), or their supervisor
    /// stops, and they will be cancelled when their [grace](TaskSupervisor::with_grace) is over. The next incarnation of
    /// the supervisor takes it back.
    pub fn winding_down(&self) -> watch::Receiver<bool> {
        self.hall.winding_down.subscribe()
    }

    /// How many tasks run.
    pub fn running(&self) -> usize {
        self.hall.table().running.len()
    }

    /// Resolves when no task runs; at once when there is none.
    ///
    /// **Cancel**: nothing is left.
    pub async fn idle(&self) {
        self.hall.empty().await;
    }

    /// How many tasks there may be.
    pub fn capacity(&self) -> usize {
        self.hall.admission.capacity()
    }

    /// The names of the tasks that run, in the order of their start.
    pub fn names(&self) -> Vec<Arc<str>> {
        let table = self.hall.table();
        let mut names: Vec<_> = table
            .running
            .iter()
            .map(|(id, entry)| (*id, Arc::clone(&entry.name)))
            .collect();
        names.sort_unstable_by_key(|(id, _)| *id);
        names.into_iter().map(|(_, name)| name).collect()
    }
}

/// A running task. Dropping the handle lets the task go on.
#[derive(Clone)]
pub struct TaskRef {
    name: Arc<str>,
    abort: AbortHandle,
}

impl TaskRef {
    /// Cancels the task at its next await; its exit is then `Cancelled`, unless it was done before.
    pub fn cancel(&self) {
        self.abort.abort();
    }

    /// Tells whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.abort.is_finished()
    }

    /// The name it was started with.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRef")
            .field("name", &self.name)
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// The specification of a task supervisor.
///
/// ```
/// use supervisors::{ChildSpec, Strategy, Supervisor, SupervisorSpec, TaskExit, TaskSupervisor};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # runtime.block_on(async {
/// let tasks = TaskSupervisor::new(64);
/// let handle = tasks.handle();
/// let root = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::tasks("tasks", tasks));
/// let root = Supervisor::start("root", root).await.unwrap();
///
/// let (told, exit) = tokio::sync::oneshot::channel();
/// handle.spawn("sum", async { 1 + 1 }, |exit| drop(told.send(exit))).unwrap();
/// assert_eq!(exit.await.unwrap(), TaskExit::Done(2));
/// root.shutdown().await;
/// # });
/// ```
#[derive(Debug)]
pub struct TaskSupervisor {
    tasks: Tasks,
}

impl TaskSupervisor {
    /// A supervisor for so many tasks at a time, which are cancelled with it.
    pub fn new(capacity: usize) -> Self {
        Self::with_grace(capacity, Duration::ZERO)
    }

    /// The same, but a stop gives its tasks so long to end by themselves, see [`Tasks::winding_down`]; and a kill takes
    /// none of them along: they go on under the next incarnation when it comes within that time, else they are
    /// cancelled. For tasks that share no state with their supervisor but their place in its table.
    pub fn with_grace(capacity: usize, grace: Duration) -> Self {
        let hall = Hall {
            admission: Admission::new(capacity),
            table: Mutex::default(),
            ended: Notify::new(),
            opened: Notify::new(),
            winding_down: watch::Sender::new(false),
            grace,
        };
        Self {
            tasks: Tasks { hall: Arc::new(hall) },
        }
    }

    /// A handle, valid before it runs and over its restarts.
    pub fn handle(&self) -> Tasks {
        self.tasks.clone()
    }
}

impl ChildSpec {
    /// A supervisor of tasks. When it stops, its tasks are cancelled, and it waits for their end as long as its shutdown
    /// time allows. In snapshots its mailbox depth is the number of tasks.
    pub fn tasks(id: impl Into<ChildId>, supervisor: TaskSupervisor) -> Self {
        let hall = supervisor.tasks.hall;
        let gauge = hall.admission.clone();
        Self::actor(id, move |_| (TaskActor, Arc::clone(&hall))).gauge(&gauge)
    }
}

struct TaskActor;

/// The open hall of one incarnation.
struct Open(Arc<Hall>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.orphan();
    }
}

/// A task supervisor takes no messages.
enum Nothing {}

#[cfg(feature = "cluster")]
impl ractor::Message for Nothing {}

impl Actor for TaskActor {
    type Msg = Nothing;
    type State = Open;
    type Arguments = Arc<Hall>;

    async fn pre_start(&self, _: ActorRef<Self::Msg>, hall: Arc<Hall>) -> Result<Open, ActorProcessingErr> {
        if hall.grace.is_zero() && tokio::time::timeout(LEFTOVER_PATIENCE, hall.empty()).await.is_err() {
            tracing::warn!(target: "supervisors", "tasks of a previous incarnation do not end");
        }
        hall.open();
        Ok(Open(hall))
    }

    async fn post_stop(&self, _: ActorRef<Self::Msg>, open: &mut Open) -> Result<(), ActorProcessingErr> {
        open.0.wind_down().await;
        Ok(())
    }
}
