//! Requests and tokens by time.
//!
//! **Invariant**: of requests that come at once, exactly as many pass as are allowed, however many threads ask.
//!
//! **Source**: the generic cell rate algorithm, as governor has it.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{NotUntil, Quota, RateLimiter};

use crate::gateway::standing::Standing;

/// A limit for each of many.
#[derive(Debug)]
pub struct Rate<K: Hash + Eq + Clone, C: Clock + Clone = MonotonicClock> {
    limiter: RateLimiter<K, HashMapStateStore<K>, C, StateInformationMiddleware>,
    clock: C,
    burst: u32,
}

/// Why a request does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It passes after this wait.
    Later(Standing, Duration),
    /// It is more than may ever pass at once.
    Never {
        /// How much may.
        burst: u32,
    },
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// So many a minute for each, and so many at once.
    pub fn per_minute(count: NonZeroU32, burst: NonZeroU32) -> Self {
        Self::with_clock(count, burst, MonotonicClock)
    }
}

impl<K: Hash + Eq + Clone, C: Clock + Clone> Rate<K, C> {
    fn with_clock(count: NonZeroU32, burst: NonZeroU32, clock: C) -> Self {
        let quota = Quota::per_minute(count).allow_burst(burst);
        Self {
            limiter: RateLimiter::hashmap_with_clock(quota, clock.clone()).with_middleware(),
            clock,
            burst: burst.get(),
        }
    }

    /// Takes one of what `key` may.
    ///
    /// **Errors**: none is left.
    pub fn take(&self, key: &K) -> Result<Standing, Refused> {
        let taken = self.limiter.check_key(key);
        let taken = taken.map_err(|until| self.refused(&until))?;
        let (quota, remaining) = (taken.quota(), taken.remaining_burst_capacity());
        Ok(Standing {
            limit: self.burst,
            remaining,
            reset: quota.replenish_interval() * (self.burst - remaining.min(self.burst)),
        })
    }

    /// Takes so many.
    ///
    /// **Errors**: not so many are left, or ever will be.
    pub fn take_many(&self, key: &K, count: NonZeroU32) -> Result<(), Refused> {
        match self.limiter.check_key_n(key, count) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(until)) => Err(self.refused(&until)),
            Err(_) => Err(Refused::Never { burst: self.burst }),
        }
    }

    fn refused(&self, until: &NotUntil<C::Instant>) -> Refused {
        let wait = until.wait_time_from(self.clock.now());
        let standing = Standing {
            limit: self.burst,
            remaining: 0,
            reset: until.quota().replenish_interval() * self.burst,
        };
        Refused::Later(standing, wait)
    }

    /// Forgets those who have all of theirs again.
    pub fn forget(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }

    /// How many are known.
    pub fn known(&self) -> usize {
        self.limiter.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rate(count: u32, burst: u32) -> (Rate<u32, FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let some = |count| NonZeroU32::new(count).expect("not zero");
        (Rate::with_clock(some(count), some(burst), clock.clone()), clock)
    }

    #[test]
    fn of_requests_at_once_exactly_as_many_pass_as_are_allowed() {
        let (rate, clock) = rate(60, 100);
        let round = |expected: usize| {
            let passed = Arc::new(AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..200 {
                            if rate.take(&7).is_ok() {
                                passed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            assert_eq!(passed.load(Ordering::Relaxed), expected);
        };
        round(100);
        clock.advance(Duration::from_secs(30));
        round(30);
        clock.advance(Duration::from_millis(999));
        round(0);
        clock.advance(Duration::from_millis(1));
        round(1);
        assert!(rate.take(&8).is_ok(), "another one's are its own");
    }

    #[test]
    fn whoever_is_refused_learns_when_to_come_back_and_passes_then() {
        let (rate, clock) = rate(6, 2);
        let first = rate.take(&1).expect("passes");
        assert_eq!(
            first,
            Standing {
                limit: 2,
                remaining: 1,
                reset: Duration::from_secs(10)
            }
        );
        assert_eq!(rate.take(&1).map(|standing| standing.remaining), Ok(0));
        let Err(Refused::Later(standing, wait)) = rate.take(&1) else {
            panic!("it passes");
        };
        assert_eq!((standing.remaining, wait), (0, Duration::from_secs(10)));
        clock.advance(wait);
        assert!(rate.take(&1).is_ok());
        let many = |count| rate.take_many(&2, NonZeroU32::new(count).expect("not zero"));
        assert_eq!(many(3), Err(Refused::Never { burst: 2 }));
        assert_eq!(many(2), Ok(()));
        assert!(matches!(many(1), Err(Refused::Later(..))));
    }

    #[test]
    fn those_who_have_all_of_theirs_again_are_forgotten() {
        let (rate, clock) = rate(60, 2);
        for key in 0..10_000 {
            assert!(rate.take(&key).is_ok());
        }
        rate.forget();
        assert_eq!(rate.known(), 10_000, "they count still");
        clock.advance(Duration::from_secs(60));
        rate.forget();
        assert_eq!(rate.known(), 0);
    }
}
