//! The bus of committed facts, level-triggered: it holds only how far each run's journal is committed.
//!
//! A listener waits until the level has passed what it has read, then reads the journal itself. So nothing can
//! be lost or overtaken, a slow listener costs nothing, and a run that nobody watches has no entry at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::domain::id::RunId;

/// Tells who watches a run how far its journal is committed.
#[derive(Debug, Clone, Default)]
pub struct Bus {
    levels: Arc<Mutex<HashMap<RunId, watch::Sender<u64>>>>,
}

/// Watches one run.
#[derive(Debug)]
pub struct Watch {
    run: RunId,
    level: Option<watch::Receiver<u64>>,
    bus: Bus,
}

impl Bus {
    /// Starts to watch a run. Facts committed before are to be read from the journal after this call.
    pub fn watch(&self, run: RunId) -> Watch {
        let mut levels = self.levels.lock().expect("nothing panics while it holds the levels");
        let sender = levels.entry(run).or_insert_with(|| watch::channel(0).0);
        Watch {
            run,
            level: Some(sender.subscribe()),
            bus: self.clone(),
        }
    }

    /// Says that the journal of `run` is committed up to `seq`. Called by the committer alone.
    pub(super) fn committed(&self, run: RunId, seq: u64) {
        let levels = self.levels.lock().expect("nothing panics while it holds the levels");
        if let Some(sender) = levels.get(&run) {
            sender.send_replace(seq);
        }
    }

    /// How many runs are being watched.
    pub fn watched(&self) -> usize {
        self.levels
            .lock()
            .expect("nothing panics while it holds the levels")
            .len()
    }
}

impl Watch {
    /// Waits until something after `seen` is committed. Bound it with a deadline.
    ///
    /// **Cancel**: nothing is lost; the next call sees the same level.
    pub async fn past(&mut self, seen: u64) {
        let level = self.level.as_mut().expect("a watch has its level until it is dropped");
        if level.wait_for(|level| *level > seen).await.is_err() {
            // The sender lives in the bus as long as this watch does.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.level.take());
        let mut levels = self
            .bus
            .levels
            .lock()
            .expect("nothing panics while it holds the levels");
        if levels.get(&self.run).is_some_and(|sender| sender.receiver_count() == 0) {
            levels.remove(&self.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::UtcMillis;

    #[tokio::test]
    async fn a_level_is_seen_even_when_it_rose_before_the_wait_and_the_entry_goes_with_the_last_watch() {
        let bus = Bus::default();
        let run = RunId::new(UtcMillis(1), 1);
        bus.committed(run, 3);
        assert_eq!(bus.watched(), 0, "nobody watches, nothing is kept");
        let mut first = bus.watch(run);
        let second = bus.watch(run);
        bus.committed(run, 7);
        first.past(6).await;
        drop(first);
        assert_eq!(bus.watched(), 1);
        drop(second);
        assert_eq!(bus.watched(), 0);
    }
}
