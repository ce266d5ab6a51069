//! The one place where the wall clock is read. Everything else is handed a [`Clock`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::time::UtcMillis;

use super::steady::Steady;

/// Tells the time. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Steady(Arc<Mutex<Steady>>),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// The machine's clock without its jumps: for deadlines, waits and the journal. A clock that somebody sets is
    /// followed when it has stayed so for a minute ([`Steady`]), so that one that is wrong for a moment ends no step
    /// and makes nobody wait for hours.
    pub fn steady() -> Self {
        let steady = Steady::new(wall_ms(), since_boot_ms());
        Self(Source::Steady(Arc::new(Mutex::new(steady))))
    }

    /// A clock that stands until it is set: for tests.
    pub fn manual(at: UtcMillis) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(at.0))))
    }

    /// Sets a manual clock; the machine's clock ignores it.
    pub fn set(&self, at: UtcMillis) {
        if let Source::Manual(now) = &self.0 {
            now.store(at.0, Ordering::Relaxed);
        }
    }

    /// Now.
    pub fn now(&self) -> UtcMillis {
        match &self.0 {
            Source::System => UtcMillis(wall_ms()),
            Source::Steady(steady) => {
                let mut steady = steady.lock().unwrap_or_else(PoisonError::into_inner);
                UtcMillis(steady.now(wall_ms(), since_boot_ms()))
            }
            Source::Manual(now) => UtcMillis(now.load(Ordering::Relaxed)),
        }
    }

    /// How long until `at`; zero when it has passed.
    pub fn until(&self, at: UtcMillis) -> Duration {
        Duration::from_millis(at.since(self.now()))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place where the machine's clock is read"
)]
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}

/// Milliseconds since the machine was switched on, its sleep included; nobody can set that. Timers and
/// [`tokio::time::Instant`] stand still while the machine sleeps: what is held against the clock on the wall is counted
/// by this one.
pub(crate) fn since_boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.cast_unsigned() * 1_000 + time.tv_nsec.cast_unsigned() / 1_000_000
}

/// RFC 3339 with milliseconds, in UTC; times after 9999-12-30T22:00:00.999Z, the last that a timestamp can hold, read
/// as that one.
pub fn rfc3339(at: UtcMillis) -> String {
    let last = jiff::Timestamp::MAX;
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX).min(last.as_millisecond());
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(last);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_text_however_late_it_is() {
        let check = |at: u64, expected: &str| assert_eq!(rfc3339(UtcMillis(at)), expected, "{at}");
        check(0, "1970-01-01T00:00:00.000Z");
        check(1_700_000_000_123, "2023-11-14T22:13:20.123Z");
        check(253_402_207_199_999, "9999-12-30T21:59:59.999Z");
        let last = "9999-12-30T22:00:00.999Z";
        check(253_402_207_200_999, last);
        check(253_402_207_201_000, last);
        check(253_402_300_799_999, last);
        check(u64::MAX, last);
    }
}
