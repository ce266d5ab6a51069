//! A session's part of its run's tape: names each request, keeps the names of those that are answered, and answers from
//! the cassette when the run is replayed.

use std::sync::Arc;

use crate::agents::order::{OrderWork, SessionOrder};
use crate::agents::parts::AgentsParts;
use crate::agents::players::TapeError;
use crate::domain::conversation::ModelRequest;
use crate::domain::fact::Attempt;
use crate::domain::id::RunId;
use crate::domain::traffic::{RequestHash, Traffic};
use crate::llm::cassette::canon::Canon;
use crate::llm::cassette::player::{Player, Replayed};
use crate::llm::cassette::recorder::Recorder;
use crate::llm::model::Model;
use crate::storage::batch::Op;

/// Which conversation a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversation {
    /// The session's own. The number changes when messages that were sent before have changed.
    Own(u32),
    /// One of a single request, for a summary.
    Apart,
}

/// The tape of one session.
pub(super) struct SessionTape {
    run: RunId,
    attempt: Attempt,
    canon: Arc<Canon>,
    own: Recorder,
    player: Option<Arc<Player>>,
    sent: Option<Sent>,
}

struct Sent {
    turn: u32,
    request: RequestHash,
    apart: Option<Recorder>,
}

impl SessionTape {
    /// The tape for an order; none when its run keeps nothing or no model is asked.
    pub(super) async fn open(parts: &AgentsParts, order: &SessionOrder) -> Result<Option<Self>, TapeError> {
        if matches!(order.work, OrderWork::Skill { .. }) {
            return Ok(None);
        }
        let tape = parts.players.open(order.run, &parts.store, &parts.committer).await?;
        Ok(tape.map(|tape| {
            let workspace = order.workspace.display().to_string();
            let canon = Arc::new(Canon::new(&workspace, order.run, parts.models.redactor()));
            Self {
                run: order.run,
                attempt: order.attempt.clone(),
                own: Recorder::new(canon.clone()),
                canon,
                player: tape.player,
                sent: None,
            }
        }))
    }

    /// Whether answers come from a cassette.
    pub(super) fn replays(&self) -> bool {
        self.player.is_some()
    }

    /// Names a request that goes out. Gives the model that answers from the cassette, when the run is replayed.
    pub(super) fn asks(
        &mut self,
        turn: u32,
        request: &ModelRequest,
        conversation: Conversation,
    ) -> Option<Arc<dyn Model>> {
        let mut apart = (conversation == Conversation::Apart).then(|| Recorder::new(self.canon.clone()));
        let generation = match conversation {
            Conversation::Own(generation) => generation,
            Conversation::Apart => 0,
        };
        let recorder = apart.as_mut().unwrap_or(&mut self.own);
        let name = recorder.ask(request, generation);
        let replayed = self.player.as_ref().map(|player| {
            let answer = player.answer(&self.attempt, turn, name, recorder, &self.canon);
            Arc::new(Replayed::new(request.model.clone(), answer)) as Arc<dyn Model>
        });
        self.sent = Some(Sent {
            turn,
            request: name,
            apart,
        });
        replayed
    }

    /// What is kept with the answer to the request that went out last.
    pub(super) fn answered(&mut self, turn: u32) -> Option<Op> {
        let mut sent = self.sent.take().filter(|sent| sent.turn == turn)?;
        let note = sent.apart.as_mut().unwrap_or(&mut self.own).note();
        let traffic = Traffic {
            attempt: self.attempt.clone(),
            turn,
            request: sent.request,
            note,
        };
        Some(Op::TrafficPut { run: self.run, traffic })
    }
}
