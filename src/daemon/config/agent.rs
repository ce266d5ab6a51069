//! Agents as configured: five that are always there, and files in `agents/` that add to them or replace them.

use std::collections::BTreeMap;
use std::path::Path;

use super::approval;
use super::document::Source;
use super::error::{BadValue, ConfigError, Place, Warning};
use super::file::{list, read_text};
use super::home::Home;
use super::key::AGENT_KEYS;
use super::model::ModelSettings;
use super::prompt::{self, PROMPT_BYTES_MAX};
use super::setting::{Setting, Settings};
use crate::domain::agent::{AgentDefinition, Role};
use crate::domain::approval::ApprovalTable;
use crate::domain::budget::Limit;
use crate::domain::capability::{CapabilityError, CapabilitySet};
use crate::domain::limits::TURNS_DEFAULT;
use crate::domain::name::{AgentName, ModelAlias, NameError, SkillName};

/// What agents have when their file does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentDefaults {
    /// Further attempts after a failed one.
    pub retries_max: u32,
    /// Deadline of one step, in milliseconds.
    pub timeout_ms: u64,
    /// Model calls of one session.
    pub turns_max: u32,
    /// Ceiling of one answer in tokens.
    pub output_tokens_max: u32,
    /// Sessions at once.
    pub concurrency: u32,
    /// What one may use in a UTC day.
    pub daily_max: Limit,
    /// What one may use in one run.
    pub per_run_max: Limit,
    /// Estimated tokens of a request from which on a conversation is compacted.
    pub compact_at: Option<u64>,
    /// Tokens of what memory tells before the first turn.
    pub memory_tokens: u64,
}

impl AgentDefaults {
    /// The `agent` group of the settings in force.
    pub fn from_settings(settings: &Settings) -> Self {
        let number = |path: &[&str], default: u64| settings.number(path).unwrap_or(default);
        Self {
            retries_max: number(&["agent", "maxRetries"], 3) as u32,
            timeout_ms: number(&["agent", "timeout"], 600_000),
            turns_max: number(&["agent", "maxTurns"], u64::from(TURNS_DEFAULT)) as u32,
            output_tokens_max: number(&["agent", "maxOutputTokens"], 4_096) as u32,
            concurrency: number(&["agent", "concurrency"], 4) as u32,
            daily_max: limit(settings, &["agent"], "daily"),
            per_run_max: limit(settings, &["agent"], "perRun"),
            compact_at: settings.number(&["agent", "compactAt"]),
            memory_tokens: number(&["agent", "memoryTokens"], 1_000),
        }
    }
}

const READING: &[&str] = &[
    "fs.list",
    "fs.glob",
    "fs.read",
    "fs.search",
    "memory.get",
    "memory.query",
    "skill.read",
];
const WRITING: &[&str] = &["fs.write", "fs.patch", "fs.move", "memory.put"];

/// The budgets of a kind that stand under a path.
fn limit(settings: &Settings, under: &[&str], kind: &str) -> Limit {
    let path = |group: &'static str| [under, &[group, kind]].concat();
    Limit {
        tokens: settings.number(&path("tokenBudget")),
        cost: settings.usd(&path("costBudget")),
    }
}

/// An agent's own limits; the general ones where it has none.
fn own_limit(settings: &Settings, kind: &str, general: Limit) -> Limit {
    let own = limit(settings, &[], kind);
    Limit {
        tokens: own.tokens.or(general.tokens),
        cost: own.cost.or(general.cost),
    }
}

const RUNNING: &[&str] = &["exec.run", "skill.run"];
const FETCHING: &[&str] = &["web.fetch"];

/// The built-in skills of a role when the agent's file does not name any. Declared programs are added for the
/// roles that run things.
pub fn built_in_skills(role: Role) -> Vec<SkillName> {
    let groups: &[&[&str]] = match role {
        Role::Planner => &[READING],
        Role::Reviewer => &[READING, WRITING],
        Role::Coder | Role::Debugger | Role::Executor => &[READING, WRITING, RUNNING, FETCHING],
    };
    let names = groups.iter().flat_map(|group| group.iter());
    names
        .map(|name| SkillName::new(name).expect("names in the table follow the grammar"))
        .collect()
}

/// What agents are made from.
pub struct Around<'config> {
    /// The home.
    pub home: &'config Home,
    /// What holds when a file does not say.
    pub defaults: &'config AgentDefaults,
    /// The models that may be named.
    pub models: &'config BTreeMap<ModelAlias, ModelSettings>,
    /// Declared programs.
    pub commands: &'config [SkillName],
}

/// All agents, sorted by name. Wrong values go to `bad`, unknown keys to `warnings`.
pub fn agents(
    around: &Around<'_>,
    bad: &mut Vec<BadValue>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<AgentDefinition>, ConfigError> {
    let mut agents: BTreeMap<AgentName, (AgentDefinition, Option<Place>)> = BTreeMap::new();
    for path in list(&around.home.agents_dir(), "toml")? {
        let Some(source) = Source::read(&path)? else { continue };
        let mut reading = source.settings(AGENT_KEYS);
        bad.append(&mut reading.bad);
        warnings.append(&mut reading.warnings);
        let place = source.place_of_pointer("/name");
        let Some(agent) = agent(around, &path, &place, reading.settings, bad)? else {
            continue;
        };
        if let Some((_, Some(other))) = agents.get(&agent.name) {
            bad.push(BadValue {
                place,
                key: "name".into(),
                found: format!("\"{}\"", agent.name),
                allowed: format!("a name that is not taken; {other} has it"),
            });
            continue;
        }
        agents.insert(agent.name.clone(), (agent, Some(place)));
    }
    for role in Role::ALL {
        let name = AgentName::new(role.as_str()).expect("the words of the roles follow the grammar");
        if agents.contains_key(&name) {
            continue;
        }
        let own = prompt_file(around.home, &name)?;
        let model = ModelAlias::new("offline").expect("the alias follows the grammar");
        let agent = define(around, name.clone(), role, model, own.as_deref(), &Settings::default());
        agents.insert(name, (agent, None));
    }
    Ok(agents.into_values().map(|(agent, _)| agent).collect())
}

fn agent(
    around: &Around<'_>,
    path: &Path,
    place: &Place,
    given: Vec<Setting>,
    bad: &mut Vec<BadValue>,
) -> Result<Option<AgentDefinition>, ConfigError> {
    let mut settings = Settings::default();
    for setting in given {
        settings.put(setting);
    }
    let before = bad.len();
    let mut refuse = |key: &str, found: &str, allowed: String| {
        let origin = settings.get(&[key]).map(|setting| setting.origin.clone());
        bad.push(BadValue {
            place: origin.unwrap_or_else(|| place.clone()),
            key: key.into(),
            found: format!("{found:?}"),
            allowed,
        });
    };
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let written = settings.text(&["name"]).map(str::to_owned).or(stem).unwrap_or_default();
    let name = AgentName::new(&written);
    if let Err(error) = &name {
        refuse("name", &written, format!("1 to 64 characters of {}", error.allowed));
    }
    let word = settings.text(&["role"]).unwrap_or(&written);
    let role = Role::from_word(word).unwrap_or(Role::Executor);
    let alias = settings.text(&["model"]).unwrap_or("offline");
    let model = ModelAlias::new(alias)
        .ok()
        .filter(|alias| around.models.contains_key(alias));
    if model.is_none() {
        let known: Vec<&str> = around.models.keys().map(ModelAlias::as_str).collect();
        refuse(
            "model",
            alias,
            format!("an alias that is configured: {}", known.join(", ")),
        );
    }
    for skill in settings.texts(&["skills"]).unwrap_or_default() {
        if let Err(error) = skill_name(&skill) {
            refuse(
                "skills",
                &skill,
                format!("names of 1 to 64 characters of {}", error.allowed),
            );
        }
    }
    if let Some(Err(error)) = settings.texts(&["capabilities"]).map(|texts| capabilities(&texts)) {
        refuse("capabilities", &error.found, error.allowed.to_owned());
    }
    if settings.get(&["prompt"]).is_some() && settings.get(&["promptFile"]).is_some() {
        refuse("promptFile", "both prompt and promptFile", "one of them".into());
    }
    let own = match (settings.text(&["prompt"]), settings.text(&["promptFile"])) {
        (Some(text), _) => Some(text.to_owned()),
        (None, Some(file)) => {
            let text = read_text(&around.home.config_dir().join(file), PROMPT_BYTES_MAX)?;
            if text.is_none() {
                refuse(
                    "promptFile",
                    file,
                    "a file that is there, relative to the configuration folder".into(),
                );
            }
            text
        }
        (None, None) => match &name {
            Ok(name) => prompt_file(around.home, name)?,
            Err(_) => None,
        },
    };
    let (Ok(name), Some(model)) = (name, model) else {
        return Ok(None);
    };
    let approvals = approval::table(&settings, &["approvals"], bad);
    if bad.len() > before {
        return Ok(None);
    }
    let agent = AgentDefinition {
        approvals,
        ..define(around, name, role, model, own.as_deref(), &settings)
    };
    Ok(Some(agent))
}

/// A skill, or with `.*` at its end a family of them, which is kept as its common beginning.
fn skill_name(text: &str) -> Result<SkillName, NameError> {
    match text.strip_suffix('*') {
        Some(family) if family.ends_with('.') => SkillName::new(family),
        _ => SkillName::new(text),
    }
}

fn capabilities(texts: &[String]) -> Result<CapabilitySet, CapabilityError> {
    CapabilitySet::parse(texts.iter().map(String::as_str))
}

fn prompt_file(home: &Home, name: &AgentName) -> Result<Option<String>, ConfigError> {
    let text = read_text(&home.prompts_dir().join(format!("{name}.md")), PROMPT_BYTES_MAX)?;
    Ok(text.filter(|text| !text.trim().is_empty()))
}

fn define(
    around: &Around<'_>,
    name: AgentName,
    role: Role,
    model: ModelAlias,
    own: Option<&str>,
    settings: &Settings,
) -> AgentDefinition {
    let defaults = around.defaults;
    let (prompt, prompt_version) = prompt::assemble(&name, role, own);
    let number = |key: &str, default: u32| settings.number(&[key]).map_or(default, |number| number as u32);
    let skills = if let Some(names) = settings.texts(&["skills"]) {
        names.iter().filter_map(|name| skill_name(name).ok()).collect()
    } else {
        let runs_things = matches!(role, Role::Coder | Role::Debugger | Role::Executor);
        let commands = around.commands.iter().filter(|_| runs_things).cloned();
        built_in_skills(role).into_iter().chain(commands).collect()
    };
    AgentDefinition {
        name,
        role,
        model,
        prompt,
        prompt_version,
        skills,
        capabilities: settings
            .texts(&["capabilities"])
            .and_then(|texts| capabilities(&texts).ok()),
        concurrency: number("concurrency", defaults.concurrency),
        turns_max: number("maxTurns", defaults.turns_max),
        retries_max: number("maxRetries", defaults.retries_max),
        timeout_ms: settings.number(&["timeout"]).unwrap_or(defaults.timeout_ms),
        output_tokens_max: number("maxOutputTokens", defaults.output_tokens_max),
        daily_max: own_limit(settings, "daily", defaults.daily_max),
        per_run_max: own_limit(settings, "perRun", defaults.per_run_max),
        compact_at: settings.number(&["compactAt"]).or(defaults.compact_at),
        memory_tokens: settings.number(&["memoryTokens"]).unwrap_or(defaults.memory_tokens),
        approvals: ApprovalTable::new(),
    }
}
