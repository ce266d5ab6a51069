//! The actor that owns the index of one shard.
//!
//! Supervised by `memory/shards` (dynamic, transient). A crash loses the index alone: the next incarnation makes it
//! anew from the store when it is first asked, while other shards answer and reads by key go on.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use supervisors::Permit;

use crate::domain::memory::ShardName;
use crate::memory::parts::MemoryParts;
use crate::memory::question::{Direction, Found, Question};
use crate::runtime::timer::Timer;
use crate::storage::error::StoreError;
use crate::storage::store::Store;

use crate::memory::index::graph::build::BuiltGraph;

use super::index::{IndexReview, ShardIndex};
use crate::memory::indexing::{Building, HeldBytes};

/// What an answer is.
pub type Answer = Result<Found, Arc<StoreError>>;

/// What a shard is told.
#[derive(Debug)]
pub enum ShardMessage {
    /// Answer a question, after following the store.
    Query {
        /// The question.
        question: Question,
        /// Its direction.
        direction: Direction,
        /// Its place among those that wait.
        permit: Permit,
        /// Where the answer goes.
        reply: RpcReplyPort<Answer>,
    },
    /// Say what is in the index, after following the store.
    Review {
        /// Its place among those that wait.
        permit: Permit,
        /// Where the answer goes.
        reply: RpcReplyPort<Result<IndexReview, Arc<StoreError>>>,
    },
    /// Say that you live. It is no question: a shard of which nothing else is asked closes all the same.
    Ping {
        /// Where the answer goes.
        reply: RpcReplyPort<()>,
    },
    /// Look whether anybody asked lately.
    IdleLook,
    /// The graph that was ordered, or none when building failed.
    GraphBuilt(Option<BuiltGraph>),
    /// Panic, for tests of supervision.
    #[cfg(test)]
    Crash,
    /// Answer nothing until the other end is dropped.
    #[cfg(test)]
    Stand(tokio::sync::oneshot::Receiver<()>),
}

/// One shard.
pub struct ShardActor {
    /// What it stands on.
    pub parts: MemoryParts,
    /// Which.
    pub name: ShardName,
}

/// What it holds.
pub struct ShardState {
    /// None while a thread works with it.
    index: Option<ShardIndex>,
    /// A graph that is being built beside.
    building: Option<Building>,
    /// What the index weighs, for the metrics.
    held: HeldBytes,
    asked: bool,
    idle: Timer,
}

fn look_later(myself: &ActorRef<ShardMessage>, after: Duration) -> Timer {
    Timer::after(myself, after, || ShardMessage::IdleLook)
}

impl Actor for ShardActor {
    type Msg = ShardMessage;
    type State = ShardState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<ShardMessage>, (): ()) -> Result<ShardState, ActorProcessingErr> {
        Ok(ShardState {
            index: Some(self.empty()),
            building: None,
            held: self.parts.indexing.held_bytes(),
            asked: false,
            idle: look_later(&myself, self.parts.idle),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ShardMessage>,
        message: ShardMessage,
        state: &mut ShardState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ShardMessage::Query {
                question,
                direction,
                permit,
                reply,
            } => {
                state.asked = true;
                if reply.is_closed() {
                    // Who asked has stopped waiting.
                    return Ok(());
                }
                let answer = self.answer(state, question, direction).await?;
                drop(permit);
                // Who asked may have stopped waiting by now.
                reply.send(answer).ok();
                self.build_what_is_worth_it(&myself, state);
            }
            ShardMessage::GraphBuilt(graph) => {
                state.building = None;
                if let (Some(graph), Some(index)) = (graph, &mut state.index) {
                    // One of another index, or of rows that were replaced meanwhile, is built again when next asked.
                    index.set_graph(graph);
                    state.held.set(index.bytes());
                }
            }
            ShardMessage::Review { permit, reply } => {
                state.asked = true;
                let review = self.work(state, |index, _| Ok(index.review())).await?;
                drop(permit);
                reply.send(review).ok();
            }
            ShardMessage::IdleLook if state.asked => {
                state.asked = false;
                state.idle = look_later(&myself, self.parts.idle);
            }
            ShardMessage::IdleLook => myself.stop(None),
            ShardMessage::Ping { reply } => {
                reply.send(()).ok();
            }
            #[cfg(test)]
            ShardMessage::Crash => panic!("asked to"),
            #[cfg(test)]
            ShardMessage::Stand(until) => {
                until.await.ok();
            }
        }
        Ok(())
    }
}

impl ShardActor {
    /// Begins a graph when the index is large enough and nobody else builds one; until then the scan answers.
    fn build_what_is_worth_it(&self, myself: &ActorRef<ShardMessage>, state: &mut ShardState) {
        let Some(index) = &mut state.index else { return };
        let indexing = &self.parts.indexing;
        indexing.note_recall(index.take_recall());
        if state.building.is_some() {
            return;
        }
        let Some(task) = index.graph_task(&indexing.policy) else {
            return;
        };
        let Some(slot) = indexing.slot() else { return };
        let shard = myself.clone();
        state.building = Some(indexing.build(task, slot, move |graph| {
            // It may have closed meanwhile.
            shard.send_message(ShardMessage::GraphBuilt(graph)).ok();
        }));
    }

    async fn answer(
        &self,
        state: &mut ShardState,
        question: Question,
        direction: Direction,
    ) -> Result<Answer, ActorProcessingErr> {
        let now = self.parts.clock.now();
        self.work(state, move |index, store| {
            index.query_in(store, &question, &direction, now)
        })
        .await
    }

    fn empty(&self) -> ShardIndex {
        ShardIndex::of(self.name.clone(), self.parts.embedding.wanted())
    }

    /// Follows the store and works with the index on a thread for blocking work: making a large index anew takes a
    /// while.
    async fn work<T: Send + 'static>(
        &self,
        state: &mut ShardState,
        work: impl FnOnce(&mut ShardIndex, &Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Result<T, Arc<StoreError>>, ActorProcessingErr> {
        let mut index = state.index.take().unwrap_or_else(|| self.empty());
        let store = self.parts.store.clone();
        let worked = tokio::task::spawn_blocking(move || {
            let done = index.follow(&store).and_then(|followed| {
                let worked = work(&mut index, &store)?;
                Ok((followed, worked))
            });
            (index, done)
        });
        // A panic in there takes the index with it: the supervisor starts this actor anew.
        let (index, done) = worked.await?;
        state.held.set(index.bytes());
        state.index = Some(index);
        Ok(match done {
            Ok((followed, worked)) => {
                if !followed.damaged.is_empty() {
                    self.parts.put_aside(&self.name, &followed.damaged);
                }
                Ok(worked)
            }
            Err(error) => Err(Arc::new(error)),
        })
    }
}
