//! Money as clients see it: US dollars as a JSON number.

use serde_json::Value;

use crate::domain::money::MicroUsd;

/// US dollars. Amounts below nine thousand million dollars keep every millionth.
pub fn usd(amount: MicroUsd) -> Value {
    Value::from(amount.0 as f64 / 1_000_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_as_people_write_it() {
        let check = |amount, text: &str| assert_eq!(usd(MicroUsd(amount)).to_string(), text);
        check(0, "0.0");
        check(1, "1e-6");
        check(120_000, "0.12");
        check(2_500_000, "2.5");
        check(9_000_000_000_123_456, "9000000000.123455");
    }
}
