//! Specifications of children: how one is started, and what its supervisor must know about it.

use std::{any::Any, fmt, future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use ractor::{Actor, ActorCell, Message, SpawnErr, concurrency::JoinHandle};

use crate::{
    Admission, Backoff, ChildId, ChildKind, ChildPolicy, ChildRef, ExitReason, Ignore, Restart, Shutdown, StartError,
    SupervisorRef, SupervisorSpec,
    address::Address,
    handle::Shared,
    probe::{Probe, Probed},
    tree::Tree,
};

/// What a start function is told.
#[derive(Clone)]
pub struct StartContext {
    pub(crate) id: ChildId,
    pub(crate) incarnation: u64,
    pub(crate) registry_name: Option<String>,
    pub(crate) supervisor: SupervisorRef,
    pub(crate) tree: Arc<Tree>,
    pub(crate) last_exit: Option<ExitReason>,
    /// Where the incarnation is published before its first message.
    pub(crate) address: Arc<Address>,
}

impl StartContext {
    /// The id of the child.
    pub fn id(&self) -> &ChildId {
        &self.id
    }

    /// The number of this incarnation: 1 for the first, also counted over restarts of the supervisor.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The supervisor that starts it. Do not wait for its answers while starting: it may be waiting for this start.
    pub fn supervisor(&self) -> &SupervisorRef {
        &self.supervisor
    }

    /// Why the previous incarnation ended, if this supervisor saw it end.
    pub fn last_exit(&self) -> Option<&ExitReason> {
        self.last_exit.as_ref()
    }

    /// The registry name to start under, if any: none while a zombie of this child still holds it.
    pub fn registry_name(&self) -> Option<&str> {
        self.registry_name.as_deref()
    }
}

impl fmt::Debug for StartContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartContext")
            .field("id", &self.id)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

/// What a custom start function came to.
pub enum Started {
    /// This actor runs. It should be linked to nobody, or to the supervisor that starts it.
    Running(ActorCell),
    /// This actor runs, and here is something for whoever asked for the start.
    WithInfo(ActorCell, Box<dyn Any + Send>),
    /// There is nothing to start, and that is no failure.
    Ignore,
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(cell) => f.debug_tuple("Running").field(cell).finish(),
            Self::WithInfo(cell, _) => f.debug_tuple("WithInfo").field(cell).finish(),
            Self::Ignore => f.write_str("Ignore"),
        }
    }
}

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A child that came up, as the shell wants it.
pub(crate) enum Launched {
    Running {
        cell: ActorCell,
        join: Option<JoinHandle<()>>,
        probe: Arc<Probe>,
        info: Option<Box<dyn Any + Send>>,
    },
    Ignored,
}

/// How a child is started: the one thing about it that is not plain data.
pub(crate) trait Launch: Send + Sync {
    fn launch(self: Arc<Self>, context: StartContext, supervisor: ActorCell)
    -> BoxFuture<Result<Launched, StartError>>;

    /// The handle of the supervisor that is started, if it is one of ours.
    fn nested(&self) -> Option<&Arc<Shared>> {
        None
    }
}

/// Reads ractor's spawn error; `probe` tells what the error itself does not.
pub(crate) fn start_error(error: SpawnErr, probe: &Probe) -> Result<Launched, StartError> {
    let error = match error {
        SpawnErr::ActorAlreadyRegistered(name) => return Err(name_taken(name)),
        SpawnErr::ActorAlreadyStarted => return Err(StartError::failed(SpawnErr::ActorAlreadyStarted)),
        SpawnErr::StartupFailed(error) => error,
    };
    if probe.ignored() || error.is::<Ignore>() {
        return Ok(Launched::Ignored);
    }
    if probe.panicked() {
        return Err(StartError::Panicked(error.to_string()));
    }
    let error = match error.downcast::<StartError>() {
        Ok(error) => return Err(*error),
        Err(error) => error,
    };
    // A start that itself spawns named actors and passes their error on: the race is the same as for its own name.
    match error.downcast::<SpawnErr>() {
        Ok(spawn) => match *spawn {
            SpawnErr::ActorAlreadyRegistered(name) => Err(name_taken(name)),
            other => Err(StartError::failed(other)),
        },
        Err(error) => Err(StartError::Failed(Arc::from(error))),
    }
}

fn name_taken(name: String) -> StartError {
    let holder = ractor::registry::where_is(&name);
    StartError::NameTaken { name, holder }
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| String::from("panic without a text"))
}

/// Spawns an actor with a probe around it.
pub(crate) async fn spawn_probed<A: Actor>(
    make: impl FnOnce(StartContext) -> (A, A::Arguments) + Send,
    context: StartContext,
    supervisor: ActorCell,
) -> Result<Launched, StartError> {
    let name = context.registry_name.clone();
    let probe = Arc::new(Probe::of(Arc::clone(&context.address), context.incarnation));
    let (actor, arguments) = std::panic::catch_unwind(AssertUnwindSafe(|| make(context)))
        .map_err(|panic| StartError::Panicked(panic_text(&*panic)))?;
    let probed = Probed {
        actor,
        probe: Arc::clone(&probe),
    };
    match Actor::spawn_linked(name, probed, arguments, supervisor).await {
        Ok((actor, join)) => Ok(Launched::Running {
            cell: actor.get_cell(),
            join: Some(join),
            probe,
            info: None,
        }),
        Err(error) => start_error(error, &probe),
    }
}

struct ActorLaunch<F>(F);

impl<F, A> Launch for ActorLaunch<F>
where
    F: Fn(StartContext) -> (A, A::Arguments) + Send + Sync + 'static,
    A: Actor,
{
    fn launch(
        self: Arc<Self>,
        context: StartContext,
        supervisor: ActorCell,
    ) -> BoxFuture<Result<Launched, StartError>> {
        Box::pin(spawn_probed(move |context| (self.0)(context), context, supervisor))
    }
}

pub(crate) struct CustomLaunch<F>(pub(crate) F);

impl<F, R> Launch for CustomLaunch<F>
where
    F: Fn(StartContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Started, StartError>> + Send + 'static,
{
    fn launch(
        self: Arc<Self>,
        context: StartContext,
        supervisor: ActorCell,
    ) -> BoxFuture<Result<Launched, StartError>> {
        let started = std::panic::catch_unwind(AssertUnwindSafe(|| (self.0)(context)));
        Box::pin(async move {
            let started = started.map_err(|panic| StartError::Panicked(panic_text(&*panic)))?;
            let (cell, info) = match AssertUnwindSafe(started).catch_unwind().await {
                Err(panic) => return Err(StartError::Panicked(panic_text(&*panic))),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(Started::Ignore)) => return Ok(Launched::Ignored),
                Ok(Ok(Started::Running(cell))) => (cell, None),
                Ok(Ok(Started::WithInfo(cell, info))) => (cell, Some(info)),
            };
            cell.link(supervisor);
            Ok(Launched::Running {
                cell,
                join: None,
                probe: Arc::default(),
                info,
            })
        })
    }
}

/// The specification of a child.
///
/// Clones describe the same child: they share its address.
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) id: ChildId,
    pub(crate) policy: Arc<ChildPolicy>,
    pub(crate) launch: Arc<dyn Launch>,
    pub(crate) address: Arc<Address>,
    pub(crate) gauge: Option<Admission>,
}

impl ChildSpec {
    pub(crate) fn new(id: ChildId, policy: Arc<ChildPolicy>, launch: Arc<dyn Launch>) -> Self {
        let address = Address::new(id.clone());
        Self {
            id,
            policy,
            launch,
            address,
            gauge: None,
        }
    }

    /// A worker: any ractor actor. `make` is called for every incarnation and gives the actor and its arguments.
    ///
    /// An actor whose `pre_start` returns [`Ignore`] as its error is not started and not counted as failed.
    pub fn actor<A, F>(id: impl Into<ChildId>, make: F) -> Self
    where
        A: Actor,
        F: Fn(StartContext) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        Self::new(id.into(), ChildPolicy::shared_worker(), Arc::new(ActorLaunch(make)))
    }

    /// A supervisor of its own, with everything below it.
    pub fn supervisor(id: impl Into<ChildId>, spec: SupervisorSpec) -> Self {
        let address = Arc::clone(&spec.shared.address);
        let id = id.into();
        let policy = Arc::new(ChildPolicy::supervisor());
        Self {
            id,
            policy,
            launch: Arc::new(crate::supervisor::NestedLaunch(
                crate::supervisor::Blueprint::of(spec).0,
            )),
            address,
            gauge: None,
        }
    }

    /// Anything that ends up as an actor.
    ///
    /// The actor returned is linked to the supervisor. If the start is cancelled (by its deadline, or by a shutdown) the
    /// future is dropped: it must not leave an actor behind that nobody knows.
    pub fn custom<F, R>(id: impl Into<ChildId>, start: F) -> Self
    where
        F: Fn(StartContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Started, StartError>> + Send + 'static,
    {
        Self::new(id.into(), ChildPolicy::shared_worker(), Arc::new(CustomLaunch(start)))
    }

    /// When it is started again; permanent if not said.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        Arc::make_mut(&mut self.policy).restart = restart;
        self
    }

    /// How it is stopped; 5 s for workers and no limit for supervisors if not said.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        Arc::make_mut(&mut self.policy).shutdown = shutdown;
        self
    }

    /// Whether its end may end the supervisor; not if not said.
    #[must_use]
    pub fn significant(mut self, significant: bool) -> Self {
        Arc::make_mut(&mut self.policy).significant = significant;
        self
    }

    /// Keeps it out of group restarts: when a sibling takes others along it runs on, and its own restart takes nobody
    /// along. Its place still says when it is started and when it is stopped.
    ///
    /// For a child that knows its siblings by nothing but addresses, and whose own state is dear, such as the open
    /// connections of clients. OTP would have it beside a group of its own; this keeps it in the one order.
    #[must_use]
    pub fn apart(mut self) -> Self {
        Arc::make_mut(&mut self.policy).apart = true;
        self
    }

    /// How long its restarts wait; full jitter from 50 ms to 30 s, the first one immediate, if not said.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        Arc::make_mut(&mut self.policy).backoff = backoff;
        self
    }

    /// The time its start may take; 60 s for workers and no limit for supervisors if not said.
    #[must_use]
    pub fn start_deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        Arc::make_mut(&mut self.policy).start_deadline = deadline.into();
        self
    }

    /// Whether it counts as a worker or a supervisor.
    #[must_use]
    pub fn kind(mut self, kind: ChildKind) -> Self {
        Arc::make_mut(&mut self.policy).kind = kind;
        self
    }

    /// The name it has in ractor's registry. A restart waits for the previous holder of the name to be gone.
    #[must_use]
    pub fn named(mut self, registry_name: impl AsRef<str>) -> Self {
        Arc::make_mut(&mut self.policy).registry_name = Some(Arc::from(registry_name.as_ref()));
        self
    }

    /// Shows the depth of this admission as the child's mailbox depth in snapshots.
    #[must_use]
    pub fn gauge(mut self, admission: &Admission) -> Self {
        self.gauge = Some(admission.clone());
        self
    }

    /// The id.
    pub fn id(&self) -> &ChildId {
        &self.id
    }

    /// The policy.
    pub fn policy(&self) -> &ChildPolicy {
        &self.policy
    }

    /// An address of the child that is valid before it runs and over all its restarts.
    ///
    /// **Limits** `M` must be the message type of the actor; sending another type fails as if the child were down.
    pub fn address<M: Message>(&self) -> ChildRef<M> {
        ChildRef::new(Arc::clone(&self.address))
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
