//! Which runs wait for a yes just now. Derived: each run's actor says it anew when it folds its journal.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::domain::id::RunId;

/// The list; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Asking(Arc<Mutex<BTreeSet<RunId>>>);

impl Asking {
    /// Notes whether a run asks.
    pub(super) fn note(&self, run: RunId, asks: bool) {
        let mut runs = self.0.lock().expect("nothing panics while it holds the list");
        if asks {
            runs.insert(run);
        } else {
            runs.remove(&run);
        }
    }

    /// Those that ask, the oldest first.
    pub fn runs(&self) -> Vec<RunId> {
        let runs = self.0.lock().expect("nothing panics while it holds the list");
        runs.iter().copied().collect()
    }
}
