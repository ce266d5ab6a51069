//! One field of an expression: a set of numbers, written as values, ranges, steps, lists and names.
//!
//! Refuses to know what the numbers mean for dates. What days may be beyond numbers (`L`, `15W`, `FRI#3`) is handed
//! out as [`Item`]s.

/// Says where an expression is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character {position}: found `{found}` for the {field}, allowed is {allowed}")]
pub struct ExpressionError {
    /// Which part, in words.
    pub field: &'static str,
    /// The place of its first character, counted from 1.
    pub position: usize,
    /// What is there.
    pub found: String,
    /// What may be there.
    pub allowed: String,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// In words.
    pub name: &'static str,
    /// The least number.
    pub min: u8,
    /// The greatest number; for days of the week 7, which is Sunday again.
    pub max: u8,
    /// Names of the numbers from `min` on.
    pub names: &'static [&'static str],
    /// Whether a range may go over the end, as in `22-6`. Months differ in their length, so days may not.
    pub wraps: bool,
    /// The numbers for people.
    pub allowed: &'static str,
}

const MONTHS: &[&str] = &[
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const fn kind(
    name: &'static str,
    (min, max): (u8, u8),
    names: &'static [&'static str],
    wraps: bool,
    allowed: &'static str,
) -> Kind {
    Kind {
        name,
        min,
        max,
        names,
        wraps,
        allowed,
    }
}

/// Seconds.
pub const SECOND: Kind = kind("second", (0, 59), &[], true, "0 to 59");
/// Minutes.
pub const MINUTE: Kind = kind("minute", (0, 59), &[], true, "0 to 59");
/// Hours.
pub const HOUR: Kind = kind("hour", (0, 23), &[], true, "0 to 23");
/// Days of the month.
pub const DAY: Kind = kind("day of the month", (1, 31), &[], false, "1 to 31, L, L-3, 15W or LW");
/// Months.
pub const MONTH: Kind = kind("month", (1, 12), MONTHS, true, "1 to 12 or JAN to DEC");
/// Days of the week.
pub const WEEKDAY: Kind = kind(
    "day of the week",
    (0, 7),
    WEEKDAYS,
    true,
    "0 to 7 or SUN to SAT, FRIL for the last Friday, FRI#3 for the third",
);

/// One item of a field's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// These numbers, one bit each. Sunday is bit 0.
    Set(u64),
    /// So many days before the last day of the month.
    Last(u8),
    /// The working day nearest to this day, within its month.
    Nearest(u8),
    /// The last working day of the month.
    LastWorkday,
    /// The last of this weekday in the month.
    LastOf(u8),
    /// The n-th of this weekday in the month.
    NthOf(u8, u8),
}

impl Kind {
    /// All numbers.
    pub fn full(&self) -> u64 {
        // Of the two numbers of Sunday one is kept.
        let max = if self.max == 7 { 6 } else { self.max };
        (self.min..=max).fold(0, |set, number| set | 1 << number)
    }

    fn error(&self, position: usize, found: &str, allowed: impl Into<String>) -> ExpressionError {
        ExpressionError {
            field: self.name,
            position,
            found: crate::domain::text::preview(found, 40),
            allowed: allowed.into(),
        }
    }

    /// Reads a whole field that begins at `position`.
    pub fn read(&self, text: &str, position: usize) -> Result<Vec<Item>, ExpressionError> {
        let mut at = position;
        let mut items = Vec::new();
        for item in text.split(',') {
            items.push(self.item(item, at)?);
            at += item.chars().count() + 1;
        }
        Ok(items)
    }

    fn item(&self, text: &str, at: usize) -> Result<Item, ExpressionError> {
        if let Some(special) = self.special(text, at)? {
            return Ok(special);
        }
        let (range, step) = match text.split_once('/') {
            None => (text, None),
            Some((range, step)) => {
                let place = at + range.chars().count() + 1;
                let number = step.parse::<u8>().ok().filter(|_| digits(step));
                let span = self.max - self.min;
                let read = number.filter(|number| (1..=span).contains(number));
                let allowed = || format!("a step from 1 to {span}; longer times are @every");
                (range, Some(read.ok_or_else(|| self.error(place, step, allowed()))?))
            }
        };
        let any = range == "*" || (range == "?" && (self.name == DAY.name || self.name == WEEKDAY.name));
        let (from, to) = if any {
            (self.min, if self.max == 7 { 6 } else { self.max })
        } else if let Some((from, to)) = range.split_once('-') {
            let place = at + from.chars().count() + 1;
            (self.number(from, at)?, self.number(to, place)?)
        } else {
            let from = self.number(range, at)?;
            // `5/15` is every 15 from 5 on.
            let end = if self.max == 7 { 6 } else { self.max };
            (from, if step.is_some() { end.max(from) } else { from })
        };
        if from > to && !self.wraps {
            return Err(self.error(at, range, "a range that rises, such as 5-10"));
        }
        Ok(Item::Set(self.stepped(from, to, step.unwrap_or(1))))
    }

    /// The numbers from `from` to `to`, over the end when `to` is smaller.
    fn stepped(&self, from: u8, to: u8, step: u8) -> u64 {
        let count = if self.max == 7 {
            7
        } else {
            u16::from(self.max - self.min) + 1
        };
        let (from, to) = (u16::from(from), u16::from(to));
        let end = if from > to { to + count } else { to };
        let mut set = 0;
        let mut number = from;
        while number <= end {
            let wrapped = (number - u16::from(self.min)) % count + u16::from(self.min);
            set |= 1 << wrapped;
            number += u16::from(step);
        }
        set
    }

    fn number(&self, text: &str, at: usize) -> Result<u8, ExpressionError> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = match named {
            Some(index) => Some(index as u8 + self.min),
            None => text.parse::<u8>().ok().filter(|_| digits(text)),
        };
        let number = number.filter(|number| (self.min..=self.max).contains(number));
        number.ok_or_else(|| self.error(at, text, self.allowed))
    }

    /// What days have beyond numbers.
    fn special(&self, text: &str, at: usize) -> Result<Option<Item>, ExpressionError> {
        let upper = text.to_ascii_uppercase();
        if self.name == DAY.name {
            return match upper.as_str() {
                "L" => Ok(Some(Item::Last(0))),
                "LW" | "WL" => Ok(Some(Item::LastWorkday)),
                other => {
                    if let Some(before) = other.strip_prefix("L-") {
                        let number = before.parse::<u8>().ok().filter(|_| digits(before));
                        let number = number.filter(|number| (1..=30).contains(number));
                        let allowed = "L-1 to L-30: days before the last of the month";
                        return number
                            .map(|number| Some(Item::Last(number)))
                            .ok_or_else(|| self.error(at, text, allowed));
                    }
                    match other.strip_suffix('W') {
                        Some(day) => self.number(day, at).map(|day| Some(Item::Nearest(day))),
                        None => Ok(None),
                    }
                }
            };
        }
        if self.name != WEEKDAY.name {
            return Ok(None);
        }
        if upper == "L" {
            return Err(self.error(
                at,
                text,
                "which weekday is meant: 5L or FRIL is the last Friday of the month",
            ));
        }
        if let Some((day, nth)) = upper.split_once('#') {
            let place = at + day.chars().count() + 1;
            let day = self.number(day, at)? % 7;
            let number = nth.parse::<u8>().ok().filter(|number| (1..=5).contains(number));
            let number = number.filter(|_| digits(nth));
            return number
                .map(|nth| Some(Item::NthOf(day, nth)))
                .ok_or_else(|| self.error(place, nth, "1 to 5 behind the #"));
        }
        match upper.strip_suffix('L') {
            Some(day) => self.number(day, at).map(|day| Some(Item::LastOf(day % 7))),
            None => Ok(None),
        }
    }
}

/// `+5` and the like would be read as numbers.
fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
