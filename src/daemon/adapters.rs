//! From the configuration's shapes to those of the layers.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::fault::in_one_line as in_one_line_of;
use crate::domain::handoff::Finding;
use crate::domain::memory::{MemoryEntry, MemoryKey};
use crate::llm;
use crate::runs::parts::Pipeline;
use crate::runtime::committer::Committer;
use crate::skills::builtin::web_search::{SearchBackend, SearchFields};
use crate::skills::command::CommandDeclaration;
use crate::skills::memory_reader::MemoryReader;
use crate::storage::store::Store;

use super::config::model::{ModelSettings, SecretSource};
use super::config::{self, Config};

/// The memory as skills read it: with everything in it that was put before the call, also when its commit is still
/// on the way. A step that reads what the step before it kept would else find nothing now and then.
pub struct StoreMemory {
    /// Where it is.
    pub store: Store,
    /// Who writes it.
    pub committer: Committer,
}

impl MemoryReader for StoreMemory {
    fn get(&self, key: MemoryKey) -> BoxFuture<'static, Result<Option<MemoryEntry>, String>> {
        let (store, committer) = (self.store.clone(), self.committer.clone());
        Box::pin(async move {
            committer.settled().await.map_err(|error| in_one_line_of(&error))?;
            store.memory(&key).map_err(|error| in_one_line_of(&error))
        })
    }
}

/// A model as `llm` builds it. A secret that cannot be had leaves the model without a key: asking it says so.
pub fn model(settings: &ModelSettings) -> llm::config::ModelConfig {
    let secret = settings.api_key.as_ref().and_then(|source| {
        source
            .resolve(|name| std::env::var(name).ok())
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
        }),
        timeouts: settings.timeouts,
        stream: settings.stream,
        price: settings.price,
        fallback: settings.fallback.clone(),
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
