//! All limits of the gateway's clients in one hand.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::code;
use crate::domain::id::KeyId;
use crate::domain::name::AgentName;
use crate::domain::time::UtcMillis;
use crate::gateway::error::ApiError;
use crate::gateway::rim::crowd::{Crowd, Place};
use crate::gateway::standing::{Standing, seconds};
use crate::runtime::telemetry::{GATEWAY_REFUSED, Telemetry};

use super::rates::{Rate, Refused};
use super::throttle::Throttle;

/// Addresses whose failures are counted.
const ADDRESSES_MAX: usize = 65_536;
/// Bytes of a request for which a token is reckoned.
const BYTES_PER_TOKEN: u64 = 4;

/// The limits as they are configured; none means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSettings {
    /// Requests of one key a minute.
    pub per_key: Option<NonZeroU32>,
    /// Orders to one agent a minute.
    pub per_agent: Option<NonZeroU32>,
    /// Tokens that one key orders a minute.
    pub tokens_per_key: Option<NonZeroU32>,
    /// Requests or orders at once; a minute's when not set.
    pub burst: Option<NonZeroU32>,
    /// Requests of one key under way, streams included.
    pub at_once_per_key: Option<usize>,
    /// Requests that are being answered, of all together.
    pub requests_max: usize,
}

/// The limits. Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inside>);

struct Inside {
    rates: ArcSwap<Rates>,
    answering: Arc<Semaphore>,
    failures: Mutex<Throttle>,
    refused: Refusals,
}

/// What the configuration bounds; replaced as a whole when that changes.
#[derive(Clone)]
struct Rates {
    settings: LimitSettings,
    keys: Option<Arc<Rate<KeyId>>>,
    agents: Option<Arc<Rate<AgentName>>>,
    tokens: Option<Arc<Rate<KeyId>>>,
    at_once: Option<Crowd<KeyId>>,
}

impl Rates {
    fn new(settings: &LimitSettings) -> Self {
        let burst = |count: NonZeroU32| settings.burst.unwrap_or(count);
        Self {
            settings: *settings,
            keys: settings
                .per_key
                .map(|count| Arc::new(Rate::per_minute(count, burst(count)))),
            agents: settings
                .per_agent
                .map(|count| Arc::new(Rate::per_minute(count, burst(count)))),
            // A request of many tokens is one request: what a minute has may come at once.
            tokens: settings
                .tokens_per_key
                .map(|count| Arc::new(Rate::per_minute(count, count))),
            at_once: settings.at_once_per_key.map(Crowd::new),
        }
    }

    /// What did not change keeps its counts; what did begins to count anew.
    fn next(&self, settings: &LimitSettings) -> Self {
        let old = &self.settings;
        let mut next = Self::new(settings);
        if (old.per_key, old.burst) == (settings.per_key, settings.burst) {
            next.keys.clone_from(&self.keys);
        }
        if (old.per_agent, old.burst) == (settings.per_agent, settings.burst) {
            next.agents.clone_from(&self.agents);
        }
        if old.tokens_per_key == settings.tokens_per_key {
            next.tokens.clone_from(&self.tokens);
        }
        if old.at_once_per_key == settings.at_once_per_key {
            next.at_once.clone_from(&self.at_once);
        }
        next
    }
}

/// How often what was refused.
struct Refusals {
    key: Counter,
    agent: Counter,
    tokens: Counter,
    at_once: Counter,
    overload: Counter,
    locked: Counter,
}

/// What a key was let in with.
#[derive(Debug)]
pub struct Entry {
    /// How it stands with its rate, where it has one.
    pub standing: Option<Standing>,
    /// Held for as long as the request is under way.
    pub place: Option<Place<KeyId>>,
}

impl Limits {
    /// As configured.
    pub fn new(settings: &LimitSettings, telemetry: &Telemetry) -> Self {
        let counter = |why: &str| telemetry.counter(&GATEWAY_REFUSED, &[why]);
        Self(Arc::new(Inside {
            rates: ArcSwap::from_pointee(Rates::new(settings)),
            answering: Arc::new(Semaphore::new(settings.requests_max)),
            failures: Mutex::new(Throttle::new(ADDRESSES_MAX)),
            refused: Refusals {
                key: counter("key_rate"),
                agent: counter("agent_rate"),
                tokens: counter("token_rate"),
                at_once: counter("key_at_once"),
                overload: counter("overload"),
                locked: counter("locked_out"),
            },
        }))
    }

    /// Other limits from now on; how many requests are answered at once stays as it was.
    pub fn replace(&self, settings: &LimitSettings) {
        self.0.rates.rcu(|rates| rates.next(settings));
    }

    /// A place among the requests that are being answered.
    ///
    /// **Errors**: there are as many as there may be.
    pub fn begin(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.0.answering.clone().try_acquire_owned().map_err(|_| {
            self.0.refused.overload.increment(1);
            let message = "too many requests are being answered; nothing was read and nothing accepted";
            ApiError::new(code::OVERLOADED, message).hint("send it again after Retry-After")
        })
    }

    /// Counts a request of a key whose secret was right.
    ///
    /// **Errors**: it asks too often, or too much at once.
    pub fn of_key(&self, key: KeyId) -> Result<Entry, ApiError> {
        let rates = self.0.rates.load();
        let place = match &rates.at_once {
            None => None,
            Some(crowd) => Some(crowd.enter(key).ok_or_else(|| {
                self.0.refused.at_once.increment(1);
                let message = "as many requests of this key are under way as may be; nothing was accepted";
                ApiError::new(code::TOO_MANY_AT_ONCE, message)
                    .hint("wait for one to end, or raise gateway.rateLimit.atOncePerKey")
            })?),
        };
        let standing = match &rates.keys {
            None => None,
            Some(rate) => Some(rate.take(&key).map_err(|refused| {
                self.0.refused.key.increment(1);
                let message = "this key asks more often than gateway.rateLimit.perKey allows; nothing was accepted";
                limited(code::RATE_LIMITED, message, refused)
            })?),
        };
        Ok(Entry { standing, place })
    }

    /// Counts an order: to which agents, from which key, of which size.
    ///
    /// **Errors**: an agent gets too many, or the key orders too many tokens. What was counted before the refusal stays
    /// counted.
    pub fn order<'a>(
        &self,
        key: KeyId,
        agents: impl IntoIterator<Item = &'a AgentName>,
        bytes: usize,
        answer_tokens: u64,
    ) -> Result<(), ApiError> {
        let rates = self.0.rates.load();
        if let Some(rate) = &rates.agents {
            for agent in agents {
                rate.take(agent).map_err(|refused| {
                    self.0.refused.agent.increment(1);
                    let message = format!("`{agent}` gets more orders than gateway.rateLimit.perAgent allows");
                    limited(code::RATE_LIMITED, message, refused)
                })?;
            }
        }
        let Some(rate) = &rates.tokens else { return Ok(()) };
        let tokens = (bytes as u64 / BYTES_PER_TOKEN).saturating_add(answer_tokens);
        let tokens = NonZeroU32::new(u32::try_from(tokens).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        rate.take_many(&key, tokens).map_err(|refused| {
            self.0.refused.tokens.increment(1);
            let message = format!("about {tokens} tokens are more than gateway.rateLimit.tokensPerKey leaves this key");
            limited(code::TOKENS_LIMITED, message, refused)
        })
    }

    /// Counts a key that was not good; the error when the address is locked for it.
    pub fn failed(&self, address: IpAddr, now: UtcMillis) -> Option<ApiError> {
        let counted = crate::gateway::rim::crowd::counted(address);
        let mut failures = self.0.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let locked_ms = failures.failed(counted, now)?;
        drop(failures);
        self.0.refused.locked.increment(1);
        let message = "too many keys from this address were not good";
        let error = ApiError::new(code::LOCKED_OUT, message).hint("a good key works at once; wait with any other");
        Some(error.retry_after(seconds(Duration::from_millis(locked_ms))))
    }

    /// Forgets those who have all of theirs again.
    pub fn forget(&self) {
        let rates = self.0.rates.load();
        if let Some(rate) = &rates.keys {
            rate.forget();
        }
        if let Some(rate) = &rates.agents {
            rate.forget();
        }
        if let Some(rate) = &rates.tokens {
            rate.forget();
        }
    }
}

fn limited(code: code::Code, message: impl Into<String>, refused: Refused) -> ApiError {
    let error = ApiError::new(code, message);
    match refused {
        Refused::Later(standing, wait) => error
            .hint("send it again after Retry-After")
            .retry_after(seconds(wait))
            .standing(standing),
        Refused::Never { burst } => error
            .hint(format!(
                "at most {burst} pass at once: ask for a shorter answer, or raise the limit"
            ))
            .retry_after(60),
    }
}
