//! Reads the files again, checks all of it, and puts it in the place of what is in force.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::agents::handle::AgentsHandle;
use crate::daemon::adapters::{model, open_secrets, runs_settings};
use crate::daemon::checks;
use crate::daemon::config::{Config, ConfigError, Home, Overrides, load};
use crate::daemon::config_seen;
use crate::daemon::logging;
use crate::daemon::rim;
use crate::daemon::service::manager;
use crate::domain::code::{self, Code};
use crate::domain::fault::in_one_line;
use crate::domain::id::IncidentId;
use crate::domain::incident::Incident;
use crate::domain::text::preview;
use crate::gateway::limit::limits::Limits;
use crate::gateway::parts::GatewaySettings;
use crate::gateway::routing::choose::Routing;
use crate::health::handle::HealthHandle;
use crate::health::parts::Checking;
use crate::identity::audit::AuditLog;
use crate::identity::secrets::SecretStore;
use crate::llm::registry::{Models, RegistryError};
use crate::runs::handle::RunsHandle;
use crate::runs::parts::RunsSettings;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::entropy::Entropy;
use crate::storage::batch::Batch;
use crate::storage::incidents::follow;
use crate::storage::store::Store;

use super::decision::{Changes, InForce};

/// Longest time for reading and taking the files.
const RELOAD_MAX: Duration = Duration::from_secs(30);
/// What the incident of a configuration that cannot be used is called.
const FINGERPRINT: &str = "config:reload";
/// Bytes of what is told in the audit log.
const TOLD_BYTES: usize = 1_000;

/// Why the files were not taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// They cannot be read, or hold what is not allowed.
    #[error("read the configuration again")]
    Config(#[source] ConfigError),
    /// The models cannot be built.
    #[error("build the models of the configuration")]
    Models(#[source] RegistryError),
    /// No agent makes plans.
    #[error("find a planner: no agent has the role `planner`")]
    NoPlanner,
    /// Reading them did not end.
    #[error("read the configuration again: it took more than {} s", RELOAD_MAX.as_secs())]
    TimedOut,
    /// The thread that read them crashed.
    #[error("read the configuration again: the reading crashed")]
    Crashed,
}

impl ReloadError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Config(error) => error.code(),
            Self::Models(_) => code::MODEL_NOT_CONFIGURED,
            Self::NoPlanner => code::CONFIG_VALUE,
            Self::TimedOut => code::CONFIG_FILE,
            Self::Crashed => code::BUG,
        }
    }
}

/// Everything that is replaced, and what it takes to build it.
pub struct Parts {
    /// The files.
    pub home: Home,
    /// What the command line and the environment said.
    pub overrides: Overrides,
    /// Secrets that the files name.
    pub secrets: SecretStore,
    /// Models.
    pub models: Arc<Models>,
    /// Agents.
    pub agents: AgentsHandle,
    /// Runs.
    pub runs: RunsHandle,
    /// Checks.
    pub health: HealthHandle,
    /// What checks ask.
    pub asked: checks::Parts,
    /// Limits and times of the gateway.
    pub settings: Arc<ArcSwap<GatewaySettings>>,
    /// Limits of its clients.
    pub limits: Limits,
    /// Its rules.
    pub routing: Routing,
    /// Backups that are kept.
    pub backup_keep: Arc<AtomicUsize>,
    /// Where it is told.
    pub audit: AuditLog,
    /// For incidents.
    pub store: Store,
    /// For incidents.
    pub committer: Committer,
    /// Tells the time.
    pub clock: Clock,
    /// For ids.
    pub entropy: Entropy,
    /// The status line of good times.
    pub serving: String,
}

/// Reads the configuration again, one at a time.
pub struct Reloader {
    parts: Parts,
    in_force: Mutex<InForce>,
}

/// A configuration that was checked, and what had to be built of it.
struct Checked {
    config: Config,
    models: Models,
    runs: RunsSettings,
}

impl Reloader {
    /// Of a daemon that was started with this configuration.
    pub fn new(parts: Parts, config: &Config) -> Self {
        let in_force = Mutex::new(InForce::of(config));
        Self { parts, in_force }
    }

    /// Reads the files again on behalf of somebody, and takes what can be taken.
    ///
    /// **Errors**: the files cannot be used; then nothing was changed, and an incident says so until they can.
    /// **Cancel**: nothing is taken, or everything.
    pub async fn reload(&self, by: &str) -> Result<Changes, ReloadError> {
        let mut in_force = self.in_force.lock().await;
        manager::reloading();
        let checked = tokio::time::timeout(RELOAD_MAX, self.check()).await;
        let result = checked.unwrap_or(Err(ReloadError::TimedOut)).map(|checked| {
            let changes = in_force.changes(&checked.config, &self.parts.asked.automation.all());
            in_force.take(&checked.config);
            self.replace(checked);
            changes
        });
        match &result {
            Ok(changes) => {
                let line = changes.line();
                tracing::info!(by, %line, "the configuration was read again");
                for name in &changes.at_restart {
                    tracing::warn!(name, "a change is taken at the next start");
                }
                manager::ready(&self.parts.serving);
                config_seen::note_edits(&self.parts.home, &self.parts.audit).await;
                self.note(by, "config.reloaded", &line).await;
            }
            Err(error) => {
                // The service manager takes one line.
                let line = format!("{}: {}", error.code().id, in_one_line(error)).replace('\n', "; ");
                tracing::error!(by, %line, "the configuration was not taken; nothing was changed");
                manager::ready(&format!(
                    "{}; the configuration was not taken: {line}",
                    self.parts.serving
                ));
                self.note(by, "config.not-reloaded", &line).await;
            }
        }
        if let Err(error) = self.tell(&result).await {
            tracing::error!(error, "the incident of the configuration could not be written");
        }
        result
    }

    /// Reads and builds everything, and changes nothing.
    async fn check(&self) -> Result<Checked, ReloadError> {
        let (home, overrides) = (self.parts.home.clone(), self.parts.overrides.clone());
        let loaded = tokio::task::spawn_blocking(move || load(&home, &overrides)).await;
        let loaded = loaded.map_err(|_| ReloadError::Crashed)?.map_err(ReloadError::Config)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let config = loaded.config;
        let stored = open_secrets(&self.parts.secrets).await;
        let models = config.models.values().map(|settings| model(settings, &stored));
        let models = self.parts.models.build_next(models).map_err(ReloadError::Models)?;
        let runs = runs_settings(&self.parts.home, &config, &models, &stored).ok_or(ReloadError::NoPlanner)?;
        Ok(Checked { config, models, runs })
    }

    /// Cannot fail: everything is built.
    fn replace(&self, checked: Checked) {
        let Checked { config, models, runs } = checked;
        let parts = &self.parts;
        parts.models.replace(&models);
        parts
            .agents
            .configure(config.agents.iter().cloned(), config.approvals.clone());
        parts.runs.configure(runs, config.steps_concurrent_max);
        let next = rim::settings(&config);
        parts.settings.rcu(|settings| GatewaySettings {
            timeout: next.timeout,
            keepalive: next.keepalive,
            body_bytes_max: next.body_bytes_max,
            ..GatewaySettings::clone(settings)
        });
        parts.limits.replace(&config.gateway.limits);
        parts.routing.replace(config.gateway.rules.clone());
        parts.backup_keep.store(config.backup_keep, Ordering::Relaxed);
        parts.health.configure(checking(parts.asked.clone(), &config));
        if logging::level().to_string() != config.log.level {
            // A process that logs elsewhere has no level of its own.
            logging::set_level(&config.log.level);
        }
    }

    async fn note(&self, by: &str, action: &'static str, detail: &str) {
        let note = self
            .parts
            .audit
            .note(by, action, "openclaw.toml", &preview(detail, TOLD_BYTES));
        if let Err(error) = self.parts.audit.commit(Vec::new(), note).await {
            tracing::error!(%error, "a reload was not written to the audit log");
        }
    }

    /// One incident for as long as the files cannot be used.
    async fn tell(&self, result: &Result<Changes, ReloadError>) -> Result<(), String> {
        let parts = &self.parts;
        let at = parts.clock.now();
        let store = parts.store.clone();
        let open = tokio::task::spawn_blocking(move || store.open_incident_of(FINGERPRINT)).await;
        let open = open.map_err(|error| error.to_string())?;
        let open = open.map_err(|error| in_one_line(&error))?;
        let told = match result {
            Ok(_) => Ok("the files can be used again".into()),
            Err(error) => Err(format!("{}: {}", error.code().id, in_one_line(error)).into()),
        };
        let ops = follow(open, FINGERPRINT, told, at, |why| Incident {
            id: IncidentId::new(at, parts.entropy.u128()),
            at,
            severity: "error".into(),
            what: "the configuration was read again and cannot be used".into(),
            why,
            action: "nothing was changed; `openclaw config validate` names file and line, `openclaw config reload` \
                     tries again"
                .into(),
            run: None,
        });
        if ops.is_empty() {
            return Ok(());
        }
        let committed = parts.committer.commit(Batch::ops(ops)).await;
        committed.map(drop).map_err(|error| in_one_line(&error))
    }
}

/// What is checked by a configuration.
pub fn checking(asked: checks::Parts, config: &Config) -> Checking {
    Checking {
        checks: checks::checks(asked, &config.health),
        interval: config.health.interval,
        failures: config.health.failures,
    }
}
