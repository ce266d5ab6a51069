//! The bus of committed facts, level-triggered: it holds only how far each run's journal is committed.
//!
//! A listener waits until the level has passed what it has read, then reads the journal itself. So nothing can
//! be lost or overtaken, a slow listener costs nothing, and a run that nobody watches has no entry at all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::{mpsc, watch};

use crate::domain::id::RunId;

/// Tells who watches a run how far its journal is committed.
#[derive(Debug, Clone, Default)]
pub struct Bus {
    levels: Arc<Mutex<HashMap<RunId, watch::Sender<u64>>>>,
    ends: Arc<OnceLock<mpsc::Sender<RunId>>>,
    missed: Arc<AtomicU64>,
}

/// The runs that have ended, for one who may miss some.
#[derive(Debug)]
pub struct RunEnds {
    ends: mpsc::Receiver<RunId>,
    missed: Arc<AtomicU64>,
}

impl RunEnds {
    /// The next one that waits.
    pub fn take(&mut self) -> Option<RunId> {
        self.ends.try_recv().ok()
    }

    /// How many there was no room for since this was last asked.
    pub fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
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

    /// The ends of runs from now on, of which at most so many wait. For one listener: whoever asks after it gets none.
    pub fn ends(&self, waiting_max: usize) -> RunEnds {
        let (told, ends) = mpsc::channel(waiting_max);
        self.ends.set(told).ok();
        RunEnds {
            ends,
            missed: self.missed.clone(),
        }
    }

    /// Says that the end of `run` is committed. Called by the committer alone.
    pub(super) fn ended(&self, run: RunId) {
        if let Some(told) = self.ends.get()
            && told.try_send(run).is_err()
        {
            self.missed.fetch_add(1, Ordering::Relaxed);
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

    #[test]
    fn ends_over_the_bound_are_counted_and_those_before_it_are_there() {
        let bus = Bus::default();
        bus.ended(RunId::new(UtcMillis(0), 0));
        let mut ends = bus.ends(2);
        for number in 1..=5 {
            bus.ended(RunId::new(UtcMillis(number), 0));
        }
        let told: Vec<u64> = std::iter::from_fn(|| ends.take()).map(|run| run.made_at().0).collect();
        assert_eq!(told, [1, 2]);
        assert_eq!((ends.missed(), ends.missed()), (3, 0));
    }
}
