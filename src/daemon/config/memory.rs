//! The keys of memory.

use std::path::Path;
use std::time::Duration;

use crate::memory::index::graph::build::{GraphKind, GraphPolicy};
use crate::memory::limits::{WhenFull, prune_period};

use super::model::SecretSource;
use super::setting::Settings;

/// How memory is kept in bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Between two collections, in seconds.
    pub gc_interval_s: u64,
    /// Between two prunes; none when there are none.
    pub prune_every: Option<Duration>,
    /// How long what was archived can be restored, in seconds.
    pub archive_keep_s: u64,
    /// Live entries of one part.
    pub entries_max: u64,
    /// Bytes of all live texts.
    pub bytes_max: u64,
    /// What happens at those limits.
    pub when_full: WhenFull,
    /// When a part has a graph, and which.
    pub graph: GraphPolicy,
    /// What makes vectors beside the built-in embedder, if anything does.
    pub embedder: Option<EmbedderConfig>,
}

/// A server that makes vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedderConfig {
    /// Where it is, before `/embeddings`.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// Of every vector.
    pub dimensions: usize,
    /// Where its key is; none when it wants none.
    pub api_key: Option<SecretSource>,
}

impl EmbedderConfig {
    fn of(settings: &Settings, folder: &Path) -> Option<Self> {
        let text = |name| settings.text(&["memory", "embedder", name]);
        (text("provider") == Some("openai")).then(|| Self {
            base_url: text("baseUrl").unwrap_or_default().to_owned(),
            model: text("model").unwrap_or_default().to_owned(),
            dimensions: settings.number(&["memory", "embedder", "dimensions"]).unwrap_or(0) as usize,
            api_key: text("apiKey").and_then(|text| SecretSource::parse(text, folder)),
        })
    }
}

impl MemoryConfig {
    /// As configured; the table of keys has checked the words.
    pub(super) fn of(settings: &Settings, folder: &Path) -> Self {
        let word = |name| settings.text(&["memory", name]).unwrap_or_default();
        let number = |name| {
            let number = settings.number(&["memory", name]);
            number.expect("the key has a default, and only allowed values replace it")
        };
        Self {
            gc_interval_s: number("gcInterval"),
            prune_every: prune_period(word("pruneSchedule")).flatten(),
            archive_keep_s: number("archiveKeep"),
            entries_max: number("maxEntries"),
            bytes_max: number("maxBytes"),
            when_full: WhenFull::from_word(word("whenFull")).unwrap_or(WhenFull::Evict),
            graph: graph_policy(settings),
            embedder: EmbedderConfig::of(settings, folder),
        }
    }
}

fn graph_policy(settings: &Settings) -> GraphPolicy {
    let kind = settings.text(&["memory", "graph", "kind"]).unwrap_or_default();
    // The one word that is no kind is `off`.
    let Some(kind) = GraphKind::from_word(kind) else {
        return GraphPolicy::NEVER;
    };
    let from = settings.number(&["memory", "graph", "fromEntries"]);
    GraphPolicy {
        kind,
        from_places: from.map_or(GraphPolicy::default().from_places, |from| from as usize),
    }
}
