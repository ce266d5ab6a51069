//! How long a provider asks to wait, from the headers of its answer.
//!
//! Refuses to know: the present time; a date is held against the answer's own `Date`. Invariant: pure.
//!
//! **Source**: RFC 9110 section 10.2.3; `retry-after-ms` of OpenAI and Anthropic.

use reqwest::header::HeaderMap;

/// The wait in milliseconds.
pub fn read(headers: &HeaderMap) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(seconds) {
        return Some(ms.ceil() as u64);
    }
    let wait = text("retry-after")?;
    if let Some(seconds) = seconds(wait) {
        return Some((seconds * 1000.0).ceil() as u64);
    }
    let until = date(wait)?;
    let now = text("date").and_then(date)?;
    let ms = (until - now).total(jiff::Unit::Millisecond).ok()?;
    Some(ms.max(0.0) as u64)
}

/// A number that is a sensible wait; ten years bound what a wrong header can do to later arithmetic.
fn seconds(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    (number.is_finite() && number >= 0.0).then(|| number.min(315_360_000.0))
}

fn date(text: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_wait_is_read() {
        let check = |headers: &[(&'static str, &'static str)], expected: Option<u64>| {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| {
                    let value = reqwest::header::HeaderValue::from_static(value);
                    (reqwest::header::HeaderName::from_static(name), value)
                })
                .collect();
            assert_eq!(read(&map), expected, "{headers:?}");
        };
        check(&[], None);
        check(&[("retry-after", "7")], Some(7_000));
        check(&[("retry-after", "0.5")], Some(500));
        check(&[("retry-after-ms", "250"), ("retry-after", "7")], Some(250));
        check(&[("retry-after", "-1")], None);
        check(&[("retry-after", "NaN")], None);
        check(&[("retry-after", "soon")], None);
        check(
            &[
                ("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT"),
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ],
            Some(3_000),
        );
        check(
            &[
                ("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT"),
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ],
            Some(0),
        );
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")], None);
    }
}
