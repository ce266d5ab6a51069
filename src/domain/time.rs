//! Time as a value. Nobody here reads a clock: `now` is always an argument.

use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UtcMillis(pub u64);

impl UtcMillis {
    /// This time plus `ms` milliseconds, stopping at the end of the range.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Whole seconds since 1970, as signed calendars count them.
    pub fn seconds(self) -> i64 {
        i64::try_from(self.0 / 1000).expect("a thousandth of 64 bits fits into 63")
    }

    /// Milliseconds from `earlier` to this time; 0 when `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The number of whole UTC days since 1970: the period of daily budgets.
    pub fn day(self) -> u32 {
        (self.0 / 86_400_000) as u32
    }
}

impl fmt::Display for UtcMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}
