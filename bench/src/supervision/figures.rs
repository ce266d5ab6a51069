//! Times and sizes, and how they are printed.

use std::time::{Duration, Instant};

/// Measured times.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    fn quantile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let at = (last as f64 * share) as usize;
        self.0.get(at).map_or(0.0, |time| time.as_nanos() as f64 / 1000.0)
    }

    pub(crate) fn print(&mut self, what: &str, who: &str) {
        let (p50, p99, max) = (self.quantile(0.5), self.quantile(0.99), self.quantile(1.0));
        println!(
            "{what:<34} {who:<22} p50 {p50:>8.1} µs   p99 {p99:>8.1} µs   max {max:>9.1} µs   n {}",
            self.0.len()
        );
    }
}

/// What it cost to start and stop many.
pub(crate) struct Row {
    pub(crate) who: &'static str,
    pub(crate) number: usize,
    pub(crate) start: Span,
    pub(crate) bytes: u64,
    pub(crate) stop: Span,
}

/// Wall time, and the processor time this process used meanwhile: on a busy machine only the second one can be compared.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    wall: Duration,
    cpu: Duration,
}

/// A span that has begun.
pub(crate) struct Begun {
    wall: Instant,
    cpu: Duration,
}

impl Begun {
    pub(crate) fn now() -> Self {
        Self {
            wall: Instant::now(),
            cpu: cpu_time(),
        }
    }

    pub(crate) fn end(&self) -> Span {
        Span {
            wall: self.wall.elapsed(),
            cpu: cpu_time().saturating_sub(self.cpu),
        }
    }
}

/// Processor time of this process, user and system, from ticks of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|tick| tick.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

impl Row {
    pub(crate) fn print(&self) {
        let part = |span: Span| {
            let each = span.wall.as_nanos() as f64 / 1000.0 / self.number as f64;
            let (wall, cpu) = (span.wall.as_millis(), span.cpu.as_millis());
            format!("{wall:>5} ms ({each:>5.2} µs each, cpu {cpu:>5} ms)")
        };
        println!(
            "{:<34} {:<24} start {}   {:>5} B each   stop {}",
            format!("{} actors", self.number),
            self.who,
            part(self.start),
            self.bytes / self.number as u64,
            part(self.stop),
        );
    }
}

/// Memory of this process that is in RAM.
pub(crate) fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or_default();
    pages * 4096
}
