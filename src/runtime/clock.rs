//! The one place where the wall clock is read. Everything else is handed a [`Clock`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::domain::time::UtcMillis;

/// Tells the time. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
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
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where the machine's clock is read"
    )]
    pub fn now(&self) -> UtcMillis {
        match &self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                UtcMillis(since.as_millis() as u64)
            }
            Source::Manual(now) => UtcMillis(now.load(Ordering::Relaxed)),
        }
    }

    /// How long until `at`; zero when it has passed.
    pub fn until(&self, at: UtcMillis) -> Duration {
        Duration::from_millis(at.since(self.now()))
    }
}

/// RFC 3339 with milliseconds, in UTC; times after the year 9999, which that form cannot hold, read as its last.
pub fn rfc3339(at: UtcMillis) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX).min(253_402_300_799_999);
    let time = jiff::Timestamp::from_millisecond(millis).expect("the years 1970 to 9999 are in range");
    format!("{time:.3}")
}
