//! Expressions against tables, and against an oracle that looks at every second.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::calendar::{DAY_S, date_of};
use super::expression::When;
use super::zone::{BEGINNING, END, Offsets, Segment, Utc};
use crate::domain::time::UtcMillis;

const NO_ANCHOR: UtcMillis = UtcMillis(0);

/// 2026-01-01T00:00:00Z, a Thursday.
const NEW_YEAR: i64 = 1_767_225_600;

fn millis(seconds: i64) -> UtcMillis {
    UtcMillis(seconds as u64 * 1000)
}

/// The local date and time of seconds, for people.
fn shown(seconds: i64) -> String {
    let date = date_of(seconds.div_euclid(DAY_S));
    let time = seconds.rem_euclid(DAY_S);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!(
        "{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}",
        date.year, date.month, date.day
    )
}

#[test]
fn expressions_are_due_when_they_say() {
    let check = |text: &str, slots: &[&str]| {
        let when = When::read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut after = millis(NEW_YEAR);
        for slot in slots {
            let next = when.next(&Utc, millis(NEW_YEAR), after).expect(text);
            assert_eq!(shown(next.seconds()), *slot, "{text}");
            after = next;
        }
    };
    check("* * * * *", &["2026-01-01 00:01:00", "2026-01-01 00:02:00"]);
    check(
        "*/20 * * * * *",
        &["2026-01-01 00:00:20", "2026-01-01 00:00:40", "2026-01-01 00:01:00"],
    );
    check("  5\t4 * * sun ", &["2026-01-04 04:05:00", "2026-01-11 04:05:00"]);
    check(
        "0 22-4/3 * * *",
        &["2026-01-01 01:00:00", "2026-01-01 04:00:00", "2026-01-01 22:00:00"],
    );
    check(
        "10/25 0 * * *",
        &["2026-01-01 00:10:00", "2026-01-01 00:35:00", "2026-01-02 00:10:00"],
    );
    check("0 0 L * *", &["2026-01-31 00:00:00", "2026-02-28 00:00:00"]);
    check("0 0 L-2 * *", &["2026-01-29 00:00:00", "2026-02-26 00:00:00"]);
    // 31 January 2026 is a Saturday, 1 February a Sunday, 28 February a Saturday.
    check("0 0 LW * *", &["2026-01-30 00:00:00", "2026-02-27 00:00:00"]);
    check("0 0 1W 2 *", &["2026-02-02 00:00:00", "2027-02-01 00:00:00"]);
    check("0 0 31W * *", &["2026-01-30 00:00:00", "2026-03-31 00:00:00"]);
    check("0 0 * * FRI#2", &["2026-01-09 00:00:00", "2026-02-13 00:00:00"]);
    check("0 0 * * 5L", &["2026-01-30 00:00:00", "2026-02-27 00:00:00"]);
    check("0 0 * * 1#5", &["2026-03-30 00:00:00", "2026-06-29 00:00:00"]);
    check(
        "0 0 * * FRI-MON",
        &[
            "2026-01-02 00:00:00",
            "2026-01-03 00:00:00",
            "2026-01-04 00:00:00",
            "2026-01-05 00:00:00",
            "2026-01-09 00:00:00",
        ],
    );
    check("0 0 * * 7", &["2026-01-04 00:00:00"]);
    check(
        "0 0 * * 5-7",
        &[
            "2026-01-02 00:00:00",
            "2026-01-03 00:00:00",
            "2026-01-04 00:00:00",
            "2026-01-09 00:00:00",
        ],
    );
    // Both fields leave days out: either is enough.
    check(
        "0 0 13 * FRI",
        &["2026-01-02 00:00:00", "2026-01-09 00:00:00", "2026-01-13 00:00:00"],
    );
    check("0 0 13 * ?", &["2026-01-13 00:00:00", "2026-02-13 00:00:00"]);
    check("0 0 29 2 *", &["2028-02-29 00:00:00", "2032-02-29 00:00:00"]);
    check("0 12 1 JAN,Jul *", &["2026-01-01 12:00:00", "2026-07-01 12:00:00"]);
    check("@hourly", &["2026-01-01 01:00:00"]);
    check("@daily", &["2026-01-02 00:00:00"]);
    check("@midnight", &["2026-01-02 00:00:00"]);
    check("@weekly", &["2026-01-04 00:00:00"]);
    check("@monthly", &["2026-02-01 00:00:00"]);
    check("@Yearly", &["2027-01-01 00:00:00"]);
    check("@every 90s", &["2026-01-01 00:01:30", "2026-01-01 00:03:00"]);
    check("@every 1h30m", &["2026-01-01 01:30:00"]);
    check("@once 2026-05-01T09:00", &["2026-05-01 09:00:00"]);
    check("@once 2026-05-01T09:00:30+02:00", &["2026-05-01 07:00:30"]);
    check("@once 2026-05-01T09:00:30Z", &["2026-05-01 09:00:30"]);
    let once = When::read("@once 2026-05-01T09:00").expect("read");
    assert_eq!(once.next(&Utc, NO_ANCHOR, UtcMillis(1_777_626_000_000)), None);
}

#[test]
fn what_cannot_be_read_is_named_with_its_place_and_what_may_be_there() {
    let check = |text: &str, expected: &str| {
        let error = When::read(text).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text:?}: {error}");
    };
    check("", "character 1: found `` for the expression, allowed is five fields");
    check(
        "61 * * * *",
        "character 1: found `61` for the minute, allowed is 0 to 59",
    );
    check("* 24 * * *", "character 3: found `24` for the hour, allowed is 0 to 23");
    check("0 0 0 * *", "character 5: found `0` for the day of the month");
    check("0 0 * 1,13 *", "character 9: found `13` for the month");
    check("0 0 * * 1,MOO", "character 11: found `MOO` for the day of the week");
    check("0 0 * * 8", "character 9: found `8` for the day of the week");
    check(
        "*/0 * * * *",
        "character 3: found `0` for the minute, allowed is a step from 1 to 59",
    );
    check("*/90 * * * *", "character 3: found `90` for the minute");
    check("0-9/x * * * *", "character 5: found `x` for the minute");
    check("+5 * * * *", "character 1: found `+5` for the minute");
    check("? * * * *", "character 1: found `?` for the minute");
    check(
        "0 0 20-10 * *",
        "character 5: found `20-10` for the day of the month, allowed is a range that rises",
    );
    check("1,,2 * * * *", "character 3: found `` for the minute");
    check("0 0 L-31 * *", "character 5: found `L-31` for the day of the month");
    check(
        "0 0 * * L",
        "character 9: found `L` for the day of the week, allowed is which weekday",
    );
    check(
        "0 0 * * 5#6",
        "character 11: found `6` for the day of the week, allowed is 1 to 5",
    );
    check("0 0 32W * *", "character 5: found `32` for the day of the month");
    check(
        "0 0 31 2 *",
        "character 5: found `31 2 *` for the date, allowed is a date that some year has",
    );
    check("0 0 30W FEB *", "character 5: found `30W FEB *` for the date");
    check(
        "* * * *",
        "character 7: found `4 fields, the last of them `*`` for the expression",
    );
    check(
        "0 0 0 1 1 * 2030",
        "character 13: found `7 fields, the last of them `2030``",
    );
    check("@reboot", "character 1: found `@reboot` for the expression");
    check(
        "@hourly 5",
        "character 9: found `5` for the expression, allowed is nothing more",
    );
    check(
        "@every",
        "character 7: found `nothing` for the expression, allowed is a time",
    );
    check("@every 90", "character 8: found `90` for the time");
    check("@every 0s", "character 8: found `0s` for the time");
    check("@every 5m1h", "character 8: found `5m1h` for the time");
    check("@every 367d", "character 8: found `367d` for the time");
    check(
        "@once 2026-02-30T00:00",
        "character 7: found `2026-02-30T00:00` for the date",
    );
    check("@once tomorrow", "character 7: found `tomorrow` for the date");
    check("ü ö * * *", "character 1: found `ü` for the minute");
    check(&"1,".repeat(200), "character 1: found");
}

/// A zone that is made up: rows of the second from which on an offset holds.
#[derive(Debug, Clone)]
struct MadeUp(Vec<(i64, i64)>);

impl Offsets for MadeUp {
    fn segment(&self, at: i64) -> Segment {
        let after = self.0.partition_point(|(from, _)| *from <= at);
        let (from, offset) = self.0[after - 1];
        Segment {
            offset,
            from,
            until: self.0.get(after).map_or(END, |(from, _)| *from),
        }
    }
}

impl MadeUp {
    fn local(&self, at: i64) -> i64 {
        at + self.segment(at).offset
    }
}

/// Whether a number is in a field, from its text alone: values, ranges, steps and lists.
fn holds(field: &str, number: i64, max: i64) -> bool {
    field.split(',').any(|item| {
        let (range, step) = item
            .split_once('/')
            .map_or((item, 1), |(range, step)| (range, step.parse().expect("a step")));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (from.parse().expect("a number"), to.parse().expect("a number")),
            None if range == "*" => (i64::from(max == 31 || max == 12), max),
            None if item.contains('/') => (range.parse().expect("a number"), max),
            None => (range.parse().expect("a number"), range.parse().expect("a number")),
        };
        (from..=to).contains(&number) && (number - from) % step == 0
    })
}

/// The sets of six fields, each number looked up once.
struct Sets {
    fields: [Vec<bool>; 6],
    times: Vec<bool>,
}

impl Sets {
    fn of(fields: &[String]) -> Self {
        let set = |index: usize, max: i64| (0..=max).map(|number| holds(&fields[index], number, max)).collect();
        let fields: [Vec<bool>; 6] = [set(0, 59), set(1, 59), set(2, 23), set(3, 31), set(4, 12), set(5, 6)];
        let has = |index: usize, number: i64| fields[index][number as usize];
        let times = (0..DAY_S)
            .map(|time| has(0, time % 60) && has(1, time / 60 % 60) && has(2, time / 3600))
            .collect();
        Self { fields, times }
    }

    fn restricts(&self, index: usize, min: usize) -> bool {
        self.fields[index][min..].iter().any(|on| !on)
    }

    fn matches(&self, local: i64) -> bool {
        if !self.times[local.rem_euclid(DAY_S) as usize] {
            return false;
        }
        let date = date_of(local.div_euclid(DAY_S));
        let weekday = (local.div_euclid(DAY_S) + 4).rem_euclid(7);
        let by_day = self.fields[3][usize::from(date.day)];
        let by_weekday = self.fields[5][weekday as usize];
        let days = match (self.restricts(3, 1), self.restricts(5, 0)) {
            (true, true) => by_day || by_weekday,
            _ => by_day && by_weekday,
        };
        days && self.fields[4][usize::from(date.month)]
    }
}

/// All slots from `from` to `until`, by the rule as it is written, looking at every second. `shift` is the only shift
/// of the zone.
fn oracle(sets: &Sets, zone: &MadeUp, shift: i64, from: i64, until: i64) -> BTreeSet<i64> {
    let moved = |time: i64| sets.times[(time + shift).rem_euclid(DAY_S) as usize];
    let daily = !sets.restricts(3, 1) && !sets.restricts(4, 1) && !sets.restricts(5, 0);
    let unmoved = (0..DAY_S).all(|time| sets.times[time as usize] == moved(time)) && (daily || shift.abs() < DAY_S);
    if unmoved {
        return (from..=until).filter(|at| sets.matches(zone.local(*at))).collect();
    }
    let mut slots = BTreeSet::new();
    let mut shown = zone.local(from - 1);
    for at in from..=until {
        let local = zone.local(at);
        if local > shown {
            // What the clock has passed over, this second included, is due now.
            if (shown + 1..=local).any(|local| sets.matches(local)) {
                slots.insert(at);
            }
            shown = local;
        }
    }
    slots
}

fn field(max: i64) -> impl Strategy<Value = String> {
    let min = i64::from(max == 31 || max == 12);
    prop_oneof![
        4 => Just("*".to_owned()),
        2 => (min..=max).prop_map(|value| value.to_string()),
        1 => (1..=max / 2).prop_map(|step| format!("*/{step}")),
        1 => (min..=max, min..=max, 1..=3i64).prop_map(|(one, other, step)| {
            format!("{}-{}/{step}", one.min(other), one.max(other))
        }),
        1 => (min..=max, min..=max).prop_map(|(one, other)| format!("{one},{other}")),
        1 => (min..=max, 1..=7i64).prop_map(|(from, step)| format!("{from}/{step}")),
    ]
}

fn fields() -> impl Strategy<Value = Vec<String>> {
    // Whole minutes mostly: else most expressions are due every few seconds.
    let second = prop_oneof![3 => Just("0".to_owned()), 1 => field(59)];
    let day = prop_oneof![3 => Just("*".to_owned()), 1 => field(31)];
    let month = prop_oneof![8 => Just("*".to_owned()), 1 => field(12)];
    let weekday = prop_oneof![3 => Just("*".to_owned()), 1 => field(6)];
    (second, field(59), field(23), day, month, weekday).prop_map(|fields| {
        let (second, minute, hour, day, month, weekday) = fields;
        vec![second, minute, hour, day, month, weekday]
    })
}

fn shift() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => Just(3600),
        2 => Just(1800),
        1 => Just(7200),
        1 => Just(1200),
        1 => Just(DAY_S),
        1 => 1..90_000i64,
    ]
    .prop_flat_map(|shift| prop_oneof![Just(shift), Just(-shift)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn slots_are_those_of_a_look_at_every_second(
        fields in fields(),
        offset in -12 * 4..=12 * 4i64,
        shift in shift(),
        at in 0..3 * 365 * 24i64,
        start in 0..DAY_S,
    ) {
        let change = NEW_YEAR + at * 3600;
        let zone = MadeUp(vec![(BEGINNING, offset * 900), (change, offset * 900 + shift)]);
        let (from, until) = (change - DAY_S - start, change + 2 * DAY_S);
        let expected = oracle(&Sets::of(&fields), &zone, shift, from + 1, until);
        let text = fields.join(" ");
        let Ok(when) = When::read(&text) else {
            // No such date; the rest of the form is made right.
            prop_assert!(expected.is_empty(), "{text} has {} slots", expected.len());
            return Ok(());
        };
        let mut found = BTreeSet::new();
        let mut after = millis(from);
        while let Some(next) = when.next(&zone, NO_ANCHOR, after) {
            prop_assert!(next > after, "{text}: {next} is not after {after}");
            after = next;
            if next > millis(until) {
                break;
            }
            found.insert(next.seconds());
        }
        let differ: Vec<String> = found.symmetric_difference(&expected).take(5).map(|at| shown(*at)).collect();
        prop_assert!(differ.is_empty(), "{text} shifted by {shift} at {}: {differ:?}", shown(change));
        prop_assert_eq!(when.count(&zone, NO_ANCHOR, millis(from), millis(until)), expected.len() as u64, "{}", text);
        // Any part of it counts as it is enumerated.
        let middle = from + start;
        let later = expected.range(middle + 1..).count() as u64;
        prop_assert_eq!(when.count(&zone, NO_ANCHOR, millis(middle), millis(until)), later, "{}", text);
        let tail = when.tail(&zone, NO_ANCHOR, (millis(from), millis(until)), 5);
        let left = expected.range(tail.seconds() + 1..).count();
        prop_assert_eq!(left, expected.len().min(5), "{}", text);
    }

    #[test]
    fn slots_of_years_are_counted_as_they_come(fields in fields(), days in 1..1500i64, start in 0..DAY_S) {
        prop_assume!(fields[0] == "0" && fields[1] != "*");
        let text = fields.join(" ");
        let Ok(when) = When::read(&text) else { return Ok(()) };
        let (from, until) = (NEW_YEAR + start, NEW_YEAR + days * DAY_S);
        let mut expected = 0;
        let mut after = millis(from);
        while let Some(next) = when.next(&Utc, NO_ANCHOR, after).filter(|next| *next <= millis(until)) {
            expected += 1;
            after = next;
        }
        prop_assert_eq!(when.count(&Utc, NO_ANCHOR, millis(from), millis(until)), expected, "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-0-9*/,#LWA-F@a-z ?]{0,30}|\\PC{0,40}") {
        if let Ok(when) = When::read(&text) {
            let next = when.next(&Utc, NO_ANCHOR, millis(NEW_YEAR));
            prop_assert!(next.is_none_or(|next| next > millis(NEW_YEAR)));
        }
    }
}
