//! From the configuration's shapes to those of the layers.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::handoff::Finding;
use crate::domain::memory::{MemoryEntry, MemoryKey};
use crate::llm;
use crate::runs::parts::Pipeline;
use crate::skills::command::CommandDeclaration;
use crate::skills::memory_reader::MemoryReader;
use crate::storage::store::Store;

use super::config::model::{ModelSettings, Provider, SecretSource};
use super::config::{self, Config};

/// The memory as skills read it.
pub struct StoreMemory(pub Store);

impl MemoryReader for StoreMemory {
    fn get(&self, key: MemoryKey) -> BoxFuture<'static, Result<Option<MemoryEntry>, String>> {
        let found = self.0.memory(&key).map_err(|error| error.to_string());
        Box::pin(std::future::ready(found))
    }
}

/// A model as `llm` builds it. A secret that cannot be had leaves the model without a key: asking it says so.
pub fn model(settings: &ModelSettings) -> llm::config::ModelConfig {
    let provider = match settings.provider {
        Provider::Offline => llm::config::Provider::Offline,
        Provider::OpenAi => llm::config::Provider::OpenAiChat,
        Provider::Anthropic => llm::config::Provider::Anthropic,
    };
    let secret = settings.api_key.as_ref().and_then(|source| {
        source
            .resolve(|name| std::env::var(name).ok())
            .map_err(|error| tracing::debug!(%error, "a model has no key"))
            .ok()
    });
    let variable = match &settings.api_key {
        Some(SecretSource::Environment(name)) => Some(name.as_str().into()),
        _ => None,
    };
    let defaults = llm::config::ModelConfig::new(settings.alias.clone(), provider, settings.id.as_str());
    llm::config::ModelConfig {
        base_url: (!settings.base_url.is_empty()).then(|| settings.base_url.as_str().into()),
        api_key: secret.as_deref().and_then(llm::config::Secret::new),
        api_key_env: variable,
        timeouts: llm::config::Timeouts {
            total_ms: settings.timeout_ms,
            ..defaults.timeouts
        },
        ..defaults
    }
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
        network: skill.network.clone(),
    }
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

/// Findings in one line.
pub fn in_one_line(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A path as shared text.
pub fn shown(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}
