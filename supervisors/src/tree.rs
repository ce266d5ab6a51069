//! What all supervisors of one tree share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{ReportSink, actor::Message, handle::Shared};

/// Inherited from the root downwards.
pub(crate) struct Tree {
    /// Where reports go; a nested supervisor may have its own.
    pub(crate) sink: Option<ReportSink>,
    pub(crate) zombies: Arc<Zombies>,
}

/// The zombies of the whole tree.
pub(crate) struct Zombies {
    count: AtomicUsize,
    limit: usize,
    root: Arc<Shared>,
}

impl Zombies {
    pub(crate) fn new(limit: usize, root: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicUsize::new(0),
            limit,
            root,
        })
    }

    /// Counts one more, and tells the root if that is too many: nothing below it can free a thread that never yields.
    pub(crate) fn add(&self) {
        if self.count.fetch_add(1, Ordering::AcqRel) + 1 > self.limit
            && let Some(root) = self.root.address.cell()
        {
            let _ = root.send_message(Message::ZombieLimit);
        }
    }

    pub(crate) fn remove(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}
