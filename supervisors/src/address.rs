//! Addresses that outlive the actors behind them.
//!
//! The supervisor publishes each incarnation of a child here and takes it down when that incarnation has ended. Readers
//! never lock: a look-up is one atomic load.

use std::{
    fmt,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use ractor::{ActorCell, ActorRef, Message, MessagingErr, RpcReplyPort, concurrency::oneshot};

use crate::ChildId;

/// One running incarnation.
pub(crate) struct Published {
    pub(crate) cell: ActorCell,
    pub(crate) incarnation: u64,
}

/// The place where a supervisor publishes a child.
pub(crate) struct Address {
    pub(crate) id: ChildId,
    current: ArcSwapOption<Published>,
    /// The highest number given out, kept when nothing runs so that numbers never go back.
    incarnation: AtomicU64,
}

impl Address {
    pub(crate) fn new(id: ChildId) -> Arc<Self> {
        Arc::new(Self {
            id,
            current: ArcSwapOption::const_empty(),
            incarnation: AtomicU64::new(0),
        })
    }

    pub(crate) fn publish(&self, cell: ActorCell, incarnation: u64) {
        self.incarnation.fetch_max(incarnation, Ordering::AcqRel);
        self.current.store(Some(Arc::new(Published { cell, incarnation })));
    }

    /// Takes the incarnation down, unless a later one is already there.
    pub(crate) fn withdraw(&self, incarnation: u64) {
        let seen = self.current.load();
        if seen
            .as_ref()
            .is_some_and(|published| published.incarnation == incarnation)
        {
            self.current.compare_and_swap(&seen, None);
        }
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    pub(crate) fn cell(&self) -> Option<ActorCell> {
        self.current.load().as_ref().map(|published| published.cell.clone())
    }
}

/// A message could not be handed over; it is given back.
#[derive(thiserror::Error)]
#[error("child {id} is down")]
pub struct CastError<M> {
    /// The child that was not there.
    pub id: ChildId,
    /// The message that was not sent.
    pub message: Option<M>,
}

impl<M> fmt::Debug for CastError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CastError {{ id: {:?} }}", self.id)
    }
}

/// A question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The child is down; the question was not delivered.
    #[error("child {0} is down")]
    Down(ChildId),
    /// The child has the question but gave no answer: it ended, or dropped the reply port.
    #[error("child {0} ended without an answer")]
    Unanswered(ChildId),
    /// No answer came in time; the child may still be working on it.
    #[error("child {id} did not answer within {after:?}")]
    TimedOut {
        /// The child that was asked.
        id: ChildId,
        /// The time it was given.
        after: Duration,
    },
}

/// A typed address of a child that stays valid over its restarts and over those of its supervisor.
///
/// Cheap to clone. It does not keep the actor alive, and it never blocks: while the child is down, sending fails with a
/// typed error and gives the message back. Nothing is queued for a child that is down.
pub struct ChildRef<M> {
    pub(crate) address: Arc<Address>,
    message: PhantomData<fn(M)>,
}

impl<M> ChildRef<M> {
    pub(crate) fn new(address: Arc<Address>) -> Self {
        Self {
            address,
            message: PhantomData,
        }
    }

    /// The id of the child in its supervisor.
    pub fn id(&self) -> &ChildId {
        &self.address.id
    }

    /// The running actor, if there is one. Do not keep it: the next message may belong to its successor.
    pub fn get(&self) -> Option<ActorRef<M>> {
        self.address.cell().map(ActorRef::from)
    }

    /// The number of the incarnation that runs, or that ran last; the first is 1, and 0 means it never ran.
    pub fn incarnation(&self) -> u64 {
        self.address.incarnation()
    }

    /// Tells whether the child runs.
    pub fn is_up(&self) -> bool {
        self.address.current.load().is_some()
    }
}

impl<M: Message> ChildRef<M> {
    /// Sends a message to the running incarnation.
    pub fn cast(&self, message: M) -> Result<(), CastError<M>> {
        let current = self.address.current.load();
        let Some(published) = current.as_ref() else {
            return Err(CastError {
                id: self.id().clone(),
                message: Some(message),
            });
        };
        published.cell.send_message(message).map_err(|error| CastError {
            id: self.id().clone(),
            message: match error {
                MessagingErr::SendErr(message) => Some(message),
                _ => None,
            },
        })
    }

    /// Asks the running incarnation and waits for its answer, but not longer than `timeout`.
    ///
    /// **Cancel** the child may still handle the question after the call was dropped or timed out; a handler can see that
    /// with [`RpcReplyPort::is_closed`].
    pub async fn call<R: Send + 'static>(
        &self,
        question: impl FnOnce(RpcReplyPort<R>) -> M,
        timeout: Duration,
    ) -> Result<R, CallError> {
        let (sender, receiver) = oneshot();
        if self.cast(question((sender, timeout).into())).is_err() {
            return Err(CallError::Down(self.id().clone()));
        }
        match tokio::time::timeout(timeout, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(CallError::Unanswered(self.id().clone())),
            Err(_) => Err(CallError::TimedOut {
                id: self.id().clone(),
                after: timeout,
            }),
        }
    }
}

impl<M> Clone for ChildRef<M> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.address))
    }
}

impl<M> fmt::Debug for ChildRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildRef")
            .field("id", self.id())
            .field("incarnation", &self.incarnation())
            .finish()
    }
}
