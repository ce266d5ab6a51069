//! What a provider's headers say of its limits.
//!
//! Refuses to know: the present time; a date is held against the answer's own `Date`. Invariant: pure; what cannot be
//! read is none.
//!
//! **Source**: `anthropic-ratelimit-*` with resets as RFC 3339 dates; `x-ratelimit-*` of OpenAI and others with resets
//! as durations (`12ms`, `6m0s`), seconds, or Unix time.

use reqwest::header::HeaderMap;

use super::model::{RateLimits, RateWindow};

/// The time until a window is full when the server does not say: most count by the minute.
const RESET_DEFAULT_MS: u64 = 60_000;
/// The longest time that is believed, ten years.
const RESET_MS_MAX: f64 = 315_360_000_000.0;

/// The limits, if the headers say any.
pub fn read(headers: &HeaderMap) -> Option<RateLimits> {
    let anthropic = |what: &str| {
        let name = |field: &str| format!("anthropic-ratelimit-{what}-{field}");
        window(headers, &name("limit"), &name("remaining"), &name("reset"))
    };
    let openai = |what: &str| {
        let name = |field: &str| format!("x-ratelimit-{field}-{what}");
        window(headers, &name("limit"), &name("remaining"), &name("reset"))
    };
    let plain = || {
        let name = |field: &str| format!("x-ratelimit-{field}");
        window(headers, &name("limit"), &name("remaining"), &name("reset"))
    };
    let limits = RateLimits {
        requests: anthropic("requests").or_else(|| openai("requests")).or_else(plain),
        tokens: anthropic("input-tokens")
            .or_else(|| anthropic("tokens"))
            .or_else(|| openai("tokens")),
        output_tokens: anthropic("output-tokens"),
    };
    (limits != RateLimits::default()).then_some(limits)
}

fn window(headers: &HeaderMap, limit: &str, remaining: &str, reset: &str) -> Option<RateWindow> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| {
        let number: f64 = text(name)?.parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number as u64)
    };
    let now = || text("date").and_then(|date| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
    Some(RateWindow {
        limit: number(limit).unwrap_or(0),
        remaining: number(remaining)?,
        reset_ms: text(reset)
            .and_then(|reset| until(reset, now))
            .map_or(RESET_DEFAULT_MS, |ms| ms.clamp(0.0, RESET_MS_MAX) as u64),
    })
}

/// Milliseconds until a reset in any of its forms.
fn until(reset: &str, now: impl Fn() -> Option<jiff::Timestamp>) -> Option<f64> {
    if let Ok(number) = reset.parse::<f64>() {
        // Small numbers are seconds to wait, large ones Unix time in seconds or milliseconds.
        return match number {
            number if !number.is_finite() => None,
            ..1e9 => Some(number * 1000.0),
            1e9..1e12 => Some(number * 1000.0 - now()?.as_millisecond() as f64),
            _ => Some(number - now()?.as_millisecond() as f64),
        };
    }
    if let Ok(at) = reset.parse::<jiff::Timestamp>() {
        return Some(at.as_millisecond() as f64 - now()?.as_millisecond() as f64);
    }
    duration_ms(reset)
}

/// A duration as Go prints it: numbers with units, the larger first.
fn duration_ms(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |length| digits + length);
        let unit_ms = match &rest[digits..unit_end] {
            "d" => 86_400_000.0,
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1000.0,
            "ms" => 1.0,
            "us" | "µs" => 0.001,
            "ns" => 0.000_001,
            _ => return None,
        };
        sum += number * unit_ms;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then(|| sum.ceil())
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    const DATE: (&str, &str) = ("date", "Sun, 22 Nov 2026 10:00:00 GMT");

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn the_headers_of_both_vendors_are_read() {
        let window = |limit, remaining, reset_ms| {
            Some(RateWindow {
                limit,
                remaining,
                reset_ms,
            })
        };
        let check = |lines: &[(&'static str, &'static str)], expected: Option<RateLimits>| {
            assert_eq!(read(&headers(lines)), expected, "{lines:?}");
        };
        check(
            &[
                DATE,
                ("anthropic-ratelimit-requests-limit", "50"),
                ("anthropic-ratelimit-requests-remaining", "49"),
                ("anthropic-ratelimit-requests-reset", "2026-11-22T10:00:01.5Z"),
                ("anthropic-ratelimit-tokens-limit", "60000"),
                ("anthropic-ratelimit-tokens-remaining", "59000"),
                ("anthropic-ratelimit-tokens-reset", "2026-11-22T10:00:10Z"),
                ("anthropic-ratelimit-input-tokens-limit", "50000"),
                ("anthropic-ratelimit-input-tokens-remaining", "0"),
                ("anthropic-ratelimit-input-tokens-reset", "2026-11-22T10:01:00Z"),
                ("anthropic-ratelimit-output-tokens-limit", "10000"),
                ("anthropic-ratelimit-output-tokens-remaining", "9000"),
                ("anthropic-ratelimit-output-tokens-reset", "2026-11-22T09:59:00Z"),
            ],
            Some(RateLimits {
                requests: window(50, 49, 1_500),
                tokens: window(50_000, 0, 60_000),
                output_tokens: window(10_000, 9_000, 0),
            }),
        );
        check(
            &[
                ("x-ratelimit-limit-requests", "60"),
                ("x-ratelimit-remaining-requests", "59"),
                ("x-ratelimit-reset-requests", "12ms"),
                ("x-ratelimit-limit-tokens", "150000"),
                ("x-ratelimit-remaining-tokens", "149984"),
                ("x-ratelimit-reset-tokens", "6m0s"),
            ],
            Some(RateLimits {
                requests: window(60, 59, 12),
                tokens: window(150_000, 149_984, 360_000),
                output_tokens: None,
            }),
        );
        check(
            &[
                ("x-ratelimit-remaining-tokens", "7"),
                ("x-ratelimit-reset-tokens", "soon"),
            ],
            Some(RateLimits {
                tokens: window(0, 7, RESET_DEFAULT_MS),
                ..RateLimits::default()
            }),
        );
        check(
            &[
                DATE,
                ("x-ratelimit-limit", "20"),
                ("x-ratelimit-remaining", "3"),
                ("x-ratelimit-reset", "1795341605000"),
            ],
            Some(RateLimits {
                requests: window(20, 3, 5_000),
                ..RateLimits::default()
            }),
        );
        check(&[("x-ratelimit-limit-requests", "60")], None);
        check(&[("x-ratelimit-remaining-requests", "many")], None);
        check(&[], None);
    }

    #[test]
    fn every_form_of_a_reset_is_read() {
        let now = || "2026-11-22T10:00:00Z".parse().ok();
        let check = |reset: &str, expected: Option<f64>| assert_eq!(until(reset, now), expected, "{reset}");
        check("12ms", Some(12.0));
        check("6m0s", Some(360_000.0));
        check("1h2m3.5s", Some(3_723_500.0));
        check("7.66s", Some(7_660.0));
        check("500µs", Some(1.0));
        check("1d", Some(86_400_000.0));
        check("30", Some(30_000.0));
        check("0.5", Some(500.0));
        check("1795341605", Some(5_000.0));
        check("1795341605000", Some(5_000.0));
        check("2026-11-22T10:00:02Z", Some(2_000.0));
        check("2026-11-22T12:00:02+02:00", Some(2_000.0));
        check("", None);
        check("s", None);
        check("5x", None);
        check("NaN", None);
    }
}
