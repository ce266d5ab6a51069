//! What the routes stand on.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::watch;

use crate::agents::handle::AgentsHandle;
use crate::automation::handle::AutomationHandle;
use crate::domain::code;
use crate::domain::id::{BootId, RunId};
use crate::domain::run::{RunHeader, RunStatus};
use crate::gateway::again::Left;
use crate::gateway::desk::Desk;
use crate::gateway::error::ApiError;
use crate::gateway::hosts::Hosts;
use crate::gateway::limit::limits::Limits;
use crate::gateway::request_id::RequestIds;
use crate::gateway::rim::network::Network;
use crate::gateway::routing::choose::Routing;
use crate::gateway::wire::run::view;
use crate::health::handle::HealthHandle;
use crate::identity::audit::AuditLog;
use crate::identity::authority::handle::Authority;
use crate::identity::keyring::Keyring;
use crate::identity::secrets::SecretStore;
use crate::llm::registry::Models;
use crate::memory::handle::MemoryHandle;
use crate::runs::handle::RunsHandle;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::live::Live;
use crate::runtime::room::handle::Room;
use crate::runtime::telemetry::Telemetry;
use crate::skills::handle::SkillsHandle;
use crate::skills::sandbox::report::SandboxReport;
use crate::storage::backup::create::Places;
use crate::storage::store::Store;

/// Limits and times of the gateway.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Longest wait of a request for a run's end.
    pub timeout: Duration,
    /// Between two signs of life on a stream.
    pub keepalive: Duration,
    /// For a request's body, from its head to its end.
    pub body_deadline: Duration,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// Who brings the clients of others.
    pub proxies: Arc<[Network]>,
}

/// Counts the actors of the tree.
pub type MeasureActors = Arc<dyn Fn() -> futures_util::future::BoxFuture<'static, ()> + Send + Sync>;

/// Asks the root of the supervision tree to draw itself.
pub type TreeSource =
    Arc<dyn Fn() -> futures_util::future::BoxFuture<'static, Option<supervisors::TreeSnapshot>> + Send + Sync>;

/// A part of the tree: its supervisor, and its id there.
pub type Placed = (supervisors::SupervisorRef, supervisors::ChildId);

/// Finds what stands at a path of the tree, running or not.
pub type PartSource = Arc<dyn Fn(Box<str>) -> futures_util::future::BoxFuture<'static, Option<Placed>> + Send + Sync>;

/// What is needed to look after the store.
#[derive(Debug, Clone)]
pub struct StoreCare {
    /// Where files are that belong into a backup, and where backups go.
    pub places: Places,
    /// Backups that are kept, as configured now.
    pub backup_keep: Arc<AtomicUsize>,
    /// Bytes that are to stay free on the disk of the state.
    pub free_min: u64,
}

/// Everything that the routes use. A cheap clone: every layer of routes takes one for each request, and every stream
/// holds one for its life.
#[derive(Clone)]
pub struct GatewayParts(Arc<GatewayInside>);

impl From<GatewayInside> for GatewayParts {
    fn from(inside: GatewayInside) -> Self {
        Self(Arc::new(inside))
    }
}

impl Deref for GatewayParts {
    type Target = GatewayInside;

    fn deref(&self) -> &GatewayInside {
        &self.0
    }
}

/// What they are.
pub struct GatewayInside {
    /// Tells the time.
    pub clock: Clock,
    /// This life of the process.
    pub boot: BootId,
    /// When it began.
    pub started_at: crate::domain::time::UtcMillis,
    /// The home, for people.
    pub home: Arc<str>,
    /// The address that is listened on.
    pub address: Arc<str>,
    /// The names that it answers to.
    pub hosts: Hosts,
    /// The address of the operators' listener.
    pub admin: Arc<str>,
    /// Where metrics are served; none when that address was taken.
    pub metrics: Option<Arc<str>>,
    /// Counts.
    pub telemetry: Telemetry,
    /// Keys.
    pub keyring: Keyring,
    /// Secrets.
    pub secrets: SecretStore,
    /// Certificates.
    pub authority: Authority,
    /// Changes of trust and configuration.
    pub audit: AuditLog,
    /// Runs.
    pub runs: RunsHandle,
    /// Schedules.
    pub automation: AutomationHandle,
    /// Agents.
    pub agents: AgentsHandle,
    /// Skills.
    pub skills: SkillsHandle,
    /// Models.
    pub models: Arc<Models>,
    /// How far programs are confined.
    pub sandbox: Arc<SandboxReport>,
    /// Pieces of answers as they arrive.
    pub live: Live,
    /// Memory.
    pub memory: MemoryHandle,
    /// Checks and incidents.
    pub health: HealthHandle,
    /// Backups.
    pub care: StoreCare,
    /// Room on the disk.
    pub room: Room,
    /// For figures.
    pub committer: Committer,
    /// For figures.
    pub store: Store,
    /// Counts the actors of the tree.
    pub measure_actors: MeasureActors,
    /// The tree.
    pub tree: TreeSource,
    /// Parts of the tree.
    pub part: PartSource,
    /// Set when the process is asked to stop.
    pub stop: watch::Sender<bool>,
    /// The configuration's files and the log.
    pub desk: Arc<dyn Desk>,
    /// Whether new runs are refused because an operator drains the daemon.
    pub draining: AtomicBool,
    /// Whether this home is for tests, which takes faults on purpose.
    pub chaos: bool,
    /// Limits on what clients ask.
    pub limits: Limits,
    /// Which agent gets a request that names none.
    pub routing: Routing,
    /// Limits and times, as configured now.
    pub settings: Arc<ArcSwap<GatewaySettings>>,
    /// Runs whose answers reached nobody.
    pub left: Left,
    /// Numbers of requests.
    pub requests: RequestIds,
    /// The description of the API.
    pub openapi: Arc<Value>,
}

impl GatewayParts {
    /// Refuses new work when the daemon stops or is drained.
    pub fn takes_work(&self) -> Result<(), ApiError> {
        if *self.stop.borrow() {
            let message = "the daemon is stopping; nothing was accepted";
            return Err(ApiError::new(code::STOPPING, message));
        }
        if self.draining.load(Ordering::Relaxed) {
            let message = "the daemon is being drained; nothing was accepted";
            return Err(ApiError::new(code::DRAINING, message).hint("`openclaw drain --off` takes new work again"));
        }
        Ok(())
    }

    /// Refuses what would make the memory larger while the disk is low.
    pub fn demand_room(&self) -> Result<(), ApiError> {
        if self.room.is_low() {
            let message = "keep a text: there is too little room on the disk";
            return Err(ApiError::new(code::DISK_FULL, message));
        }
        Ok(())
    }

    /// A run as it is now.
    pub fn run_now(&self, run: RunId) -> Result<Value, ApiError> {
        let (state, waiting) = self.runs.look(run)?;
        let tokens = self.tokens_of(&self.runs.header(run)?)?;
        Ok(view(&state, tokens, &waiting))
    }

    /// Tokens of a run that had this header a moment ago. Only an active run has an account.
    pub fn tokens_of(&self, header: &RunHeader) -> Result<u64, ApiError> {
        if header.status != RunStatus::Active {
            return Ok(header.tokens);
        }
        // In this order: when the run ends meanwhile its account goes, and its header says what was in it.
        let spent = self.agents.tokens_of(header.run);
        let header = self.runs.header(header.run)?;
        Ok(match header.status {
            RunStatus::Active => spent,
            _ => header.tokens,
        })
    }
}
