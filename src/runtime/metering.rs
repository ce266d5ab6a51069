//! What the committer counts: its own work, and what the committed facts say of runs, models and money.
//!
//! Counted after the commit and from the facts alone, so that metrics and journal cannot differ, and no other part has
//! to count what it journals anyway. Owned by the committer's thread: no lock, and each handle is looked up once.

use std::collections::BTreeMap;

use metrics::{Counter, Histogram};

use crate::domain::money::MicroUsd;
use crate::domain::name::{AgentName, ModelAlias};
use crate::domain::statistics::{Counted, Happening, Occurrence, Tokens};

use super::telemetry::{
    COMMIT_BATCH, COMMIT_DURATION, COST, Family, RECOVERED_RUNS, RUN_DURATION, RUNS, TOKENS, TURN_DURATION, Telemetry,
};

/// The label of a run that no single agent does.
const PLANNED: &str = "-";

/// The handles.
pub(super) struct Meter {
    telemetry: Telemetry,
    commit: Histogram,
    batches: Histogram,
    resumed: Counter,
    parked: Counter,
    runs: Family<Counter>,
    run_durations: Family<Histogram>,
    turns: BTreeMap<(AgentName, ModelAlias), TurnHandles>,
}

struct TurnHandles {
    duration: Histogram,
    tokens: [Counter; 5],
}

impl Meter {
    pub(super) fn new(telemetry: Telemetry) -> Self {
        Self {
            commit: telemetry.histogram(&COMMIT_DURATION, &[]),
            batches: telemetry.histogram(&COMMIT_BATCH, &[]),
            resumed: telemetry.counter(&RECOVERED_RUNS, &["resumed"]),
            parked: telemetry.counter(&RECOVERED_RUNS, &["parked"]),
            runs: Family::default(),
            run_durations: Family::default(),
            turns: BTreeMap::new(),
            telemetry,
        }
    }

    /// One transaction with so many batches.
    pub(super) fn committed(&mut self, seconds: f64, batches: usize, happened: &[Happening]) {
        self.commit.record(seconds);
        self.batches.record(batches as f64);
        for happening in happened {
            match happening {
                Happening::OfAgent(occurrence) => self.of_agent(occurrence),
                Happening::RunEnded { agent, outcome, ms, .. } => {
                    let agent = agent.as_ref().map_or(PLANNED, AgentName::as_str);
                    let telemetry = &self.telemetry;
                    let counter = |labels: [&str; 2]| telemetry.counter(&RUNS, &labels);
                    self.runs.get([agent, outcome.as_str()], counter).increment(1);
                    let histogram = |labels: [&str; 1]| telemetry.histogram(&RUN_DURATION, &labels);
                    self.run_durations.get([agent], histogram).record(seconds_of(*ms));
                }
                Happening::RunRecovered => self.resumed.increment(1),
                Happening::RunParked => self.parked.increment(1),
            }
        }
    }

    fn of_agent(&mut self, occurrence: &Occurrence) {
        let Some(model) = &occurrence.model else { return };
        let (tokens, cost, ms) = match &occurrence.what {
            Counted::Answered { usage, cost, ms } => (Tokens::of(*usage), *cost, *ms),
            Counted::NotAnswered { charged, cost, ms } => {
                let tokens = Tokens {
                    charged: *charged,
                    ..Tokens::default()
                };
                (tokens, *cost, *ms)
            }
            Counted::Ended { .. } => return,
        };
        let telemetry = &self.telemetry;
        let (agent, model) = (&occurrence.agent, model);
        let handles = self
            .turns
            .entry((agent.clone(), model.clone()))
            .or_insert_with(|| TurnHandles {
                duration: telemetry.histogram(&TURN_DURATION, &[agent.as_str(), model.as_str()]),
                tokens: tokens
                    .kinds()
                    .map(|(kind, _)| telemetry.counter(&TOKENS, &[agent.as_str(), model.as_str(), kind])),
            });
        handles.duration.record(seconds_of(ms));
        for (counter, (_, tokens)) in handles.tokens.iter().zip(tokens.kinds()) {
            counter.increment(tokens);
        }
        if cost > MicroUsd::ZERO {
            telemetry.add_money(&COST, &[agent.as_str(), model.as_str()], cost);
        }
    }
}

fn seconds_of(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}
