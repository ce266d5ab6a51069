//! From the configuration's shapes to those of the layers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::automation::parts::ScheduleFiles;
use crate::domain::agent::Role;
use crate::domain::fault::in_one_line as in_one_line_of;
use crate::domain::handoff::Finding;
use crate::domain::memory::{MemoryEntry, MemoryKey, ShardName};
use crate::domain::name::{AgentName, ScheduleName};
use crate::domain::plan::Plan;
use crate::identity::secrets::SecretStore;
use crate::llm;
use crate::llm::registry::Models;
use crate::memory::embed::endpoint::{Endpoint, EndpointConfig};
use crate::memory::embedding::Embedding;
use crate::memory::handle::MemoryHandle;
use crate::memory::limits::Upkeep;
use crate::memory::question::Question;
use crate::runs::grounds::Grounds;
use crate::runs::parts::{Pipeline, RunsSettings};
use crate::runtime::telemetry::Telemetry;
use crate::skills::builtin::web_search::{SearchBackend, SearchFields};
use crate::skills::command::CommandDeclaration;
use crate::skills::mcp::config::{Hidden, McpServer, Revision, Way};
use crate::skills::memory_reader::{MemoryQuestion, MemoryReader};
use crate::skills::process::program;

use super::config::mcp::{McpSettings, McpVariable, McpWay};
use super::config::model::{ModelSettings, SecretSource, Stored};
use super::config::{self, Config, Home};

/// The memory as skills read it.
pub struct SkillsMemory(pub MemoryHandle);

/// Longest wait of a skill for the memory.
const MEMORY_ANSWER_MAX: Duration = Duration::from_secs(10);

impl MemoryReader for SkillsMemory {
    fn get(&self, key: MemoryKey) -> BoxFuture<'static, Result<Option<MemoryEntry>, String>> {
        let memory = self.0.clone();
        Box::pin(async move { memory.get(&key).await.map_err(|error| in_one_line_of(&error)) })
    }

    fn query(
        &self,
        shard: ShardName,
        question: MemoryQuestion,
    ) -> BoxFuture<'static, Result<Vec<MemoryEntry>, String>> {
        let memory = self.0.clone();
        Box::pin(async move {
            let question = Question {
                text: question.text,
                tags: question.tags,
                source: question.source,
                since: question.since,
                until: question.until,
                limit: question.limit,
                tokens_max: Some(question.tokens_max),
            };
            let found = memory.query(&shard, question, MEMORY_ANSWER_MAX).await;
            let found = found.map_err(|error| in_one_line_of(&error))?;
            memory.note_used(&found);
            Ok(found.into_iter().map(|found| found.entry).collect())
        })
    }

    fn make_room(
        &self,
        shard: ShardName,
        key: Option<Arc<str>>,
        bytes: usize,
    ) -> BoxFuture<'static, Result<(), String>> {
        let memory = self.0.clone();
        Box::pin(async move {
            let room = memory.make_room(&shard, key.as_ref(), (1, bytes as u64)).await;
            room.map_err(|error| in_one_line_of(&error))
        })
    }
}

/// How memory is kept in bounds.
pub fn upkeep(config: &Config, telemetry: &Telemetry) -> Upkeep {
    let memory = &config.memory;
    Upkeep {
        interval: Duration::from_secs(memory.gc_interval_s),
        prune_every: memory.prune_every,
        archive_keep: Duration::from_secs(memory.archive_keep_s),
        entries_max: memory.entries_max,
        bytes_max: memory.bytes_max,
        when_full: memory.when_full,
        telemetry: telemetry.clone(),
    }
}

/// The values of the secret store, for those who are configured to have one. What cannot be opened is said here, and
/// missed there.
pub async fn open_secrets(secrets: &SecretStore) -> Stored {
    let mut stored = Stored::default();
    let names = secrets.list().unwrap_or_else(|error| {
        tracing::error!(%error, "the secrets cannot be read");
        Vec::new()
    });
    for (name, _) in names {
        match secrets.get(&name).await {
            Ok(value) => {
                stored.0.insert(name, value);
            }
            Err(error) => tracing::error!(%error, "a secret cannot be opened"),
        }
    }
    stored
}

/// The agent that makes plans, if there is one.
fn planner(config: &Config) -> Option<AgentName> {
    // An agent that is called so, else the first that has the role.
    let planners = || config.agents.iter().filter(|agent| agent.role == Role::Planner);
    let named = planners().find(|agent| agent.name.as_str() == Role::Planner.as_str());
    named.or_else(|| planners().next()).map(|agent| agent.name.clone())
}

/// A model as `llm` builds it. A secret that cannot be had leaves the model without a key: asking it says so.
pub fn model(settings: &ModelSettings, stored: &Stored) -> llm::config::ModelConfig {
    let secret = settings.api_key.as_ref().and_then(|source| {
        source
            .resolve(|name| std::env::var(name).ok(), stored)
            .map_err(|error| tracing::debug!(%error, "a model has no key"))
            .ok()
    });
    let source = settings.api_key.as_ref().filter(|_| settings.key_is_named);
    llm::config::ModelConfig {
        alias: settings.alias.clone(),
        provider: settings.provider,
        id: settings.id.as_str().into(),
        base_url: (!settings.base_url.is_empty()).then(|| settings.base_url.as_str().into()),
        api_key: secret.as_deref().and_then(llm::config::Secret::new),
        api_key_env: source.map(|source| match source {
            SecretSource::Environment(name) => name.as_str().into(),
            SecretSource::File(path) => path.display().to_string().into(),
            SecretSource::Stored(name) => format!("secret:{name}").into(),
        }),
        timeouts: settings.timeouts,
        stream: settings.stream,
        price: settings.price,
        fallback: settings.fallback.clone(),
        context_tokens: settings.context_tokens,
    }
}

/// What makes vectors for the memory. A key that is not there is left out, and the server says what it thinks of that.
pub fn embedding(config: &Config, stored: &Stored, telemetry: &Telemetry) -> Embedding {
    let Some(embedder) = &config.memory.embedder else {
        return Embedding::default();
    };
    let key = embedder.api_key.as_ref().and_then(|source| {
        let resolved = source.resolve(|name| std::env::var(name).ok(), stored);
        resolved
            .map_err(|error| tracing::warn!(%error, "the embedder has no key"))
            .ok()
    });
    let endpoint = Endpoint::new(EndpointConfig {
        base_url: embedder.base_url.as_str().into(),
        model: embedder.model.as_str().into(),
        key: key.map(Into::into),
        dimensions: embedder.dimensions,
    });
    Embedding::of(endpoint, telemetry)
}

/// A command skill as `skills` loads it.
pub fn command_skill(skill: &config::command_skill::CommandSkill) -> CommandDeclaration {
    CommandDeclaration {
        name: skill.name.clone(),
        description: skill.description.clone(),
        argv: skill.argv.clone(),
        class: skill.class,
        probe_argv: skill.probe.clone(),
        input_schema: skill.schema.clone(),
        timeout_ms: skill.timeout_ms,
        resources: skill.resources.clone(),
        undo: skill.undo.clone(),
        network: skill.network.clone(),
    }
}

/// The search service as `skills` takes it.
pub fn search(config: &Config) -> Option<SearchBackend> {
    config.search.as_ref().map(|search| SearchBackend {
        url: search.url.clone(),
        fields: match search.fields.clone() {
            None => SearchFields::searxng(),
            Some([results, title, link, snippet]) => SearchFields {
                results,
                title,
                link,
                snippet,
            },
        },
    })
}

/// A server as `skills` reaches it. Its program gets a home of its own and nothing of the daemon's environment but
/// what the operator names; a program that is not found or a secret that cannot be had shows when it is started.
pub fn mcp_server(settings: &McpSettings, home: &Home, path: &OsStr, stored: &Stored) -> McpServer {
    let secret = |source: &SecretSource| {
        let found = source.resolve(|name| std::env::var(name).ok(), stored);
        found
            .map_err(|error| tracing::warn!(server = %settings.name, %error, "a server lacks a secret"))
            .ok()
    };
    let way = match &settings.way {
        McpWay::Command(argv) => {
            let found = program::resolve(&argv[0], path, home.config_dir());
            let folder = home.mcp_dir().join(format!("{}.home", settings.name));
            let mut env: BTreeMap<String, String> = [
                ("PATH", path.to_string_lossy().into_owned()),
                ("HOME", folder.display().to_string()),
                ("LANG", "C.UTF-8".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into();
            env.extend(settings.env.iter().filter_map(|(name, value)| match value {
                McpVariable::Text(text) => Some((name.clone(), text.clone())),
                McpVariable::Secret(source) => secret(source).map(|text| (name.clone(), text)),
            }));
            Way::Program {
                program: found.unwrap_or_else(|_| PathBuf::from(&argv[0])),
                argv: argv.clone(),
                env: env.into_iter().map(|(name, value)| (name, Hidden(value))).collect(),
                folder,
                readable: settings.readable.iter().cloned().chain(named(argv)).collect(),
                writable: settings.writable.clone(),
            }
        }
        McpWay::Url(url, bearer) => Way::Http {
            url: url.clone(),
            bearer: bearer.as_ref().and_then(secret).map(Hidden),
        },
    };
    McpServer {
        name: settings.name.clone(),
        way,
        revision: Revision::from_word(&settings.protocol).unwrap_or(Revision::Auto),
        timeout: Duration::from_millis(settings.timeout_ms),
        start_timeout: Duration::from_millis(settings.start_timeout_ms),
        tools: settings.tools.clone(),
        class: settings.class,
        classes: settings.classes.clone(),
        trusts_hints: settings.trusts_hints,
        network: settings.network.clone(),
        concurrency: settings.concurrency,
    }
}

/// What a server's command names by its whole path: the operator wrote it down, so its program may read it.
fn named(argv: &[String]) -> impl Iterator<Item = PathBuf> + '_ {
    let paths = argv.iter().skip(1).map(PathBuf::from);
    paths.filter(|path| path.is_absolute() && path.parent().is_some())
}

/// Pipelines that planners may choose; those without a pattern are only used by name.
pub fn pipelines(config: &Config) -> Arc<[Pipeline]> {
    let offered = config.pipelines.iter().filter_map(|pipeline| {
        let pattern = pipeline.pattern.as_ref()?;
        Some(Pipeline {
            name: pipeline.name.clone(),
            matches: pattern.as_str().into(),
            plan: pipeline.plan.clone(),
        })
    });
    offered.collect()
}

/// All pipelines by name, for schedules.
pub fn named_pipelines(config: &Config) -> Arc<[(Arc<str>, Arc<Plan>)]> {
    let named = config
        .pipelines
        .iter()
        .map(|pipeline| (pipeline.name.clone(), pipeline.plan.clone()));
    named.collect()
}

/// The folder of schedules.
pub struct SchedulesFolder(pub PathBuf);

impl SchedulesFolder {
    fn file(&self, name: &ScheduleName) -> PathBuf {
        self.0.join(format!("{name}.toml"))
    }
}

impl ScheduleFiles for SchedulesFolder {
    fn write(&self, name: &ScheduleName, document: &Value) -> Result<String, String> {
        let file = self.file(name);
        let text = config::schedule::to_toml(document);
        if file.exists() {
            // The operator's own command has written it already where this process may not, or an earlier request did
            // that was not heard to its end.
            let present = config::file::read_text(&file, config::file::FILE_BYTES_MAX);
            if present.map_err(|error| in_one_line_of(&error))?.as_deref() == Some(&*text) {
                return Ok(file.display().to_string());
            }
            return Err(format!(
                "{} is there already; the daemon reads it at its next start",
                file.display()
            ));
        }
        let written =
            std::fs::create_dir_all(&self.0).and_then(|()| config::file::replace(&file, text.as_bytes(), 0o644));
        written.map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(file.display().to_string())
    }

    fn remove(&self, name: &ScheduleName) -> Result<(), String> {
        let file = self.file(name);
        match std::fs::remove_file(&file) {
            // Removed by hand: that is what was wanted.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", file.display())),
            _ => Ok(()),
        }
    }
}

/// Findings in one line.
pub fn in_one_line(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A path as shared text.
pub fn shown(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

/// What runs take from the configuration; none when no agent makes plans.
pub fn runs_settings(home: &Home, config: &Config, models: &Models, stored: &Stored) -> Option<RunsSettings> {
    Some(RunsSettings {
        planner: planner(config)?,
        redactor: models.redactor().and(stored.0.values().map(String::as_str)),
        skill_timeout_ms: config.agent.timeout_ms,
        grounds: grounds(home, config),
    })
}

/// Where runs may work: where the operator says, and never at the daemon's own files.
fn grounds(home: &Home, config: &Config) -> Grounds {
    let here = std::env::current_dir().ok();
    Grounds::new(
        home.closed(),
        home.workspace_dir(),
        here,
        config.workspaces.iter().cloned(),
    )
}
