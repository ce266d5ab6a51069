//! The outcome of a drill.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::table::part;

use super::keeper::Recovery;
use super::load::Order;
use super::watch::Seen;

/// Runs that did not succeed of which the report says why.
const ENDS_SHOWN: usize = 20;

/// Everything that is told of a drill.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The command that replays it.
    pub command: String,
    /// How long it took.
    pub length: Duration,
    /// Faults that happened, by name.
    pub faults: BTreeMap<String, u64>,
    /// Faults that cannot be tried here, with the reason.
    pub untried: BTreeMap<String, String>,
    /// Runs as their clients know them.
    pub orders: Vec<Order>,
    /// Effects that were made more than once.
    pub doubled: u64,
    /// Effects of the world.
    pub effects: usize,
    /// Ends of the process and what came after.
    pub recoveries: Vec<Recovery>,
    /// What was seen from outside.
    pub seen: Seen,
    /// Requests of the clients that submit and follow runs, by how they ended.
    pub requests: BTreeMap<String, u64>,
    /// Actors that were killed one after the other, by kind; empty when that was not asked for.
    pub killed: BTreeMap<String, u64>,
    /// The invariants that do not hold; empty when all do.
    pub findings: Vec<String>,
}

/// Growth of the resident memory between processes of the same age: the last tenth of the drill against its second, in
/// parts of one. In the first the caches fill (the store's alone has 8 MiB), which is no growth. None when there is too
/// little to compare.
pub fn drift(rss: &[(u64, u32, u64)]) -> Option<f64> {
    let settled: Vec<u64> = rss
        .iter()
        .filter(|(_, age, _)| *age >= 2)
        .map(|(_, _, kib)| *kib)
        .collect();
    let tenth = settled.len() / 10;
    if tenth < 10 {
        return None;
    }
    let mut first = settled[tenth..2 * tenth].to_vec();
    let mut last = settled[settled.len() - tenth..].to_vec();
    let (first, last) = (part(&mut first, 0.5) as f64, part(&mut last, 0.5) as f64);
    Some((last - first) / first)
}

impl Report {
    fn line(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
        writeln!(f, "| {name} | {value} |")
    }

    fn times(values: impl Iterator<Item = Option<Duration>>) -> String {
        let mut ms: Vec<u64> = values.flatten().map(|time| time.as_millis() as u64).collect();
        if ms.is_empty() {
            return "none".to_owned();
        }
        let count = ms.len();
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|at| part(&mut ms, at));
        format!("{p50} ms p50, {p99} ms p99, {most} ms at most ({count})")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}`\n\n| | |\n|---|---|", self.command)?;
        Self::line(f, "length", format_args!("{} s", self.length.as_secs()))?;
        for (name, count) in &self.faults {
            Self::line(f, &format!("fault {name}"), count)?;
        }
        for (name, why) in &self.untried {
            Self::line(f, &format!("fault {name}"), why)?;
        }
        if !self.killed.is_empty() {
            Self::line(f, "actors killed", self.killed.values().sum::<u64>())?;
        }
        for (kind, count) in &self.killed {
            Self::line(f, &format!("actors killed: {kind}"), count)?;
        }
        let accepted = self.orders.iter().filter(|order| order.id.is_some()).count();
        Self::line(f, "runs accepted", accepted)?;
        let mut states: BTreeMap<&str, u64> = BTreeMap::new();
        for order in &self.orders {
            *states.entry(&order.status).or_default() += 1;
        }
        for (state, count) in states {
            Self::line(
                f,
                &format!("runs {}", if state.is_empty() { "never seen" } else { state }),
                count,
            )?;
        }
        Self::line(f, "effects", self.effects)?;
        Self::line(f, "effects doubled", self.doubled)?;
        Self::line(f, "ends of the process", self.recoveries.len())?;
        let ready = self.recoveries.iter().map(|recovery| recovery.ready);
        Self::line(f, "from an end to ready", Self::times(ready))?;
        let resumed = self.recoveries.iter().map(|recovery| recovery.resumed);
        Self::line(f, "from an end to the next effect", Self::times(resumed))?;
        let count = |by: &BTreeMap<u64, u64>| by.values().sum::<u64>();
        let [answered, refused, failed] = [&self.seen.answered, &self.seen.refused, &self.seen.failed].map(count);
        let all = (answered + refused + failed).max(1);
        Self::line(
            f,
            "requests answered",
            format_args!(
                "{answered} of {all} ({:.3} %), {refused} refused by limits, {failed} failed",
                (answered as f64) * 100.0 / all as f64
            ),
        )?;
        for (how, count) in &self.seen.failures {
            Self::line(f, &format!("requests: {how}"), count)?;
        }
        let of_clients: u64 = self.requests.values().sum();
        let answered = self.requests.get("answered").copied().unwrap_or(0);
        Self::line(
            f,
            "requests of clients answered",
            format_args!(
                "{answered} of {of_clients} ({:.3} %)",
                (answered as f64) * 100.0 / of_clients.max(1) as f64
            ),
        )?;
        for (how, count) in self.requests.iter().filter(|(how, _)| *how != "answered") {
            Self::line(f, &format!("requests of clients: {how}"), count)?;
        }
        let seconds = self.seen.failed.len();
        Self::line(f, "seconds with a failed request", seconds)?;
        let mut latencies = self.seen.latencies_us.clone();
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|at| part(&mut latencies, at));
        Self::line(
            f,
            "time to an answer",
            format_args!("{p50} µs p50, {p99} µs p99, {most} µs at most"),
        )?;
        let mut rss: Vec<u64> = self.seen.rss_kib.iter().map(|(_, _, kib)| *kib).collect();
        let [p50, most] = [0.5, 1.0].map(|at| part(&mut rss, at) / 1024);
        let drift =
            drift(&self.seen.rss_kib).map_or("too short to say".to_owned(), |part| format!("{:+.1} %", part * 100.0));
        Self::line(
            f,
            "resident memory",
            format_args!("{p50} MiB p50, {most} MiB at most, drift {drift}"),
        )?;
        for (supervisor, count) in self.seen.restarts.iter().filter(|(_, count)| **count > 0) {
            Self::line(f, &format!("restarts by {supervisor}"), count)?;
        }
        let other = self
            .orders
            .iter()
            .filter(|order| order.has_ended() && order.status != "succeeded");
        for order in other.take(ENDS_SHOWN) {
            let id = order.id.as_deref().unwrap_or_default();
            writeln!(f, "\n{} ({id}): {}: {}", order.tag, order.status, order.reason)?;
        }
        if self.findings.is_empty() {
            writeln!(f, "\nEvery invariant holds.")
        } else {
            writeln!(f, "\nDoes not hold:\n")?;
            self.findings.iter().try_for_each(|finding| writeln!(f, "- {finding}"))
        }
    }
}
