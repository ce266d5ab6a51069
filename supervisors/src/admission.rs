//! Bounded admission in front of an unbounded mailbox.
//!
//! ractor's mailboxes take whatever is sent. A sender that must not flood a slow actor asks for a [`Permit`] first and
//! puts it into the message: it is given back when the message is dropped, whether it was handled, discarded with the
//! mailbox, or lost in a crash, so nothing needs to be counted again after a restart.
//!
//! ```
//! # use supervisors::Admission;
//! struct Work { body: String, _permit: supervisors::Permit }
//! let admission = Admission::new(1);
//! let work = Work { body: "first".into(), _permit: admission.try_admit().unwrap() };
//! assert!(admission.try_admit().is_err());
//! drop(work);
//! assert_eq!(admission.depth(), 0);
//! ```

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The queue is full: the caller should shed the work or come back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("overloaded: all {capacity} places are taken")]
pub struct Overloaded {
    /// How many places there are.
    pub capacity: usize,
}

/// A place in a queue; dropping it gives the place back.
#[derive(Debug)]
pub struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// A bound on the work that is waiting or being done. Clones share the bound.
#[derive(Clone, Debug)]
pub struct Admission {
    semaphore: Arc<Semaphore>,
    capacity: usize,
}

impl Admission {
    /// Makes a bound of so many places.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.min(Semaphore::MAX_PERMITS);
        Self {
            semaphore: Arc::new(Semaphore::new(capacity)),
            capacity,
        }
    }

    /// Takes a place if one is free.
    pub fn try_admit(&self) -> Result<Permit, Overloaded> {
        match Arc::clone(&self.semaphore).try_acquire_owned() {
            Ok(permit) => Ok(Permit(permit)),
            Err(_) => Err(Overloaded {
                capacity: self.capacity,
            }),
        }
    }

    /// Waits for a place, in the order of asking, but not longer than `timeout`.
    ///
    /// **Cancel** a dropped wait takes no place.
    pub async fn admit(&self, timeout: Duration) -> Result<Permit, Overloaded> {
        match tokio::time::timeout(timeout, Arc::clone(&self.semaphore).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Permit(permit)),
            Ok(Err(_)) | Err(_) => Err(Overloaded {
                capacity: self.capacity,
            }),
        }
    }

    /// How many places are taken: messages waiting or being handled.
    pub fn depth(&self) -> usize {
        self.capacity - self.semaphore.available_permits()
    }

    /// How many places there are.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}
