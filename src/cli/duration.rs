//! Times as people write them: a number with a unit.

/// Reads `500ms`, `90s`, `10m`, `2h` or `1d` as milliseconds. A bare number is refused, because half of all readers
/// would take it for seconds.
pub fn parse_ms(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 5] = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let total = number
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor));
    total
        .filter(|ms| *ms > 0)
        .ok_or_else(|| "expected a number and a unit, such as 500ms, 90s, 10m, 2h or 1d".into())
}

/// A moment as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// This one, in milliseconds since 1970.
    At(u64),
    /// So many milliseconds before now.
    Ago(u64),
}

impl Moment {
    /// In milliseconds since 1970, when it is `now` there.
    pub fn ms(self, now: jiff::Timestamp) -> u64 {
        match self {
            Self::At(ms) => ms,
            Self::Ago(ms) => u64::try_from(now.as_millisecond()).unwrap_or(0).saturating_sub(ms),
        }
    }
}

/// Reads `7d` as so long before now, `2026-11-22T18:00:00Z` as that moment, and `2026-11-22` as when that day begins in
/// UTC.
pub fn parse_moment(text: &str) -> Result<Moment, String> {
    if let Ok(ms) = parse_ms(text) {
        return Ok(Moment::Ago(ms));
    }
    let at = text.parse::<jiff::Timestamp>().or_else(|_| {
        let day = text.parse::<jiff::civil::Date>()?;
        Ok::<_, jiff::Error>(day.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp())
    });
    let ms = at.ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
    ms.map(Moment::At)
        .ok_or_else(|| "expected a time such as 2026-11-22T18:00:00Z or 2026-11-22, or how long ago, such as 7d".into())
}

/// Writes milliseconds for people, with two parts at most.
pub fn show_ms(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}.{}s", ms % 1000 / 100),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        let check = |text: &str, wanted: Option<u64>| assert_eq!(parse_ms(text).ok(), wanted, "{text}");
        check("500ms", Some(500));
        check("90s", Some(90_000));
        check("10m", Some(600_000));
        check("2h", Some(7_200_000));
        check("1d", Some(86_400_000));
        check("10", None);
        check("0s", None);
        check("-1s", None);
        check("1.5s", None);
        check("99999999999999999999d", None);
        check("s", None);
    }

    #[test]
    fn a_moment_is_a_time_a_day_or_how_long_ago() {
        let now: jiff::Timestamp = "2026-11-22T18:00:00Z".parse().expect("a time");
        let check = |text: &str, wanted: Option<&str>| {
            let ms = wanted.map(|wanted| wanted.parse::<jiff::Timestamp>().expect("a time").as_millisecond() as u64);
            assert_eq!(parse_moment(text).ok().map(|moment| moment.ms(now)), ms, "{text}");
        };
        check("2h", Some("2026-11-22T16:00:00Z"));
        check("2026-11-20T00:00:01+01:00", Some("2026-11-19T23:00:01Z"));
        check("2026-11-20", Some("2026-11-20T00:00:00Z"));
        check("99999d", Some("1970-01-01T00:00:00Z"));
        check("1969-01-01", None);
        check("2026-02-30", None);
        check("yesterday", None);
        check("", None);
    }

    #[test]
    fn times_are_shown_with_two_parts_at_most() {
        let check = |ms: u64, wanted: &str| assert_eq!(show_ms(ms), wanted);
        check(42, "42ms");
        check(1_250, "1.2s");
        check(62_000, "1m 2s");
        check(3_720_000, "1h 2m");
        check(90_000_000, "1d 1h");
    }
}
