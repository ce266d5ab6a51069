//! Servers of the Model Context Protocol, as declared under `mcp`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::error::BadValue;
use super::key;
use super::model::SecretSource;
use super::setting::Settings;
use crate::domain::capability::{Capability, CapabilityKind};
use crate::domain::effect::EffectClass;
use crate::domain::name::{ServerName, SkillName};

/// Bytes of a server's name: the names of its tools need room beside it.
const NAME_BYTES_MAX: usize = 24;

/// How a server is reached, as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpWay {
    /// Program and arguments.
    Command(Vec<String>),
    /// An address, and where the token is.
    Url(String, Option<SecretSource>),
}

/// The text of a variable, or where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpVariable {
    /// The text itself.
    Text(String),
    /// Where it is.
    Secret(SecretSource),
}

/// One declared server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpSettings {
    /// Its name.
    pub name: ServerName,
    /// How it is reached.
    pub way: McpWay,
    /// Files and folders that its program reads beside its own, absolute.
    pub readable: Vec<PathBuf>,
    /// Folders that its program writes to beside its own, absolute.
    pub writable: Vec<PathBuf>,
    /// Variables of its program.
    pub env: BTreeMap<String, McpVariable>,
    /// Deadline of one call, in milliseconds.
    pub timeout_ms: u64,
    /// Time until it has told its tools, in milliseconds.
    pub start_timeout_ms: u64,
    /// The tools that are taken; none means all.
    pub tools: Option<BTreeSet<String>>,
    /// What its tools do to the world.
    pub class: EffectClass,
    /// What single tools do to the world.
    pub classes: BTreeMap<String, EffectClass>,
    /// Whether its word that a tool only reads is believed.
    pub trusts_hints: bool,
    /// Where it connects to.
    pub network: Vec<Capability>,
    /// Calls of one tool at once.
    pub concurrency: u32,
    /// The revision of the protocol, or `auto`.
    pub protocol: String,
}

impl McpSettings {
    /// The family of its tools, as agents' files name it: `mcp.<name>.*`.
    pub fn family(&self) -> SkillName {
        SkillName::new(&format!("mcp.{}.", self.name)).expect("a short name within the grammar keeps the grammar")
    }
}

/// The servers of the settings in force; references to secrets are relative to `folder`.
pub fn mcp_servers(settings: &Settings, folder: &Path, bad: &mut Vec<BadValue>) -> Vec<McpSettings> {
    let mut servers = Vec::new();
    for (name, place) in settings.names(&["mcp"]) {
        let name = name.as_str();
        let at = |field: &'static str| ["mcp", name, field];
        let mut refuse = |field: &'static str, found: &str, allowed: &str| {
            let path = at(field).map(str::to_owned);
            let path = if field.is_empty() { &path[..2] } else { &path[..] };
            let given = settings.get(&at(field)).map(|setting| setting.origin.clone());
            bad.push(BadValue {
                place: given.unwrap_or_else(|| place.clone()),
                key: key::render_path(path),
                found: found.to_owned(),
                allowed: allowed.to_owned(),
            });
        };
        let server = match ServerName::new(name) {
            Ok(server) if name.len() <= NAME_BYTES_MAX => server,
            _ => {
                let allowed = "a name of 1 to 24 characters of a-z, 0-9, `-` and `_`, starting with a letter or digit";
                refuse("", &format!("{name:?}"), allowed);
                continue;
            }
        };
        let command = settings.texts(&at("command"));
        let url = settings.text(&at("url"));
        let way = match (command, url) {
            (Some(_), Some(_)) => {
                refuse("url", "both command and url", "one of them");
                continue;
            }
            (None, None) => {
                refuse("", "neither command nor url", "one of them");
                continue;
            }
            (Some(command), None) if command[0].is_empty() => {
                refuse("command", "an empty program", "a program and its arguments");
                continue;
            }
            (Some(command), None) => McpWay::Command(command),
            (None, Some(url)) => {
                let bearer = settings
                    .text(&at("bearer"))
                    .and_then(|text| SecretSource::parse(text, folder));
                McpWay::Url(url.to_owned(), bearer)
            }
        };
        let is_program = matches!(way, McpWay::Command(_));
        if is_program && settings.get(&at("bearer")).is_some() {
            refuse(
                "bearer",
                "a token for a program",
                "a token for a url; a program gets variables",
            );
            continue;
        }
        if let Some(field) = ["readPaths", "writePaths"]
            .into_iter()
            .find(|field| !is_program && settings.get(&at(field)).is_some())
        {
            refuse(field, "paths for a url", "paths for a command");
            continue;
        }
        let variables = settings.names(&at("env"));
        if !is_program && !variables.is_empty() {
            refuse("env", "variables for a url", "variables for a command");
            continue;
        }
        let members = |field: &'static str| {
            let named = settings.names(&at(field)).into_iter();
            named.filter_map(move |(inner, _)| {
                let text = settings.text(&["mcp", name, field, &inner])?.to_owned();
                Some((inner, text))
            })
        };
        let env = members("env").map(|(variable, text)| {
            let value = match SecretSource::parse(&text, folder) {
                Some(source) => McpVariable::Secret(source),
                None => McpVariable::Text(text),
            };
            (variable, value)
        });
        let env: BTreeMap<String, McpVariable> = env.collect();
        let is_sound = |variable: &String| !variable.is_empty() && !variable.contains(['=', '\0']);
        if let Some(wrong) = env
            .keys()
            .find(|variable| !is_sound(variable) || variable.starts_with("OPENCLAW_"))
        {
            refuse(
                "env",
                &format!("{wrong:?}"),
                "a name without `=` that does not begin with OPENCLAW_",
            );
            continue;
        }
        let network = settings.texts(&at("network")).unwrap_or_default();
        let network = network
            .iter()
            .filter_map(|place| Capability::new(CapabilityKind::Net, place).ok())
            .collect();
        let paths = |field: &'static str| -> Vec<PathBuf> {
            let given = settings.texts(&at(field)).unwrap_or_default();
            given.into_iter().map(|path| folder.join(path)).collect()
        };
        servers.push(McpSettings {
            name: server,
            way,
            readable: paths("readPaths"),
            writable: paths("writePaths"),
            env,
            timeout_ms: settings.number(&at("timeout")).unwrap_or(60_000),
            start_timeout_ms: settings.number(&at("startTimeout")).unwrap_or(30_000),
            tools: settings.texts(&at("tools")).map(|tools| tools.into_iter().collect()),
            class: settings.text(&at("class")).map_or(EffectClass::Once, key::class_of),
            classes: members("classes")
                .map(|(tool, word)| (tool, key::class_of(&word)))
                .collect(),
            trusts_hints: settings.text(&at("trust")) == Some("hints"),
            network,
            concurrency: settings.number(&at("concurrency")).unwrap_or(4) as u32,
            protocol: settings.text(&at("protocol")).unwrap_or("auto").to_owned(),
        });
    }
    servers
}
