//! How the indexes of all shards are made: which graph, how many at once, and what is measured of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use metrics::{Counter, Histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::memory::index::graph::build::{BuiltGraph, GraphPolicy, GraphTask};
use crate::runtime::telemetry::{MEMORY_GRAPH_BUILDS, MEMORY_QUERY_DURATION, MEMORY_RECALL, Telemetry};

/// Graphs that are built at once: each keeps a processor busy for as long as it takes.
const BUILDS_MAX: usize = 1;

/// Handed to every shard.
#[derive(Clone)]
pub struct Indexing {
    /// When a shard gets a graph, and which.
    pub policy: GraphPolicy,
    slots: Arc<Semaphore>,
    recall: Histogram,
    built: Counter,
    given_up: Counter,
    by_key: Histogram,
    by_meaning: Histogram,
    bytes: Arc<IndexBytes>,
}

/// Bytes that the indexes of all open shards hold.
#[derive(Debug, Default)]
struct IndexBytes {
    vectors: AtomicU64,
    graphs: AtomicU64,
}

/// What one shard holds of them; dropping it gives that back, however the shard ends.
#[derive(Debug)]
pub struct HeldBytes {
    all: Arc<IndexBytes>,
    vectors: u64,
    graph: u64,
}

impl HeldBytes {
    /// Counts so many bytes of vectors and of the graph over them instead of what was counted before.
    pub fn set(&mut self, (vectors, graph): (usize, usize)) {
        let (vectors, graph) = (vectors as u64, graph as u64);
        // Wraps around where it shrinks, and so does the sum.
        self.all
            .vectors
            .fetch_add(vectors.wrapping_sub(self.vectors), Ordering::Relaxed);
        self.all
            .graphs
            .fetch_add(graph.wrapping_sub(self.graph), Ordering::Relaxed);
        (self.vectors, self.graph) = (vectors, graph);
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.set((0, 0));
    }
}

/// Measures one question, answered or not: from its making until it is dropped.
pub struct Asked {
    began: std::time::Instant,
    took: Histogram,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.took.record(self.began.elapsed().as_secs_f64());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long an answer takes is a figure; it decides nothing"
)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// The end of a build that its shard still waits for. Dropping it stops the build.
#[derive(Debug)]
pub struct Building(Arc<AtomicBool>);

impl Drop for Building {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Default for Indexing {
    fn default() -> Self {
        Self::new(GraphPolicy::default(), &Telemetry::default())
    }
}

impl Indexing {
    /// By this policy, with metrics that somebody reads.
    pub fn new(policy: GraphPolicy, telemetry: &Telemetry) -> Self {
        Self {
            policy,
            slots: Arc::new(Semaphore::new(BUILDS_MAX)),
            recall: telemetry.histogram(&MEMORY_RECALL, &[]),
            built: telemetry.counter(&MEMORY_GRAPH_BUILDS, &["built"]),
            given_up: telemetry.counter(&MEMORY_GRAPH_BUILDS, &["given_up"]),
            by_key: telemetry.histogram(&MEMORY_QUERY_DURATION, &["key"]),
            by_meaning: telemetry.histogram(&MEMORY_QUERY_DURATION, &["meaning"]),
            bytes: Arc::default(),
        }
    }

    /// For a shard that opens: nothing is held yet.
    pub fn held_bytes(&self) -> HeldBytes {
        HeldBytes {
            all: self.bytes.clone(),
            vectors: 0,
            graph: 0,
        }
    }

    /// Bytes of the vectors of all open shards, and of the graphs over them.
    pub fn index_bytes(&self) -> (u64, u64) {
        let of = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        (of(&self.bytes.vectors), of(&self.bytes.graphs))
    }

    /// A question by key begins.
    pub fn asks_by_key(&self) -> Asked {
        Asked {
            began: now(),
            took: self.by_key.clone(),
        }
    }

    /// A question by meaning begins.
    pub fn asks_by_meaning(&self) -> Asked {
        Asked {
            began: now(),
            took: self.by_meaning.clone(),
        }
    }

    /// Counts a check of a graph against the scan.
    pub fn note_recall(&self, recall: Option<f32>) {
        if let Some(recall) = recall {
            self.recall.record(f64::from(recall));
        }
    }

    /// Whether a build may begin; the slot is held until it ends.
    pub fn slot(&self) -> Option<OwnedSemaphorePermit> {
        self.slots.clone().try_acquire_owned().ok()
    }

    /// Builds on a thread of its own and hands over what came of it: none when it was stopped or failed.
    ///
    /// **Cancel**: dropping what this returns stops the build within some milliseconds.
    pub fn build(
        &self,
        task: GraphTask,
        slot: OwnedSemaphorePermit,
        built: impl FnOnce(Option<BuiltGraph>) + Send + 'static,
    ) -> Building {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let mut end = BuildEnd {
            built: Some(built),
            graph: None,
            indexing: self.clone(),
        };
        tokio::task::spawn_blocking(move || {
            end.graph = task.build(&stopped);
            drop(end);
            drop(slot);
        });
        Building(stop)
    }
}

/// Tells the shard in any case, also when building panics.
struct BuildEnd<F: FnOnce(Option<BuiltGraph>)> {
    built: Option<F>,
    graph: Option<BuiltGraph>,
    indexing: Indexing,
}

impl<F: FnOnce(Option<BuiltGraph>)> Drop for BuildEnd<F> {
    fn drop(&mut self) {
        match self.graph {
            Some(_) => self.indexing.built.increment(1),
            None => self.indexing.given_up.increment(1),
        }
        if let Some(built) = self.built.take() {
            built(self.graph.take());
        }
    }
}
