//! The life of a daemon: open the store, build the tree in the one order, serve, end in order.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use supervisors::{ChildSpec, ExitReason, Strategy, Supervisor, SupervisorRef, SupervisorSpec, TaskSupervisor, Tasks};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::agents;
use crate::agents::handle::AgentsHandle;
use crate::agents::parts::{AgentsParts, Definitions};
use crate::agents::players::Players;
use crate::agents::treasury::Treasury;
use crate::automation;
use crate::automation::backups::Backups;
use crate::automation::handle::AutomationHandle;
use crate::automation::parts::AutomationParts;
use crate::domain::code::{self, Code};
use crate::domain::id::BootId;
use crate::gateway;
use crate::gateway::layer::{Connections, Listeners, MetricsListener};
use crate::gateway::limit::limits::Limits;
use crate::gateway::parts::{GatewayInside, GatewayParts, StoreCare};
use crate::gateway::request_id::RequestIds;
use crate::gateway::routing::choose::Routing;
use crate::health;
use crate::health::alerts::decision::Policy;
use crate::health::parts::HealthParts;
use crate::health::recorder::WAITING_MAX as RESTARTS_MAX;
use crate::identity::audit::{AuditError, AuditLog};
use crate::identity::authority::handle::{Authority, AuthorityError};
use crate::identity::authority::listener::{Tls, TlsError};
use crate::identity::authority::renewal::Renewal;
use crate::identity::keyring::{KeyError, Keyring};
use crate::identity::secrets::{KeySources, SecretStore};
use crate::llm::registry::{Models, RegistryError};
use crate::memory;
use crate::memory::handle::MemoryHandle;
use crate::memory::indexing::Indexing;
use crate::memory::parts::MemoryParts;
use crate::runs;
use crate::runs::parts::{RunsParts, RunsSettings};
use crate::runs::retention::collector::Retention;
use crate::runtime::bus::Bus;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::crash_point::CrashPoint;
use crate::runtime::entropy::Entropy;
use crate::runtime::live::Live;
use crate::runtime::room::handle::room;
use crate::runtime::room::watcher::{RoomWatcher, disk_of};
use crate::runtime::telemetry::Telemetry;
use crate::skills::catalogue::{Catalogue, CatalogueError};
use crate::skills::command::{CommandSkill, CommandSurroundings};
use crate::skills::first_set::{Parts as SkillParts, first_set};
use crate::skills::handle::{SkillsHandle, SkillsParts};
use crate::skills::mcp;
use crate::skills::mcp::handle::McpHandle;
use crate::skills::mcp::memo::Memo;
use crate::skills::mcp::server::{ServerParts, publish};
use crate::skills::mcp::shared::Shared;
use crate::skills::network::{NetworkPolicy, PolicyError};
use crate::skills::package::library::Library;
use crate::skills::process::minder;
use crate::skills::process::runner::ProcessRunner;
use crate::skills::sandbox::policy::SandboxMode;
use crate::skills::skill::Skill;
use crate::skills::spool::{Spool, SpoolError};
use crate::storage::backup::create::Places;
use crate::storage::backup::restore::is_unfinished;
use crate::storage::error::StoreError;
use crate::storage::migration::error::MigrationError;
use crate::storage::reserve::{RESERVE_BYTES_MAX, Reserve};
use crate::storage::store::Store;

use super::adapters::{
    SchedulesFolder, SkillsMemory, command_skill, embedding, grounds, in_one_line, mcp_server, model, named_pipelines,
    open_secrets, pipelines, planner, search, shown, upkeep,
};
use super::ask::answers;
use super::checks;
use super::config::model::Stored;
use super::config::{Config, DaemonFile, Home, HomeError};
use super::config_seen;
use super::desk::HomeDesk;
use super::guard::storage_layer;
use super::layers::root;
use super::measuring;
use super::programs::{self, EgressError};
use super::reload::reloader::{Parts as ReloadParts, Reloader, checking};
use super::rim::{self, Way, reachable};
use super::service::manager::{self, Starting};
use super::service::sockets::Handed;
use super::service::watchdog::{Probe, Watchdog};
use super::store_layout::{self, bring_up};

/// Model requests at once.
const ASKING_MAX: usize = 4096;
/// Skill calls at once, waiting ones included.
const CALLS_MAX: usize = 16_384;
/// The longest wait for a model for which a session keeps its slot.
const REST_OVER: Duration = Duration::from_secs(60);
/// How long a part of the memory that nobody asks keeps its index.
const MEMORY_IDLE: Duration = Duration::from_secs(600);
/// Parts of the memory with an index at once.
const MEMORY_OPEN_MAX: usize = 256;
/// The longest time in which a clock that was set is not noticed by schedules.
const SCHEDULE_TICK: Duration = Duration::from_secs(30);
/// Longest wait for the calls under way when the daemon stops.
const SUSPEND_MAX: Duration = Duration::from_secs(10);
/// For connections to be gone after their own bound.
const DRAIN_MORE: Duration = Duration::from_millis(500);
/// Room without which a start cannot write its small files.
const START_BYTES_MIN: u64 = 512 * 1024;
/// Longest wait for that room.
const START_ROOM_MAX: Duration = Duration::from_secs(600);
/// Longest orderly end; what has not ended by then resumes at the next start.
const SHUTDOWN_MAX: Duration = Duration::from_secs(25);

/// Why the daemon did not start or ended early.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store cannot be opened or written.
    #[error("open the store")]
    Store(#[source] StoreError),
    /// The store is of an earlier program and cannot be migrated.
    #[error("bring the store to the layout of this program")]
    Migration(#[source] MigrationError),
    /// There is no room on the disk to start with.
    #[error("start: there is no room on the disk of {}", folder.display())]
    DiskFull {
        /// The state folder.
        folder: PathBuf,
    },
    /// A restore was begun and not ended.
    #[error("start: a restore into this home was begun and not ended")]
    Restoring,
    /// The address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The audit log cannot be used.
    #[error("open the audit log")]
    Audit(#[source] AuditError),
    /// The internal authority cannot be used.
    #[error("open the internal authority")]
    Authority(#[source] AuthorityError),
    /// The gateway's certificate cannot be used.
    #[error("use the gateway's certificate")]
    Tls(#[source] TlsError),
    /// The keys cannot be read.
    #[error("open the keys")]
    Keys(#[source] KeyError),
    /// The models cannot be built.
    #[error("build the models")]
    Models(#[source] RegistryError),
    /// The skills make no catalogue.
    #[error("build the catalogue of skills")]
    Catalogue(#[source] CatalogueError),
    /// A command skill cannot be loaded.
    #[error("load the command skill `{skill}`: {findings}")]
    CommandSkill {
        /// Which.
        skill: String,
        /// What is wrong.
        findings: String,
    },
    /// The allow list is wrong.
    #[error("read skills.network.allow")]
    Network(#[source] PolicyError),
    /// There is no way from programs to the network.
    #[error("make the proxy of programs")]
    Egress(#[source] EgressError),
    /// The spool cannot be opened.
    #[error("open the spool of programs")]
    Spool(#[source] SpoolError),
    /// No agent has the role of a planner.
    #[error("find a planner: no agent has the role `planner`")]
    NoPlanner,
    /// The tree did not start.
    #[error("start the supervision tree")]
    Tree(#[source] supervisors::StartError),
    /// The file that says where the daemon is cannot be written.
    #[error("say where the daemon is")]
    Home(#[source] HomeError),
    /// A thread of the service manager's side cannot be made.
    #[error("start the thread that speaks with the service manager")]
    Manager(#[source] io::Error),
    /// Signals cannot be received.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
    /// The tree gave up: a part failed again and again.
    #[error("keep the parts alive: the root of the supervision tree gave up ({0})")]
    GaveUp(ExitReason),
}

impl DaemonError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Store(StoreError::Locked { .. }) => code::ALREADY_RUNNING,
            Self::Store(StoreError::Version { .. }) => code::STORE_VERSION,
            Self::Store(StoreError::Corrupt { .. }) => code::STORE_CORRUPT,
            Self::Migration(error) => error.code(),
            Self::Store(_) | Self::GaveUp(_) => code::STORE_FAILED,
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => code::ADDRESS_IN_USE,
            Self::Listen { .. } | Self::NoPlanner | Self::Network(_) | Self::Egress(EgressError::Secret { .. }) => {
                code::CONFIG_VALUE
            }
            Self::DiskFull { .. } => code::DISK_FULL,
            Self::Restoring => code::RESTORE_UNFINISHED,
            Self::Audit(error) => error.code(),
            Self::Keys(error) => error.code(),
            Self::Tls(_) => code::TLS_FILES,
            Self::Authority(error) => error.code(),
            Self::Models(_) => code::MODEL_NOT_CONFIGURED,
            Self::Catalogue(_) | Self::CommandSkill { .. } => code::SKILL_DECLARATION,
            Self::Spool(_) | Self::Home(_) | Self::Egress(EgressError::Listen { .. }) => code::HOME_FILE,
            Self::Tree(_) | Self::Signals(_) | Self::Manager(_) => code::BUG,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        if let Self::Migration(error) = self {
            return store_layout::hint(error);
        }
        match self.code().id {
            id if id == code::ALREADY_RUNNING.id => Some("`openclaw status` shows the daemon that runs on this home"),
            id if id == code::ADDRESS_IN_USE.id => Some("`openclaw config set gateway.port N` chooses another port"),
            id if id == code::TLS_FILES.id => Some("gateway.tls.certificate and gateway.tls.key name PEM files"),
            id if id == code::CONFIG_VALUE.id => Some("`openclaw config validate` checks the configuration"),
            id if id == code::STORE_VERSION.id => Some("start the newer program that wrote the store"),
            _ => None,
        }
    }
}

/// A daemon that runs.
pub struct Daemon {
    root: SupervisorRef,
    agents: AgentsHandle,
    committer: Committer,
    stop: watch::Sender<bool>,
    home: Home,
    watchdog: Option<Watchdog>,
    connections: Connections,
    reloader: Arc<Reloader>,
    drain: Duration,
    /// Where the gateway listens, with its scheme.
    pub gateway: String,
    /// Where the operators' listener is, with `https://`.
    pub admin: String,
}

/// The longest wait for a model for which a session keeps its slot: [`REST_OVER`], or what a test asks for, because
/// it cannot wait for minutes.
fn rest_over() -> Duration {
    let asked = std::env::var("OPENCLAW_REST_OVER_MS").ok();
    let ms = asked.and_then(|text| text.parse().ok());
    ms.map_or(REST_OVER, Duration::from_millis)
}

struct LeftBranches {
    storage: SupervisorSpec,
    llm: SupervisorSpec,
    skills: SupervisorSpec,
}

fn tasks_layer(id: &'static str, capacity: usize) -> (SupervisorSpec, Tasks) {
    let tasks = TaskSupervisor::new(capacity);
    let handle = tasks.handle();
    let spec = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(3, Duration::from_secs(60))
        .child(ChildSpec::tasks(id, tasks));
    (spec, handle)
}

/// The layer of the skills with its handle: calls, and the servers whose tools are skills.
fn skills(
    home: &Home,
    config: &Config,
    network: NetworkPolicy,
    runner: Arc<ProcessRunner>,
    memory: MemoryHandle,
    telemetry: &Telemetry,
    stored: &Stored,
) -> Result<(SupervisorSpec, SkillsHandle), DaemonError> {
    let (mut layer, calls) = tasks_layer("calls", CALLS_MAX);
    let library = Arc::new(Library::new(home.config_dir(), config.skills_dirs.clone()));
    for warning in library.look(None).warnings {
        tracing::warn!("{warning}");
    }
    let mut all = first_set(SkillParts {
        library: library.clone(),
        runner: runner.clone(),
        path: programs::path(),
        passed: Vec::new(),
        network,
        memory: Arc::new(SkillsMemory(memory)),
        search: search(config),
    });
    for declared in &config.command_skills {
        let surroundings = CommandSurroundings {
            runner: runner.clone(),
            path: programs::path(),
            folder: home.config_dir().to_path_buf(),
            passed: Vec::new(),
        };
        let skill = CommandSkill::load(command_skill(declared), surroundings).map_err(|findings| {
            DaemonError::CommandSkill {
                skill: declared.name.to_string(),
                findings: in_one_line(&findings),
            }
        })?;
        all.push(Arc::new(skill) as Arc<dyn Skill>);
    }
    let catalogue = Catalogue::new(all).map_err(DaemonError::Catalogue)?;
    let catalogue = Arc::new(ArcSwap::from_pointee(catalogue));
    let memo = Memo::new(&home.mcp_dir());
    let servers = config.mcp.iter().map(|settings| {
        let server = mcp_server(settings, home, &programs::path(), stored);
        let known = memo.read(&server.name);
        let shared = Shared::new(server, known);
        publish(&catalogue, &shared);
        shared
    });
    let servers: Vec<Arc<Shared>> = servers.collect();
    let mut mcp = McpHandle::new(servers.iter().cloned());
    if !servers.is_empty() {
        let (links, tasks) = mcp::layer::links(servers.len());
        let parts = ServerParts {
            tasks,
            runner: runner.clone(),
            keeper: "/proc/self/exe".into(),
            home: home.state_dir().display().to_string(),
            catalogue: catalogue.clone(),
            memo,
        };
        let branch = mcp::layer::layer(links, &parts, &servers);
        mcp = mcp.under(branch.handle(), move |shared| mcp::layer::child(&parts, shared));
        layer = layer.child(ChildSpec::supervisor("mcp", branch));
    }
    let handle = SkillsHandle::new(SkillsParts {
        catalogue,
        tasks: calls,
        runner,
        library,
        mcp,
    });
    Ok((layer, handle.counted(telemetry)))
}

/// The listener of the metrics. A daemon works without them, so an address that is taken, as by a second daemon on the
/// same machine, is a warning and no reason not to start; `openclaw status` shows where they are.
async fn listen_for_metrics(config: &Config, handed: &Handed) -> Option<MetricsListener> {
    let wanted = SocketAddr::new(config.metrics.bind, config.metrics.port);
    let listening = handed.listen(wanted).await;
    let listening = listening.and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    match listening {
        Ok((listener, address)) => Some((Arc::new(listener), address.to_string().into())),
        Err(error) => {
            tracing::warn!(address = %wanted, %error, "metrics are not served; metrics.port chooses another port");
            None
        }
    }
}

/// What has to answer for the daemon to count as alive: the store commits, the root of the tree answers, schedules are
/// looked after, and the gateway answers itself over its own socket, at an address that this machine reaches.
fn vital_signs(committer: &Committer, root: &SupervisorRef, automation: AutomationHandle, gateway: Way) -> Vec<Probe> {
    let committer = committer.clone();
    let root = root.clone();
    vec![
        Probe {
            part: "store",
            ask: Arc::new(move || {
                let committer = committer.clone();
                Box::pin(async move { committer.barrier().await.map_err(|error| error.to_string()) })
            }),
        },
        Probe {
            part: "root",
            ask: Arc::new(move || {
                let root = root.clone();
                Box::pin(async move { root.snapshot().await.map(drop).map_err(|error| error.to_string()) })
            }),
        },
        Probe {
            part: "schedules",
            ask: Arc::new(move || {
                let answer = automation.late().map_or(Ok(()), |(name, age)| {
                    Err(format!("`{name}` was not looked after for {} s", age.as_secs()))
                });
                Box::pin(std::future::ready(answer))
            }),
        },
        Probe {
            part: "gateway",
            ask: Arc::new(move || Box::pin(answers(gateway.clone(), "/livez"))),
        },
    ]
}

/// The listener of the operators. Where the default port is taken, as by a second daemon on the same machine, any free
/// one will do, because commands find it in `daemon.json`; a port that somebody chose is held to.
async fn listen_for_operators(config: &Config) -> Result<(TcpListener, SocketAddr), DaemonError> {
    let mut wanted = SocketAddr::new(config.admin.bind, config.admin.port);
    let mut listening = TcpListener::bind(wanted).await;
    if !config.admin.is_port_chosen && matches!(&listening, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
        wanted.set_port(0);
        listening = TcpListener::bind(wanted).await;
    }
    let listening = listening.and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    listening.map_err(|source| DaemonError::Listen {
        address: wanted,
        source,
    })
}

/// The reserve of the store. A process that starts on a full disk gives up what an earlier one has left of it, because
/// a start writes small files; where even that makes no room it waits, for as long as a start may take.
async fn reserve(home: &Home, config: &Config) -> Result<Arc<Reserve>, DaemonError> {
    let folder = home.state_dir();
    let bytes = (config.store_free_min / 4).min(RESERVE_BYTES_MAX);
    let free = || disk_of(folder).map_or(u64::MAX, |disk| disk.free);
    if free() >= config.store_free_min {
        return Ok(Arc::new(Reserve::of(&home.store_file(), bytes)));
    }
    let reserve = Reserve::given_up(&home.store_file(), bytes);
    let waiting = async {
        if free() < START_BYTES_MIN {
            tracing::error!(folder = %folder.display(), "waiting for room on the disk");
        }
        while free() < START_BYTES_MIN {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let waited = tokio::time::timeout(START_ROOM_MAX, waiting).await;
    waited.map_err(|_| DaemonError::DiskFull { folder: folder.into() })?;
    Ok(Arc::new(reserve))
}

/// Renews what the authority has given to the daemon itself.
fn identity_layer(authority: &Authority) -> SupervisorSpec {
    let authority = authority.clone();
    let renewal = ChildSpec::actor("renewal", move |_| (Renewal(authority.clone()), ()));
    SupervisorSpec::new(Strategy::OneForOne)
        .intensity(5, Duration::from_secs(60))
        .child(renewal)
}

impl Daemon {
    /// Starts everything. When this returns, the gateway answers.
    pub async fn start(home: &Home, config: &Config) -> Result<Self, DaemonError> {
        let clock = Clock::steady();
        let entropy = Entropy::system();
        let started_at = clock.now();
        let boot = BootId::new(started_at, entropy.u128());
        // Opening a large store after a kill takes its time; until everything is up, more of it is asked for.
        let starting = Starting::begin("opening the store").map_err(DaemonError::Manager)?;
        let handed = Handed::from_environment();
        if is_unfinished(home.state_dir()) {
            return Err(DaemonError::Restoring);
        }
        bring_up(home).map_err(DaemonError::Migration)?;
        let reserve = reserve(home, config).await?;
        let store = Store::open_reserved(&home.store_file(), config.store_cache_bytes, reserve.clone());
        let store = store.map_err(DaemonError::Store)?;
        let wanted = SocketAddr::new(config.gateway.bind, config.gateway.port);
        let listening = handed.listen(wanted).await;
        let listener = listening.map_err(|source| DaemonError::Listen {
            address: wanted,
            source,
        })?;
        let address = listener.local_addr().map_err(|source| DaemonError::Listen {
            address: wanted,
            source,
        })?;
        let bus = Bus::default();
        let crash_point = CrashPoint::from_variables(|name| std::env::var(name).ok());
        let telemetry = Telemetry::default();
        let committer = Committer::start_with(store.clone(), bus.clone(), crash_point, telemetry.clone());
        let committer = committer.map_err(DaemonError::Store)?;

        let audit = AuditLog::open(
            store.clone(),
            committer.clone(),
            clock.clone(),
            &entropy,
            home.state_dir(),
        );
        let audit = audit.map_err(DaemonError::Audit)?;
        config_seen::note_edits(home, &audit).await;
        let keyring = Keyring::open(
            store.clone(),
            committer.clone(),
            clock.clone(),
            entropy.clone(),
            audit.clone(),
        );
        let keyring = keyring.map_err(DaemonError::Keys)?;
        let (admin_listener, admin) = listen_for_operators(config).await?;
        let tls_dir = home.tls_dir();
        let names = rim::names(config);
        let authority = Authority::open(
            &tls_dir,
            names,
            store.clone(),
            audit.clone(),
            clock.clone(),
            entropy.clone(),
        );
        let authority = authority.await.map_err(DaemonError::Authority)?;
        let tls = rim::tls(config, &authority, &clock).map_err(DaemonError::Tls)?;
        let identity_layer = identity_layer(&authority);
        let secrets = SecretStore::new(
            store.clone(),
            audit.clone(),
            clock.clone(),
            entropy.clone(),
            home.state_dir(),
            KeySources::of_environment(|name| std::env::var(name).ok()),
        );
        let stored = open_secrets(&secrets).await;

        let (llm_layer, asking) = tasks_layer("asking", ASKING_MAX);
        let network = programs::network(config).map_err(DaemonError::Network)?;
        let spool = Spool::open(home.spool_dir()).map_err(DaemonError::Spool)?;
        let runner = ProcessRunner::new(Some(spool), config.sandbox.clone());
        let sandbox = programs::try_sandbox(&runner).await;
        let socket = home.state_dir().join("egress.sock");
        let egress = programs::egress(socket, config, network.clone(), entropy.clone(), &stored);
        let (egress, egress_layer) = egress.map_err(DaemonError::Egress)?;
        runner.open_egress(egress);
        let (memory_layer, memory) = memory::layer::layer(&MemoryParts {
            clock: clock.clone(),
            store: store.clone(),
            committer: committer.clone(),
            entropy: entropy.clone(),
            idle: MEMORY_IDLE,
            open_max: MEMORY_OPEN_MAX,
            upkeep: upkeep(config, &telemetry),
            embedding: embedding(config, &stored, &telemetry),
            indexing: Indexing::new(config.memory.graph, &telemetry),
        });
        let launcher = minder::child(&runner);
        let (skills_layer, skills) = skills(home, config, network, runner, memory.clone(), &telemetry, &stored)?;
        let skills_layer = skills_layer
            .child(ChildSpec::supervisor("egress", egress_layer))
            .child(launcher);
        let (teller, room) = room();
        let watcher = RoomWatcher {
            folder: home.state_dir().to_path_buf(),
            free_min: config.store_free_min,
            reserve,
            teller,
            committer: committer.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        };
        let left = LeftBranches {
            storage: storage_layer(&committer, watcher),
            llm: llm_layer,
            skills: skills_layer,
        };
        let models = Models::build(config.models.values().map(|settings| model(settings, &stored)))
            .map_err(DaemonError::Models)?;
        let models = Arc::new(models);

        let live = Live::default();
        let treasury = Treasury::new(store.clone(), committer.clone());
        let agents_parts = AgentsParts {
            clock: clock.clone(),
            entropy: entropy.clone(),
            store: store.clone(),
            committer: committer.clone(),
            treasury,
            models: models.clone(),
            live: live.clone(),
            rest_over: rest_over(),
            players: Players::default(),
            asking,
            skills: skills.clone(),
            definitions: Definitions::new(config.agents.iter().cloned()),
            approvals: Arc::new(ArcSwap::from_pointee(config.approvals.clone())),
            memory: memory.clone(),
        };
        let (agents_layer, agents) = agents::layer::layer(&agents_parts);

        let grounds = grounds(home, config);
        let runs_parts = RunsParts {
            clock: clock.clone(),
            entropy: entropy.clone(),
            boot,
            store: store.clone(),
            committer: committer.clone(),
            room: room.clone(),
            bus,
            agents: agents.clone(),
            skills: skills.clone(),
            settings: Arc::new(ArcSwap::from_pointee(RunsSettings {
                planner: planner(config).ok_or(DaemonError::NoPlanner)?,
                redactor: models.redactor().and(stored.0.values().map(String::as_str)),
                skill_timeout_ms: config.agent.timeout_ms,
                grounds: grounds.clone(),
            })),
            pipelines: pipelines(config),
        };
        let retention = Retention {
            store: store.clone(),
            committer: committer.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            limits: config.retention,
            skills: skills.clone(),
        };
        let (runs_layer, runs) = runs::layer::layer(runs_parts, config.steps_concurrent_max, retention);

        let automation_parts = AutomationParts {
            // A slot is a time of the wall clock, and one that was set is noticed with the next tick.
            clock: Clock::system(),
            entropy: entropy.clone(),
            store: store.clone(),
            committer: committer.clone(),
            telemetry: telemetry.clone(),
            runs: runs.clone(),
            agents: agents.clone(),
            skills: skills.clone(),
            pipelines: named_pipelines(config),
            path: programs::path(),
            readable: (config.sandbox.mode != SandboxMode::Off).then(|| {
                let paths = config.sandbox.readable.iter().chain(&config.sandbox.writable);
                paths.cloned().collect()
            }),
            // Where there is none a schedule without a folder of its own is refused as any other run is.
            folder: grounds
                .for_nobody_in_particular()
                .unwrap_or_else(|_| home.workspace_dir())
                .into(),
            defaults: config.schedule_defaults.clone(),
            files: Arc::new(SchedulesFolder(home.schedules_dir())),
            slots_ms: config.slots_ms,
            tick: SCHEDULE_TICK,
        };
        let places = Places {
            config: home.config_dir().to_path_buf(),
            state: home.state_dir().to_path_buf(),
            backups: home.backups_dir(),
        };
        let backup_keep = Arc::new(AtomicUsize::new(config.backup_keep));
        let backups = config.backup_every.map(|every| Backups {
            every,
            keep: backup_keep.clone(),
            places: places.clone(),
            store: store.clone(),
            committer: committer.clone(),
            clock: Clock::system(),
            entropy: entropy.clone(),
        });
        let (automation_layer, automation) =
            automation::layer::layer(automation_parts, config.schedules.clone(), backups);

        let (stop, _) = watch::channel(false);
        let tree: Arc<OnceLock<SupervisorRef>> = Arc::default();
        let (for_gateway, for_parts, for_figures) = (tree.clone(), tree.clone(), tree.clone());
        let counted = telemetry.clone();
        measuring::refresh_schedules(&telemetry, automation.clone());
        measuring::refresh(
            &telemetry,
            clock.clone(),
            agents.clone(),
            models.clone(),
            (store.clone(), memory.clone()),
            authority.clone(),
            started_at,
        );
        let metrics = listen_for_metrics(config, &handed).await;
        let (restarted, told) = tokio::sync::mpsc::channel(RESTARTS_MAX);
        let way = Way {
            address: reachable(address),
            tls_dir: tls.is_some().then(|| tls_dir.clone()),
        };
        let asked = checks::Parts {
            clock: clock.clone(),
            committer: committer.clone(),
            automation: automation.clone(),
            memory: memory.clone(),
            models: models.clone(),
            skills: skills.clone(),
            authority: authority.clone(),
            room: room.clone(),
            telemetry: telemetry.clone(),
            gateway: way.clone(),
            admin: Way {
                address: reachable(admin),
                tls_dir: Some(tls_dir),
            },
            metrics: metrics.as_ref().and_then(|(listener, _)| listener.local_addr().ok()),
        };
        let health_parts = HealthParts {
            clock: clock.clone(),
            entropy: entropy.clone(),
            store: store.clone(),
            committer: committer.clone(),
            telemetry: telemetry.clone(),
            checking: Arc::new(ArcSwap::from_pointee(checking(asked.clone(), config))),
            policy: Policy {
                group_wait_ms: config.health.group_wait.as_millis() as u64,
                repeat_ms: config.health.repeat.as_millis() as u64,
                least: config.health.least,
            },
            channels: checks::channels(&config.health.channels, &stored),
            host: checks::host(home),
            keep_ms: config.health.keep.as_millis() as u64,
        };
        let (health_layer, health) = health::layer::layer(health_parts, told);
        measuring::refresh_disk(&telemetry, room.clone());
        let desk = Arc::new(HomeDesk::new(home.clone()));
        let gateway_parts = GatewayParts::from(GatewayInside {
            metrics: metrics.as_ref().map(|(_, address)| address.clone()),
            telemetry: telemetry.clone(),
            clock: clock.clone(),
            boot,
            started_at,
            home: shown(home.state_dir()),
            care: StoreCare { places, backup_keep },
            room,
            address: address.to_string().into(),
            keyring,
            secrets: secrets.clone(),
            authority: authority.clone(),
            audit: audit.clone(),
            admin: admin.to_string().into(),
            health: health.clone(),
            runs: runs.clone(),
            automation: automation.clone(),
            agents: agents.clone(),
            skills,
            models: models.clone(),
            sandbox,
            live,
            memory,
            committer: committer.clone(),
            store: store.clone(),
            part: Arc::new(move |path| {
                let root = for_parts.get().cloned();
                Box::pin(async move {
                    match root {
                        Some(root) => root.child_at(&path).await.ok().flatten(),
                        None => None,
                    }
                })
            }),
            measure_actors: Arc::new(move || {
                let (root, telemetry) = (for_figures.get().cloned(), counted.clone());
                Box::pin(async move {
                    let Some(root) = root else { return };
                    if let Ok(tree) = root.snapshot().await {
                        measuring::measure_actors(&telemetry, &tree);
                    }
                })
            }),
            tree: Arc::new(move || {
                let root = for_gateway.get().cloned();
                Box::pin(async move {
                    match root {
                        Some(root) => root.snapshot().await.ok(),
                        None => None,
                    }
                })
            }),
            stop: stop.clone(),
            desk: desk.clone(),
            draining: false.into(),
            chaos: config.admin.chaos,
            limits: Limits::new(&config.gateway.limits, &telemetry),
            routing: Routing::new(config.gateway.rules.clone()),
            settings: Arc::new(ArcSwap::from_pointee(rim::settings(config))),
            requests: RequestIds::new(boot),
            openapi: Arc::new(gateway::openapi::document()),
        });
        let listeners = Listeners {
            gateway: Arc::new(listener),
            tls,
            metrics,
            admin: Arc::new(admin_listener),
            admin_tls: Tls::operators(authority),
            allow: config.admin.allow.clone().into(),
            bounds: rim::bounds(config),
            each_max: config.gateway.each_max,
        };
        let (gateway_layer, connections) = gateway::layer::layer(&gateway_parts, listeners);

        let spec = root([
            ("storage", left.storage),
            ("identity", identity_layer),
            ("llm", left.llm),
            ("memory", memory_layer),
            ("skills", left.skills),
            ("agents", agents_layer),
            ("runs", runs_layer),
            ("automation", automation_layer),
            ("health", health_layer),
            ("gateway", gateway_layer),
        ])
        .report_to(measuring::restarts(telemetry, restarted));
        let root = Supervisor::start("root", spec).await.map_err(DaemonError::Tree)?;
        tree.set(root.clone()).ok();
        let scheme = if way.tls_dir.is_some() { "https" } else { "http" };
        let gateway = format!("{scheme}://{address}");
        let file = DaemonFile {
            pid: std::process::id(),
            boot: boot.to_string(),
            // What is listened on everywhere is reached here by this machine.
            gateway: way.url(),
            admin: Some(format!("https://{}", reachable(admin))),
            started_at,
        };
        file.write(home).map_err(DaemonError::Home)?;
        for address in handed.left() {
            tracing::warn!(%address, "the service manager listens where the configuration does not: nobody answers");
        }
        let serving = format!("serving at {gateway}");
        let replaced = ReloadParts {
            home: home.clone(),
            overrides: config.overrides.clone(),
            secrets,
            models,
            agents: agents.clone(),
            runs,
            health,
            asked,
            settings: gateway_parts.settings.clone(),
            limits: gateway_parts.limits.clone(),
            routing: gateway_parts.routing.clone(),
            backup_keep: gateway_parts.care.backup_keep.clone(),
            audit,
            store,
            committer: committer.clone(),
            clock,
            entropy,
            serving: serving.clone(),
        };
        let reloader = Arc::new(Reloader::new(replaced, config));
        desk.reload_with(reloader.clone());
        let probes = vital_signs(&committer, &root, automation, way);
        let watchdog = Watchdog::start(probes, serving.clone()).map_err(DaemonError::Manager)?;
        drop(starting);
        manager::ready(&serving);
        tracing::info!(%gateway, %boot, "ready");
        Ok(Self {
            watchdog,
            root,
            agents,
            committer,
            stop,
            home: home.clone(),
            connections,
            reloader,
            drain: Duration::from_millis(config.gateway.drain_ms),
            gateway,
            admin: format!("https://{admin}"),
        })
    }

    /// The supervision tree.
    pub fn tree(&self) -> &SupervisorRef {
        &self.root
    }

    /// Serves until a signal, a stop request, or the tree giving up; then ends in order.
    pub async fn serve(self) -> Result<(), DaemonError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Signals)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(DaemonError::Signals)?;
        let mut stop = self.stop.subscribe();
        let gave_up = self.root.wait();
        tokio::pin!(gave_up);
        let result = loop {
            tokio::select! {
                _ = terminate.recv() => break Ok(()),
                _ = interrupt.recv() => break Ok(()),
                // What came of it is in the log, the audit log, and the status line.
                _ = hangup.recv() => drop(self.reloader.reload("SIGHUP").await),
                _ = stop.wait_for(|stop| *stop) => break Ok(()),
                reason = &mut gave_up => break Err(DaemonError::GaveUp(reason)),
            }
        };
        tracing::info!("stopping");
        manager::stopping("ending the calls under way");
        if let Some(watchdog) = &self.watchdog {
            watchdog.stopping();
        }
        self.stop.send_replace(true);
        // Both at once: answers that wait are given while the calls under way end.
        let drained = tokio::time::timeout(self.drain + DRAIN_MORE, self.connections.ended());
        let (left, drained) = tokio::join!(self.agents.suspend(SUSPEND_MAX), drained);
        if drained.is_err() {
            tracing::warn!("connections that did not end in time are cut off");
        }
        if left > 0 {
            tracing::warn!(sessions = left, "calls that did not end in time are cut off");
        }
        if tokio::time::timeout(SHUTDOWN_MAX, self.root.shutdown()).await.is_err() {
            tracing::warn!("some parts did not end in time; their work resumes at the next start");
        }
        if result.is_ok() && self.committer.barrier().await.is_err() {
            tracing::error!("the last writes may not be on disk");
        }
        std::fs::remove_file(self.home.daemon_file()).ok();
        result
    }
}
