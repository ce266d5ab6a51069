//! The agents as actors: each takes orders for its name, judges them as their receiver, and starts the sessions.
//!
//! Supervised by `agents/roster` (permanent). A crash loses nothing: sessions are children of another supervisor,
//! and an order that got no answer is given again by the run.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use supervisors::{ApiError, DynamicRef};
use tokio::sync::oneshot;

use crate::domain::agent::AgentDefinition;
use crate::domain::handoff::Finding;
use crate::domain::name::AgentName;

use super::handoff::judge;
use super::order::SessionOrder;
use super::parts::AgentsParts;
use super::session::message::SessionMessage;

/// How long a session that is there already may take to say so; one that works answers between two messages.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Looks for the end of a session that is on its way out, and the pause between them.
const LOOKS_MAX: u32 = 200;
const LOOK: Duration = Duration::from_millis(5);

/// What an agent is told.
pub enum AgentMessage {
    /// Take an order. The answer says whether a session works on it.
    Take {
        /// The order.
        order: Box<SessionOrder>,
        /// The answer.
        reply: RpcReplyPort<Taken>,
    },
}

/// What became of an order.
#[derive(Debug)]
pub enum Taken {
    /// A session works on it.
    Accepted,
    /// The receiver cannot work with it.
    Refused(Vec<Finding>),
    /// No session could be started.
    NotStarted(ApiError),
}

/// The argument of a session's start, as its supervisor keeps it for restarts.
#[derive(Clone)]
pub struct SessionArgument {
    /// The order.
    pub order: Arc<SessionOrder>,
    /// Its agent.
    pub definition: Option<Arc<AgentDefinition>>,
}

/// The supervisor of all sessions.
pub type Sessions = DynamicRef<SessionArgument, SessionMessage>;

/// One agent.
pub struct AgentActor {
    /// Its name.
    pub name: AgentName,
    /// What it stands on.
    pub parts: AgentsParts,
    /// Where its sessions live.
    pub sessions: Sessions,
}

impl Actor for AgentActor {
    type Msg = AgentMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _myself: ActorRef<AgentMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<AgentMessage>,
        message: AgentMessage,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AgentMessage::Take { order, reply } => {
                let taken = self.take(*order).await;
                // Who asked may have gone; the session reports to the run in any case.
                reply.send(taken).ok();
            }
        }
        Ok(())
    }
}

impl AgentActor {
    async fn take(&self, order: SessionOrder) -> Taken {
        let findings = self.judge(&order);
        if !findings.is_empty() {
            return Taken::Refused(findings);
        }
        let definition = self.parts.definitions.get(&self.name);
        start(&self.sessions, order, definition).await
    }

    /// The receiver's view of the order. A resumed one was accepted before: only time may have passed.
    fn judge(&self, order: &SessionOrder) -> Vec<Finding> {
        let Some(handoff) = order.handoff().filter(|_| !order.resume) else {
            return Vec::new();
        };
        let mut findings = judge(handoff, self.parts.clock.now());
        if handoff.to != self.name {
            findings.push(Finding::new(
                "/to",
                format!("is `{}`, this is `{}`", handoff.to, self.name),
            ));
        }
        let Some(definition) = self.parts.definitions.get(&self.name) else {
            findings.push(Finding::new(
                "/to",
                format!("there is no agent `{}` any more", self.name),
            ));
            return findings;
        };
        for skill in order.skills.iter().flatten() {
            if !definition.skills.contains(skill) {
                let message = format!("agent `{}` may not use skill `{skill}`", self.name);
                findings.push(Finding::new("/skills", message));
            }
        }
        if !order.workspace.is_dir() {
            findings.push(Finding::new(
                "/workspace",
                format!("{} is not a folder", order.workspace.display()),
            ));
        }
        findings
    }
}

/// Starts the session of an order; one that runs already is left to go on, and will report. One that has reported
/// and is on its way out, because it waits for a person or rests, is waited for: its attempt goes on in a new one.
pub async fn start(sessions: &Sessions, order: SessionOrder, definition: Option<Arc<AgentDefinition>>) -> Taken {
    let id = order.session_id();
    let argument = SessionArgument {
        order: Arc::new(order),
        definition,
    };
    for _ in 0..LOOKS_MAX {
        match sessions.start_child(id.clone(), argument.clone()).await {
            Ok(_) | Err(ApiError::Restarting(_)) => return Taken::Accepted,
            Err(ApiError::AlreadyStarted { .. }) => {}
            Err(error) => return Taken::NotStarted(error),
        }
        let (reply, answer) = oneshot::channel();
        let asked = sessions
            .get(id.clone())
            .is_some_and(|session| session.cast(SessionMessage::AreYouThere { reply }).is_ok());
        // One that is busy answers late and goes on; one that goes drops the question at once.
        if asked && !matches!(tokio::time::timeout(ANSWER_MAX, answer).await, Ok(Err(_))) {
            return Taken::Accepted;
        }
        tokio::time::sleep(LOOK).await;
    }
    // It has not gone in all this time, so it is left to be.
    Taken::Accepted
}
