//! One gate: a pure function of what was asked, what came of it, and the time.
//!
//! **Invariants**: an open breaker lets nobody through, a half-open one a single probe; before the end of a cool-down
//! nobody goes; with headers, no more go than the provider says are left; without, no more at once than have been
//! found to be allowed. Whoever has to wait gets a time of his own, so that those who waited do not come all at once.

use std::collections::VecDeque;

use crate::domain::time::UtcMillis;
use crate::llm::model::{RateLimits, RateWindow};

/// Requests at once before the provider has accepted any: each acceptance allows one more.
const WINDOW_FIRST: u32 = 16;
/// Requests at once, ever.
const WINDOW_MAX: u32 = 4096;
/// Failures within [`BREAKER_SPAN_MS`] after which the breaker may open.
const BREAKER_FAILURES: usize = 5;
/// How long an outcome counts for the breaker, in milliseconds.
const BREAKER_SPAN_MS: u64 = 60_000;
/// Outcomes that are remembered.
const OUTCOMES_MAX: usize = 64;
/// First time for which the breaker stays open, in milliseconds; doubles with every probe that fails.
const OPEN_MS: u64 = 2_000;
/// Longest time for which the breaker stays open, in milliseconds.
const OPEN_MS_MAX: u64 = 60_000;
/// First cool-down after a refusal that names no time, in milliseconds; doubles while nothing is accepted.
const COOL_MS: u64 = 1_000;
/// Longest cool-down that no provider asked for, in milliseconds.
const COOL_MS_MAX: u64 = 32_000;
/// Between two of those who waited for the same moment when no pace is known, in milliseconds.
const SPREAD_MS: u64 = 20;
/// Longest wait of somebody who waits for the end of a probe and is called when it comes, in milliseconds.
const LOOK_MS: u64 = 10_000;
/// Longest wait of somebody who waits for a place, in milliseconds; short, because places become free all the time.
const PLACE_MS: u64 = 2_000;
/// Slowest pace, in requests per 1000 seconds.
const PACE_MIN: u64 = 50;
/// Pace from which on none is kept, in requests per 1000 seconds.
const PACE_MAX: u64 = 200_000;

/// One gate.
#[derive(Debug, Clone)]
pub struct GateState {
    breaker: Breaker,
    outcomes: VecDeque<(UtcMillis, bool)>,
    cooling_until: UtcMillis,
    /// Refusals for the rate without an acceptance in between.
    limited_in_row: u32,
    /// When the pace was last lowered: refusals of requests sent before say nothing about the pace since.
    lowered_at: Option<UtcMillis>,
    window: u32,
    asking: u32,
    /// Requests of which nothing has been heard yet.
    unheard: u32,
    accepted: VecDeque<UtcMillis>,
    /// Requests per 1000 seconds, found out where no headers say it.
    pace: Option<u64>,
    next_slot: UtcMillis,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    output_tokens: Option<Bucket>,
    limited: u64,
    opened: u64,
    word: &'static str,
    since: UtcMillis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breaker {
    Closed,
    Open { until: UtcMillis, open_ms: u64 },
    HalfOpen { probing: bool, open_ms: u64 },
}

/// What the provider says is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    limit: u64,
    remaining: u64,
    reset_at: UtcMillis,
    /// The longest time to a reset that was told.
    period_ms: u64,
}

/// A request that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// When.
    pub asked_at: UtcMillis,
    probe: bool,
    heard: bool,
}

/// A request that was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// When to ask again.
    pub until: UtcMillis,
    /// Why.
    pub why: Why,
    /// Whether it may be earlier, when others have ended.
    pub early: bool,
}

/// Why a request has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The breaker is open.
    Open,
    /// The breaker is half-open, and another request finds out whether the model is well again.
    Probed,
    /// The provider asked for a wait or refused for the rate.
    Cooling,
    /// The provider's headers say that nothing is left.
    Limited,
    /// Nothing more than the pace that was found out.
    Paced,
    /// As many requests are out as are known to be allowed.
    Full,
}

impl Why {
    /// In words, after "the model".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "failed again and again and is left alone for a while",
            Self::Probed => "failed again and again; one request finds out whether it is well again",
            Self::Cooling => "refused requests for its rate limit and cools down",
            Self::Limited => "says that its rate limit is used up",
            Self::Paced => "is asked no faster than it has been found to allow",
            Self::Full => "has as many requests under way as it has been found to allow",
        }
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The model answered, or refused in a way that says nothing about its health.
    Answered,
    /// It refused for its rate.
    Limited {
        /// How long it asks to wait, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// The way to it, or it, failed.
    Failed {
        /// How long it asks to wait, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// Nobody waited for the end.
    Dropped,
}

/// How a gate stands, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateView {
    /// `closed` is well; `open`, `half_open`, `cooling`, `limited`.
    pub state: &'static str,
    /// Since when.
    pub since: UtcMillis,
    /// Until when nobody is let through.
    pub until: Option<UtcMillis>,
    /// Requests that the provider says are left.
    pub requests_left: Option<u64>,
    /// Tokens that the provider says are left.
    pub tokens_left: Option<u64>,
    /// Requests under way.
    pub asking: u32,
    /// Requests that may be under way at once.
    pub window: u32,
    /// Requests per minute that were found to be allowed.
    pub per_minute: Option<u64>,
    /// Refusals for the rate so far.
    pub limited: u64,
    /// How often the breaker has opened.
    pub opened: u64,
}

impl Default for GateState {
    fn default() -> Self {
        Self {
            breaker: Breaker::Closed,
            outcomes: VecDeque::new(),
            cooling_until: UtcMillis(0),
            limited_in_row: 0,
            lowered_at: None,
            window: WINDOW_FIRST,
            asking: 0,
            unheard: 0,
            accepted: VecDeque::new(),
            pace: None,
            next_slot: UtcMillis(0),
            requests: None,
            tokens: None,
            output_tokens: None,
            limited: 0,
            opened: 0,
            word: "closed",
            since: UtcMillis(0),
        }
    }
}

impl Bucket {
    fn told(window: RateWindow, pending: u64, old: Option<Self>, now: UtcMillis) -> Self {
        Self {
            limit: window.limit,
            remaining: window.remaining.saturating_sub(pending),
            reset_at: now.plus_ms(window.reset_ms),
            period_ms: window.reset_ms.max(old.map_or(0, |old| old.period_ms)).max(1),
        }
    }

    fn refresh(&mut self, now: UtcMillis) {
        if now >= self.reset_at {
            self.remaining = if self.limit == 0 { u64::MAX } else { self.limit };
            self.reset_at = now.plus_ms(self.period_ms);
        }
    }

    /// Whether there is room; what is more than a full window holds is for the provider to refuse.
    fn holds(&self, count: u64) -> bool {
        count <= self.remaining || (self.limit > 0 && self.remaining >= self.limit)
    }
}

impl GateState {
    /// Lets a request through or says when to ask again. `tokens` is the most that it can use; `waited` says that it
    /// comes at the time that it was given, whose place it need not take again.
    pub fn admit(&mut self, tokens: u64, waited: bool, now: UtcMillis) -> Result<Ticket, Wait> {
        let admitted = self.judge(tokens, waited, now);
        self.mark(now);
        admitted
    }

    fn judge(&mut self, tokens: u64, waited: bool, now: UtcMillis) -> Result<Ticket, Wait> {
        let wait = |until, why, early| Err(Wait { until, why, early });
        if let Breaker::Open { until, open_ms } = self.breaker {
            if now < until {
                return wait(until, Why::Open, false);
            }
            self.breaker = Breaker::HalfOpen {
                probing: false,
                open_ms,
            };
        }
        if matches!(self.breaker, Breaker::HalfOpen { probing: true, .. }) {
            return wait(now.plus_ms(LOOK_MS), Why::Probed, true);
        }
        if now < self.cooling_until {
            return wait(self.slot(self.cooling_until), Why::Cooling, false);
        }
        let needs = [(1, self.requests), (tokens, self.tokens), (0, self.output_tokens)];
        let mut reset_at = None;
        for (count, bucket) in needs {
            let Some(mut bucket) = bucket else { continue };
            bucket.refresh(now);
            if !bucket.holds(count.max(1)) {
                reset_at = reset_at.max(Some(bucket.reset_at));
            }
        }
        if let Some(reset_at) = reset_at {
            return wait(self.slot(reset_at), Why::Limited, false);
        }
        if self.asking >= self.window {
            return wait(now.plus_ms(PLACE_MS), Why::Full, true);
        }
        if let Some(pace) = self.pace
            && !waited
        {
            if self.next_slot > now {
                return wait(self.slot(now), Why::Paced, false);
            }
            self.next_slot = now.plus_ms(interval(pace));
        }
        for (count, bucket) in [(1, &mut self.requests), (tokens, &mut self.tokens)] {
            if let Some(bucket) = bucket {
                bucket.refresh(now);
                bucket.remaining = bucket.remaining.saturating_sub(count);
            }
        }
        if let Some(bucket) = &mut self.output_tokens {
            bucket.refresh(now);
        }
        self.asking += 1;
        self.unheard += 1;
        let mut probe = false;
        if let Breaker::HalfOpen { probing, .. } = &mut self.breaker {
            *probing = true;
            probe = true;
        }
        Ok(Ticket {
            asked_at: now,
            probe,
            heard: false,
        })
    }

    /// A place of one's own at or after this time.
    fn slot(&mut self, from: UtcMillis) -> UtcMillis {
        let at = from.max(self.next_slot);
        self.next_slot = at.plus_ms(self.pace.map_or(SPREAD_MS, interval));
        at
    }

    /// The first sign that the provider works on the request.
    pub fn heard(&mut self, ticket: &mut Ticket, now: UtcMillis) {
        if ticket.heard {
            return;
        }
        ticket.heard = true;
        self.unheard = self.unheard.saturating_sub(1);
        self.limited_in_row = 0;
        self.window = (self.window + 1).min(WINDOW_MAX);
        self.accepted.push_back(now);
        self.forget_accepted(now);
        if let Some(pace) = self.pace {
            // One more per second, each second.
            let pace = pace + 1_000_000 / pace.max(1);
            self.pace = (pace < PACE_MAX).then_some(pace);
        }
        self.mark(now);
    }

    /// What the headers of the answer say.
    pub fn limits(&mut self, limits: RateLimits, now: UtcMillis) {
        // Requests that are on their way are not counted by the provider yet.
        let pending = u64::from(self.unheard.saturating_sub(1));
        if let Some(window) = limits.requests {
            let bucket = Bucket::told(window, pending, self.requests, now);
            self.requests = Some(bucket);
            // The provider counts better than a guess does.
            self.pace = None;
            let allowed = u64::from(self.asking).saturating_add(bucket.remaining);
            self.window = self.window.max(allowed.min(u64::from(WINDOW_MAX)) as u32);
        }
        if let Some(window) = limits.tokens {
            self.tokens = Some(Bucket::told(window, 0, self.tokens, now));
        }
        if let Some(window) = limits.output_tokens {
            self.output_tokens = Some(Bucket::told(window, 0, self.output_tokens, now));
        }
        self.mark(now);
    }

    /// The request is over.
    pub fn ended(&mut self, mut ticket: Ticket, end: End, now: UtcMillis) {
        if end == End::Answered {
            self.heard(&mut ticket, now);
        }
        self.asking = self.asking.saturating_sub(1);
        if !ticket.heard {
            self.unheard = self.unheard.saturating_sub(1);
        }
        match end {
            End::Answered => self.judge_health(ticket, true, now),
            End::Limited { retry_after_ms } => {
                self.limited += 1;
                self.lower(ticket, retry_after_ms, now);
                // It may be busy, but it is there.
                self.judge_health(ticket, true, now);
            }
            End::Failed { retry_after_ms } => {
                if let Some(ms) = retry_after_ms {
                    self.cooling_until = self.cooling_until.max(now.plus_ms(ms));
                }
                self.judge_health(ticket, false, now);
            }
            End::Dropped => {
                if let (true, Breaker::HalfOpen { probing, .. }) = (ticket.probe, &mut self.breaker) {
                    *probing = false;
                }
            }
        }
        self.mark(now);
    }

    fn forget_accepted(&mut self, now: UtcMillis) {
        while self.accepted.front().is_some_and(|at| now.since(*at) > 1_000) || self.accepted.len() > 256 {
            self.accepted.pop_front();
        }
    }

    /// Fewer at once and slower, once for all the requests that were under way together.
    fn lower(&mut self, ticket: Ticket, retry_after_ms: Option<u64>, now: UtcMillis) {
        if let Some(ms) = retry_after_ms {
            self.cooling_until = self.cooling_until.max(now.plus_ms(ms));
        }
        if self.lowered_at.is_some_and(|at| ticket.asked_at <= at) {
            return;
        }
        self.lowered_at = Some(now);
        self.limited_in_row += 1;
        let told = self
            .requests
            .is_some_and(|bucket| bucket.remaining == 0 && bucket.reset_at > now);
        if retry_after_ms.is_none() && !told {
            let ms = COOL_MS.saturating_mul(1 << (self.limited_in_row - 1).min(16));
            self.cooling_until = self.cooling_until.max(now.plus_ms(ms.min(COOL_MS_MAX)));
        }
        self.window = (self.window / 2).max(1);
        if self.requests.is_none() {
            self.forget_accepted(now);
            let at_once = (self.accepted.len() as u64).max(u64::from(self.asking) / 2).max(1);
            let pace = self.pace.unwrap_or(at_once * 1_000);
            self.pace = Some((pace * 7 / 10).max(PACE_MIN));
        }
    }

    fn judge_health(&mut self, ticket: Ticket, well: bool, now: UtcMillis) {
        match self.breaker {
            Breaker::HalfOpen { open_ms, .. } if ticket.probe => {
                if well {
                    self.breaker = Breaker::Closed;
                    self.outcomes.clear();
                    self.window = self.window.max(WINDOW_FIRST);
                } else {
                    self.open(open_ms.saturating_mul(2).min(OPEN_MS_MAX), now);
                }
            }
            Breaker::Closed => {
                self.outcomes.push_back((now, well));
                while self.outcomes.len() > OUTCOMES_MAX
                    || self
                        .outcomes
                        .front()
                        .is_some_and(|(at, _)| now.since(*at) > BREAKER_SPAN_MS)
                {
                    self.outcomes.pop_front();
                }
                let failures = self.outcomes.iter().filter(|(_, well)| !well).count();
                if !well && failures >= BREAKER_FAILURES && failures * 2 >= self.outcomes.len() {
                    self.open(OPEN_MS, now);
                }
            }
            // A request from before it opened says nothing new.
            Breaker::Open { .. } | Breaker::HalfOpen { .. } => {}
        }
    }

    fn open(&mut self, open_ms: u64, now: UtcMillis) {
        self.breaker = Breaker::Open {
            until: now.plus_ms(open_ms),
            open_ms,
        };
        self.outcomes.clear();
        self.window = WINDOW_FIRST.min(self.window);
        self.opened += 1;
    }

    /// How many of those who wait for others may ask again.
    pub fn room(&self) -> usize {
        match self.breaker {
            Breaker::Closed => self.window.saturating_sub(self.asking) as usize,
            Breaker::HalfOpen { probing: false, .. } => 1,
            Breaker::HalfOpen { .. } | Breaker::Open { .. } => 0,
        }
    }

    fn stands(&self, now: UtcMillis) -> (&'static str, Option<UtcMillis>) {
        let empty = [self.requests, self.tokens, self.output_tokens].into_iter().flatten();
        let empty = empty.filter(|bucket| bucket.remaining == 0 && bucket.reset_at > now);
        match self.breaker {
            Breaker::Open { until, .. } if now < until => ("open", Some(until)),
            Breaker::Open { .. } | Breaker::HalfOpen { .. } => ("half_open", None),
            Breaker::Closed if now < self.cooling_until => ("cooling", Some(self.cooling_until)),
            Breaker::Closed => match empty.map(|bucket| bucket.reset_at).max() {
                Some(until) => ("limited", Some(until)),
                None => ("closed", None),
            },
        }
    }

    fn mark(&mut self, now: UtcMillis) {
        let (word, _) = self.stands(now);
        if word != self.word {
            (self.word, self.since) = (word, now);
        }
    }

    /// How it stands.
    pub fn view(&mut self, now: UtcMillis) -> GateView {
        self.mark(now);
        let (state, until) = self.stands(now);
        let left = |bucket: Option<Bucket>| {
            bucket
                .filter(|bucket| now < bucket.reset_at)
                .map(|bucket| bucket.remaining)
        };
        GateView {
            state,
            since: self.since,
            until,
            requests_left: left(self.requests),
            tokens_left: left(self.tokens),
            asking: self.asking,
            window: self.window,
            per_minute: self.pace.map(|pace| pace * 60 / 1_000),
            limited: self.limited,
            opened: self.opened,
        }
    }
}

/// Milliseconds between two requests at a pace.
fn interval(pace: u64) -> u64 {
    (1_000_000 / pace.max(1)).max(1)
}
