//! What is counted of calls: ends and times by skill, and how many wait and run.
//!
//! Invariant: labels are names of configured skills, of configured servers (`mcp.<server>`, for all its tools), or
//! `other`; what a server tells never becomes a label.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::domain::name::SkillName;
use crate::runtime::telemetry::{SKILL_CALLS, SKILL_DURATION, SKILL_RUNNING, SKILL_WAITING, Telemetry};

/// How a call ends, as a label.
const OUTCOMES: [&str; 7] = [
    "ok",
    "error",
    "failed",
    "crashed",
    "timed_out",
    "cancelled",
    "dead_lettered",
];
/// Stands for skills that came later under a name that is not ours.
const OTHER: &str = "other";

/// How many calls of one skill wait and run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LaneDepth {
    /// Which skill.
    pub(super) skill: SkillName,
    /// Calls that wait for their turn.
    pub(super) waiting: usize,
    /// Calls that are being made.
    pub(super) running: usize,
}

#[derive(Debug)]
struct Series {
    ends: [Counter; OUTCOMES.len()],
    times: [Histogram; OUTCOMES.len()],
}

/// Counts calls; the default counts nothing. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<BTreeMap<Arc<str>, Series>>);

impl Meter {
    /// A meter for skills and servers of these names.
    pub(super) fn new(telemetry: &Telemetry, labels: impl IntoIterator<Item = Arc<str>>) -> Self {
        let labels = labels.into_iter().chain([OTHER.into()]);
        let series = labels.map(|label| {
            let series = Series {
                ends: OUTCOMES.map(|outcome| telemetry.counter(&SKILL_CALLS, &[&label, outcome])),
                times: OUTCOMES.map(|outcome| telemetry.histogram(&SKILL_DURATION, &[&label, outcome])),
            };
            (label, series)
        });
        Self(Arc::new(series.collect()))
    }

    /// The label of a skill: its own name, its server, or none of them.
    fn label(&self, skill: &SkillName) -> &str {
        let name = skill.as_str();
        let server = || {
            let (server, _) = name.strip_prefix("mcp.")?.split_once('.')?;
            Some(&name[.."mcp.".len() + server.len()])
        };
        let known = |label: &&str| self.0.contains_key(*label);
        Some(name)
            .filter(known)
            .or_else(|| server().filter(known))
            .and_then(|label| self.0.get_key_value(label))
            .map_or(OTHER, |(label, _)| label)
    }

    /// Counts the end of a call by its word; `lasted` from its turn on, none when its turn never came.
    pub(super) fn ended(&self, skill: &SkillName, end: &'static str, lasted: Option<Duration>) {
        let outcome = OUTCOMES.iter().position(|outcome| *outcome == end);
        let (Some(series), Some(outcome)) = (self.0.get(self.label(skill)), outcome) else {
            return;
        };
        series.ends[outcome].increment(1);
        if let Some(lasted) = lasted {
            series.times[outcome].record(lasted.as_secs_f64());
        }
    }

    /// Has the depths of all lanes shown at each reading.
    pub(super) fn show_depths(
        &self,
        telemetry: &Telemetry,
        depths: impl Fn() -> Vec<LaneDepth> + Send + Sync + 'static,
    ) {
        for label in self.0.keys() {
            telemetry.gauge(&SKILL_WAITING, &[label]).set(0.0);
            telemetry.gauge(&SKILL_RUNNING, &[label]).set(0.0);
        }
        let meter = self.clone();
        telemetry.refresh_with(move |telemetry| {
            let mut sums: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
            for depth in depths() {
                let sum = sums.entry(meter.label(&depth.skill)).or_default();
                *sum = (sum.0 + depth.waiting, sum.1 + depth.running);
            }
            for (label, (waiting, running)) in sums {
                telemetry.gauge(&SKILL_WAITING, &[label]).set(waiting as f64);
                telemetry.gauge(&SKILL_RUNNING, &[label]).set(running as f64);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_configured_names_and_never_what_a_server_tells() {
        let telemetry = Telemetry::default();
        let meter = Meter::new(&telemetry, ["fs.read".into(), "mcp.git".into()]);
        let check = |skill: &str, label: &str| {
            let skill = SkillName::new(skill).expect("valid");
            assert_eq!(meter.label(&skill), label, "{skill}");
        };
        check("fs.read", "fs.read");
        check("mcp.git.commit", "mcp.git");
        check("mcp.git.a.b", "mcp.git");
        check("mcp.evil.tool", "other");
        check("fs.unheard", "other");
        meter.ended(
            &SkillName::new("mcp.git.x").expect("valid"),
            "timed_out",
            Some(Duration::from_millis(20)),
        );
        let text = telemetry.render();
        for line in [
            "openclaw_skill_calls_total{skill=\"mcp.git\",outcome=\"timed_out\"} 1",
            "openclaw_skill_call_duration_seconds_count{skill=\"mcp.git\",outcome=\"timed_out\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
