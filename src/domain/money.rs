//! Money as whole millionths of a US dollar, and prices of models.
//!
//! **Invariant**: no floating point; sums saturate and costs round up, so that a limit is never passed by rounding.

use std::fmt;

use super::conversation::Usage;

/// Millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MicroUsd(pub u64);

impl MicroUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The sum, or the largest amount.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// What a model charges, in millionths of a US dollar for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Price {
    /// For tokens of the request.
    pub input: u64,
    /// For tokens of the answer.
    pub output: u64,
    /// For tokens of the request that came from the provider's cache.
    pub cache_read: u64,
    /// For tokens of the request that were written to the provider's cache.
    pub cache_write: u64,
}

impl Price {
    /// What this use costs, rounded up.
    pub fn cost(&self, usage: Usage) -> MicroUsd {
        let cached = usage.cache_read.saturating_add(usage.cache_write);
        let plain = usage.input.saturating_sub(cached);
        let parts = [
            (plain, self.input),
            (usage.cache_read, self.cache_read),
            (usage.cache_write, self.cache_write),
            (usage.output, self.output),
        ];
        let total: u128 = parts
            .iter()
            .map(|(tokens, price)| u128::from(*tokens) * u128::from(*price))
            .sum();
        MicroUsd(u64::try_from(total.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }

    /// The most that this many tokens can cost, whatever kind they turn out to be.
    pub fn ceiling(&self, tokens: u64) -> MicroUsd {
        let dearest = self.input.max(self.output).max(self.cache_read).max(self.cache_write);
        let total = (u128::from(tokens) * u128::from(dearest)).div_ceil(1_000_000);
        MicroUsd(u64::try_from(total).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_counts_each_kind_of_token_once_and_rounds_up() {
        let price = Price {
            input: 3_000_000,
            output: 15_000_000,
            cache_read: 300_000,
            cache_write: 3_750_000,
        };
        let check = |input, cache_read, cache_write, output, expected| {
            let usage = Usage {
                input,
                cache_read,
                cache_write,
                output,
                estimated: false,
            };
            assert_eq!(price.cost(usage), MicroUsd(expected), "{usage:?}");
            assert!(price.cost(usage) <= price.ceiling(usage.total()), "{usage:?}");
        };
        check(0, 0, 0, 0, 0);
        check(1, 0, 0, 0, 3);
        check(1_000, 0, 0, 100, 4_500);
        check(1_000, 1_000, 0, 0, 300);
        check(1_000, 0, 1_000, 0, 3_750);
        check(1, 1, 0, 0, 1);
        check(u64::MAX, 0, 0, u64::MAX, u64::MAX);
        assert_eq!(MicroUsd(1_500_000).to_string(), "$1.500000");
    }
}
