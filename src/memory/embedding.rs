//! The embedder that is configured beside the built-in one: what it is, how far it is, and the direction of a question
//! in its space.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge};

use crate::domain::fault::in_one_line;
use crate::domain::memory::ShardName;
use crate::runtime::telemetry::{MEMORY_EMBEDDINGS, MEMORY_VECTORS_DUE, MEMORY_WORDS_ALONE, Telemetry};
use crate::storage::error::StoreError;
use crate::storage::store::Store;

use super::embed::endpoint::Endpoint;
use super::question::Direction;

/// Longest wait of a question for its vector.
const QUESTION_MAX: Duration = Duration::from_secs(2);

/// Handed to all who need it. The default is the built-in embedder alone.
#[derive(Clone, Default)]
pub struct Embedding(Option<Arc<Configured>>);

struct Configured {
    endpoint: Arc<Endpoint>,
    failure: Mutex<Option<Arc<str>>>,
    embedded: Counter,
    refused: Counter,
    failed: Counter,
    words_alone: Counter,
    due: Gauge,
}

impl Embedding {
    /// With this endpoint.
    pub fn of(endpoint: Endpoint, telemetry: &Telemetry) -> Self {
        let embeddings = |outcome| telemetry.counter(&MEMORY_EMBEDDINGS, &[outcome]);
        Self(Some(Arc::new(Configured {
            endpoint: Arc::new(endpoint),
            failure: Mutex::default(),
            embedded: embeddings("embedded"),
            refused: embeddings("refused"),
            failed: embeddings("failed"),
            words_alone: telemetry.counter(&MEMORY_WORDS_ALONE, &[]),
            due: telemetry.gauge(&MEMORY_VECTORS_DUE, &[]),
        })))
    }

    /// Where vectors come from.
    pub fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.0.as_ref().map(|configured| &configured.endpoint)
    }

    /// The name of the embedder, when it is not the built-in one.
    pub fn wanted(&self) -> Option<Arc<str>> {
        self.endpoint().map(|endpoint| endpoint.name().clone())
    }

    /// Why the last batch of vectors was not made.
    pub fn failure(&self) -> Option<Arc<str>> {
        let configured = self.0.as_ref()?;
        configured
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn note_batch(&self, embedded: u64, refused: u64, failure: Option<Arc<str>>) {
        if let Some(configured) = &self.0 {
            configured.embedded.increment(embedded);
            configured.refused.increment(refused);
            configured.failed.increment(u64::from(failure.is_some()));
            *configured.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        }
    }

    pub(super) fn note_due(&self, due: u64) {
        if let Some(configured) = &self.0 {
            configured.due.set(due as f64);
        }
    }

    /// The direction of a question in the space that serves a shard, and why there is none when the embedder failed.
    pub(super) async fn direction(
        &self,
        store: &Store,
        shard: &ShardName,
        text: &Arc<str>,
        deadline: Duration,
    ) -> Result<(Direction, Option<Arc<str>>), StoreError> {
        let Some(configured) = &self.0 else {
            return Ok((Direction::BuiltIn, None));
        };
        let Some(embedder) = store.memory_served_by(shard, configured.endpoint.name())? else {
            return Ok((Direction::BuiltIn, None));
        };
        let asked = configured.endpoint.ask(text, QUESTION_MAX.min(deadline / 2)).await;
        Ok(match asked {
            Ok(vector) => (Direction::Of(embedder, vector), None),
            Err(error) => {
                configured.words_alone.increment(1);
                (Direction::Unknown, Some(in_one_line(&error).into()))
            }
        })
    }
}
