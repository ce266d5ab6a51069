//! Specifications of supervisors, and the start of a tree.

use std::{fmt, sync::Arc, time::Duration};

use ractor::{Actor, ActorCell};

use crate::{
    AutoShutdown, ChildId, ChildSpec, Flags, Intensity, Report, ReportSink, SpecError, StartError, Strategy,
    SupervisorRef, TreePath,
    actor::SupervisorActor,
    child::{BoxFuture, Launch, Launched, StartContext, spawn_probed},
    decision::check_specs,
    handle::Shared,
    state::{Core, Mode},
    tree::{Tree, Zombies},
};

/// How many zombies a tree bears when its root does not say.
pub const ZOMBIE_LIMIT_DEFAULT: usize = 8;

/// The specification of a supervisor with a list of children.
///
/// ```
/// use std::time::Duration;
/// use supervisors::{Strategy, SupervisorSpec};
///
/// let spec = SupervisorSpec::new(Strategy::RestForOne).intensity(3, Duration::from_secs(60));
/// let handle = spec.handle(); // usable before the supervisor runs, and over its restarts
/// assert!(handle.cell().is_none());
/// ```
pub struct SupervisorSpec {
    pub(crate) shared: Arc<Shared>,
    flags: Flags,
    children: Vec<ChildSpec>,
    sink: Option<ReportSink>,
    seed: Option<u64>,
    zombie_limit: usize,
}

impl SupervisorSpec {
    /// A supervisor without children: one restart in five seconds, no auto-shutdown.
    pub fn new(strategy: Strategy) -> Self {
        Self {
            shared: Shared::new(),
            flags: Flags {
                strategy,
                ..Flags::default()
            },
            children: Vec::new(),
            sink: None,
            seed: None,
            zombie_limit: ZOMBIE_LIMIT_DEFAULT,
        }
    }

    /// How many restarts are bearable in which time.
    #[must_use]
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.flags.intensity = Intensity { restarts, period };
        self
    }

    /// Whether the end of significant children ends the supervisor.
    #[must_use]
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.flags.auto_shutdown = auto_shutdown;
        self
    }

    /// Adds a child, last in the start order.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Adds children, in this order.
    #[must_use]
    pub fn children(mut self, children: impl IntoIterator<Item = ChildSpec>) -> Self {
        self.children.extend(children);
        self
    }

    /// Where the reports of this supervisor and of those below it go; inherited if not said.
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

    /// How many zombies the whole tree bears before its root gives up; 8 if not said, and only the root's value counts.
    #[must_use]
    pub fn zombie_limit(mut self, zombies: usize) -> Self {
        self.zombie_limit = zombies;
        self
    }

    /// A handle to the supervisor, valid before it runs and over its restarts.
    pub fn handle(&self) -> SupervisorRef {
        SupervisorRef {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Checks flags and children as a start would.
    pub fn check(&self) -> Result<(), SpecError> {
        check_specs(
            &self.flags,
            self.children.iter().map(|child| (&child.id, &*child.policy)),
        )
    }
}

impl fmt::Debug for SupervisorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorSpec")
            .field("flags", &self.flags)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}

/// What every incarnation of a supervisor is built from.
pub(crate) struct Blueprint {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sink: Option<ReportSink>,
    pub(crate) seed: Option<u64>,
    pub(crate) check: Result<(), SpecError>,
    pub(crate) plan: BlueprintPlan,
}

pub(crate) enum BlueprintPlan {
    Static {
        flags: Flags,
        children: Vec<ChildSpec>,
    },
    Dynamic {
        flags: Flags,
        mode: Box<dyn Fn() -> Mode + Send + Sync>,
    },
}

impl Blueprint {
    pub(crate) fn of(spec: SupervisorSpec) -> (Arc<Self>, usize) {
        let check = spec.check();
        let plan = BlueprintPlan::Static {
            flags: spec.flags,
            children: spec.children,
        };
        (
            Arc::new(Self {
                shared: spec.shared,
                sink: spec.sink,
                seed: spec.seed,
                check,
                plan,
            }),
            spec.zombie_limit,
        )
    }

    /// Builds the core of a new incarnation.
    pub(crate) fn core(&self) -> Core<crate::actor::Child> {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        match &self.plan {
            BlueprintPlan::Static { flags, children } => {
                let mut core = Core::new(*flags, Mode::Static, seed);
                for child in children {
                    core.add(crate::actor::Child::of(child.clone()));
                }
                core
            }
            BlueprintPlan::Dynamic { flags, mode } => Core::new(*flags, mode(), seed),
        }
    }
}

/// Starts a supervisor under another one.
pub(crate) struct NestedLaunch(pub(crate) Arc<Blueprint>);

impl Launch for NestedLaunch {
    fn launch(
        self: Arc<Self>,
        context: StartContext,
        supervisor: ActorCell,
    ) -> BoxFuture<Result<Launched, StartError>> {
        let blueprint = Arc::clone(&self.0);
        Box::pin(async move {
            blueprint.check.clone()?;
            spawn_probed(
                move |context| (SupervisorActor, (blueprint, context)),
                context,
                supervisor,
            )
            .await
        })
    }

    fn nested(&self) -> Option<&Arc<Shared>> {
        Some(&self.0.shared)
    }
}

/// The start of a tree.
#[derive(Debug)]
pub struct Supervisor;

impl Supervisor {
    /// Starts the root of a tree and everything below it, and comes back when all of it is up.
    ///
    /// **Errors** a child that does not start fails the whole start; what was started is stopped again in reverse order.
    /// **Cancel** what was started is killed.
    pub async fn start(name: impl AsRef<str>, spec: SupervisorSpec) -> Result<SupervisorRef, StartError> {
        let handle = spec.handle();
        let (blueprint, zombie_limit) = Blueprint::of(spec);
        blueprint.check.clone()?;
        *handle
            .shared
            .path
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = TreePath::root(&name);
        let context = StartContext {
            id: ChildId::new(&name),
            incarnation: handle.shared.address.incarnation() + 1,
            registry_name: None,
            supervisor: handle.clone(),
            tree: Arc::new(Tree {
                sink: blueprint.sink.clone(),
                zombies: Zombies::new(zombie_limit, Arc::clone(&handle.shared)),
            }),
            last_exit: None,
            address: Arc::clone(&handle.shared.address),
        };
        match Actor::spawn(None, SupervisorActor, (blueprint, context)).await {
            Ok(_) => Ok(handle),
            Err(error) => match crate::child::start_error(error, &crate::probe::Probe::default()) {
                Err(error) => Err(error),
                Ok(_) => Err(StartError::Cancelled),
            },
        }
    }
}
