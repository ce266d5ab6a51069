//! What the world sees of the daemon while it is attacked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From one request of the watcher to the next.
const ASK_EACH: Duration = Duration::from_millis(20);
/// An answer that takes longer has failed.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// From one look at the memory and the restarts to the next.
const LOOK_EACH: Duration = Duration::from_secs(1);

/// Everything that was seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Requests that were answered with 200, by second.
    pub answered: BTreeMap<u64, u64>,
    /// Requests that were refused by a limit, by second.
    pub refused: BTreeMap<u64, u64>,
    /// Requests that got no answer in time or a broken one, by second.
    pub failed: BTreeMap<u64, u64>,
    /// How they failed.
    pub failures: BTreeMap<String, u64>,
    /// Times to an answer, in microseconds.
    pub latencies_us: Vec<u64>,
    /// Resident memory in KiB, each second: seconds of the drill and of the process, memory.
    pub rss_kib: Vec<(u64, u32, u64)>,
    /// Restarts by supervisor.
    pub restarts: BTreeMap<String, u64>,
}

/// A watcher.
pub struct Watch {
    began: Instant,
    seen: Mutex<Seen>,
    is_closed: AtomicBool,
}

impl Watch {
    /// Nothing seen yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            seen: Mutex::default(),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Ends the watching.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Relaxed)
    }

    /// Asks the gateway at a steady rate, each time over a connection of its own.
    pub async fn ask(self: Arc<Self>, client: reqwest::Client, address: String) {
        let mut each = tokio::time::interval(ASK_EACH);
        while self.is_open() {
            each.tick().await;
            let (watch, client, url) = (self.clone(), client.clone(), format!("{address}/livez"));
            // A slow answer must not slow the questions down.
            tokio::spawn(async move {
                let second = watch.began.elapsed().as_secs();
                let asked = Instant::now();
                let answer = client.get(url).timeout(ANSWER_MAX).send().await;
                let mut seen = watch.lock();
                match answer {
                    Ok(answer) if answer.status().is_success() => {
                        *seen.answered.entry(second).or_default() += 1;
                        seen.latencies_us.push(asked.elapsed().as_micros() as u64);
                    }
                    Ok(answer) if matches!(answer.status().as_u16(), 429 | 503) => {
                        *seen.refused.entry(second).or_default() += 1;
                    }
                    other => {
                        let how = match &other {
                            Ok(answer) => format!("status {}", answer.status().as_u16()),
                            Err(error) => manner(error).to_owned(),
                        };
                        *seen.failed.entry(second).or_default() += 1;
                        *seen.failures.entry(how).or_default() += 1;
                    }
                }
            });
        }
    }

    /// Looks at the memory of the process and at the restarts that it counts.
    pub async fn look(self: Arc<Self>, client: reqwest::Client, metrics: String, pid: impl Fn() -> u32 + Send) {
        let mut each = tokio::time::interval(LOOK_EACH);
        let mut before: BTreeMap<String, u64> = BTreeMap::new();
        let (mut process, mut since) = (0, Instant::now());
        while self.is_open() {
            each.tick().await;
            let now = pid();
            if now != process {
                (process, since) = (now, Instant::now());
                before.clear();
            }
            let kib = crate::daemon::rss_kib(process);
            if kib > 0 {
                let second = self.began.elapsed().as_secs();
                self.lock()
                    .rss_kib
                    .push((second, since.elapsed().as_secs() as u32, kib));
            }
            let answer = client.get(&metrics).timeout(ANSWER_MAX).send().await;
            let Ok(answer) = answer else { continue };
            let Ok(text) = answer.text().await else { continue };
            for (supervisor, count) in restarts(&text) {
                let counted = before.insert(supervisor.clone(), count).unwrap_or(0);
                *self.lock().restarts.entry(supervisor).or_default() += count.saturating_sub(counted);
            }
        }
    }
}

/// How a request got no answer.
pub fn manner(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "not connected"
    } else {
        "broken off"
    }
}

/// The restarts by supervisor, out of the text of the metrics.
fn restarts(text: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| line.starts_with("openclaw_actor_restarts_total{"))
    {
        let supervisor = line
            .split_once("supervisor=\"")
            .and_then(|(_, rest)| rest.split_once('"'));
        let count = line.rsplit_once(' ').and_then(|(_, count)| count.parse::<f64>().ok());
        if let (Some((supervisor, _)), Some(count)) = (supervisor, count) {
            *sums.entry(supervisor.to_owned()).or_default() += count as u64;
        }
    }
    sums
}
