//! How a start and how a request can fail.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use ractor::{ActorCell, ActorName};

use crate::{ChildId, SpecError};

/// Why a child, or a whole tree, did not start.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The registry name belongs to another actor.
    #[error("registry name {name} is taken")]
    NameTaken {
        /// The name that was asked for.
        name: ActorName,
        /// Who has it, if it was still there when looked up.
        holder: Option<ActorCell>,
    },
    /// The start panicked.
    #[error("start panicked: {0}")]
    Panicked(String),
    /// The start returned this error.
    #[error("start failed")]
    Failed(#[source] Arc<dyn Error + Send + Sync>),
    /// The start took longer than the specification allows, and was cancelled.
    #[error("start took longer than {0:?}")]
    DeadlineExceeded(Duration),
    /// The start was cancelled because the child, or its supervisor, was told to stop meanwhile.
    #[error("start was cancelled")]
    Cancelled,
    /// A child of the supervisor being started did not start; those started before it have been stopped again.
    #[error("child {id} did not start")]
    Child {
        /// The child that failed.
        id: ChildId,
        /// Why.
        #[source]
        source: Box<StartError>,
    },
    /// The specification is wrong; nothing was started.
    #[error("specification refused")]
    Spec(#[from] SpecError),
}

impl StartError {
    /// Makes a failed start out of any error or text.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(Arc::from(error.into()))
    }

    /// The innermost cause: looks through the supervisors between the failed child and the tree's starter.
    pub fn root_cause(&self) -> &Self {
        match self {
            Self::Child { source, .. } => source.root_cause(),
            other => other,
        }
    }
}

/// Why a supervisor refused a request. Nothing has changed when one of these is returned.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// A child with this id runs.
    #[error("child {id} is already started")]
    AlreadyStarted {
        /// Its id.
        id: ChildId,
        /// The running actor.
        cell: ActorCell,
    },
    /// A child with this id is known but does not run.
    #[error("child {0} is already present")]
    AlreadyPresent(ChildId),
    /// There is no child with this id.
    #[error("child {0} not found")]
    NotFound(ChildId),
    /// The child must be terminated first.
    #[error("child {0} is running")]
    Running(ChildId),
    /// The child waits for its next restart; terminate it first.
    #[error("child {0} is restarting")]
    Restarting(ChildId),
    /// A dynamic supervisor is full.
    #[error("all {0} places for children are taken")]
    TooManyChildren(usize),
    /// A dynamic supervisor keeps no stopped children, so none can be restarted or deleted.
    #[error("not possible under a dynamic supervisor")]
    NotForDynamic,
    /// The child had nothing to do, so a dynamic supervisor does not keep it.
    #[error("child had nothing to do")]
    Ignored,
    /// The specification is wrong.
    #[error("specification refused")]
    Spec(#[from] SpecError),
    /// The child did not start.
    #[error("child did not start")]
    Start(#[from] StartError),
    /// The supervisor is stopping, or is down.
    #[error("supervisor is down")]
    Down,
}

/// An actor's `pre_start` returns this as its error to say that it has nothing to do and that this is no failure.
///
/// The supervisor then keeps the specification (unless the child is temporary or dynamic) without a running actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ignore;

impl fmt::Display for Ignore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing to start")
    }
}

impl Error for Ignore {}
