//! Figures as clients see them: exact numbers for programs, and short texts under the names that people use.

use serde_json::{Value, json};

use crate::domain::money::MicroUsd;
use crate::domain::statistics::Figures;

use super::money::usd;

/// `metrics` are texts such as `4.2s`, `12k`, `96%`, `$0.12`; `figures` are the numbers behind them. What was never
/// measured is null.
pub fn figures(figures: &Figures) -> Value {
    let mut tokens: serde_json::Map<String, Value> = figures
        .tokens
        .kinds()
        .into_iter()
        .map(|(kind, tokens)| (kind.to_owned(), tokens.into()))
        .collect();
    tokens.insert("total".into(), figures.tokens.total().into());
    let (p50, p95) = (figures.order_ms.percentile(50), figures.order_ms.percentile(95));
    json!({
        "metrics": {
            "p50": p50.map(duration),
            "p95": p95.map(duration),
            "tokens": count(figures.tokens.total()),
            "success": figures.success_percent().map(|percent| format!("{percent}%")),
            "cost": dollars(figures.cost),
            "turns": count(figures.turns + figures.turns_failed),
        },
        "figures": {
            "p50_ms": p50,
            "p95_ms": p95,
            "turn_p50_ms": figures.turn_ms.percentile(50),
            "turn_p95_ms": figures.turn_ms.percentile(95),
            "turns": figures.turns,
            "turns_failed": figures.turns_failed,
            "tokens": tokens,
            "cost_usd": usd(figures.cost),
            "done": figures.done,
            "failed": figures.failed,
            "unknown": figures.unknown,
            "cancelled": figures.cancelled,
            "success_percent": figures.success_percent(),
        },
    })
}

/// `320ms`, `4.2s`, `2m05s`, `3h07m`.
fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{}h{:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// `950`, `1.2k`, `12k`, `3.4M`.
fn count(number: u64) -> String {
    for (unit, letter) in [(1_000_000_000, 'G'), (1_000_000, 'M'), (1_000, 'k')] {
        if number >= 10 * unit {
            return format!("{}{letter}", number / unit);
        }
        if number >= unit {
            return format!("{}.{}{letter}", number / unit, number % unit * 10 / unit);
        }
    }
    number.to_string()
}

/// In cents, rounded up; below a cent every digit counts.
fn dollars(amount: MicroUsd) -> String {
    if amount.0 < 10_000 {
        return format!("${}", amount.to_decimal());
    }
    let cents = amount.0.div_ceil(10_000);
    format!("${}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_for_people() {
        let check = |ms, text: &str| assert_eq!(duration(ms), text);
        check(0, "0ms");
        check(999, "999ms");
        check(4_250, "4.2s");
        check(125_999, "2m05s");
        check(11_220_000, "3h07m");
        let check = |number, text: &str| assert_eq!(count(number), text);
        check(0, "0");
        check(950, "950");
        check(1_250, "1.2k");
        check(12_999, "12k");
        check(3_450_000, "3.4M");
        check(u64::MAX, "18446744073G");
        let check = |amount, text: &str| assert_eq!(dollars(MicroUsd(amount)), text);
        check(0, "$0");
        check(400, "$0.0004");
        check(9_999, "$0.009999");
        check(120_000, "$0.12");
        check(1_230_001, "$1.24");
        check(u64::MAX, "$18446744073709.56");
    }

    #[test]
    fn what_was_never_measured_is_null() {
        let shown = figures(&Figures::default());
        assert_eq!(shown["metrics"]["p95"], Value::Null);
        assert_eq!(shown["metrics"]["success"], Value::Null);
        assert_eq!(shown["metrics"]["tokens"], "0");
        assert_eq!(shown["figures"]["tokens"]["total"], 0);
    }
}
