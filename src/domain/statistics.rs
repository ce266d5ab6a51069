//! What work cost, how long it took and how it ended, added up.
//!
//! **Invariants**: figures are a fold of the journal: [`Counting`] takes the facts of a run in their order and says what
//! each of them counts for. Adding up is associative and commutative, so that sums over agents, models, prompts and days
//! can be made from parts in any order.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conversation::Usage;
use super::fact::{Attempt, Fact, Stamped};
use super::id::RunId;
use super::money::MicroUsd;
use super::name::{AgentName, ModelAlias};
use super::run::Outcome;
use super::time::UtcMillis;

/// Buckets in each doubling of a duration: a bucket is at most 1/16 of its value wide.
const BUCKETS_PER_DOUBLING: u64 = 16;
/// Binary digits of [`BUCKETS_PER_DOUBLING`].
const DIGITS: u32 = 4;

/// How often durations fell into fixed buckets. Below 16 ms each millisecond has its own; above, a doubling has 16.
///
/// **Limits**: a quantile is at most 1/32 of its value away from the exact one.
///
/// **Source**: the bucket layout of HdrHistogram with one significant hexadecimal digit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram(BTreeMap<u16, u64>);

impl Histogram {
    /// A histogram of these buckets and counts.
    pub fn of(buckets: impl IntoIterator<Item = (u16, u64)>) -> Self {
        Self(buckets.into_iter().filter(|(_, count)| *count > 0).collect())
    }

    /// The buckets that are not empty, in order, with their counts.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, u64)> {
        self.0.iter().map(|(bucket, count)| (*bucket, *count))
    }

    /// Counts one duration.
    pub fn record(&mut self, ms: u64) {
        *self.0.entry(bucket_of(ms)).or_default() += 1;
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.buckets() {
            *self.0.entry(bucket).or_default() += count;
        }
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The duration, in milliseconds, that this part of a hundred is not longer than; none when nothing was counted.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count() * percent.min(100)).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.0.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        found.map(|(bucket, _)| middle_of(*bucket))
    }
}

fn bucket_of(ms: u64) -> u16 {
    if ms < BUCKETS_PER_DOUBLING {
        return ms as u16;
    }
    let doubling = ms.ilog2() - DIGITS;
    let within = (ms >> doubling) & (BUCKETS_PER_DOUBLING - 1);
    (u64::from(doubling + 1) * BUCKETS_PER_DOUBLING + within) as u16
}

fn middle_of(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < BUCKETS_PER_DOUBLING {
        return bucket;
    }
    let doubling = (bucket / BUCKETS_PER_DOUBLING - 1).min(59);
    let within = bucket % BUCKETS_PER_DOUBLING;
    let lowest = (BUCKETS_PER_DOUBLING + within) << doubling;
    lowest + (1 << doubling) / 2
}

/// Tokens by what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Of requests, without what came from or went to a cache.
    pub input: u64,
    /// Of answers.
    pub output: u64,
    /// Of requests, read from the provider's cache.
    pub cache_read: u64,
    /// Of requests, written to the provider's cache.
    pub cache_write: u64,
    /// Charged at the ceiling, because what was used is not known.
    pub charged: u64,
}

impl Tokens {
    /// The kinds by their stable words.
    pub fn kinds(&self) -> [(&'static str, u64); 5] {
        [
            ("input", self.input),
            ("output", self.output),
            ("cache_read", self.cache_read),
            ("cache_write", self.cache_write),
            ("charged", self.charged),
        ]
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.kinds()
            .iter()
            .fold(0, |sum, (_, tokens)| sum.saturating_add(*tokens))
    }

    /// The tokens of an answer.
    pub fn of(usage: Usage) -> Self {
        let cached = usage.cache_read.saturating_add(usage.cache_write);
        Self {
            input: usage.input.saturating_sub(cached),
            output: usage.output,
            cache_read: usage.cache_read,
            cache_write: usage.cache_write,
            charged: 0,
        }
    }

    fn add(&mut self, other: &Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
        self.charged = self.charged.saturating_add(other.charged);
    }
}

/// Figures of one agent, model, prompt, day or run, or of any sum of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// Model requests that were answered.
    pub turns: u64,
    /// Model requests that failed.
    pub turns_failed: u64,
    /// Tokens used.
    pub tokens: Tokens,
    /// Their cost.
    pub cost: MicroUsd,
    /// Orders (attempts at a step) that were carried out.
    pub done: u64,
    /// Orders that failed.
    pub failed: u64,
    /// Orders whose effect is not known.
    pub unknown: u64,
    /// Orders that were stopped; they count neither for nor against.
    pub cancelled: u64,
    /// How long orders took that were not stopped, from their start to their end, waits included.
    pub order_ms: Histogram,
    /// How long model requests took.
    pub turn_ms: Histogram,
}

impl Figures {
    /// Adds other figures.
    pub fn merge(&mut self, other: &Self) {
        self.turns += other.turns;
        self.turns_failed += other.turns_failed;
        self.tokens.add(&other.tokens);
        self.cost = self.cost.plus(other.cost);
        self.done += other.done;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.cancelled += other.cancelled;
        self.order_ms.merge(&other.order_ms);
        self.turn_ms.merge(&other.turn_ms);
    }

    /// The part of a hundred of the orders that were carried out; none when none has ended.
    pub fn success_percent(&self) -> Option<u64> {
        let ended = self.done + self.failed + self.unknown;
        (self.done * 100).checked_div(ended)
    }

    /// Counts one thing.
    pub fn count(&mut self, what: &Counted) {
        match what {
            Counted::Answered { usage, cost, ms } => {
                self.turns += 1;
                self.tokens.add(&Tokens::of(*usage));
                self.cost = self.cost.plus(*cost);
                self.turn_ms.record(*ms);
            }
            Counted::NotAnswered { charged, cost, ms } => {
                self.turns_failed += 1;
                self.tokens.charged = self.tokens.charged.saturating_add(*charged);
                self.cost = self.cost.plus(*cost);
                self.turn_ms.record(*ms);
            }
            Counted::Ended { how, ms } => {
                match how {
                    OrderEnd::Done => self.done += 1,
                    OrderEnd::Failed => self.failed += 1,
                    OrderEnd::Unknown => self.unknown += 1,
                    OrderEnd::Cancelled => self.cancelled += 1,
                }
                if *how != OrderEnd::Cancelled {
                    self.order_ms.record(*ms);
                }
            }
        }
    }
}

/// What figures are kept for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatisticsKey {
    /// An agent with one version of its prompt and one model, over all time.
    Agent {
        /// The agent.
        agent: AgentName,
        /// The version of its prompt; empty when no model was asked, or by journals that did not keep it.
        prompt: Arc<str>,
        /// The model; none when none was asked.
        model: Option<ModelAlias>,
    },
    /// A UTC day (days since 1970) of an agent and a model.
    Day {
        /// The day.
        day: u32,
        /// The agent.
        agent: AgentName,
        /// The model; none when none was asked.
        model: Option<ModelAlias>,
    },
    /// A run.
    Run(RunId),
}

/// Something that counts for an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// Which run.
    pub run: RunId,
    /// The UTC day: for a request the one on which it was booked.
    pub day: u32,
    /// Which agent.
    pub agent: AgentName,
    /// The version of its prompt.
    pub prompt: Arc<str>,
    /// The model that was asked last.
    pub model: Option<ModelAlias>,
    /// What happened.
    pub what: Counted,
}

/// What happened, as far as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// A model answered.
    Answered {
        /// What it used.
        usage: Usage,
        /// What that cost.
        cost: MicroUsd,
        /// How long it took.
        ms: u64,
    },
    /// A model did not answer.
    NotAnswered {
        /// Tokens charged.
        charged: u64,
        /// What that cost.
        cost: MicroUsd,
        /// How long it took.
        ms: u64,
    },
    /// An order ended.
    Ended {
        /// How.
        how: OrderEnd,
        /// How long it took.
        ms: u64,
    },
}

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderEnd {
    /// It was carried out.
    Done,
    /// It failed.
    Failed,
    /// Whether it had its effect is not known.
    Unknown,
    /// It was stopped.
    Cancelled,
}

/// What a fact counts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Something of an agent; kept in the store.
    OfAgent(Occurrence),
    /// A run ended.
    RunEnded {
        /// Which.
        run: RunId,
        /// The agent that did it alone, if one did.
        agent: Option<AgentName>,
        /// How.
        outcome: Outcome,
        /// How long it took.
        ms: u64,
    },
    /// A new process took a run up.
    RunRecovered,
    /// A run was parked.
    RunParked,
}

impl Occurrence {
    /// Where it is counted.
    pub fn keys(&self) -> [StatisticsKey; 3] {
        [
            StatisticsKey::Agent {
                agent: self.agent.clone(),
                prompt: self.prompt.clone(),
                model: self.model.clone(),
            },
            StatisticsKey::Day {
                day: self.day,
                agent: self.agent.clone(),
                model: self.model.clone(),
            },
            StatisticsKey::Run(self.run),
        ]
    }
}

/// The fold that finds out what facts count for. It holds what is open: nothing of a run that has ended.
#[derive(Debug, Clone, Default)]
pub struct Counting(BTreeMap<RunId, OpenRun>);

#[derive(Debug, Clone, Default)]
struct OpenRun {
    agent: Option<AgentName>,
    accepted_at: UtcMillis,
    orders: BTreeMap<Attempt, OpenOrder>,
    /// Requests that are out. One whose order has ended stays here: it is charged when the run ends.
    requests: BTreeMap<Attempt, OpenRequest>,
}

#[derive(Debug, Clone)]
struct OpenOrder {
    begun: UtcMillis,
    /// None for a step that is done by a skill.
    agent: Option<AgentName>,
    prompt: Arc<str>,
    model: Option<ModelAlias>,
}

#[derive(Debug, Clone)]
struct OpenRequest {
    at: UtcMillis,
    day: u32,
    agent: AgentName,
    prompt: Arc<str>,
    model: ModelAlias,
    reserved: u64,
    reserved_cost: MicroUsd,
}

impl OpenRequest {
    fn occurrence(self, run: RunId, what: Counted) -> Happening {
        Happening::OfAgent(Occurrence {
            run,
            day: self.day,
            agent: self.agent,
            prompt: self.prompt,
            model: Some(self.model),
            what,
        })
    }

    /// Nobody saw its end, so what it used is its ceiling.
    fn unsettled(self, run: RunId, at: UtcMillis) -> Happening {
        let what = Counted::NotAnswered {
            charged: self.reserved,
            cost: self.reserved_cost,
            ms: at.since(self.at),
        };
        self.occurrence(run, what)
    }
}

impl Counting {
    /// Whether it has seen the facts of a run so far. A run that was accepted by an earlier life of the process is to be
    /// loaded first.
    pub fn knows(&self, run: RunId) -> bool {
        self.0.contains_key(&run)
    }

    /// Takes in what a run's journal has so far; it was counted when it was written.
    pub fn load(&mut self, run: RunId, facts: &[Stamped]) {
        self.0.entry(run).or_default();
        for stamped in facts {
            self.take(run, stamped.at, &stamped.fact);
        }
    }

    /// Takes the next fact of a run and says what it counts for.
    pub fn take(&mut self, run: RunId, at: UtcMillis, fact: &Fact) -> Vec<Happening> {
        let open = self.0.entry(run).or_default();
        match fact {
            Fact::RunAccepted(spec) => {
                open.agent.clone_from(&spec.agent);
                open.accepted_at = at;
                Vec::new()
            }
            Fact::RunRecovered { .. } => vec![Happening::RunRecovered],
            Fact::RunReopened { .. } => {
                // What it took until it had ended unknown is counted; its next end counts from here.
                open.accepted_at = at;
                Vec::new()
            }
            Fact::RunDone { .. } | Fact::RunParked { .. } => {
                let open = self.0.remove(&run).unwrap_or_default();
                let charged = open.requests.into_values();
                let mut happened: Vec<Happening> = charged.map(|request| request.unsettled(run, at)).collect();
                happened.push(match fact {
                    Fact::RunDone { outcome, .. } => Happening::RunEnded {
                        run,
                        agent: open.agent,
                        outcome: *outcome,
                        ms: at.since(open.accepted_at),
                    },
                    _ => Happening::RunParked,
                });
                happened
            }
            other => open.take(run, at, other).into_iter().collect(),
        }
    }
}

impl OpenRun {
    fn take(&mut self, run: RunId, at: UtcMillis, fact: &Fact) -> Option<Happening> {
        match fact {
            Fact::StepLeased { attempt, .. } => {
                // A lease that a new life renews does not begin the order anew.
                self.orders.entry(attempt.clone()).or_insert_with(|| OpenOrder {
                    begun: at,
                    agent: None,
                    prompt: "".into(),
                    model: None,
                });
                None
            }
            Fact::HandoffSent { attempt, handoff } => {
                if let Some(order) = self.orders.get_mut(attempt) {
                    order.agent = Some(handoff.to.clone());
                }
                None
            }
            Fact::TurnIntended {
                attempt,
                agent,
                model,
                reserved,
                reserved_cost,
                day,
                prompt,
                ..
            } => {
                if let Some(order) = self.orders.get_mut(attempt) {
                    order.prompt = prompt.clone();
                    order.model = Some(model.clone());
                }
                let request = OpenRequest {
                    at,
                    day: *day,
                    agent: agent.clone(),
                    prompt: prompt.clone(),
                    model: model.clone(),
                    reserved: *reserved,
                    reserved_cost: *reserved_cost,
                };
                self.requests.insert(attempt.clone(), request);
                None
            }
            Fact::TurnFinished {
                attempt, answer, cost, ..
            } => {
                let request = self.requests.remove(attempt)?;
                let what = Counted::Answered {
                    usage: answer.usage,
                    cost: *cost,
                    ms: at.since(request.at),
                };
                Some(request.occurrence(run, what))
            }
            Fact::TurnFailed {
                attempt, charged, cost, ..
            } => {
                let request = self.requests.remove(attempt)?;
                let what = Counted::NotAnswered {
                    charged: *charged,
                    cost: *cost,
                    ms: at.since(request.at),
                };
                Some(request.occurrence(run, what))
            }
            Fact::StepDone { attempt, .. } => self.end(run, at, attempt, OrderEnd::Done),
            Fact::StepFailed { attempt, .. } => self.end(run, at, attempt, OrderEnd::Failed),
            Fact::StepUnknown { attempt, .. } => self.end(run, at, attempt, OrderEnd::Unknown),
            Fact::StepCancelled { step } => {
                let attempt = self.orders.keys().rev().find(|attempt| attempt.step == *step)?.clone();
                self.end(run, at, &attempt, OrderEnd::Cancelled)
            }
            _ => None,
        }
    }

    fn end(&mut self, run: RunId, at: UtcMillis, attempt: &Attempt, how: OrderEnd) -> Option<Happening> {
        let order = self.orders.remove(attempt)?;
        let ms = at.since(order.begun);
        Some(Happening::OfAgent(Occurrence {
            run,
            day: at.day(),
            agent: order.agent?,
            prompt: order.prompt,
            model: order.model,
            what: Counted::Ended { how, ms },
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for ms in durations {
            histogram.record(*ms);
        }
        histogram
    }

    proptest! {
        #[test]
        fn a_percentile_is_at_most_a_32nd_away_from_the_exact_one(
            mut durations in prop::collection::vec(0u64..10_000_000, 1..200),
            percent in 1u64..=100,
        ) {
            let found = histogram(&durations).percentile(percent).expect("not empty");
            durations.sort_unstable();
            let rank = (durations.len() as u64 * percent).div_ceil(100).max(1);
            let exact = durations[rank as usize - 1];
            prop_assert!(found.abs_diff(exact) * 32 <= exact, "{found} for {exact}");
        }

        #[test]
        fn parts_added_in_any_order_are_the_whole(
            one in prop::collection::vec(0u64..u64::MAX, 0..50),
            two in prop::collection::vec(0u64..1000, 0..50),
        ) {
            let whole: Vec<u64> = one.iter().chain(&two).copied().collect();
            let mut first = histogram(&one);
            first.merge(&histogram(&two));
            let mut second = histogram(&two);
            second.merge(&histogram(&one));
            prop_assert_eq!(&first, &histogram(&whole));
            prop_assert_eq!(&first, &second);
            prop_assert_eq!(&first, &Histogram::of(first.buckets()));
        }
    }

    #[test]
    fn every_duration_has_a_bucket_in_rising_order() {
        let mut last = None;
        for shift in 0..64 {
            for ms in [
                1u64 << shift,
                (1u64 << shift) + ((1u64 << shift) >> 1),
                (1u64 << shift) - 1,
            ] {
                let middle = middle_of(bucket_of(ms));
                assert!(middle.abs_diff(ms) <= ms / 32 + 1, "{ms}: {middle}");
            }
            let bucket = bucket_of(1 << shift);
            assert!(Some(bucket) > last, "{shift}");
            last = Some(bucket);
        }
        assert_eq!(Histogram::default().percentile(95), None);
        assert_eq!(histogram(&[7, 7, 7, 1000]).percentile(50), Some(7));
    }
}
