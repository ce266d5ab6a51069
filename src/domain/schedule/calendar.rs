//! Dates and times of day that match, as a clock on the wall shows them; no zone is known here.
//!
//! **Units**: local seconds, counted as if the wall clock were UTC: seconds since 1970-01-01T00:00 on that wall.
//! **Source**: days and civil dates after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

use super::field::Item;

/// Seconds of a day.
pub const DAY_S: i64 = 86_400;
/// Days in which a date that exists at all comes again: 29 February as a certain weekday takes 40 years over 2100.
const SEARCH_DAYS: i64 = 41 * 366;

/// A date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// The year.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// The date of so many days since 1970.
pub fn date_of(days: i64) -> Date {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let part = (5 * of_year + 2) / 153;
    let month = if part < 10 { part + 3 } else { part - 9 };
    Date {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month: month as u8,
        day: (of_year - (153 * part + 2) / 5 + 1) as u8,
    }
}

/// The days since 1970 of a date.
pub fn days_of(date: Date) -> i64 {
    let month = i64::from(date.month);
    let year = date.year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + i64::from(date.day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The weekday of so many days since 1970; 0 is Sunday.
fn weekday_of(days: i64) -> u8 {
    (days + 4).rem_euclid(7) as u8
}

/// Days of a month.
fn length(year: i64, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        _ => 31,
    }
}

/// The dates and times of day of one expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    seconds: u64,
    minutes: u64,
    hours: u64,
    months: u64,
    days: Vec<Item>,
    weekdays: Vec<Item>,
    /// Whether the field leaves any day out.
    days_restrict: bool,
    weekdays_restrict: bool,
}

fn union(items: &[Item]) -> u64 {
    items.iter().fold(0, |set, item| match item {
        Item::Set(bits) => set | bits,
        _ => set,
    })
}

impl Calendar {
    /// The calendar of six fields: second, minute, hour, day of the month, month, day of the week.
    pub fn new([seconds, minutes, hours, days, months, weekdays]: [Vec<Item>; 6]) -> Self {
        Self {
            seconds: union(&seconds),
            minutes: union(&minutes),
            hours: union(&hours),
            months: union(&months),
            days_restrict: union(&days) != super::field::DAY.full(),
            weekdays_restrict: union(&weekdays) != super::field::WEEKDAY.full(),
            days,
            weekdays,
        }
    }

    /// Whether every date matches.
    pub fn is_daily(&self) -> bool {
        !self.days_restrict && !self.weekdays_restrict && self.months == super::field::MONTH.full()
    }

    /// The days of a month that match, bit 1 for the first.
    fn month(&self, year: i64, month: u8) -> u64 {
        if self.months >> month & 1 == 0 {
            return 0;
        }
        let length = length(year, month);
        let first = weekday_of(days_of(Date { year, month, day: 1 }));
        let weekday = |day: u8| (first + day - 1) % 7;
        let mut by_day = 0u64;
        for item in &self.days {
            by_day |= match *item {
                Item::Set(bits) => bits,
                Item::Last(before) if before < length => 1 << (length - before),
                Item::Nearest(day) if day <= length => 1 << nearest_workday(day, length, weekday(day)),
                Item::LastWorkday => 1 << nearest_workday(length, length, weekday(length)),
                _ => 0,
            };
        }
        let mut by_weekday = 0u64;
        for day in 1..=length {
            let matches = self.weekdays.iter().any(|item| match *item {
                Item::Set(bits) => bits >> weekday(day) & 1 == 1,
                Item::LastOf(wanted) => weekday(day) == wanted && day + 7 > length,
                Item::NthOf(wanted, nth) => weekday(day) == wanted && (day - 1) / 7 + 1 == nth,
                _ => false,
            });
            by_weekday |= u64::from(matches) << day;
        }
        let within = (1u64 << (length + 1)) - 2;
        // As in every cron since 1979: two fields that both leave days out add up.
        let days = match (self.days_restrict, self.weekdays_restrict) {
            (true, true) => by_day | by_weekday,
            (true, false) => by_day,
            (false, _) => by_weekday,
        };
        days & within
    }

    /// The first day from `from` on whose date matches, in days since 1970.
    fn next_day(&self, from: i64) -> Option<i64> {
        let start = date_of(from);
        let (mut year, mut month) = (start.year, start.month);
        let mut left = !0u64 << start.day;
        let mut searched = 0;
        while searched < SEARCH_DAYS {
            let days = self.month(year, month) & left;
            if days != 0 {
                let day = days.trailing_zeros() as u8;
                return Some(days_of(Date { year, month, day }));
            }
            searched += i64::from(length(year, month));
            left = !0;
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        None
    }

    /// Whether any date ever matches.
    pub fn has_dates(&self) -> bool {
        // From 2072, so that a search of 41 years sees a leap year of every weekday.
        self.next_day(37_255).is_some()
    }

    /// The first time of day at or after `second`, in seconds.
    fn next_time(&self, second: i64) -> Option<i64> {
        let (hour, minute, second) = ((second / 3600) as u32, (second / 60 % 60) as u32, (second % 60) as u32);
        let from = |set: u64, at: u32| (at < 64).then(|| set & (!0u64 << at)).filter(|rest| *rest != 0);
        let first = |set: u64| i64::from(set.trailing_zeros());
        let whole = |hour: i64, minute: i64, second: i64| hour * 3600 + minute * 60 + second;
        if self.hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(rest) = from(self.seconds, second)
            {
                return Some(whole(i64::from(hour), i64::from(minute), first(rest)));
            }
            if let Some(rest) = from(self.minutes, minute + 1) {
                return Some(whole(i64::from(hour), first(rest), first(self.seconds)));
            }
        }
        let rest = from(self.hours, hour + 1)?;
        Some(whole(first(rest), first(self.minutes), first(self.seconds)))
    }

    /// The first local second at or after `from` that matches; none when no date within 41 years does.
    pub fn next(&self, from: i64) -> Option<i64> {
        let day = from.div_euclid(DAY_S);
        let first = self.next_day(day)?;
        if first == day
            && let Some(time) = self.next_time(from.rem_euclid(DAY_S))
        {
            return Some(day * DAY_S + time);
        }
        let day = if first == day { self.next_day(day + 1)? } else { first };
        Some(day * DAY_S + self.next_time(0)?)
    }

    /// Times of one day before `second`.
    fn times_before(&self, second: i64) -> u64 {
        if second >= DAY_S {
            return self.times_a_day();
        }
        let (hour, minute, second) = ((second / 3600) as u32, (second / 60 % 60) as u32, (second % 60) as u32);
        let below = |set: u64, at: u32| u64::from((set & ((1u64 << at) - 1)).count_ones());
        let (minutes, seconds) = (
            u64::from(self.minutes.count_ones()),
            u64::from(self.seconds.count_ones()),
        );
        let in_minute = (self.minutes >> minute & 1) * below(self.seconds, second);
        let in_hour = (self.hours >> hour & 1) * (below(self.minutes, minute) * seconds + in_minute);
        below(self.hours, hour) * minutes * seconds + in_hour
    }

    fn times_a_day(&self) -> u64 {
        u64::from(self.hours.count_ones()) * u64::from(self.minutes.count_ones()) * u64::from(self.seconds.count_ones())
    }

    /// How many local seconds match from `from` on and before `until`.
    pub fn count(&self, from: i64, until: i64) -> u64 {
        if until <= from {
            return 0;
        }
        let (first, last) = (from.div_euclid(DAY_S), until.div_euclid(DAY_S));
        let before = |day: i64, second: i64| if self.is_on(day) { self.times_before(second) } else { 0 };
        let (head, tail) = (from.rem_euclid(DAY_S), until.rem_euclid(DAY_S));
        if first == last {
            return before(first, tail) - before(first, head);
        }
        let mut days = 0u64;
        let mut day = first + 1;
        while day < last {
            let date = date_of(day);
            let end = day + i64::from(length(date.year, date.month) - date.day) + 1;
            let set = self.month(date.year, date.month) & (!0u64 << date.day);
            // The month that the range ends in is cut.
            let set = if end > last {
                set & ((1u64 << (i64::from(date.day) + last - day)) - 1)
            } else {
                set
            };
            days += u64::from(set.count_ones());
            day = end;
        }
        let head = before(first, DAY_S) - before(first, head);
        head + days * self.times_a_day() + before(last, tail)
    }

    /// Whether the same times of day match when the clock is moved by so many seconds: then moving it changes nothing
    /// for this expression but the names of the hours.
    pub fn is_unmoved_by(&self, seconds: i64) -> bool {
        if seconds >= DAY_S && !self.is_daily() {
            return false;
        }
        let shift = seconds.rem_euclid(DAY_S);
        if shift == 0 {
            return true;
        }
        let all = (1u64 << 60) - 1;
        if shift % 60 != 0 {
            // Only in times before zones were whole minutes apart.
            return self.seconds == all && self.minutes == all && self.hours.count_ones() == 24;
        }
        let has = |minute: i64| self.hours >> (minute / 60) & 1 == 1 && self.minutes >> (minute % 60) & 1 == 1;
        let shift = shift / 60;
        (0..1440).all(|minute| has(minute) == has((minute + shift) % 1440))
    }

    /// Whether the date of so many days since 1970 matches.
    fn is_on(&self, day: i64) -> bool {
        let date = date_of(day);
        self.month(date.year, date.month) >> date.day & 1 == 1
    }

    /// Whether this local second matches.
    pub fn matches(&self, local: i64) -> bool {
        let time = local.rem_euclid(DAY_S);
        self.is_on(local.div_euclid(DAY_S)) && self.next_time(time) == Some(time)
    }
}

/// The working day nearest to `day`, which is this weekday, without leaving the month.
fn nearest_workday(day: u8, length: u8, weekday: u8) -> u8 {
    match weekday {
        6 if day > 1 => day - 1,
        6 => day + 2,
        0 if day < length => day + 1,
        0 => day - 2,
        _ => day,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_days_are_one_to_one() {
        let mut expected = Date {
            year: 1890,
            month: 1,
            day: 1,
        };
        for days in days_of(expected)..days_of(Date { year: 2410, ..expected }) {
            assert_eq!(date_of(days), expected);
            assert_eq!(days_of(expected), days);
            expected.day += 1;
            if expected.day > length(expected.year, expected.month) {
                expected.day = 1;
                expected.month += 1;
            }
            if expected.month > 12 {
                expected.month = 1;
                expected.year += 1;
            }
        }
        assert_eq!(weekday_of(0), 4, "1 January 1970 was a Thursday");
    }
}
