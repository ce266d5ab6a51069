//! Metrics: the one table of all of them, and the handles through which they are counted.
//!
//! **Invariants**: only what the table names can be counted; labels come from closed sets (configured names, words of
//! this program), never from what a client or a model says; a family that would grow over [`SERIES_MAX`] all the same
//! counts the rest under the label `other`. There is no global recorder: a process may hold several daemons.
//!
//! **Limits**: counting is an atomic addition on a handle that was looked up before. Values of a histogram wait in a
//! buffer until [`Telemetry::upkeep`] or a rendering takes them, so upkeep must run every few seconds.
//!
//! **Source**: the Prometheus text format 0.0.4, <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder as _, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

use crate::domain::money::MicroUsd;

/// Series of one family.
pub const SERIES_MAX: usize = 2_000;
/// Stands for the labels of what comes after that many.
const OTHER: &str = "other";

/// Seconds from a tenth of a millisecond to ten seconds.
const SHORT: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Seconds from a hundredth of a second to an hour.
const LONG: &[f64] = &[
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0,
];
/// Things in one go.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Parts of a whole, closer to all of it.
const SHARES: &[f64] = &[0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0];

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    /// Only rises.
    Counter,
    /// Rises, in US dollars; kept in millionths.
    Money,
    /// Rises and falls.
    Gauge,
    /// Counts values by upper bounds.
    Histogram(&'static [f64]),
}

/// One family of the table.
#[derive(Debug, PartialEq)]
pub struct Metric {
    /// Its name, as Prometheus knows it.
    pub name: &'static str,
    /// How it behaves.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// One line for people.
    pub help: &'static str,
}

macro_rules! metrics_table {
    ($($constant:ident = $name:literal, $kind:expr, [$($label:literal),*], $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: Metric = Metric {
            name: $name,
            kind: $kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// All of them, in the order in which they are listed to people.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics_table! {
    RUNS = "openclaw_runs_total", MetricKind::Counter, ["agent", "outcome"], "Runs that ended; the agent is - for runs that were planned.";
    RUN_DURATION = "openclaw_run_duration_seconds", MetricKind::Histogram(LONG), ["agent"], "Time from the acceptance of a run to its end.";
    RECOVERED_RUNS = "openclaw_recovered_runs_total", MetricKind::Counter, ["how"], "Runs that a new process or actor found open: resumed, or parked because they got no further.";
    TURN_DURATION = "openclaw_turn_duration_seconds", MetricKind::Histogram(LONG), ["agent", "model"], "Time of one model request, answered or not.";
    TOKENS = "openclaw_tokens_total", MetricKind::Counter, ["agent", "model", "kind"], "Tokens used; kind charged is the ceiling of requests whose use is not known.";
    COST = "openclaw_cost_usd_total", MetricKind::Money, ["agent", "model"], "What those tokens cost in US dollars, by the configured prices.";
    BUDGET_TOKENS = "openclaw_budget_remaining_tokens", MetricKind::Gauge, ["agent"], "Tokens left of the agent's budget for this UTC day; only agents that have one.";
    BUDGET_COST = "openclaw_budget_remaining_usd", MetricKind::Gauge, ["agent"], "US dollars left of the agent's budget for this UTC day; only agents that have one.";
    SKILL_CALLS = "openclaw_skill_calls_total", MetricKind::Counter, ["skill", "outcome"], "Calls of skills by how they ended.";
    SKILL_DURATION = "openclaw_skill_call_duration_seconds", MetricKind::Histogram(LONG), ["skill", "outcome"], "Time of one call from its turn to its end; calls whose turn never came are not in it.";
    SKILL_WAITING = "openclaw_skill_queue_depth", MetricKind::Gauge, ["skill"], "Calls of the skill that wait for their turn.";
    SKILL_RUNNING = "openclaw_skill_calls_running", MetricKind::Gauge, ["skill"], "Calls of the skill that are being made.";
    ACTOR_RESTARTS = "openclaw_actor_restarts_total", MetricKind::Counter, ["supervisor", "kind", "reason"], "Restarts that supervisors made by themselves.";
    GATEWAY_REQUESTS = "openclaw_gateway_requests_total", MetricKind::Counter, ["route", "method", "status"], "Requests to the gateway.";
    GATEWAY_DURATION = "openclaw_gateway_request_duration_seconds", MetricKind::Histogram(SHORT), ["route"], "Time from a request's head to the head of its answer; a stream goes on after that.";
    GATEWAY_REFUSED = "openclaw_gateway_refused_total", MetricKind::Counter, ["why"], "Requests and connections over a limit: connections, overload, key_rate, key_at_once, agent_rate, token_rate, locked_out.";
    COMMIT_DURATION = "openclaw_store_commit_duration_seconds", MetricKind::Histogram(SHORT), [], "Time of one transaction, its sync included.";
    COMMIT_BATCH = "openclaw_store_commit_batch_size", MetricKind::Histogram(SIZES), [], "Batches in one transaction.";
    MODEL_OPEN = "openclaw_model_gate_open", MetricKind::Gauge, ["model"], "1 while requests to the model are let through; 0 while its breaker is open or it cools down.";
    MODEL_ASKING = "openclaw_model_requests_in_flight", MetricKind::Gauge, ["model"], "Requests to the model under way.";
    MEMORY_ENTRIES = "openclaw_memory_entries", MetricKind::Gauge, ["tier"], "Live memory entries.";
    MEMORY_BYTES = "openclaw_memory_bytes", MetricKind::Gauge, ["tier"], "Bytes of the texts of live memory entries.";
    MEMORY_IN_ARCHIVE = "openclaw_memory_archived_entries", MetricKind::Gauge, ["tier"], "Archived memory entries, which can be restored until they are deleted.";
    MEMORY_ARCHIVED = "openclaw_memory_archived_total", MetricKind::Counter, ["tier", "why"], "Memory entries that collection archived: swept (of little value, or their session ended), evicted (the memory was full).";
    MEMORY_DELETED = "openclaw_memory_deleted_total", MetricKind::Counter, ["tier"], "Archived memory entries that were deleted before their time because the archive was full.";
    MEMORY_PARTS = "openclaw_memory_open_parts", MetricKind::Gauge, [], "Parts of the memory whose index is loaded.";
    MEMORY_INDEX_BYTES = "openclaw_memory_index_bytes", MetricKind::Gauge, ["kind"], "Bytes that the indexes of open parts hold: their vectors, and the graphs over them.";
    CERTIFICATE_EXPIRY = "openclaw_certificate_expiry_seconds", MetricKind::Gauge, ["kind"], "Time until the next certificate of its kind ends, negative after that, infinite where there is none: own (renewed at two thirds of its life), authority, issued (to others, for a week or more), files (gateway.tls.certificate).";
    MEMORY_RECALL = "openclaw_memory_graph_recall", MetricKind::Histogram(SHARES), [], "How many of the ten nearest that the scan finds the graph found, 0 to 1; one question in a thousand is checked.";
    MEMORY_GRAPH_BUILDS = "openclaw_memory_graph_builds_total", MetricKind::Counter, ["outcome"], "Graphs over the vectors of a part of the memory: built, or given up because the part was closed.";
    MEMORY_EMBEDDINGS = "openclaw_memory_embeddings_total", MetricKind::Counter, ["outcome"], "Texts that the configured embedder was asked for a vector of: embedded or refused; failed counts batches that it did not answer as it should.";
    MEMORY_VECTORS_DUE = "openclaw_memory_vectors_due", MetricKind::Gauge, [], "Memory entries that the configured embedder has still to look at.";
    MEMORY_WORDS_ALONE = "openclaw_memory_words_alone_total", MetricKind::Counter, [], "Questions to the memory that were answered by words alone because the embedder did not answer.";
    SCHEDULE_SLOTS = "openclaw_schedule_slots_total", MetricKind::Counter, ["schedule", "result"], "Slots of schedules by what became of them: ran, late, failed, skipped or missed.";
    SCHEDULE_SUCCESS = "openclaw_schedule_last_success_timestamp_seconds", MetricKind::Gauge, ["schedule"], "When a slot of the schedule last succeeded, in seconds since 1970.";
    SCHEDULE_TICK_AGE = "openclaw_schedule_tick_age_seconds", MetricKind::Gauge, [], "Longest time for which a schedule was not looked after; more than 60 means that one is stuck.";
    HEALTH_UP = "openclaw_health_check_up", MetricKind::Gauge, ["check"], "1 when the check was good in the last round, else 0.";
    INCIDENTS_OPEN = "openclaw_incidents_open", MetricKind::Gauge, ["severity"], "Incidents that go on.";
    ALERTS = "openclaw_alerts_total", MetricKind::Counter, ["channel", "outcome"], "Tries to tell people: arrived, failed (it is tried again) or given_up.";
    EXPORTED = "openclaw_otlp_items_total", MetricKind::Counter, ["signal", "outcome"], "Spans and log lines for the OpenTelemetry collector: sent, rejected by it, or dropped because it did not take them; spans that were dropped unread count as one for each run.";
    ACTORS = "openclaw_actors", MetricKind::Gauge, ["kind"], "Actors that run.";
    MAILBOX_DEPTH = "openclaw_mailbox_depth", MetricKind::Gauge, ["kind"], "Messages that were admitted to actors and are not handled yet; the deepest of a kind.";
    MEMORY_QUERY_DURATION = "openclaw_memory_query_duration_seconds", MetricKind::Histogram(SHORT), ["kind"], "Time of one question to the memory: by key or by meaning.";
    NODE_UP = "openclaw_node_up", MetricKind::Gauge, ["node"], "1 while the node answers; this process is `primary`.";
    DISK_FREE = "openclaw_disk_free_bytes", MetricKind::Gauge, [], "Room on the disk of the state.";
    DISK_FULL = "openclaw_disk_full", MetricKind::Gauge, [], "1 while new work is refused because there is too little room.";
    STORE_BYTES = "openclaw_store_bytes", MetricKind::Gauge, [], "Size of the store's file.";
    PROCESS_MEMORY = "process_resident_memory_bytes", MetricKind::Gauge, [], "Resident memory of the process.";
    PROCESS_FILES = "process_open_fds", MetricKind::Gauge, [], "Open file descriptors of the process.";
    PROCESS_START = "process_start_time_seconds", MetricKind::Gauge, [], "Start of the process in seconds since 1970.";
    TOKIO_WORKERS = "tokio_workers", MetricKind::Gauge, [], "Threads of the runtime.";
    TOKIO_TASKS = "tokio_alive_tasks", MetricKind::Gauge, [], "Tasks that have not ended.";
    TOKIO_QUEUE = "tokio_global_queue_depth", MetricKind::Gauge, [], "Tasks that wait for a thread.";
}

/// Sets gauges right before they are read.
type Refresh = Arc<dyn Fn(&Telemetry) + Send + Sync>;

/// The metrics of one daemon. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    recorder: Arc<PrometheusRecorder>,
    money: Arc<Mutex<BTreeMap<(&'static str, String), MicroUsd>>>,
    refreshes: Arc<Mutex<Vec<Refresh>>>,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        let mut builder = PrometheusBuilder::new();
        for metric in METRICS {
            if let MetricKind::Histogram(bounds) = metric.kind {
                builder = builder
                    .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)
                    .expect("the bounds in the table are not empty");
            }
        }
        let recorder = builder.build_recorder();
        for metric in METRICS {
            let name = KeyName::from_const_str(metric.name);
            let unit = metric.name.contains("_seconds").then_some(Unit::Seconds);
            match metric.kind {
                MetricKind::Counter => recorder.describe_counter(name, unit, metric.help.into()),
                MetricKind::Gauge => recorder.describe_gauge(name, unit, metric.help.into()),
                MetricKind::Histogram(_) => recorder.describe_histogram(name, unit, metric.help.into()),
                MetricKind::Money => {}
            }
        }
        Self {
            recorder: Arc::new(recorder),
            money: Arc::default(),
            refreshes: Arc::default(),
        }
    }
}

const METADATA: Metadata<'static> = Metadata::new("openclaw", Level::INFO, None);

fn key(metric: &Metric, values: &[&str]) -> Key {
    assert_eq!(
        metric.labels.len(),
        values.len(),
        "{} has these labels: {:?}",
        metric.name,
        metric.labels
    );
    let labels = metric.labels.iter().zip(values);
    let labels: Vec<Label> = labels
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect();
    Key::from_parts(metric.name, labels)
}

/// What one thread holds cannot be broken by a panic of another: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Telemetry {
    /// The handle of one series of a counter.
    ///
    /// # Panics
    /// When the metric has other labels: a bug of the caller.
    pub fn counter(&self, metric: &'static Metric, labels: &[&str]) -> Counter {
        debug_assert!(metric.kind == MetricKind::Counter, "{} is no counter", metric.name);
        self.recorder.register_counter(&key(metric, labels), &METADATA)
    }

    /// The handle of one series of a gauge.
    ///
    /// # Panics
    /// When the metric has other labels: a bug of the caller.
    pub fn gauge(&self, metric: &'static Metric, labels: &[&str]) -> Gauge {
        debug_assert!(metric.kind == MetricKind::Gauge, "{} is no gauge", metric.name);
        self.recorder.register_gauge(&key(metric, labels), &METADATA)
    }

    /// The handle of one series of a histogram.
    ///
    /// # Panics
    /// When the metric has other labels: a bug of the caller.
    pub fn histogram(&self, metric: &'static Metric, labels: &[&str]) -> Histogram {
        debug_assert!(
            matches!(metric.kind, MetricKind::Histogram(_)),
            "{} is no histogram",
            metric.name
        );
        self.recorder.register_histogram(&key(metric, labels), &METADATA)
    }

    /// Adds to one series of money.
    ///
    /// # Panics
    /// When the metric has other labels: a bug of the caller.
    pub fn add_money(&self, metric: &'static Metric, labels: &[&str], amount: MicroUsd) {
        debug_assert!(metric.kind == MetricKind::Money, "{} is no money", metric.name);
        assert_eq!(
            metric.labels.len(),
            labels.len(),
            "{} has these labels: {:?}",
            metric.name,
            metric.labels
        );
        let pairs = metric.labels.iter().zip(labels);
        // Names of agents and models have no character that would have to be escaped.
        let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let mut money = lock(&self.money);
        let sum = money.entry((metric.name, pairs.join(","))).or_default();
        *sum = sum.plus(amount);
    }

    /// Has gauges set right before each reading.
    pub fn refresh_with(&self, refresh: impl Fn(&Self) + Send + Sync + 'static) {
        lock(&self.refreshes).push(Arc::new(refresh));
    }

    /// Everything as Prometheus text.
    pub fn render(&self) -> String {
        let refreshes = lock(&self.refreshes).clone();
        for refresh in refreshes {
            refresh(self);
        }
        let mut text = self.recorder.handle().render();
        let money = lock(&self.money);
        for metric in METRICS.iter().filter(|metric| metric.kind == MetricKind::Money) {
            let mut series = money.iter().filter(|((name, _), _)| *name == metric.name).peekable();
            if series.peek().is_none() {
                continue;
            }
            let (name, help) = (metric.name, metric.help);
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
            for ((name, labels), amount) in series {
                let _ = writeln!(text, "{name}{{{labels}}} {}", amount.to_decimal());
            }
            text.push('\n');
        }
        text
    }

    /// Takes the waiting values of histograms in, so that they do not pile up between two readings.
    pub fn upkeep(&self) {
        self.recorder.handle().run_upkeep();
    }
}

/// The handles of a family whose labels are found out at run time, by label values.
pub struct Family<H> {
    handles: BTreeMap<Box<str>, H>,
}

impl<H> Default for Family<H> {
    fn default() -> Self {
        Self {
            handles: BTreeMap::new(),
        }
    }
}

impl<H: Clone> Family<H> {
    /// The handle of these label values, made when it is new; beyond [`SERIES_MAX`] the one of `other`.
    pub fn get<const N: usize>(&mut self, labels: [&str; N], make: impl FnOnce([&str; N]) -> H) -> H {
        let joined = labels.join("\n");
        if let Some(handle) = self.handles.get(joined.as_str()) {
            return handle.clone();
        }
        let (joined, labels) = if self.handles.len() < SERIES_MAX {
            (joined, labels)
        } else {
            ([OTHER; N].join("\n"), [OTHER; N])
        };
        self.handles
            .entry(joined.into())
            .or_insert_with(|| make(labels))
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_in_the_field_s_form() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len(), "a name stands twice");
        for metric in METRICS {
            let name = metric.name;
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{name}"
            );
            let rises = matches!(metric.kind, MetricKind::Counter | MetricKind::Money);
            assert_eq!(name.ends_with("_total"), rises, "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{name}");
            if let MetricKind::Histogram(bounds) = metric.kind {
                assert!(bounds.is_sorted_by(|one, next| one < next), "{name}");
            }
        }
    }

    #[test]
    fn what_is_counted_is_rendered_with_help_and_type() {
        let telemetry = Telemetry::default();
        telemetry.counter(&RUNS, &["coder", "succeeded"]).increment(3);
        telemetry.histogram(&RUN_DURATION, &["coder"]).record(0.2);
        telemetry.add_money(&COST, &["coder", "gpt"], MicroUsd(120_000));
        telemetry.add_money(&COST, &["coder", "gpt"], MicroUsd(1));
        telemetry.refresh_with(|telemetry| telemetry.gauge(&STORE_BYTES, &[]).set(7.0));
        telemetry.upkeep();
        let text = telemetry.render();
        for line in [
            "# TYPE openclaw_runs_total counter",
            "openclaw_runs_total{agent=\"coder\",outcome=\"succeeded\"} 3",
            "# TYPE openclaw_run_duration_seconds histogram",
            "openclaw_run_duration_seconds_bucket{agent=\"coder\",le=\"0.1\"} 0",
            "openclaw_run_duration_seconds_bucket{agent=\"coder\",le=\"0.25\"} 1",
            "openclaw_run_duration_seconds_bucket{agent=\"coder\",le=\"+Inf\"} 1",
            "openclaw_run_duration_seconds_count{agent=\"coder\"} 1",
            "# HELP openclaw_cost_usd_total What those tokens cost in US dollars, by the configured prices.",
            "# TYPE openclaw_cost_usd_total counter",
            "openclaw_cost_usd_total{agent=\"coder\",model=\"gpt\"} 0.120001",
            "openclaw_store_bytes 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_family_does_not_grow_without_bound() {
        let mut family = Family::default();
        for number in 0..2 * SERIES_MAX {
            let name = number.to_string();
            let label = family.get([&name], |[label]| label.to_owned());
            assert_eq!(label, if number < SERIES_MAX { name.as_str() } else { OTHER });
        }
        assert_eq!(family.get(["7"], |_| "new".to_owned()), "7");
    }
}
