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

    /// The amount of a decimal in US dollars: digits, then at most six after a point. None for anything else, because
    /// an amount that had to be rounded would not be the one that was written.
    pub fn from_decimal(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        // Zeros at the end say nothing: `0.2500000` is exact all the same.
        let fraction = fraction.trim_end_matches('0');
        if whole.is_empty() || text.ends_with('.') || !digits(whole) || !digits(fraction) || fraction.len() > 6 {
            return None;
        }
        let whole: u64 = whole.parse().ok()?;
        let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
        whole.checked_mul(1_000_000)?.checked_add(fraction).map(Self)
    }

    /// As a decimal in US dollars without needless zeros; [`Self::from_decimal`] reads it back.
    pub fn to_decimal(self) -> String {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
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
    fn a_decimal_is_read_exactly_or_not_at_all() {
        let check = |text: &str, expected: Option<u64>, written: &str| {
            let read = MicroUsd::from_decimal(text);
            assert_eq!(read, expected.map(MicroUsd), "{text}");
            assert_eq!(read.map(MicroUsd::to_decimal).unwrap_or_default(), written, "{text}");
        };
        check("0", Some(0), "0");
        check("3", Some(3_000_000), "3");
        check("0.25", Some(250_000), "0.25");
        check("10.50", Some(10_500_000), "10.5");
        check("0.000001", Some(1), "0.000001");
        check("0.0000010", Some(1), "0.000001");
        check("18446744073709.551615", Some(u64::MAX), "18446744073709.551615");
        for wrong in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "1,5",
            "0.0000001",
            "18446744073709.551616",
            "NaN",
            "1 ",
        ] {
            check(wrong, None, "");
        }
    }

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
