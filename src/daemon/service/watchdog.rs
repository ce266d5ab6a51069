//! Feeds the watchdog of the service manager from a thread of its own, only while every part makes progress.
//!
//! A thread and not an actor: it must not stand on what it watches. When the runtime itself is stuck, the round does
//! not end and nothing is fed; the manager then kills the process, and the next one resumes every accepted run.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::runtime::Handle;

use super::manager;
use super::verdict::{Answer, Verdict, judge};

/// Rounds within the manager's limit: one bad round alone does not end the process, three in a row do.
const ROUNDS: u32 = 3;

/// Asks one part for a sign of progress.
pub struct Probe {
    /// Its name, for people.
    pub part: &'static str,
    /// Asks; the error says what is missing.
    pub ask: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

/// The thread; it ends with the value.
#[derive(Debug)]
pub struct Watchdog {
    stopping: mpsc::Sender<()>,
}

impl Watchdog {
    /// Starts to feed when the manager asks for it; none when it does not. `serving` is the status line of good times.
    pub fn start(probes: Vec<Probe>, serving: String) -> io::Result<Option<Self>> {
        let Some(limit) = sd_notify::watchdog_enabled() else {
            return Ok(None);
        };
        let every = limit / ROUNDS;
        let (stopping, is_stopping) = mpsc::channel();
        let runtime = Handle::current();
        let watch = move || watch(&probes, &serving, every, &runtime, &is_stopping);
        std::thread::Builder::new().name("watchdog".into()).spawn(watch)?;
        Ok(Some(Self { stopping }))
    }

    /// From here on the end has its own bound, `TimeoutStopSec`: the manager is fed without questions.
    pub fn stopping(&self) {
        self.stopping.send(()).ok();
    }
}

fn watch(probes: &[Probe], serving: &str, every: Duration, runtime: &Handle, stopping: &mpsc::Receiver<()>) {
    let mut was_good = true;
    let mut is_stopping = false;
    loop {
        if is_stopping {
            manager::alive();
        } else {
            let answers = runtime.block_on(round(probes, every / 2));
            match judge(&answers) {
                Verdict::Feed => {
                    manager::alive();
                    if !was_good {
                        manager::status(serving);
                    }
                    was_good = true;
                }
                Verdict::Starve(reason) => {
                    tracing::error!(%reason, "the watchdog is not fed");
                    manager::status(&format!("no progress: {reason}"));
                    was_good = false;
                }
            }
        }
        match stopping.recv_timeout(every) {
            Ok(()) => is_stopping = true,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

async fn round(probes: &[Probe], limit: Duration) -> Vec<Answer> {
    let asked = probes.iter().map(|probe| async move {
        let answer = tokio::time::timeout(limit, (probe.ask)()).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer in {limit:?}")));
        (probe.part, answer)
    });
    join_all(asked).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(part: &'static str, ask: fn() -> BoxFuture<'static, Result<(), String>>) -> Probe {
        Probe {
            part,
            ask: Arc::new(ask),
        }
    }

    #[tokio::test]
    async fn a_part_that_does_not_answer_in_time_is_named_and_holds_up_no_other() {
        let probes = [
            probe("good", || Box::pin(async { Ok(()) })),
            probe("stuck", || Box::pin(std::future::pending())),
            probe("bad", || Box::pin(async { Err("broken".to_owned()) })),
        ];
        let answers = round(&probes, Duration::from_millis(20)).await;
        assert_eq!(
            answers,
            [
                ("good", Ok(())),
                ("stuck", Err("no answer in 20ms".to_owned())),
                ("bad", Err("broken".to_owned())),
            ]
        );
    }
}
