//! When a schedule is due, as people write it.

use crate::domain::time::UtcMillis;

use super::calendar::{Calendar, DAY_S, Date, date_of, days_of};
use super::field::{DAY, ExpressionError, HOUR, Item, MINUTE, MONTH, SECOND, WEEKDAY};
use super::zone::{self, Offsets};

/// Bytes of an expression.
pub const EXPRESSION_BYTES_MAX: usize = 256;
/// The shortest and longest time between two slots of `@every`, in milliseconds.
const EVERY_MS: std::ops::RangeInclusive<u64> = 1_000..=366 * 86_400_000;
const EVERY_FORM: &str = "a time such as 90s, 15m, 1h30m or 7d, from 1s to 366d";
const ONCE_FORM: &str = "a date and time such as 2030-01-31T09:00, 2030-01-31T09:00:00Z or …+02:00";

/// When a schedule is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// At the dates and times of an expression, in the schedule's zone.
    Calendar(Calendar),
    /// Again and again after so many milliseconds, counted from when the schedule was saved.
    Every(u64),
    /// Once.
    Once {
        /// The local second.
        local: i64,
        /// What that wall clock adds to UTC, in seconds; none is the schedule's zone.
        offset: Option<i64>,
    },
}

/// Words with `@` and what they stand for.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

fn wrong(field: &'static str, position: usize, found: &str, allowed: impl Into<String>) -> ExpressionError {
    ExpressionError {
        field,
        position,
        found: crate::domain::text::preview(found, 40),
        allowed: allowed.into(),
    }
}

/// The words of a text with the place of each, counted in characters from 1.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut begun: Option<(usize, usize)> = None;
    for (place, (byte, character)) in text.char_indices().enumerate() {
        match (character.is_whitespace(), begun) {
            (true, Some((from, at))) => {
                found.push((at, &text[from..byte]));
                begun = None;
            }
            (false, None) => begun = Some((byte, place + 1)),
            _ => {}
        }
    }
    if let Some((from, at)) = begun {
        found.push((at, &text[from..]));
    }
    found
}

impl When {
    /// Reads an expression: five fields, or six with the seconds first; `@hourly` and the like; `@every TIME`;
    /// `@once DATE`.
    ///
    /// **Errors**: the place, what was found, and what is allowed there.
    pub fn read(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(wrong(
                "expression",
                1,
                text,
                format!("at most {EXPRESSION_BYTES_MAX} bytes"),
            ));
        }
        let words = words(text);
        let forms = "five fields (minute hour day month weekday), six with the seconds first, @hourly, @daily, @weekly, \
                     @monthly, @yearly, @every TIME or @once DATE";
        match words[..] {
            [] => Err(wrong("expression", 1, text, forms)),
            [(at, word), ref rest @ ..] if word.starts_with('@') => Self::named(at, word, rest),
            [_, _, _, _, _] | [_, _, _, _, _, _] => Self::fields(&words),
            [.., (at, last)] => {
                let found = format!("{} fields, the last of them `{last}`", words.len());
                Err(wrong("expression", at, &found, forms))
            }
        }
    }

    fn fields(words: &[(usize, &str)]) -> Result<Self, ExpressionError> {
        let (seconds, rest) = if let [(at, first), rest @ ..] = words
            && rest.len() == 5
        {
            (SECOND.read(first, *at)?, rest)
        } else {
            (vec![Item::Set(1)], words)
        };
        let [minute, hour, day, month, weekday] = rest else {
            return Err(wrong("expression", 1, "", "five or six fields"));
        };
        let calendar = Calendar::new([
            seconds,
            MINUTE.read(minute.1, minute.0)?,
            HOUR.read(hour.1, hour.0)?,
            DAY.read(day.1, day.0)?,
            MONTH.read(month.1, month.0)?,
            WEEKDAY.read(weekday.1, weekday.0)?,
        ]);
        if calendar.has_dates() {
            Ok(Self::Calendar(calendar))
        } else {
            let found = format!("{} {} {}", day.1, month.1, weekday.1);
            Err(wrong("date", day.0, &found, "a date that some year has"))
        }
    }

    fn named(at: usize, word: &str, rest: &[(usize, &str)]) -> Result<Self, ExpressionError> {
        let lower = word.to_ascii_lowercase();
        let argument = |form: &str| match rest {
            [one] => Ok(*one),
            [] => Err(wrong("expression", at + word.chars().count(), "nothing", form)),
            [_, (place, more), ..] => Err(wrong("expression", *place, more, "nothing more")),
        };
        match lower.as_str() {
            "@every" => {
                let (place, text) = argument(EVERY_FORM)?;
                let read = span_ms(text).filter(|ms| EVERY_MS.contains(ms));
                read.map(Self::Every)
                    .ok_or_else(|| wrong("time", place, text, EVERY_FORM))
            }
            "@once" | "@at" => {
                let (place, text) = argument(ONCE_FORM)?;
                once(text).ok_or_else(|| wrong("date", place, text, ONCE_FORM))
            }
            _ => {
                let known = WORDS.iter().find(|(name, _)| *name == lower);
                let Some((_, fields)) = known else {
                    let names: Vec<&str> = WORDS.iter().map(|(name, _)| *name).collect();
                    let allowed = format!("{}, @every TIME or @once DATE", names.join(", "));
                    return Err(wrong("expression", at, word, allowed));
                };
                match rest {
                    [] => Self::read(fields),
                    [(place, more), ..] => Err(wrong("expression", *place, more, "nothing more")),
                }
            }
        }
    }

    /// The first slot after `after`. `anchor` is when the schedule was saved.
    pub fn next(&self, zone: &dyn Offsets, anchor: UtcMillis, after: UtcMillis) -> Option<UtcMillis> {
        match self {
            Self::Calendar(calendar) => zone::next(calendar, zone, after.seconds()).map(from_seconds),
            Self::Every(ms) => {
                let passed = after.0.checked_sub(anchor.0).map_or(0, |since| since / ms);
                Some(anchor.plus_ms((passed + 1).saturating_mul(*ms)))
            }
            Self::Once { local, offset } => {
                let at = from_seconds(offset.map_or_else(|| zone::instant_of(zone, *local), |offset| local - offset));
                (at > after).then_some(at)
            }
        }
    }

    /// How many slots there are after `after`, up to and with `until`. Takes no longer for many than for few.
    pub fn count(&self, zone: &dyn Offsets, anchor: UtcMillis, after: UtcMillis, until: UtcMillis) -> u64 {
        match self {
            Self::Calendar(calendar) => zone::count(calendar, zone, after.seconds(), until.seconds()),
            Self::Every(ms) => until.since(anchor) / ms - (after.since(anchor) / ms).min(until.since(anchor) / ms),
            Self::Once { .. } => u64::from(self.next(zone, anchor, after).is_some_and(|at| at <= until)),
        }
    }

    /// The time after which at most `most` slots are left up to `until`; not before `after`.
    pub fn tail(
        &self,
        zone: &dyn Offsets,
        anchor: UtcMillis,
        (after, until): (UtcMillis, UtcMillis),
        most: u64,
    ) -> UtcMillis {
        let (mut few, mut many) = (until.0, after.0);
        if self.count(zone, anchor, after, until) <= most {
            return after;
        }
        // More than `most` after `many`, at most so many after `few`.
        while few - many > 1 {
            let middle = many + (few - many) / 2;
            if self.count(zone, anchor, UtcMillis(middle), until) <= most {
                few = middle;
            } else {
                many = middle;
            }
        }
        UtcMillis(few)
    }
}

fn from_seconds(seconds: i64) -> UtcMillis {
    UtcMillis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

/// Reads `90s`, `1h30m` as milliseconds: numbers with units, the larger first.
pub fn span_ms(text: &str) -> Option<u64> {
    const UNITS: [(char, u64); 4] = [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000), ('s', 1_000)];
    let mut rest = text;
    let mut total = 0u64;
    let mut last = UNITS.len();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let place = UNITS.iter().position(|(name, _)| *name == unit)?;
        if last != UNITS.len() && place <= last {
            return None;
        }
        last = place;
        total = total.checked_add(number.checked_mul(UNITS[place].1)?)?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    (last != UNITS.len()).then_some(total)
}

/// Reads `2030-01-31T09:00[:00][Z|+02:00]`.
fn once(text: &str) -> Option<When> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let (time, offset) = if let Some(time) = rest.strip_suffix(['Z', 'z']) {
        (time, Some(0))
    } else if let Some(place) = rest.find(['+', '-']) {
        let (time, offset) = rest.split_at(place);
        let sign = if offset.starts_with('-') { -1 } else { 1 };
        let [hours, minutes] = numbers::<2>(&offset[1..], ':')?;
        if hours > 25 || minutes > 59 {
            return None;
        }
        (time, Some(sign * (hours * 3600 + minutes * 60)))
    } else {
        (rest, None)
    };
    let [year, month, day] = numbers::<3>(date, '-')?;
    let (hour, minute, second) = match numbers::<3>(time, ':') {
        Some([hour, minute, second]) => (hour, minute, second),
        None => numbers::<2>(time, ':').map(|[hour, minute]| (hour, minute, 0))?,
    };
    let date = Date {
        year,
        month: u8::try_from(month).ok().filter(|month| (1..=12).contains(month))?,
        day: u8::try_from(day).ok().filter(|day| (1..=31).contains(day))?,
    };
    let days = days_of(date);
    let exists = (1970..=9999).contains(&year) && date_of(days) == date;
    let local = days * DAY_S + hour * 3600 + minute * 60 + second;
    (exists && hour < 24 && minute < 60 && second < 60).then_some(When::Once { local, offset })
}

/// Numbers of digits alone, parted by one character.
fn numbers<const N: usize>(text: &str, by: char) -> Option<[i64; N]> {
    let parts: Vec<i64> = text
        .split(by)
        .map(|part| {
            let digits = !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        })
        .collect::<Option<_>>()?;
    parts.try_into().ok()
}
