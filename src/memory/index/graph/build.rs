//! When a shard's rows are worth a graph, and building one beside whatever serves meanwhile.
//!
//! Refuses to know: threads, actors. Invariants: pure; a graph is built from rows that nobody changes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::memory::index::codes::{Codes, Version};
use crate::memory::index::nearest::Nearest;

use super::compact::CompactGraph;
use super::hnsw::HnswRs;

/// Which graph is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GraphKind {
    /// Ours: flat arrays over the shard's own rows.
    #[default]
    Compact,
    /// The one of the `hnsw_rs` crate.
    HnswRs,
}

impl GraphKind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 2] = [Self::Compact, Self::HnswRs];

    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::HnswRs => "hnsw_rs",
        }
    }

    /// The kind of a word made by [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// When there is a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphPolicy {
    /// Which.
    pub kind: GraphKind,
    /// From so many places on; below, a scan takes less than a question may.
    pub from_places: usize,
}

impl GraphPolicy {
    /// Every question is answered by a scan.
    pub const NEVER: Self = Self {
        kind: GraphKind::Compact,
        from_places: usize::MAX,
    };
}

impl Default for GraphPolicy {
    fn default() -> Self {
        Self {
            kind: GraphKind::default(),
            from_places: 50_000,
        }
    }
}

/// Places that a graph may lack, as a part of all, before it is extended: they are scanned at each question.
const LACKING_PART: usize = 16;

/// A graph that waits to be built.
#[derive(Debug)]
pub struct GraphTask {
    kind: GraphKind,
    codes: Codes,
    compact: Option<Arc<CompactGraph>>,
}

/// A graph that was built.
#[derive(Debug, Clone)]
pub struct BuiltGraph {
    graph: Shared,
    /// Which rows it is of.
    version: Version,
}

#[derive(Debug, Clone)]
enum Shared {
    Compact(Arc<CompactGraph>),
    HnswRs(Arc<HnswRs>),
}

impl BuiltGraph {
    /// Whether it is of these rows, as far as it covers them.
    pub fn is_of(&self, codes: &Codes) -> bool {
        self.version == *codes.version()
    }

    /// To be searched.
    pub fn nearest(&self) -> &dyn Nearest {
        match &self.graph {
            Shared::Compact(graph) => &**graph,
            Shared::HnswRs(graph) => &**graph,
        }
    }
}

impl GraphPolicy {
    /// What is to be built now, if anything.
    pub fn task(&self, codes: &Codes, current: Option<&BuiltGraph>) -> Option<GraphTask> {
        let places = codes.places();
        if places < self.from_places {
            return None;
        }
        let covered = current.map_or(0, |graph| graph.nearest().covered() as usize);
        if current.is_some() && places - covered.min(places) < places / LACKING_PART {
            return None;
        }
        Some(GraphTask {
            kind: self.kind,
            codes: codes.clone(),
            compact: match current.map(|graph| &graph.graph) {
                Some(Shared::Compact(graph)) => Some(graph.clone()),
                _ => None,
            },
        })
    }
}

impl GraphTask {
    /// Builds it: some 50 microseconds a row for ours. None when `stop` was raised.
    pub fn build(self, stop: &AtomicBool) -> Option<BuiltGraph> {
        let version = self.codes.version().clone();
        let graph = match self.kind {
            GraphKind::Compact => {
                let old = self.compact.map(Arc::unwrap_or_clone).unwrap_or_default();
                Shared::Compact(Arc::new(old.extended(&self.codes, stop)?))
            }
            GraphKind::HnswRs => Shared::HnswRs(Arc::new(HnswRs::build(&self.codes, stop)?)),
        };
        Some(BuiltGraph { graph, version })
    }
}
