//! What a session is told.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::domain::conversation::ModelAnswer;
use crate::domain::effect::EffectKey;
use crate::llm::model::AskError;
use crate::skills::preview::Preview;
use crate::skills::skill::ProbeAnswer;
use crate::skills::workers::WorkerEnd;

/// Requests, then facts from its own helpers, then timers.
#[derive(Debug)]
pub enum SessionMessage {
    /// Go.
    Begin,
    /// Say whether you go on. One that has reported and is on its way out does not answer.
    AreYouThere {
        /// The answer.
        reply: oneshot::Sender<()>,
    },
    /// Stop all work, then report.
    Stop,
    /// Begin nothing new; let the calls under way end and journal them; then go without a report. The next life of
    /// the process goes on from there.
    Suspend,
    /// The model answered or did not; none when the task that asked has crashed.
    Asked {
        /// Which turn.
        turn: u32,
        /// What came.
        result: Result<Arc<ModelAnswer>, AskError>,
    },
    /// A call ended.
    Called {
        /// Which.
        ordinal: u32,
        /// How.
        end: WorkerEnd,
    },
    /// A probe answered.
    Probed {
        /// Which call.
        ordinal: u32,
        /// What it said.
        answer: ProbeAnswer,
    },
    /// It is known what a call would do, or why it cannot be.
    Looked {
        /// Which call.
        ordinal: u32,
        /// The name of its effect.
        key: EffectKey,
        /// What it would do.
        seen: Result<Preview, String>,
    },
    /// The time to send a request has come.
    RestDue,
    /// A request that was put off may perhaps go earlier.
    PlaceFree,
    /// The deadline has passed.
    DeadlinePassed,
}
