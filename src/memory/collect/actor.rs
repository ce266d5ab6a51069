//! The actor that collects: by its timer, and when somebody asks.
//!
//! Supervised by `memory` (permanent). It holds nothing that the store does not have; a crash costs the rest of a
//! round.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use supervisors::Permit;

use crate::domain::memory::ShardName;
use crate::runtime::timer::Timer;

use super::round::{Report, RoundError, Rounds};

/// The first collection comes soon after the start: a process that never lives for a whole interval collects too.
const FIRST_AFTER_MAX: Duration = Duration::from_secs(60);

/// What the collector is told.
#[derive(Debug)]
pub enum CollectorMessage {
    /// Prune now.
    Prune {
        /// One part, or all.
        only: Option<ShardName>,
        /// Its place among those that wait.
        permit: Permit,
        /// Where the report goes.
        reply: RpcReplyPort<Result<Report, RoundError>>,
    },
    /// Make room in a part.
    Evict {
        /// Which.
        shard: ShardName,
        /// For so many entries of so many bytes.
        more: (u64, u64),
        /// Its place among those that wait.
        permit: Permit,
        /// How many entries were archived.
        reply: RpcReplyPort<Result<u64, RoundError>>,
    },
    /// The interval has passed.
    CollectDue,
}

/// The collector.
pub struct Collector {
    /// Does the work.
    pub rounds: Rounds,
}

/// The next collection.
pub struct CollectorState {
    next: Timer,
}

fn next(myself: &ActorRef<CollectorMessage>, after: Duration) -> Timer {
    Timer::after(myself, after, || CollectorMessage::CollectDue)
}

impl Actor for Collector {
    type Msg = CollectorMessage;
    type State = CollectorState;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<CollectorMessage>,
        (): (),
    ) -> Result<CollectorState, ActorProcessingErr> {
        let after = self.rounds.parts.upkeep.interval.min(FIRST_AFTER_MAX);
        Ok(CollectorState {
            next: next(&myself, after),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<CollectorMessage>,
        message: CollectorMessage,
        state: &mut CollectorState,
    ) -> Result<(), ActorProcessingErr> {
        let now = self.rounds.parts.clock.now();
        match message {
            CollectorMessage::Prune { only, permit, reply } => {
                let report = self.rounds.prune(only.as_ref(), now, true).await;
                drop(permit);
                // Who asked may have stopped waiting; the work is done all the same.
                reply.send(report).ok();
            }
            CollectorMessage::Evict {
                shard,
                more,
                permit,
                reply,
            } => {
                let evicted = if reply.is_closed() {
                    Ok(0)
                } else {
                    self.rounds.make_room(&shard, more, now).await
                };
                drop(permit);
                reply.send(evicted).ok();
            }
            CollectorMessage::CollectDue => {
                if let Err(error) = self.round().await {
                    // The next round finds what is left.
                    tracing::warn!(
                        error = crate::domain::fault::in_one_line(&error),
                        "a collection of memory ended early"
                    );
                }
                state.next = next(&myself, self.rounds.parts.upkeep.interval);
            }
        }
        Ok(())
    }
}

impl Collector {
    async fn round(&self) -> Result<(), RoundError> {
        let now = self.rounds.parts.clock.now();
        let mut report = self.rounds.collect(now).await?;
        if self.rounds.prune_is_due(now).await? {
            let pruned = self.rounds.prune(None, now, true).await?;
            report.archived += pruned.archived;
            report.damaged += pruned.damaged;
        }
        if report != Report::default() {
            let Report {
                archived,
                due,
                deleted,
                evicted,
                dropped,
                used,
                damaged,
                going: _,
            } = report;
            tracing::info!(
                archived,
                due,
                deleted,
                evicted,
                dropped,
                used,
                damaged,
                "memory was collected"
            );
        }
        Ok(())
    }
}
