//! Gives entries the vectors of the configured embedder: all of them after it has changed, new ones soon after they were
//! put.
//!
//! Supervised by `memory` (permanent). Between two batches it holds nothing that the store does not have: after a crash
//! or a kill it goes on where the last batch ended. While it works, and while the endpoint is down, shards are searched
//! as before.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::domain::fault::in_one_line;
use crate::domain::memory::{MemoryVector, NewVectors};
use crate::runtime::timer::Timer;
use crate::storage::batch::{Batch, Op};
use crate::storage::memory_earlier::EarlierPlace;
use crate::storage::memory_embed::Lacking;

use super::embed::endpoint::{BATCH_MAX, Endpoint, EndpointError};
use super::embed::vector::Quantised;
use super::parts::MemoryParts;

/// How soon new entries are looked for when there were none: one read of each shard's record.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The wait after the endpoint failed; doubled with each failure up to the most.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The most.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);
/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// A text that every embedder has a vector for.
const PLAIN_TEXT: &str = "memory";

/// What it is told.
#[derive(Debug)]
pub enum FillerMessage {
    /// Do the next batch.
    Work,
}

/// The actor.
pub struct Filler {
    /// What it stands on.
    pub parts: MemoryParts,
    /// Where vectors come from.
    pub endpoint: Arc<Endpoint>,
}

/// What it holds.
pub struct FillerState {
    /// Where the last look for vectors of earlier embedders ended.
    earlier: Option<EarlierPlace>,
    next: Timer,
    again_after: Duration,
    /// Texts of the next batch at most: fewer for a server that is too slow for more.
    batch: usize,
}

/// What came of one look.
enum Worked {
    /// There may be more.
    On,
    /// Nothing is lacking.
    Done,
    /// The endpoint failed.
    Failed(EndpointError),
}

fn later(myself: &ActorRef<FillerMessage>, after: Duration) -> Timer {
    Timer::after(myself, after, || FillerMessage::Work)
}

impl Actor for Filler {
    type Msg = FillerMessage;
    type State = FillerState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<FillerMessage>, (): ()) -> Result<FillerState, ActorProcessingErr> {
        Ok(FillerState {
            earlier: None,
            next: later(&myself, Duration::ZERO),
            again_after: AGAIN_AFTER,
            batch: BATCH_MAX,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<FillerMessage>,
        FillerMessage::Work: FillerMessage,
        state: &mut FillerState,
    ) -> Result<(), ActorProcessingErr> {
        let mut worked = self.work(state.batch).await?;
        if matches!(worked, Worked::Done) && self.forget_earlier(&mut state.earlier).await? {
            worked = Worked::On;
        }
        let after = match worked {
            Worked::On => {
                state.again_after = AGAIN_AFTER;
                Duration::ZERO
            }
            Worked::Done => {
                state.again_after = AGAIN_AFTER;
                state.batch = BATCH_MAX;
                LOOK_EVERY
            }
            Worked::Failed(error) => {
                let after = state.again_after;
                if matches!(error, EndpointError::TimedOut(_)) {
                    state.batch = (state.batch / 2).max(1);
                }
                let error = in_one_line(&error);
                tracing::warn!(
                    error,
                    ?after,
                    "entries wait for their vectors; they are found without meanwhile"
                );
                self.parts.embedding.note_batch(0, 0, Some(error.into()));
                state.again_after = (after * 2).min(AGAIN_AFTER_MAX);
                after
            }
        };
        let figures = self.parts.store.memory_embedded_figures(self.endpoint.name())?;
        self.parts.embedding.note_due(figures.due);
        state.next = later(&myself, after);
        Ok(())
    }
}

impl Filler {
    /// One batch of the first shard that lacks something. An error is the store's and ends this actor.
    async fn work(&self, batch: usize) -> Result<Worked, ActorProcessingErr> {
        let (store, endpoint) = (self.parts.store.clone(), self.endpoint.clone());
        let look = tokio::task::spawn_blocking(move || store.memory_lacking(endpoint.name(), batch));
        let Some(lacking) = look.await?? else {
            return Ok(Worked::Done);
        };
        let texts: Vec<Arc<str>> = lacking.texts.iter().map(|(_, text)| text.clone()).collect();
        let vectors = match embed_each(&self.endpoint, &texts).await {
            Ok(vectors) => vectors,
            Err(error) => return Ok(Worked::Failed(error)),
        };
        let refused = vectors.iter().filter(|vector| vector.is_none()).count() as u64;
        let embedded = texts.len() as u64 - refused;
        self.commit(lacking, vectors, refused).await?;
        self.parts.embedding.note_batch(embedded, refused, None);
        Ok(Worked::On)
    }

    /// Removes some vectors of embedders from before, which nobody searches by any more. Whether there may be more.
    async fn forget_earlier(&self, place: &mut Option<EarlierPlace>) -> Result<bool, ActorProcessingErr> {
        let (store, endpoint, at) = (self.parts.store.clone(), self.endpoint.clone(), self.parts.clock.now());
        let after = *place;
        let look = tokio::task::spawn_blocking(move || store.memory_earlier(endpoint.name(), after, at));
        let Some((earlier, through)) = look.await?? else {
            *place = None;
            return Ok(false);
        };
        *place = Some(through);
        let batch = Batch::ops(vec![Op::MemoryVectorsForget(Box::new(earlier))]);
        self.parts.committer.commit(batch).await?;
        Ok(true)
    }

    async fn commit(
        &self,
        lacking: Lacking,
        vectors: Vec<Option<Quantised>>,
        refused: u64,
    ) -> Result<(), ActorProcessingErr> {
        let embedder = self.endpoint.name();
        let vectors = lacking.texts.iter().zip(vectors).filter_map(|((id, _), vector)| {
            let vector = vector?;
            let vector = MemoryVector {
                embedder: embedder.clone(),
                scale: vector.scale,
                codes: vector.codes,
            };
            Some((*id, vector))
        });
        let new = NewVectors {
            vectors: vectors.collect(),
            embedder: embedder.clone(),
            refused,
            through: lacking.through,
            is_end: lacking.is_end,
            at: self.parts.clock.now(),
            shard: lacking.shard,
        };
        let batch = Batch::ops(vec![Op::MemoryVectors(Box::new(new))]);
        self.parts.committer.commit(batch).await?;
        Ok(())
    }
}

/// The vectors of texts, none for those that the embedder refuses. A batch that is refused is halved until the texts
/// are found that are at fault; one that is refused alone is at fault only when another text is taken: otherwise the
/// endpoint is.
async fn embed_each(endpoint: &Endpoint, texts: &[Arc<str>]) -> Result<Vec<Option<Quantised>>, EndpointError> {
    let mut vectors: Vec<Option<Quantised>> = vec![None; texts.len()];
    let whole = 0..texts.len();
    let mut parts = vec![whole];
    let mut is_well = false;
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        match endpoint.embed(&texts[part.clone()], ANSWER_MAX).await {
            Ok(made) => {
                is_well = true;
                for (slot, vector) in vectors[part].iter_mut().zip(made) {
                    *slot = Some(vector);
                }
            }
            Err(error) if !error.may_be_a_text() => return Err(error),
            Err(error) if part.len() == 1 => {
                if !is_well && endpoint.embed(&[PLAIN_TEXT.into()], ANSWER_MAX).await.is_err() {
                    return Err(error);
                }
                is_well = true;
                // Once more: a fault that passes costs no text its vector.
                match endpoint.embed(&texts[part.clone()], ANSWER_MAX).await {
                    Ok(made) => vectors[part.start] = made.into_iter().next(),
                    Err(error) if error.may_be_a_text() => {}
                    Err(error) => return Err(error),
                }
            }
            Err(_) => {
                let middle = part.start + part.len() / 2;
                parts.extend([part.start..middle, middle..part.end]);
            }
        }
    }
    Ok(vectors)
}
