//! Puts the layers together: default < file < environment < flag; each value keeps its origin.
//!
//! **Invariant**: what comes out is complete and allowed; otherwise nothing comes out, and the error names every
//! value that is wrong.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::agent::{AgentDefaults, Around, agents};
use super::approval;
use super::command_skill::{CommandSkill, command_skills};
use super::document::{Source, found};
use super::error::{BadValue, ConfigError, Place, Warning};
use super::gateway::{GatewayConfig, gateway};
use super::health::HealthConfig;
use super::home::Home;
use super::key::{self, KEYS, Path};
use super::kind;
use super::mcp::{McpSettings, mcp_servers};
use super::memory::MemoryConfig;
use super::model::{BUILT_IN, ModelSettings, PRICE_FIELDS, models};
use super::otlp::OtlpConfig;
use super::pipeline::{Pipeline, pipelines};
use super::sandbox::{ProgramSecret, program_secrets, sandbox};
use super::schedule::schedules;
use super::setting::{Setting, Settings};
use crate::domain::agent::AgentDefinition;
use crate::domain::approval::ApprovalRules;
use crate::domain::name::{ModelAlias, SkillName};
use crate::domain::schedule::definition::{CatchUp, Schedule};
use crate::domain::schedule::document::Defaults;
use crate::gateway::rim::network::{Network, are_everybody};
use crate::runs::retention::decision::Limits;
use crate::skills::sandbox::policy::SandboxSettings;

/// What comes from outside the files.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Keys with values from the command line, with the flag's name: `("--port", "gateway.port", "8080")`.
    pub flags: Vec<(String, String, String)>,
}

impl Overrides {
    /// The environment of this process; variables that are not text are left out.
    pub fn of_process() -> Self {
        let pairs = std::env::vars_os();
        let environment = pairs.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self {
            environment: environment.collect(),
            flags: Vec::new(),
        }
    }
}

/// The operators' listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where it listens.
    pub bind: IpAddr,
    /// Its port; 0 takes any free one.
    pub port: u16,
    /// Whether somebody chose the port.
    pub is_port_chosen: bool,
    /// Who may come.
    pub allow: Vec<Network>,
    /// Whether this home is for tests.
    pub chaos: bool,
}

/// Where metrics are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Where it listens; always a loopback address.
    pub bind: IpAddr,
    /// Its port; 0 takes any free one.
    pub port: u16,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// The form.
    pub format: LogFormat,
    /// Log files, if there are any.
    pub files: Option<LogFilesConfig>,
    /// Whether lines are kept for a collector until it is told.
    pub is_told: bool,
}

/// Log files and their limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilesConfig {
    /// Their folder.
    pub folder: PathBuf,
    /// Bytes of one.
    pub bytes_max: u64,
    /// How many older ones are kept.
    pub keep: usize,
}

/// A private address that skills may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for HostPort {
    /// As it is written in the file: an IPv6 address stands in brackets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Everything that the daemon is built from.
#[derive(Debug, Clone)]
pub struct Config {
    /// The values of `openclaw.toml` with their origins.
    pub settings: Settings,
    /// What came from outside the files.
    pub overrides: Overrides,
    /// The network rim.
    pub gateway: GatewayConfig,
    /// The operators' listener.
    pub admin: AdminConfig,
    /// The metrics.
    pub metrics: MetricsConfig,
    /// What agents have when their file does not say.
    pub agent: AgentDefaults,
    /// Steps at once over all runs.
    pub steps_concurrent_max: u32,
    /// The only folders in which runs may work; any when there are none.
    pub workspaces: Vec<PathBuf>,
    /// Memory.
    pub memory: MemoryConfig,
    /// What is logged.
    pub log: LogConfig,
    /// Memory that the store may use as its cache.
    pub store_cache_bytes: usize,
    /// Free bytes on the disk of the state below which new work is refused.
    pub store_free_min: u64,
    /// Checks and alerts.
    pub health: HealthConfig,
    /// Where runs and log lines are told.
    pub otlp: Option<OtlpConfig>,
    /// Backups that are kept.
    pub backup_keep: usize,
    /// Between two backups that are made by themselves.
    pub backup_every: Option<Duration>,
    /// How long rows of the ledgers of schedules are kept, in milliseconds.
    pub slots_ms: u64,
    /// How long runs and the audit log are kept.
    pub retention: Limits,
    /// The agents, sorted by name.
    pub agents: Vec<AgentDefinition>,
    /// The models.
    pub models: BTreeMap<ModelAlias, ModelSettings>,
    /// Skills that are a program.
    pub command_skills: Vec<CommandSkill>,
    /// Servers whose tools are skills.
    pub mcp: Vec<McpSettings>,
    /// Further folders with skill packages.
    pub skills_dirs: Vec<PathBuf>,
    /// Private addresses that skills may reach.
    pub network_allow: Vec<HostPort>,
    /// How programs are confined.
    pub sandbox: SandboxSettings,
    /// Secrets that the proxy adds for programs.
    pub program_secrets: Vec<ProgramSecret>,
    /// Plans kept as files.
    pub pipelines: Vec<Pipeline>,
    /// What schedules do when they do not say.
    pub schedule_defaults: Defaults,
    /// The schedules.
    pub schedules: Vec<Schedule>,
    /// Who has to agree to which calls.
    pub approvals: ApprovalRules,
    /// The search service.
    pub search: Option<SearchConfig>,
}

/// The search service of `web.search`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchConfig {
    /// Its address.
    pub url: String,
    /// Where its answer has the list, and in it title, address and text; none for a SearXNG.
    pub fields: Option<[String; 4]>,
}

/// A configuration with what is known of its origin.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values, typed.
    pub config: Config,
    /// The values of `openclaw.toml` with their origins, for people.
    pub settings: Settings,
    /// What the operator should see.
    pub warnings: Vec<Warning>,
}

/// Reads all files of the home. A home without any file gives the defaults.
pub fn load(home: &Home, overrides: &Overrides) -> Result<Loaded, ConfigError> {
    let mut bad = Vec::new();
    let mut warnings = Vec::new();
    let settings = layers(home, overrides, &mut bad, &mut warnings)?;
    let defaults = AgentDefaults::from_settings(&settings);
    let models = models(&settings, home.config_dir(), &mut bad);
    let command_skills = command_skills(&settings, &mut bad);
    let mcp = mcp_servers(&settings, home.config_dir(), &mut bad);
    let mut commands: Vec<SkillName> = command_skills.iter().map(|skill| skill.name.clone()).collect();
    commands.extend(mcp.iter().map(McpSettings::family));
    let around = Around {
        home,
        defaults: &defaults,
        models: &models,
        commands: &commands,
    };
    let program_secrets = program_secrets(&settings, home.config_dir(), &mut bad);
    let agents = agents(&around, &mut bad, &mut warnings)?;
    let approvals = approval::rules(&settings, &agents, &mut bad);
    let pipelines = pipelines(home, &mut bad)?;
    let schedule_defaults = schedule_defaults(&settings);
    let schedules = schedules(home, &schedule_defaults, &mut bad)?;
    let gateway = gateway(&settings, home.config_dir(), &agents, &mut bad);
    let metrics = metrics(&settings, &mut bad);
    let admin = admin(&settings, &mut bad);
    let health = HealthConfig::of(&settings, home.config_dir(), &mut bad);
    let otlp = OtlpConfig::of(&settings, home.config_dir());
    if !bad.is_empty() {
        return Err(ConfigError::Values(bad));
    }
    let config = Config {
        settings: settings.clone(),
        overrides: overrides.clone(),
        gateway,
        admin,
        metrics,
        agent: defaults,
        steps_concurrent_max: number(&settings, &["agent", "maxConcurrentSteps"]) as u32,
        workspaces: folders(&settings, &["agent", "workspaces"], home),
        memory: MemoryConfig::of(&settings, home.config_dir()),
        log: LogConfig {
            level: settings.text(&["log", "level"]).unwrap_or("info").to_owned(),
            format: match settings.text(&["log", "format"]) {
                Some("json") => LogFormat::Json,
                _ => LogFormat::Text,
            },
            files: settings.text(&["log", "dir"]).map(|folder| LogFilesConfig {
                folder: home.state_dir().join(folder),
                bytes_max: number(&settings, &["log", "rotate"]),
                keep: number(&settings, &["log", "keep"]) as usize,
            }),
            is_told: otlp.is_some(),
        },
        store_cache_bytes: number(&settings, &["store", "cacheBytes"]) as usize,
        store_free_min: number(&settings, &["store", "minFreeBytes"]),
        retention: Limits {
            runs_ms: number(&settings, &["store", "keepRuns"]).saturating_mul(1_000),
            bytes: number(&settings, &["store", "keepBytes"]),
            audit_ms: number(&settings, &["store", "keepAudit"]).saturating_mul(1_000),
        },
        health,
        otlp,
        backup_every: settings.number(&["store", "backupEvery"]).map(Duration::from_secs),
        slots_ms: number(&settings, &["store", "keepSlots"]).saturating_mul(1_000),
        backup_keep: number(&settings, &["store", "backupKeep"]) as usize,
        agents,
        models,
        command_skills,
        mcp,
        skills_dirs: folders(&settings, &["skills", "dirs"], home),
        network_allow: network_allow(&settings),
        sandbox: sandbox(&settings, home.config_dir()),
        program_secrets,
        pipelines,
        schedule_defaults,
        schedules,
        approvals,
        search: search(&settings),
    };
    Ok(Loaded {
        config,
        settings,
        warnings,
    })
}

/// The operators' listener. Off this machine it needs networks that somebody chose: the certificates alone do not keep
/// strangers from trying.
fn admin(settings: &Settings, bad: &mut Vec<BadValue>) -> AdminConfig {
    let is_chosen = |field: &str| {
        let setting = settings.get(&["admin", field]);
        setting.is_some_and(|setting| setting.origin != Place::Default)
    };
    let mut refuse = |field: &'static str, found: String, allowed: &str| {
        let origin = settings.get(&["admin", field]).map(|setting| setting.origin.clone());
        bad.push(BadValue {
            place: origin.unwrap_or(Place::Default),
            key: format!("admin.{field}"),
            found,
            allowed: allowed.into(),
        });
    };
    let bind = settings.text(&["admin", "bind"]).and_then(|text| text.parse().ok());
    let bind: IpAddr = bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut allow: Vec<Network> = Vec::new();
    for text in settings.texts(&["admin", "allow"]).unwrap_or_default() {
        match text.parse() {
            Ok(network) => allow.push(network),
            Err(_) => refuse("allow", format!("{text:?}"), "networks such as \"127.0.0.1/32\""),
        }
    }
    let restricts = is_chosen("allow") && !are_everybody(&allow);
    if !bind.is_loopback() && !restricts {
        let allowed = "a loopback address, unless admin.allow names the networks that may come, and not everybody";
        refuse("bind", bind.to_string(), allowed);
    }
    AdminConfig {
        bind,
        port: number(settings, &["admin", "port"]) as u16,
        is_port_chosen: is_chosen("port"),
        allow,
        chaos: settings.flag(&["admin", "chaos"]).unwrap_or(false),
    }
}

/// The settings in force, from all layers.
fn layers(
    home: &Home,
    overrides: &Overrides,
    bad: &mut Vec<BadValue>,
    warnings: &mut Vec<Warning>,
) -> Result<Settings, ConfigError> {
    let mut settings = Settings::default();
    for key in KEYS.iter().filter(|key| !key.is_pattern()) {
        if let Some(value) = key.default_value() {
            put(
                &mut settings,
                key.segments().map(str::to_owned).collect(),
                value,
                Place::Default,
            );
        }
    }
    for model in BUILT_IN {
        for (field, value) in model.fields() {
            let path = ["models", model.alias].into_iter().chain(field.split('.'));
            put(
                &mut settings,
                path.map(str::to_owned).collect(),
                Value::from(value),
                Place::Default,
            );
        }
    }
    if let Some(source) = Source::read(&home.config_file())? {
        let reading = source.settings(KEYS);
        for setting in reading.settings {
            settings.put(setting);
        }
        bad.extend(reading.bad);
        warnings.extend(reading.warnings);
    }
    for key in KEYS {
        let Some(name) = key.variable() else { continue };
        if let Some(text) = overrides.environment.get(&name).filter(|text| !text.is_empty()) {
            let path: Path = key.segments().map(str::to_owned).collect();
            match read(&path, text, Place::Environment(name)) {
                Ok(setting) => settings.put(setting),
                Err(wrong) => bad.push(wrong),
            }
        }
    }
    for (flag, dotted, text) in &overrides.flags {
        let path = key::parse_path(dotted).unwrap_or_default();
        match read(&path, text, Place::Flag(flag.clone())) {
            Ok(setting) => settings.put(setting),
            Err(wrong) => bad.push(wrong),
        }
    }
    drop_foreign_prices(&mut settings);
    Ok(settings)
}

/// A built-in price belongs to the built-in model. Whoever puts another one under its alias says what that one costs.
fn drop_foreign_prices(settings: &mut Settings) {
    for model in BUILT_IN {
        let is_own = |field: &str| {
            let setting = settings.get(&["models", model.alias, field]);
            setting.is_none_or(|setting| setting.origin == Place::Default)
        };
        if ["provider", "id", "baseUrl"].into_iter().all(is_own) {
            continue;
        }
        for field in PRICE_FIELDS {
            let path = ["models", model.alias, "price", field];
            if settings
                .get(&path)
                .is_some_and(|setting| setting.origin == Place::Default)
            {
                settings.remove(&path);
            }
        }
    }
}

/// Metrics say what agents do and cost, and nobody is asked for a key: they stay on this machine.
fn metrics(settings: &Settings, bad: &mut Vec<BadValue>) -> MetricsConfig {
    let setting = settings.get(&["metrics", "bind"]);
    let bind = setting
        .and_then(|setting| setting.value.as_str())
        .and_then(|text| text.parse().ok());
    let bind = bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    if !bind.is_loopback() {
        bad.push(BadValue {
            place: setting.map_or(Place::Default, |setting| setting.origin.clone()),
            key: "metrics.bind".into(),
            found: format!("\"{bind}\""),
            allowed: "a loopback address such as 127.0.0.1 or ::1; a scraper on another machine needs a proxy that \
                      asks for credentials"
                .into(),
        });
    }
    MetricsConfig {
        bind,
        port: number(settings, &["metrics", "port"]) as u16,
    }
}

fn put(settings: &mut Settings, path: Path, value: Value, origin: Place) {
    let key = key::find(KEYS, &path).expect("defaults are written for known keys only");
    settings.put(Setting {
        path,
        key,
        value,
        origin,
    });
}

/// Reads one value from text.
fn read(path: &Path, text: &str, place: Place) -> Result<Setting, BadValue> {
    let refused = |found: String, allowed: String| BadValue {
        place: place.clone(),
        key: key::render_path(path),
        found,
        allowed,
    };
    let Some(key) = key::find(KEYS, path) else {
        return Err(refused(
            "a key that is not known".into(),
            "a key of `openclaw config list`".into(),
        ));
    };
    let Some(value) = key.kind.parse(text) else {
        return Err(refused(found(key, &Value::from(text)), key.kind.allowed()));
    };
    Ok(Setting {
        path: path.clone(),
        key,
        value,
        origin: place,
    })
}

fn number(settings: &Settings, path: &[&str]) -> u64 {
    settings
        .number(path)
        .expect("the key has a default, and only allowed values replace it")
}

fn schedule_defaults(settings: &Settings) -> Defaults {
    let catch_up = settings.text(&["cron", "catchUp"]).and_then(CatchUp::from_word);
    Defaults {
        zone: settings.text(&["cron", "timezone"]).unwrap_or("UTC").into(),
        catch_up: catch_up.unwrap_or(CatchUp::Last),
    }
}

fn search(settings: &Settings) -> Option<SearchConfig> {
    let text = |name: &str| {
        settings
            .text(&["skills", "search", name])
            .unwrap_or_default()
            .to_owned()
    };
    let url = text("url");
    let is_json = text("kind") == "json";
    (!url.is_empty()).then(|| SearchConfig {
        url,
        fields: is_json.then(|| ["results", "title", "link", "snippet"].map(text)),
    })
}

/// Relative to the operator's files.
fn folders(settings: &Settings, path: &[&str], home: &Home) -> Vec<PathBuf> {
    let folders = settings.texts(path).unwrap_or_default();
    folders.iter().map(|folder| home.config_dir().join(folder)).collect()
}

fn network_allow(settings: &Settings) -> Vec<HostPort> {
    let items = settings.texts(&["skills", "network", "allow"]).unwrap_or_default();
    let pairs = items.iter().filter_map(|item| kind::host_port(item));
    let pairs = pairs.map(|(host, port)| HostPort {
        host: host.to_owned(),
        port,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests;
