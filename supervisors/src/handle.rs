//! Handles to supervisors: cheap to clone, made before the supervisor runs, valid over its restarts.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::AtomicU64},
    time::Duration,
};

use ractor::{
    ActorCell, RpcReplyPort,
    concurrency::{JoinHandle, oneshot},
};
use tokio::sync::watch;

use crate::{
    ApiError, ChildCounts, ChildId, ChildInfo, ChildKind, ChildSpec, ChildStatus, ExitReason, Flags, Restart, TreePath,
    TreeSnapshot,
    actor::{Child, Message, Outcome},
    address::Address,
    exit::SHUTDOWN,
    snapshot::SnapshotStrategy,
    state::{NewChild, Request},
};

/// How long a snapshot waits for one supervisor.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(1);

/// What outlives the incarnations of a supervisor.
pub(crate) struct Shared {
    pub(crate) address: Arc<Address>,
    pub(crate) path: RwLock<TreePath>,
    /// The last exit, with the incarnation that made it.
    pub(crate) exit: watch::Sender<Option<(u64, ExitReason)>>,
    /// Actors that a killed incarnation left behind; the next one waits for them.
    pub(crate) leftovers: Mutex<Vec<(ActorCell, Option<JoinHandle<()>>)>>,
    /// Addresses of the children of a dynamic supervisor.
    pub(crate) table: RwLock<HashMap<ChildId, Arc<Address>>>,
    /// Numbers for dynamic children without an id of their own.
    pub(crate) anonymous: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            address: Address::new(ChildId::from("supervisor")),
            path: RwLock::new(TreePath::root("?")),
            exit: watch::Sender::new(None),
            leftovers: Mutex::default(),
            table: RwLock::default(),
            anonymous: AtomicU64::new(0),
        })
    }

    pub(crate) fn path(&self) -> TreePath {
        self.path.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a start came to.
pub enum StartedChild {
    /// It runs.
    Running {
        /// The actor.
        cell: ActorCell,
        /// What the start function had to tell, see [`Started::WithInfo`](crate::Started::WithInfo).
        info: Option<Box<dyn Any + Send>>,
    },
    /// It had nothing to do.
    Ignored,
}

impl StartedChild {
    /// The actor, if it runs.
    pub fn cell(&self) -> Option<&ActorCell> {
        match self {
            Self::Running { cell, .. } => Some(cell),
            Self::Ignored => None,
        }
    }
}

impl fmt::Debug for StartedChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running { cell, info } => f
                .debug_struct("Running")
                .field("cell", cell)
                .field("info", &info.is_some())
                .finish(),
            Self::Ignored => f.write_str("Ignored"),
        }
    }
}

/// A handle to a supervisor, static or dynamic.
///
/// Every request is answered by the running incarnation, and with [`ApiError::Down`] if there is none or if it ends
/// before it answers. Requests are served between restart attempts; a request that must wait (for a group restart, or
/// for a child that is just starting or stopping) waits without holding up the supervisor.
///
/// **Cancel** a dropped request may still be carried out.
#[derive(Clone)]
pub struct SupervisorRef {
    pub(crate) shared: Arc<Shared>,
}

impl SupervisorRef {
    /// The path from the root, once it has been started.
    pub fn path(&self) -> TreePath {
        self.shared.path()
    }

    /// The actor, if it runs.
    pub fn cell(&self) -> Option<ActorCell> {
        self.shared.address.cell()
    }

    /// The number of its running or last incarnation.
    pub fn incarnation(&self) -> u64 {
        self.shared.address.incarnation()
    }

    async fn ask<R: Send + 'static>(&self, question: impl FnOnce(RpcReplyPort<R>) -> Message) -> Result<R, ApiError> {
        let cell = self.cell().ok_or(ApiError::Down)?;
        let (sender, receiver) = oneshot();
        cell.send_message(question(sender.into())).map_err(|_| ApiError::Down)?;
        receiver.await.map_err(|_| ApiError::Down)
    }

    pub(crate) async fn request(&self, request: Request<Child>) -> Result<Outcome, ApiError> {
        self.ask(|reply| Message::Request(request, reply)).await?
    }

    pub(crate) async fn request_start(&self, child: NewChild<Child>) -> Result<StartedChild, ApiError> {
        Ok(self.request(Request::Start(child)).await?.into_started())
    }

    /// Adds a child and starts it. On an error the child is not added.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<StartedChild, ApiError> {
        self.request_start(Child::of(spec)).await
    }

    /// Stops a child, or cancels its pending restart. Its specification is kept unless it is temporary.
    pub async fn terminate_child(&self, id: impl Into<ChildId>) -> Result<(), ApiError> {
        self.request(Request::Terminate(id.into())).await.map(drop)
    }

    /// Starts a child again that is down.
    pub async fn restart_child(&self, id: impl Into<ChildId>) -> Result<StartedChild, ApiError> {
        Ok(self.request(Request::Restart(id.into())).await?.into_started())
    }

    /// Forgets a child that is down.
    pub async fn delete_child(&self, id: impl Into<ChildId>) -> Result<(), ApiError> {
        self.request(Request::Delete(id.into())).await.map(drop)
    }

    /// Replaces the flags and, if given, the specifications, or changes nothing and says why.
    ///
    /// Changed specifications apply to the next start; new ones are added without being started; missing ones are kept
    /// and go to the end of the order. A dynamic supervisor takes flags only.
    pub async fn update(&self, flags: impl Into<Option<Flags>>, specs: Option<Vec<ChildSpec>>) -> Result<(), ApiError> {
        let specs = specs.map(|specs| specs.into_iter().map(Child::of).collect());
        self.request(Request::Update {
            flags: flags.into(),
            specs,
        })
        .await
        .map(drop)
    }

    /// Lists the children in start order.
    pub async fn which_children(&self) -> Result<Vec<ChildInfo>, ApiError> {
        self.ask(Message::Which).await
    }

    /// Counts the children.
    pub async fn count_children(&self) -> Result<ChildCounts, ApiError> {
        self.ask(Message::Count).await
    }

    /// Looks up a child's specification, as it will be used for the next start.
    pub async fn get_spec(&self, id: impl Into<ChildId>) -> Result<ChildSpec, ApiError> {
        let id = id.into();
        self.ask(|reply| Message::Spec(id.clone(), reply))
            .await?
            .ok_or(ApiError::NotFound(id))
    }

    /// The flags in force.
    pub async fn flags(&self) -> Result<Flags, ApiError> {
        self.ask(Message::Flags).await
    }

    /// Draws the tree from here downwards. A supervisor that does not answer within a second is drawn without children.
    pub async fn snapshot(&self) -> Result<TreeSnapshot, ApiError> {
        let path = self.path();
        let id = path.as_str().rsplit('/').next().unwrap_or_default().to_owned();
        let mut root = TreeSnapshot {
            path: path.to_string(),
            id,
            kind: ChildKind::Supervisor,
            strategy: None,
            status: ChildStatus::Running,
            restart: Restart::Permanent,
            restarts: 0,
            incarnation: self.incarnation(),
            uptime: None,
            mailbox_depth: None,
            zombies: 0,
            answered: false,
            children: Vec::new(),
        };
        let view = self.ask(Message::Snapshot).await?;
        root.uptime = Some(view.uptime);
        root.zombies = view.zombies;
        fill(&mut root, view).await;
        Ok(root)
    }

    /// The running actor at a path of [`SupervisorRef::snapshot`], for operators and tests that stop or kill one part
    /// from outside.
    pub async fn cell_at(&self, path: &str) -> Result<Option<ActorCell>, ApiError> {
        let Some((supervisor, id)) = self.child_at(path).await? else {
            return Ok(None);
        };
        let children = supervisor.which_children().await?;
        let found = children.into_iter().find(|info| info.id == id);
        Ok(found.and_then(|info| info.cell))
    }

    /// The supervisor of what stands at a path of [`SupervisorRef::snapshot`], running or not, and its id there.
    pub async fn child_at(&self, path: &str) -> Result<Option<(Self, ChildId)>, ApiError> {
        let view = self.ask(Message::Snapshot).await?;
        for (child, nested) in view.children {
            if child.path == path {
                return Ok(Some((self.clone(), child.id.into())));
            }
            // Ids may hold a slash themselves, so the nested paths are compared rather than cut.
            if let Some(shared) = nested
                && path.starts_with(&format!("{}/", child.path))
            {
                return Box::pin(Self { shared }.child_at(path)).await;
            }
        }
        Ok(None)
    }

    /// Stops everything below in reverse order, then the supervisor itself, and waits for that.
    ///
    /// A nested supervisor that is permanent is then restarted by its parent; ask the parent to terminate it instead.
    pub async fn shutdown(&self) -> ExitReason {
        match self.cell() {
            Some(cell) => {
                let ended = self.wait();
                cell.stop(Some(SHUTDOWN.to_owned()));
                ended.await
            }
            None => self.last_exit().unwrap_or(ExitReason::Unknown),
        }
    }

    /// Waits for the end of the running incarnation (or of the first one, if none ran yet) and tells its reason.
    pub fn wait(&self) -> impl Future<Output = ExitReason> + Send + 'static {
        let mut exits = self.shared.exit.subscribe();
        let incarnation = self.incarnation();
        async move {
            let found = exits
                .wait_for(|exit| exit.as_ref().is_some_and(|(number, _)| *number >= incarnation))
                .await;
            match found {
                Ok(exit) => exit.as_ref().map_or(ExitReason::Unknown, |(_, reason)| reason.clone()),
                Err(_) => ExitReason::Unknown,
            }
        }
    }

    /// Why the last incarnation that ended did so.
    pub fn last_exit(&self) -> Option<ExitReason> {
        self.shared.exit.borrow().as_ref().map(|(_, reason)| reason.clone())
    }
}

impl fmt::Debug for SupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorRef")
            .field("path", &self.path())
            .field("incarnation", &self.incarnation())
            .finish()
    }
}

/// One supervisor's own view.
pub(crate) struct View {
    pub(crate) strategy: SnapshotStrategy,
    pub(crate) uptime: Duration,
    pub(crate) zombies: usize,
    pub(crate) children: Vec<(TreeSnapshot, Option<Arc<Shared>>)>,
}

/// Completes a line with what the supervisor says, and asks the supervisors below.
async fn fill(line: &mut TreeSnapshot, view: View) {
    line.strategy = Some(view.strategy);
    line.answered = true;
    let children = view.children.into_iter().map(|(mut child, nested)| async move {
        if let Some(shared) = nested {
            let nested = SupervisorRef { shared };
            let asked = tokio::time::timeout(SNAPSHOT_PATIENCE, nested.ask(Message::Snapshot));
            if let Ok(Ok(view)) = asked.await {
                Box::pin(fill(&mut child, view)).await;
            }
        }
        child
    });
    line.children = futures_util::future::join_all(children).await;
}
