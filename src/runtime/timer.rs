//! Timers of actors: a message to oneself after a while, taken back when the timer is dropped.

use std::time::Duration;

use ractor::{ActorRef, Message};
use tokio::task::AbortHandle;

/// A pending message to an actor. Dropping it takes the message back, unless it was sent.
#[derive(Debug)]
pub struct Timer(AbortHandle);

impl Timer {
    /// Sends `message` to `actor` after `wait`. An actor that has gone by then does not get it.
    pub fn after<M: Message>(
        actor: &ActorRef<M>,
        wait: Duration,
        message: impl FnOnce() -> M + Send + 'static,
    ) -> Self {
        Self(actor.send_after(wait, message).abort_handle())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}
