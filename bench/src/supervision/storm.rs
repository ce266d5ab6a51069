//! Calls to a child that is well while a thousand others panic.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::Times;

/// A storm that goes on, and the caller that watches the sibling meanwhile.
pub(crate) struct Storm {
    began: Instant,
    done: Arc<AtomicBool>,
    caller: JoinHandle<Vec<Duration>>,
}

/// How long it took until all were back, and how long each call took.
pub(crate) type Seen = (Duration, Vec<Duration>);

impl Storm {
    /// Calls at a fixed rate, and counts from the time each call was due: a caller that is held up itself must not make
    /// its own waiting disappear.
    pub(crate) fn watch<F: Future<Output = u64> + Send>(call: impl Fn() -> F + Send + 'static) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let caller = tokio::spawn({
            let done = Arc::clone(&done);
            async move {
                let mut seen = Vec::new();
                let mut ticks = tokio::time::interval(Duration::from_millis(1));
                while !done.load(Ordering::Acquire) {
                    let due = ticks.tick().await;
                    let _ = call().await;
                    seen.push(due.elapsed());
                }
                seen
            }
        });
        Self {
            began: Instant::now(),
            done,
            caller,
        }
    }

    /// All are back.
    pub(crate) async fn end(self) -> Seen {
        let whole = self.began.elapsed();
        self.done.store(true, Ordering::Release);
        (whole, self.caller.await.expect("the caller"))
    }
}

pub(crate) fn print_storms(storms: Vec<Seen>, who: &str) {
    let (mut times, mut whole) = (Times::default(), Times::default());
    for (storm, calls) in storms {
        whole.push(storm);
        for call in calls {
            times.push(call);
        }
    }
    times.print("sibling's call, due every ms", who);
    whole.print("  storm until all are back", who);
}
