//! The life of a daemon: open the store, build the tree in the one order, serve, end in order.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use supervisors::{ChildSpec, Strategy, Supervisor, SupervisorRef, SupervisorSpec, TaskSupervisor, Tasks};
use tokio::signal::unix::{Signal, SignalKind, signal};
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
use crate::domain::id::{BootId, RunId};
use crate::gateway;
use crate::gateway::again::Left;
use crate::gateway::hosts::Hosts;
use crate::gateway::layer::{Connections, Listeners, MetricsListener};
use crate::gateway::limit::limits::Limits;
use crate::gateway::parts::{GatewayInside, GatewayParts, StoreCare};
use crate::gateway::request_id::RequestIds;
use crate::gateway::routing::choose::Routing;
use crate::health;
use crate::health::alerts::decision::Policy;
use crate::health::parts::HealthParts;
use crate::health::recorder::WAITING_MAX as RESTARTS_MAX;
use crate::identity::authority::handle::Authority;
use crate::identity::authority::listener::Tls;
use crate::identity::authority::renewal::Renewal;
use crate::llm::registry::Models;
use crate::memory;
use crate::memory::handle::MemoryHandle;
use crate::memory::indexing::Indexing;
use crate::memory::parts::MemoryParts;
use crate::runs;
use crate::runs::handle::RunsHandle;
use crate::runs::parts::RunsParts;
use crate::runs::retention::collector::Retention;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::entropy::Entropy;
use crate::runtime::live::Live;
use crate::runtime::room::handle::room;
use crate::runtime::room::watcher::RoomWatcher;
use crate::runtime::telemetry::Telemetry;
use crate::skills::catalogue::Catalogue;
use crate::skills::command::{CommandSkill, CommandSurroundings};
use crate::skills::first_set::{Parts as SkillParts, first_set};
use crate::skills::handle::{SkillsHandle, SkillsParts};
use crate::skills::mcp;
use crate::skills::mcp::handle::McpHandle;
use crate::skills::mcp::memo::Memo;
use crate::skills::mcp::server::{ServerParts, publish};
use crate::skills::mcp::shared::Shared;
use crate::skills::network::NetworkPolicy;
use crate::skills::package::library::Library;
use crate::skills::process::minder;
use crate::skills::process::runner::ProcessRunner;
use crate::skills::sandbox::policy::SandboxMode;
use crate::skills::skill::Skill;
use crate::skills::spool::Spool;
use crate::storage::backup::create::Places;
use crate::storage::backup::restore::is_unfinished;

use super::adapters::{
    SchedulesFolder, SkillsMemory, command_skill, embedding, in_one_line, mcp_server, model, named_pipelines,
    pipelines, runs_settings, search, shown, upkeep,
};
use super::alerting;
use super::ask::answers;
use super::checks;
use super::config::model::Stored;
use super::config::{Config, DaemonFile, Home};
use super::desk::HomeDesk;
use super::error::DaemonError;
use super::foundation::Foundation;
use super::guard::storage_layer;
use super::layers::root;
use super::measuring;
use super::programs::{self};
use super::reload::reloader::{Parts as ReloadParts, Reloader, checking};
use super::rim::{self, Way, reachable};
use super::service::manager::{self, Starting};
use super::service::sockets::Handed;
use super::service::watchdog::{Probe, Watchdog};
use super::store_layout::bring_up;

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
/// Longest orderly end; what has not ended by then resumes at the next start.
const SHUTDOWN_MAX: Duration = Duration::from_secs(25);

/// A daemon that runs.
pub struct Daemon {
    root: SupervisorRef,
    agents: AgentsHandle,
    runs: RunsHandle,
    committer: Committer,
    stop: watch::Sender<bool>,
    signals: Signals,
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

/// What the service manager and people say to the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn hear() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
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
        .forgive_kills()
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

/// The runs whose clients the end of the last life has cut off. That they cannot be read costs the clients that come
/// back a second run, and not the start.
fn left_unanswered(runs: &RunsHandle) -> Vec<(RunId, [u8; 32])> {
    runs.left_unanswered().unwrap_or_else(|error| {
        tracing::warn!(error = %crate::domain::fault::in_one_line(&error), "clients that come back are not known again");
        Vec::new()
    })
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

/// Renews what the authority has given to the daemon itself.
fn identity_layer(authority: &Authority) -> SupervisorSpec {
    let authority = authority.clone();
    let renewal = ChildSpec::actor("renewal", move |_| (Renewal(authority.clone()), ()));
    SupervisorSpec::new(Strategy::OneForOne)
        .intensity(5, Duration::from_secs(60))
        .forgive_kills()
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
        let spool = Spool::open(home.spool_dir()).map_err(DaemonError::Spool)?;
        let runner = ProcessRunner::new(Some(spool), config.sandbox.clone());
        // Programs are tried out in processes of their own, which takes as long as all the rest together.
        let laying = Foundation::lay(home, config, &handed, (&clock, &entropy));
        let (sandbox, laid) = tokio::join!(programs::try_sandbox(&runner), laying);
        let Foundation {
            reserve,
            store,
            bus,
            telemetry,
            committer,
            audit,
            keyring,
            authority,
            secrets,
            stored,
            listener,
            address,
            tls,
            admin_listener,
            admin,
        } = laid?;
        let tls_dir = home.tls_dir();
        let identity_layer = identity_layer(&authority);
        let certificates = rim::Certificates {
            authority: authority.clone(),
            gateway: tls.clone(),
        };

        let (llm_layer, asking) = tasks_layer("asking", ASKING_MAX);
        let network = programs::network(config).map_err(DaemonError::Network)?;
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
            store: store.clone(),
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

        let export = checks::collector(config.otlp.as_ref(), &stored, &bus);
        let runs_settings = runs_settings(home, config, &models, &stored).ok_or(DaemonError::NoPlanner)?;
        let grounds = runs_settings.grounds.clone();
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
            settings: Arc::new(ArcSwap::from_pointee(runs_settings)),
            pipelines: pipelines(config),
        };
        let retention = Retention {
            store: store.clone(),
            committer: committer.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            limits: config.retention,
            skills: skills.clone(),
            room: room.clone(),
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
            free_min: config.store_free_min,
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
        let (counted, gauges) = (telemetry.clone(), Arc::<measuring::ActorGauges>::default());
        measuring::refresh_schedules(&telemetry, automation.clone());
        measuring::refresh(
            &telemetry,
            clock.clone(),
            agents.clone(),
            models.clone(),
            (store.clone(), memory.clone()),
            certificates.clone(),
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
            certificates,
            audit: audit.clone(),
            room: room.clone(),
            store: store.clone(),
            ways: alerting::ways(&config.health.channels, &stored),
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
            channels: asked.ways.channels.clone(),
            host: checks::host(home),
            keep_ms: config.health.keep.as_millis() as u64,
            export,
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
            care: StoreCare {
                places,
                backup_keep,
                free_min: config.store_free_min,
            },
            room,
            address: address.to_string().into(),
            hosts: Hosts::new(rim::names(config), tls.clone()),
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
                let (root, telemetry, gauges) = (for_figures.get().cloned(), counted.clone(), gauges.clone());
                Box::pin(async move {
                    let Some(root) = root else { return };
                    if let Ok(tree) = root.snapshot().await {
                        gauges.measure(&telemetry, &tree);
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
            left: Left::new(clock.clone(), left_unanswered(&runs)),
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
        // Heard from the first answer on: whoever gets one may also say stop.
        let signals = Signals::hear().map_err(DaemonError::Signals)?;
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
            runs: runs.clone(),
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
            runs,
            committer,
            stop,
            signals,
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
        let Signals {
            mut terminate,
            mut interrupt,
            mut hangup,
        } = self.signals;
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
        let (left, commands, drained) = tokio::join!(
            self.agents.suspend(SUSPEND_MAX),
            self.runs.end_commands(SUSPEND_MAX),
            drained
        );
        if drained.is_err() {
            tracing::warn!("connections that did not end in time are cut off");
        }
        if left + commands > 0 {
            tracing::warn!(
                sessions = left,
                checks = commands,
                "calls that did not end in time are cut off"
            );
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
