//! Sends what runs did and what was logged to a collector.
//!
//! Supervised by `health` (permanent). One request for each signal is under way at a time; what waits is bounded, and
//! what goes over the bound is counted and gone. A crash costs the batch under way.
//!
//! **Source**: OTLP/HTTP, <https://opentelemetry.io/docs/specs/otlp/#otlphttp>: which answers mean that it is to be sent
//! again, and how long to wait before that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use reqwest::StatusCode;
use supervisors::{TaskExit, Tasks};

use crate::domain::fault::in_one_line;
use crate::domain::id::RunId;
use crate::domain::time::UtcMillis;
use crate::runtime::bus::RunEnds;
use crate::runtime::clock::Clock;
use crate::runtime::telemetry::{EXPORTED, Telemetry};
use crate::runtime::timer::Timer;
use crate::storage::error::StoreError;
use crate::storage::store::Store;

use super::log_queue::{LogLine, LogQueue};
use super::span::{Span, spans};
use super::wire;

/// Ends of runs that wait.
pub const ENDS_MAX: usize = 4_096;
/// Requests at once: one of each signal, and those of a life that ends.
pub const SENDING_MAX: usize = 4;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Runs of one request.
const RUNS_AT_ONCE: usize = 32;
/// Lines of one request.
const LINES_AT_ONCE: usize = 1_024;
/// Tries for one batch.
const TRIES_MAX: u32 = 6;
/// Wait after the first try that failed; doubles with each.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
/// Longest wait between two tries, whatever the collector asks for.
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where everything goes, and where it comes from.
#[derive(Clone)]
pub struct ExportParts {
    /// Asks the collector.
    pub client: reqwest::Client,
    /// Its base address, without a slash at the end.
    pub endpoint: Arc<str>,
    /// The value of its `Authorization` header.
    pub authorization: Option<Arc<str>>,
    /// The runs that ended.
    pub ends: Arc<Mutex<RunEnds>>,
    /// The lines that were logged.
    pub lines: LogQueue,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// What runs did.
    Spans,
    /// What was logged.
    Logs,
}

impl Signal {
    fn word(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Logs => "logs",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Spans => "/v1/traces",
            Self::Logs => "/v1/logs",
        }
    }
}

/// What is to be written as a batch.
enum Load {
    Runs(Vec<RunId>),
    Lines(Vec<LogLine>),
    Again(Batch),
}

/// A request that is ready.
#[derive(Debug)]
pub struct Batch {
    body: Arc<str>,
    count: u64,
    tries: u32,
}

/// What became of a try.
#[derive(Debug)]
pub enum Tried {
    /// It arrived; so many of them were refused.
    Arrived {
        /// Taken and refused.
        count: u64,
        /// Refused.
        rejected: u64,
    },
    /// It may arrive later.
    Again {
        /// What to send.
        batch: Batch,
        /// How long the collector asks to wait.
        after: Option<Duration>,
        /// Why it did not arrive.
        why: String,
    },
    /// It will never arrive.
    Lost {
        /// So many.
        count: u64,
        /// Why.
        why: String,
    },
}

/// What the exporter is told.
#[derive(Debug)]
pub enum ExporterMessage {
    /// Look what is to be sent.
    LookDue,
    /// A try has ended.
    Tried(Signal, Box<Tried>),
}

/// The actor.
pub struct Exporter {
    /// Tells the time.
    pub clock: Clock,
    /// The journals.
    pub store: Store,
    /// Counts.
    pub telemetry: Telemetry,
    /// This machine.
    pub host: Arc<str>,
    /// From where to where.
    pub export: ExportParts,
    /// Where requests run.
    pub sending: Tasks,
}

#[derive(Default)]
struct Lane {
    is_sending: bool,
    held: Option<(UtcMillis, Batch)>,
    /// Whether people were told that nothing arrives.
    is_down: bool,
}

/// What it holds.
pub struct ExporterState {
    spans: Lane,
    logs: Lane,
    timer: Timer,
}

impl ExporterState {
    fn lane(&mut self, signal: Signal) -> &mut Lane {
        match signal {
            Signal::Spans => &mut self.spans,
            Signal::Logs => &mut self.logs,
        }
    }
}

impl Actor for Exporter {
    type Msg = ExporterMessage;
    type State = ExporterState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<ExporterMessage>, (): ()) -> Result<ExporterState, ActorProcessingErr> {
        Ok(ExporterState {
            spans: Lane::default(),
            logs: Lane::default(),
            timer: Timer::after(&myself, LOOK_EVERY, || ExporterMessage::LookDue),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ExporterMessage>,
        message: ExporterMessage,
        state: &mut ExporterState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ExporterMessage::LookDue => {
                for signal in [Signal::Spans, Signal::Logs] {
                    self.send(signal, &myself, state.lane(signal))?;
                }
                state.timer = Timer::after(&myself, LOOK_EVERY, || ExporterMessage::LookDue);
            }
            ExporterMessage::Tried(signal, tried) => {
                let lane = state.lane(signal);
                lane.is_sending = false;
                self.tried(signal, *tried, lane);
                // Where more waits than a batch, nobody waits for the next look.
                self.send(signal, &myself, lane)?;
            }
        }
        Ok(())
    }
}

impl Exporter {
    fn count(&self, signal: Signal, outcome: &str, count: u64) {
        if count > 0 {
            let counter = self.telemetry.counter(&EXPORTED, &[signal.word(), outcome]);
            counter.increment(count);
        }
    }

    /// What is to be sent now.
    fn load(&self, signal: Signal, lane: &mut Lane) -> Option<Load> {
        if let Some((due, batch)) = lane.held.take() {
            if due > self.clock.now() {
                lane.held = Some((due, batch));
                return None;
            }
            return Some(Load::Again(batch));
        }
        match signal {
            Signal::Spans => {
                let mut ends = self.export.ends.lock().unwrap_or_else(PoisonError::into_inner);
                self.count(signal, "dropped", ends.missed());
                let runs: Vec<RunId> = std::iter::from_fn(|| ends.take()).take(RUNS_AT_ONCE).collect();
                (!runs.is_empty()).then_some(Load::Runs(runs))
            }
            Signal::Logs => {
                let (lines, dropped) = self.export.lines.take(LINES_AT_ONCE);
                self.count(signal, "dropped", dropped);
                (!lines.is_empty()).then_some(Load::Lines(lines))
            }
        }
    }

    fn send(
        &self,
        signal: Signal,
        myself: &ActorRef<ExporterMessage>,
        lane: &mut Lane,
    ) -> Result<(), ActorProcessingErr> {
        if lane.is_sending {
            return Ok(());
        }
        let Some(load) = self.load(signal, lane) else {
            return Ok(());
        };
        lane.is_sending = true;
        let (export, store, host) = (self.export.clone(), self.store.clone(), self.host.clone());
        let told = myself.clone();
        let sending = async move {
            match batch(load, store, host).await {
                Ok(batch) => post(&export, signal, batch).await,
                Err((count, why)) => Tried::Lost { count, why },
            }
        };
        self.sending.spawn("tell a collector", sending, move |exit| {
            let tried = match exit {
                TaskExit::Done(tried) => tried,
                TaskExit::Panicked(why) => Tried::Lost { count: 0, why },
                TaskExit::Cancelled => return,
            };
            told.cast(ExporterMessage::Tried(signal, Box::new(tried))).ok();
        })?;
        Ok(())
    }

    fn tried(&self, signal: Signal, tried: Tried, lane: &mut Lane) {
        let failure = match tried {
            Tried::Arrived { count, rejected } => {
                self.count(signal, "sent", count.saturating_sub(rejected));
                self.count(signal, "rejected", rejected);
                None
            }
            Tried::Again { mut batch, after, why } => {
                batch.tries += 1;
                if batch.tries < TRIES_MAX {
                    let doubled = AGAIN_FIRST.saturating_mul(1 << batch.tries.min(16));
                    let wait = after.unwrap_or(doubled).min(AGAIN_MAX);
                    let due = self.clock.now().plus_ms(wait.as_millis() as u64);
                    lane.held = Some((due, batch));
                } else {
                    self.count(signal, "dropped", batch.count);
                }
                Some(why)
            }
            Tried::Lost { count, why } => {
                self.count(signal, "dropped", count);
                Some(why)
            }
        };
        let signal = signal.word();
        match (failure, lane.is_down) {
            (Some(why), false) => {
                tracing::warn!(signal, %why, "the collector does not take what it is told; openclaw_otlp_items_total counts it");
                lane.is_down = true;
            }
            (None, true) => {
                tracing::info!(signal, "the collector takes what it is told again");
                lane.is_down = false;
            }
            (Some(_), true) | (None, false) => {}
        }
    }
}

/// Writes a request; says how many are lost when it cannot be written.
async fn batch(load: Load, store: Store, host: Arc<str>) -> Result<Batch, (u64, String)> {
    let (body, count) = match load {
        Load::Again(batch) => return Ok(batch),
        Load::Lines(lines) => (wire::logs(&host, &lines).to_string(), lines.len() as u64),
        Load::Runs(runs) => {
            let all = runs.len() as u64;
            // Journals are read from the disk.
            let read = tokio::task::spawn_blocking(move || {
                let mut of_runs: Vec<(RunId, Vec<Span>)> = Vec::new();
                let mut count = 0;
                for run in runs {
                    let spans = spans(run, &store.facts(run, 0)?);
                    count += spans.len();
                    of_runs.push((run, spans));
                }
                Ok::<_, StoreError>((wire::traces(&host, &of_runs).to_string(), count as u64))
            });
            let read = read.await.map_err(|error| (all, error.to_string()))?;
            read.map_err(|error| (all, error.to_string()))?
        }
    };
    Ok(Batch {
        body: body.into(),
        count,
        tries: 0,
    })
}

/// Whether a collector that answers so may take it later.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// One try.
async fn post(export: &ExportParts, signal: Signal, batch: Batch) -> Tried {
    let mut request = export
        .client
        .post(format!("{}{}", export.endpoint, signal.path()))
        .timeout(ANSWER_MAX)
        .header("content-type", "application/json")
        .body(batch.body.to_string());
    if let Some(authorization) = &export.authorization {
        request = request.header("authorization", &**authorization);
    }
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            // Its address may hold a token.
            let why = in_one_line(&error.without_url());
            return Tried::Again {
                batch,
                after: None,
                why,
            };
        }
    };
    let status = response.status();
    if !status.is_success() {
        let why = format!("it answered {}", status.as_u16());
        if is_passing(status) {
            let after = response.headers().get("retry-after");
            let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
            return Tried::Again {
                batch,
                after: after.map(Duration::from_secs),
                why,
            };
        }
        return Tried::Lost {
            count: batch.count,
            why,
        };
    }
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        answer.extend_from_slice(&chunk);
        if answer.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    Tried::Arrived {
        count: batch.count,
        rejected: wire::rejected(&answer).min(batch.count),
    }
}
