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

/// Time since the machine was switched on, sleep included; nobody can set it.
fn since_boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.cast_unsigned() * 1_000 + time.tv_nsec.cast_unsigned() / 1_000_000
}

/// RFC 3339 with milliseconds, in UTC; times after the year 9999, which that form cannot hold, read as its last.
pub fn rfc3339(at: UtcMillis) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX).min(253_402_300_799_999);
    let time = jiff::Timestamp::from_millisecond(millis).expect("the years 1970 to 9999 are in range");
    format!("{time:.3}")
}
