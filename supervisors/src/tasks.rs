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
use tokio::{sync::Notify, task::AbortHandle};

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
}

impl Hall {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more tasks and cancels those that run.
    fn close(&self) {
        let aborts: Vec<AbortHandle> = {
            let mut table = self.table();
            table.open = false;
            table.running.values().map(|entry| entry.abort.clone()).collect()
        };
        for abort in aborts {
            abort.abort();
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
        let abort = tokio::spawn(async move {
            let Parts { future, mut guard } = parts;
            let exit = match AssertUnwindSafe(future).catch_unwind().await {
                Ok(value) => TaskExit::Done(value),
                Err(panic) => TaskExit::Panicked(panic_text(&*panic)),
            };
            guard.finish(exit);
        })
        .abort_handle();
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
    /// A supervisor for so many tasks at a time.
    pub fn new(capacity: usize) -> Self {
        let hall = Hall {
            admission: Admission::new(capacity),
            table: Mutex::default(),
            ended: Notify::new(),
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
        self.0.close();
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
        if tokio::time::timeout(LEFTOVER_PATIENCE, hall.empty()).await.is_err() {
            tracing::warn!(target: "supervisors", "tasks of a previous incarnation do not end");
        }
        hall.table().open = true;
        Ok(Open(hall))
    }

    async fn post_stop(&self, _: ActorRef<Self::Msg>, open: &mut Open) -> Result<(), ActorProcessingErr> {
        open.0.close();
        open.0.empty().await;
        Ok(())
    }
}
