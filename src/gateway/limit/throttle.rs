//! Addresses that try keys which are not good.
//!
//! Pure: the time is handed in. A good key works from a locked address as from any other, because addresses are shared
//! and secrets have 256 bits; what is saved is the work and the noise of guessing. **Limits**: a bound on addresses;
//! where more fail, those that have not failed for the longest are forgotten.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::domain::time::UtcMillis;

/// Failures within [`WINDOW_MS`] that are answered as such.
const FAILURES_MAX: u32 = 10;
/// How long a failure counts.
const WINDOW_MS: u64 = 60_000;
/// How long an address is locked.
const LOCKED_MS: u64 = 5 * 60_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: UtcMillis,
    count: u32,
    locked_until: UtcMillis,
}

/// Counts failures by address.
#[derive(Debug)]
pub struct Throttle {
    /// Of each half.
    half_max: usize,
    /// Whoever failed since the last turn of the halves, and before it.
    newer: HashMap<IpAddr, Failures>,
    older: HashMap<IpAddr, Failures>,
}

impl Throttle {
    /// Knows at most so many addresses.
    pub fn new(addresses_max: usize) -> Self {
        Self {
            half_max: (addresses_max / 2).max(1),
            newer: HashMap::new(),
            older: HashMap::new(),
        }
    }

    /// Counts a failure; gives the milliseconds for which the address is locked, when it is.
    pub fn failed(&mut self, address: IpAddr, now: UtcMillis) -> Option<u64> {
        let known = self.newer.get(&address).or_else(|| self.older.get(&address)).copied();
        let mut failures = known.unwrap_or(Failures {
            since: now,
            count: 0,
            locked_until: UtcMillis(0),
        });
        if failures.locked_until > now {
            return Some(failures.locked_until.since(now));
        }
        // A clock that was set back begins a new window.
        if now < failures.since || now.since(failures.since) > WINDOW_MS {
            (failures.since, failures.count) = (now, 0);
        }
        failures.count += 1;
        if failures.count > FAILURES_MAX {
            failures.locked_until = now.plus_ms(LOCKED_MS);
        }
        if self.newer.len() >= self.half_max && !self.newer.contains_key(&address) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.older.remove(&address);
        self.newer.insert(address, failures);
        (failures.locked_until > now).then_some(LOCKED_MS)
    }

    /// Addresses that are known.
    pub fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn an_address_that_fails_often_is_locked_for_a_while_and_others_are_not() {
        let mut throttle = Throttle::new(100);
        let at = |second: u64| UtcMillis(1_000_000 + second * 1000);
        for second in 0..10 {
            assert_eq!(throttle.failed(address(1), at(second)), None, "{second}");
        }
        assert_eq!(throttle.failed(address(1), at(10)), Some(LOCKED_MS));
        assert_eq!(throttle.failed(address(2), at(10)), None);
        assert_eq!(throttle.failed(address(1), at(70)), Some(LOCKED_MS - 60_000));
        // Its time has passed: it begins anew.
        assert_eq!(throttle.failed(address(1), at(10 + 301)), None);
        for second in 0..30 {
            assert_eq!(throttle.failed(address(3), at(second * 61)), None, "seldom: {second}");
        }
    }

    #[test]
    fn a_million_addresses_take_a_bounded_place_and_one_that_goes_on_is_locked_among_them() {
        const BOUND: usize = 10_000;
        let mut throttle = Throttle::new(BOUND);
        let now = UtcMillis(1_000_000);
        let mut most = 0;
        let mut was_locked = false;
        for number in 0..1_000_000 {
            throttle.failed(address(number), now);
            if number % 1000 == 0 {
                was_locked |= throttle.failed(address(u32::MAX), now).is_some();
            }
            most = most.max(throttle.len());
        }
        assert!(most <= BOUND && most > BOUND / 2, "{most}");
        assert!(was_locked);
    }
}
