//! The dynamic supervisor: any number of children made from one template, each from its own argument
//! (OTP's `simple_one_for_one`).

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use ractor::{Actor, ActorCell};

use crate::{
    Admission, ApiError, AutoShutdown, Backoff, ChildId, ChildInfo, ChildPolicy, ChildRef, ChildSpec, Flags, Intensity,
    Report, ReportSink, Restart, Shutdown, SpecError, StartContext, StartError, StartedChild, Strategy, SupervisorRef,
    actor::Child,
    address::Address,
    child::{BoxFuture, Launch, Launched, spawn_probed},
    decision::check_flags,
    handle::Shared,
    state::{Mode, NewChild, Request},
    supervisor::{Blueprint, BlueprintPlan, NestedLaunch},
};

type Start<Arg> = Arc<dyn Fn(StartContext, Arg, ActorCell) -> BoxFuture<Result<Launched, StartError>> + Send + Sync>;
type Gauge<Arg> = Arc<dyn Fn(&Arg) -> Option<Admission> + Send + Sync>;

/// How the children are made, replaceable while they run.
struct Template<Arg> {
    start: Start<Arg>,
    gauge: Option<Gauge<Arg>>,
    policy: Arc<ChildPolicy>,
    max_children: usize,
}

impl<Arg> Clone for Template<Arg> {
    fn clone(&self) -> Self {
        Self {
            start: Arc::clone(&self.start),
            gauge: self.gauge.clone(),
            policy: Arc::clone(&self.policy),
            max_children: self.max_children,
        }
    }
}

type TemplateCell<Arg> = Arc<RwLock<Template<Arg>>>;

fn read<Arg>(cell: &TemplateCell<Arg>) -> Template<Arg> {
    cell.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// One child: the template as it is at the time of the start, and the argument.
struct Instance<Arg> {
    template: TemplateCell<Arg>,
    arg: Mutex<Arg>,
}

impl<Arg: Clone + Send + 'static> Launch for Instance<Arg> {
    fn launch(
        self: Arc<Self>,
        context: StartContext,
        supervisor: ActorCell,
    ) -> BoxFuture<Result<Launched, StartError>> {
        let start = Arc::clone(&self.template.read().unwrap_or_else(PoisonError::into_inner).start);
        let arg = self.arg.lock().unwrap_or_else(PoisonError::into_inner).clone();
        start(context, arg, supervisor)
    }
}

/// The specification of a dynamic supervisor whose children take an `Arg` and understand messages `M`.
///
/// It starts without children, and its children are lost when it is restarted. They are stopped all at once, each within
/// its shutdown time.
///
/// ```
/// use ractor::{Actor, ActorProcessingErr, ActorRef};
/// use supervisors::{ChildSpec, DynamicSpec, Restart};
///
/// struct Session;
/// impl Actor for Session {
///     type Msg = ();
///     type State = String;
///     type Arguments = String;
///     async fn pre_start(&self, _: ActorRef<()>, user: String) -> Result<String, ActorProcessingErr> {
///         Ok(user)
///     }
/// }
///
/// let sessions = DynamicSpec::actor(|_context, user: String| (Session, user)).restart(Restart::Transient).max_children(100);
/// let handle = sessions.handle(); // handle.start_child("ada", "Ada".into()).await gives a ChildRef<()>
/// let child = ChildSpec::dynamic("sessions", sessions);
/// # let _ = (handle, child);
/// ```
pub struct DynamicSpec<Arg, M> {
    shared: Arc<Shared>,
    flags: Flags,
    template: Template<Arg>,
    sink: Option<ReportSink>,
    seed: Option<u64>,
    cell: TemplateCell<Arg>,
    message: PhantomData<fn(M)>,
}

impl<Arg: Clone + Send + 'static, M: ractor::Message> DynamicSpec<Arg, M> {
    /// Children that are ractor actors. `make` is called for every incarnation of every child, with the argument its
    /// start was asked for with.
    pub fn actor<A, F>(make: F) -> Self
    where
        A: Actor<Msg = M>,
        F: Fn(StartContext, Arg) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        Self::new(Arc::new(move |context: StartContext, arg, supervisor| {
            let make = Arc::clone(&make);
            Box::pin(spawn_probed(move |context| make(context, arg), context, supervisor))
        }))
    }

    /// Children that are anything that ends up as an actor, see [`ChildSpec::custom`].
    pub fn custom<F, R>(start: F) -> Self
    where
        F: Fn(StartContext, Arg) -> R + Send + Sync + 'static,
        R: Future<Output = Result<crate::Started, StartError>> + Send + 'static,
    {
        let start = Arc::new(start);
        Self::new(Arc::new(move |context: StartContext, arg: Arg, supervisor| {
            let (start, arg) = (Arc::clone(&start), Mutex::new(Some(arg)));
            let custom = crate::child::CustomLaunch(move |context| {
                let arg = arg.lock().unwrap_or_else(PoisonError::into_inner).take();
                let started = arg.map(|arg| start(context, arg));
                async move {
                    match started {
                        Some(started) => started.await,
                        None => Err(StartError::Cancelled),
                    }
                }
            });
            Arc::new(custom).launch(context, supervisor)
        }))
    }

    fn new(start: Start<Arg>) -> Self {
        let template = Template {
            start,
            gauge: None,
            policy: ChildPolicy::shared_worker(),
            max_children: usize::MAX,
        };
        Self {
            shared: Shared::new(),
            flags: Flags::default(),
            cell: Arc::new(RwLock::new(template.clone())),
            template,
            sink: None,
            seed: None,
            message: PhantomData,
        }
    }

    fn policy(mut self, change: impl FnOnce(&mut ChildPolicy)) -> Self {
        change(Arc::make_mut(&mut self.template.policy));
        self
    }

    /// When the children are started again; permanent if not said.
    #[must_use]
    pub fn restart(self, restart: Restart) -> Self {
        self.policy(|policy| policy.restart = restart)
    }

    /// How the children are stopped; 5 s if not said.
    #[must_use]
    pub fn shutdown(self, shutdown: Shutdown) -> Self {
        self.policy(|policy| policy.shutdown = shutdown)
    }

    /// How long the children's restarts wait.
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.policy(|policy| policy.backoff = backoff)
    }

    /// The time the start of a child may take; 60 s if not said.
    #[must_use]
    pub fn start_deadline(self, deadline: impl Into<Option<Duration>>) -> Self {
        let deadline = deadline.into();
        self.policy(|policy| policy.start_deadline = deadline)
    }

    /// Whether the children count as workers or supervisors.
    #[must_use]
    pub fn kind(self, kind: crate::ChildKind) -> Self {
        self.policy(|policy| policy.kind = kind)
    }

    /// How many children there may be; no limit if not said.
    #[must_use]
    pub fn max_children(mut self, max_children: usize) -> Self {
        self.template.max_children = max_children;
        self
    }

    /// Finds the admission that guards a child's mailbox in its argument, to show its depth in snapshots.
    #[must_use]
    pub fn gauge(mut self, gauge: impl Fn(&Arg) -> Option<Admission> + Send + Sync + 'static) -> Self {
        self.template.gauge = Some(Arc::new(gauge));
        self
    }

    /// How many restarts of all children together are bearable in which time.
    #[must_use]
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.flags.intensity = Intensity { restarts, period };
        self
    }

    /// Restarts after a kill come at once and count for nothing. The intensity is for children that cannot live; a kill
    /// comes from outside and says nothing of the child. Where this is not said they count, as in OTP.
    #[must_use]
    pub fn forgive_kills(mut self) -> Self {
        self.flags.kills_count = false;
        self
    }

    /// How long a killed child may live on before it is left behind; 2 s if not said.
    #[must_use]
    pub fn zombie_after(mut self, patience: Duration) -> Self {
        self.flags.zombie_after = patience;
        self
    }

    /// Where the reports go; inherited if not said.
    #[must_use]
    pub fn report_to(mut self, sink: Arc<dyn Fn(&Report) + Send + Sync>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// The seed of the backoff's random numbers; drawn by chance if not said.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// A handle, valid before the supervisor runs and over its restarts.
    pub fn handle(&self) -> DynamicRef<Arg, M> {
        DynamicRef {
            shared: Arc::clone(&self.shared),
            template: Arc::clone(&self.cell),
            message: PhantomData,
        }
    }

    /// Checks the flags as a start would.
    pub fn check(&self) -> Result<(), SpecError> {
        check_flags(&self.flags)?;
        if self.flags.auto_shutdown != AutoShutdown::Never || self.template.policy.significant {
            return Err(SpecError::DynamicAutoShutdown);
        }
        Ok(())
    }
}

impl<Arg, M> fmt::Debug for DynamicSpec<Arg, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicSpec")
            .field("flags", &self.flags)
            .field("policy", &self.template.policy)
            .finish_non_exhaustive()
    }
}

impl ChildSpec {
    /// A dynamic supervisor.
    pub fn dynamic<Arg: Clone + Send + 'static, M: ractor::Message>(
        id: impl Into<ChildId>,
        spec: DynamicSpec<Arg, M>,
    ) -> Self {
        let check = spec.check();
        let DynamicSpec {
            shared,
            flags,
            template,
            sink,
            seed,
            cell,
            message: _,
        } = spec;
        *cell.write().unwrap_or_else(PoisonError::into_inner) = template;
        let address = Arc::clone(&shared.address);
        let mode = Box::new(move || {
            let template = read(&cell);
            Mode::Dynamic {
                max_children: template.max_children,
                template: template.policy,
            }
        });
        let flags = Flags {
            strategy: Strategy::OneForOne,
            ..flags
        };
        let plan = BlueprintPlan::Dynamic { flags, mode };
        let launch = Arc::new(NestedLaunch(Arc::new(Blueprint {
            shared,
            sink,
            seed,
            check,
            plan,
        })));
        Self {
            id: id.into(),
            policy: Arc::new(ChildPolicy::supervisor()),
            launch,
            address,
            gauge: None,
        }
    }
}

/// A handle to a dynamic supervisor: cheap to clone, valid before it runs and over its restarts.
pub struct DynamicRef<Arg, M> {
    shared: Arc<Shared>,
    template: TemplateCell<Arg>,
    message: PhantomData<fn(M)>,
}

impl<Arg: Clone + Send + 'static, M: ractor::Message> DynamicRef<Arg, M> {
    /// The supervisor as such, for what it has in common with the static ones.
    pub fn supervisor(&self) -> SupervisorRef {
        SupervisorRef {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Starts a child under this id.
    ///
    /// **Errors** [`ApiError::AlreadyStarted`] if a child with this id runs, [`ApiError::AlreadyPresent`] if it waits for
    /// its restart, [`ApiError::Ignored`] if it had nothing to do.
    pub async fn start_child(&self, id: impl Into<ChildId>, arg: Arg) -> Result<ChildRef<M>, ApiError> {
        self.start(id.into(), arg).await
    }

    /// Starts a child under an id made up by the supervisor.
    pub async fn start_anonymous(&self, arg: Arg) -> Result<ChildRef<M>, ApiError> {
        let number = self.shared.anonymous.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.start(ChildId::from(format!("#{number}")), arg).await
    }

    /// Starts a child under this id, or finds the one that is there already, running or waiting for its restart.
    pub async fn start_or_get(&self, id: impl Into<ChildId>, arg: Arg) -> Result<ChildRef<M>, ApiError> {
        let id = id.into();
        if let Some(child) = self.get(&id) {
            return Ok(child);
        }
        match self.start(id.clone(), arg).await {
            Err(error @ (ApiError::AlreadyStarted { .. } | ApiError::AlreadyPresent(_))) => self.get(&id).ok_or(error),
            result => result,
        }
    }

    async fn start(&self, id: ChildId, arg: Arg) -> Result<ChildRef<M>, ApiError> {
        let template = read(&self.template);
        let gauge = template.gauge.as_ref().and_then(|gauge| gauge(&arg));
        let address = Address::new(id.clone());
        let launch = Arc::new(Instance {
            template: Arc::clone(&self.template),
            arg: Mutex::new(arg),
        });
        let child = NewChild {
            id,
            policy: template.policy,
            incarnation: 0,
            payload: Child::new(launch, Arc::clone(&address), gauge),
        };
        match self.supervisor().request_start(child).await? {
            StartedChild::Running { .. } => Ok(ChildRef::new(address)),
            StartedChild::Ignored => Err(ApiError::Ignored),
        }
    }

    /// Stops a child, or cancels its pending restart, and forgets it.
    pub async fn terminate_child(&self, id: impl Into<ChildId>) -> Result<(), ApiError> {
        self.supervisor().terminate_child(id).await
    }

    /// Finds a child without asking the supervisor; it may be waiting for its restart.
    pub fn get(&self, id: impl Into<ChildId>) -> Option<ChildRef<M>> {
        let table = self.shared.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(&id.into()).map(|address| ChildRef::new(Arc::clone(address)))
    }

    /// How many children there are, running or waiting for a restart.
    pub fn count(&self) -> usize {
        self.shared.table.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Lists the children in start order.
    pub async fn which(&self) -> Result<Vec<ChildInfo>, ApiError> {
        self.supervisor().which_children().await
    }

    /// Replaces the template: it applies to every start from now on, restarts of running children included. Flags,
    /// sink and seed of the new specification are not used.
    pub async fn update_template(&self, spec: DynamicSpec<Arg, M>) -> Result<(), ApiError> {
        spec.check()?;
        let template = spec.template;
        let request = Request::Template {
            policy: Arc::clone(&template.policy),
            max_children: template.max_children,
        };
        self.supervisor().request(request).await?;
        *self.template.write().unwrap_or_else(PoisonError::into_inner) = template;
        Ok(())
    }
}

impl<Arg, M> Clone for DynamicRef<Arg, M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            template: Arc::clone(&self.template),
            message: PhantomData,
        }
    }
}

impl<Arg, M> fmt::Debug for DynamicRef<Arg, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicRef")
            .field("path", &self.shared.path())
            .finish_non_exhaustive()
    }
}
