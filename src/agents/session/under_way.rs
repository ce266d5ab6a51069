//! What a session has under way: requests to models, calls, probes and looks. Each tells its end exactly once, by a
//! message.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use supervisors::TaskExit;

use crate::domain::failure::FailureClass;
use crate::domain::fault::in_one_line;
use crate::domain::name::SkillName;
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;
use crate::llm::model::{AskError, Asking};
use crate::llm::wire::memo::Memo;
use crate::skills::handle::{CallError, Ticket};
use crate::skills::skill::{CallOrder, ProbeAnswer};
use crate::skills::workers::WorkerEnd;

use super::hearing::Hearing;
use super::message::SessionMessage;
use super::shell::{SessionActor, SessionState};
use super::tape::Conversation;

impl SessionState {
    /// Holds what was started under the number of its call, or says why it was not started.
    fn holds(&mut self, ordinal: u32, started: Result<Ticket, CallError>) -> Option<String> {
        match started {
            Ok(ticket) => {
                self.calls.insert(ordinal, ticket);
                None
            }
            Err(refused) => Some(in_one_line(&refused)),
        }
    }
}

impl SessionActor {
    /// Sends the request of a turn; its answer comes as a message.
    pub(super) fn ask(&self, myself: &ActorRef<SessionMessage>, state: &mut SessionState, turn: u32, now: UtcMillis) {
        let failed = |error: AskError| {
            myself
                .cast(SessionMessage::Asked {
                    turn,
                    result: Err(error),
                })
                .ok();
        };
        // Its place at the gate goes back when this returns without a request.
        let permit = state.around.take_permit();
        let request = state.around.request(&state.turn.asked, &state.turn);
        let conversation = match state.turn.compacting {
            Some(_) => Conversation::Apart,
            None => Conversation::Own(state.turn.messages.generation()),
        };
        // What a summary is made from is no part of what the conversation is remembered by.
        let memo = match conversation {
            Conversation::Apart => Memo::default(),
            Conversation::Own(_) => state.memo.clone(),
        };
        let tape = state.tape.as_mut();
        let model = match tape.and_then(|tape| tape.asks(turn, &request, conversation)) {
            Some(replayed) => replayed,
            None => match self.parts.models.get(&state.turn.asked) {
                Ok(model) => model,
                Err(error) => return failed(AskError::unspent(FailureClass::Config, error.to_string())),
            },
        };
        let deadline = Duration::from_millis(state.order.deadline.since(now));
        let hearing = Hearing::new(&self.parts, &state.order, turn, permit);
        if state.turn.asks > 1 {
            hearing.restart();
        }
        let to = myself.clone();
        let name = format!("{} turn {turn}", state.order.session_id());
        let spawned = self.parts.asking.spawn(
            name,
            async move {
                let asking = Asking {
                    deadline,
                    listener: hearing.clone(),
                    memo,
                };
                let result = model.ask(request, asking).await;
                hearing.ended(result.as_ref().err());
                result
            },
            move |exit| {
                let result = match exit {
                    TaskExit::Done(result) => result.map(Arc::new),
                    TaskExit::Panicked(text) => Err(AskError::unknown(
                        FailureClass::Transport,
                        format!("the client of the model crashed: {text}"),
                    )),
                    TaskExit::Cancelled => Err(AskError::unknown(FailureClass::Transport, "the request was stopped")),
                };
                to.cast(SessionMessage::Asked { turn, result }).ok();
            },
        );
        match spawned {
            Ok(task) => state.asking = Some(task),
            Err(refused) => failed(AskError::unspent(FailureClass::Overload, refused.to_string())),
        }
    }

    /// Has a call made; its end comes as a message.
    pub(super) async fn call(
        &self,
        myself: &ActorRef<SessionMessage>,
        state: &mut SessionState,
        ordinal: u32,
        skill: &SkillName,
        order: CallOrder,
    ) {
        self.parts.skills.await_workers().await;
        let to = myself.clone();
        let started = self.parts.skills.call(skill, order, move |end| {
            to.cast(SessionMessage::Called { ordinal, end }).ok();
        });
        if let Some(reason) = state.holds(ordinal, started) {
            // It was not started, so this is a result like any other.
            let outcome = CallOutcome::error(format!("it was not started: {reason}"));
            let end = WorkerEnd::Finished(Ok(outcome.into()));
            myself.cast(SessionMessage::Called { ordinal, end }).ok();
        }
    }

    /// Asks the skill whether an interrupted call happened.
    pub(super) async fn probe(
        &self,
        myself: &ActorRef<SessionMessage>,
        state: &mut SessionState,
        ordinal: u32,
        skill: &SkillName,
        order: CallOrder,
    ) {
        self.parts.skills.await_workers().await;
        let to = myself.clone();
        let started = self.parts.skills.probe(skill, order, move |answer| {
            to.cast(SessionMessage::Probed { ordinal, answer }).ok();
        });
        if let Some(reason) = state.holds(ordinal, started) {
            let answer = ProbeAnswer::Unknown(format!("it could not be asked: {reason}"));
            myself.cast(SessionMessage::Probed { ordinal, answer }).ok();
        }
    }

    /// Finds out what a call would do.
    pub(super) async fn look(
        &self,
        myself: &ActorRef<SessionMessage>,
        state: &mut SessionState,
        ordinal: u32,
        skill: &SkillName,
        order: CallOrder,
    ) {
        self.parts.skills.await_workers().await;
        let (to, key) = (myself.clone(), order.key);
        let started = self.parts.skills.preview(skill, order, move |seen| {
            to.cast(SessionMessage::Looked { ordinal, key, seen }).ok();
        });
        if let Some(reason) = state.holds(ordinal, started) {
            let seen = Err(reason);
            myself.cast(SessionMessage::Looked { ordinal, key, seen }).ok();
        }
    }
}
