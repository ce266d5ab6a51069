//! What the owner of a tree may decide about it: plain values with OTP's names and defaults.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use crate::ChildId;

/// When a child that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Restart {
    /// Always. The default.
    #[default]
    Permanent,
    /// Only after an abnormal end.
    Transient,
    /// Never; the child is forgotten as soon as it ends.
    Temporary,
}

/// How a child is stopped.
///
/// A timeout of 5 s is the default for workers, no limit the default for supervisors (their children have limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Killed at once.
    Brutal,
    /// Asked to stop, and killed if it has not ended after this time.
    Timeout(Duration),
    /// Asked to stop and waited for, however long it takes.
    Infinity,
}

/// The time a worker gets to stop when its specification does not say.
pub const SHUTDOWN_DEFAULT: Duration = Duration::from_secs(5);

/// The time a worker gets to start when its specification does not say.
pub const START_DEADLINE_DEFAULT: Duration = Duration::from_secs(60);

/// Whether a child is a worker or a supervisor of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ChildKind {
    /// Does the work.
    #[default]
    Worker,
    /// Has children of its own.
    Supervisor,
}

/// Which siblings share the fate of a child that is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// None of them. The default.
    #[default]
    OneForOne,
    /// All of them.
    OneForAll,
    /// Those started after it.
    RestForOne,
}

/// How many restarts are bearable: more than `restarts` within `period` and the supervisor gives up.
///
/// The default is OTP's, one restart in five seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts that are still bearable.
    pub restarts: u32,
    /// The window they are counted in.
    pub period: Duration,
}

impl Default for Intensity {
    fn default() -> Self {
        Self {
            restarts: 1,
            period: Duration::from_secs(5),
        }
    }
}

/// Whether the end of significant children ends the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AutoShutdown {
    /// No; significant children are then refused. The default.
    #[default]
    Never,
    /// When any of them has ended.
    AnySignificant,
    /// When the last of them has ended.
    AllSignificant,
}

/// How long to wait before a restart: full jitter, `random(0..=min(cap, base * 2^n))`.
///
/// The first restart is immediate; `n` counts the restarts since the child was last healthy, that is, since it last ran
/// for `healthy_after`. The random numbers come from the supervisor's seed, so a run can be repeated.
///
/// **Source** "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first delay.
    pub base: Duration,
    /// Upper bound of every delay; zero switches the backoff off.
    pub cap: Duration,
    /// A run of this length makes the next restart immediate again.
    pub healthy_after: Duration,
}

impl Backoff {
    /// No delays at all, as in OTP: a restart that failed is tried again at once, and only the intensity limits it.
    pub const fn none() -> Self {
        Self {
            base: Duration::ZERO,
            cap: Duration::ZERO,
            healthy_after: Duration::ZERO,
        }
    }

    /// Full jitter between these bounds; health is a run of ten seconds or of `cap`, whichever is longer.
    pub fn jitter(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            healthy_after: cap.max(Duration::from_secs(10)),
        }
    }
}

impl Default for Backoff {
    /// 50 ms to 30 s.
    fn default() -> Self {
        Self::jitter(Duration::from_millis(50), Duration::from_secs(30))
    }
}

/// Everything a supervisor must know about a child except how to start it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildPolicy {
    /// When it is started again.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// Worker or supervisor.
    pub kind: ChildKind,
    /// Whether its end may end the supervisor, see [`AutoShutdown`].
    pub significant: bool,
    /// Whether group restarts pass it by, see [`ChildSpec::apart`](crate::ChildSpec::apart).
    pub apart: bool,
    /// How long its restarts wait.
    pub backoff: Backoff,
    /// The time it may take to start; `None` is for ever.
    pub start_deadline: Option<Duration>,
    /// The name in ractor's registry, if it has one.
    pub registry_name: Option<Arc<str>>,
}

impl ChildPolicy {
    /// The defaults of a worker: permanent, 5 s to stop, 60 s to start.
    pub fn worker() -> Self {
        Self {
            restart: Restart::Permanent,
            shutdown: Shutdown::Timeout(SHUTDOWN_DEFAULT),
            kind: ChildKind::Worker,
            significant: false,
            apart: false,
            backoff: Backoff::default(),
            start_deadline: Some(START_DEADLINE_DEFAULT),
            registry_name: None,
        }
    }

    /// The same, shared by all children that change nothing about it.
    pub(crate) fn shared_worker() -> Arc<Self> {
        static WORKER: LazyLock<Arc<ChildPolicy>> = LazyLock::new(|| Arc::new(ChildPolicy::worker()));
        Arc::clone(&WORKER)
    }

    /// The defaults of a supervisor: permanent, no limit to stop or to start.
    pub fn supervisor() -> Self {
        Self {
            shutdown: Shutdown::Infinity,
            kind: ChildKind::Supervisor,
            start_deadline: None,
            ..Self::worker()
        }
    }
}

/// The flags of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Which siblings share a restart.
    pub strategy: Strategy,
    /// How many restarts are bearable.
    pub intensity: Intensity,
    /// Whether the end of significant children ends the supervisor.
    pub auto_shutdown: AutoShutdown,
    /// How long a killed child may live on before it is called a zombie.
    pub zombie_after: Duration,
    /// Whether a restart after a kill counts for the intensity, as in OTP.
    pub kills_count: bool,
}

/// How long a killed child may live on before it is called a zombie, when nothing else is said.
pub const ZOMBIE_AFTER_DEFAULT: Duration = Duration::from_secs(2);

impl Default for Flags {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            intensity: Intensity::default(),
            auto_shutdown: AutoShutdown::default(),
            zombie_after: ZOMBIE_AFTER_DEFAULT,
            kills_count: true,
        }
    }
}

/// What is wrong with a specification. Nothing has been started or changed when one of these is returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// A child has no name.
    #[error("a child id is empty")]
    EmptyId,
    /// Two children have the same id.
    #[error("child id {0} is used twice")]
    DuplicateId(ChildId),
    /// A permanent child never ends for good, so it cannot be significant.
    #[error("child {0} is significant and permanent")]
    SignificantPermanent(ChildId),
    /// The supervisor's flags do not allow significant children.
    #[error("child {0} is significant but the supervisor's auto-shutdown is off")]
    SignificantWithoutAutoShutdown(ChildId),
    /// Dynamic supervisors have no auto-shutdown.
    #[error("a dynamic supervisor cannot have auto-shutdown or significant children")]
    DynamicAutoShutdown,
    /// A period of zero counts nothing.
    #[error("the intensity's period is zero")]
    ZeroPeriod,
    /// A dynamic supervisor has one template, it cannot take a list.
    #[error("a dynamic supervisor has exactly one specification")]
    DynamicSpecs,
}
