//! The zones of the IANA data base: the machine's own copy, else the one that is built in.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::domain::schedule::zone::{BEGINNING, END, Offsets, Segment};

/// One zone. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of this IANA name.
    pub fn find(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// A time of the zone for people, with its offset: `2030-01-31T09:00:00+01:00`.
    pub fn show(&self, at: crate::domain::time::UtcMillis) -> String {
        let zoned = timestamp(at.seconds()).to_zoned(self.0.clone());
        zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }
}

/// Whether there is a zone of this name.
pub fn is_zone(name: &str) -> bool {
    Zone::find(name).is_some()
}

fn timestamp(second: i64) -> Timestamp {
    let within = second.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(within).expect("it was brought into the range")
}

impl Offsets for Zone {
    fn segment(&self, at: i64) -> Segment {
        let at = timestamp(at);
        // Transitions before a time do not include one at that very time.
        let from = match Timestamp::from_second(at.as_second() + 1) {
            Ok(after) => self.0.preceding(after).next(),
            Err(_) => self.0.preceding(at).next(),
        };
        let until = self.0.following(at).next();
        Segment {
            offset: i64::from(self.0.to_offset(at).seconds()),
            from: from.map_or(BEGINNING, |found| found.timestamp().as_second()),
            until: until.map_or(END, |found| found.timestamp().as_second()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schedule::expression::When;
    use crate::domain::time::UtcMillis;

    fn utc(text: &str) -> UtcMillis {
        let at: Timestamp = text.parse().expect("a time");
        UtcMillis(at.as_millisecond() as u64)
    }

    /// Slots from a time on, with their offsets.
    #[test]
    fn a_clock_that_is_set_forward_or_back_loses_no_slot_and_doubles_none() {
        let check = |text: &str, zone: &str, after: &str, expected: &[&str]| {
            let (when, zone) = (When::read(text).expect(text), Zone::find(zone).expect(zone));
            let mut at = utc(after);
            for slot in expected {
                at = when.next(&zone, utc(after), at).expect("a slot");
                assert_eq!(zone.show(at), *slot, "{text}");
            }
        };
        // An hour forward: what is daily comes at the end of the gap, what is hourly stays an hour apart.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2024-03-30T12:00:00Z",
            &["2024-03-31T03:00:00+02:00", "2024-04-01T02:30:00+02:00"],
        );
        check(
            "30 * * * *",
            "Europe/Berlin",
            "2024-03-31T00:00:00Z",
            &[
                "2024-03-31T01:30:00+01:00",
                "2024-03-31T03:30:00+02:00",
                "2024-03-31T04:30:00+02:00",
            ],
        );
        check(
            "*/10 2 * * *",
            "America/New_York",
            "2024-03-10T00:00:00Z",
            &["2024-03-10T03:00:00-04:00", "2024-03-11T02:00:00-04:00"],
        );
        check(
            "0 */2 * * *",
            "Europe/Berlin",
            "2024-03-30T22:30:00Z",
            &[
                "2024-03-31T00:00:00+01:00",
                "2024-03-31T03:00:00+02:00",
                "2024-03-31T04:00:00+02:00",
            ],
        );
        // An hour back: once what is daily, both passes what is hourly.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2024-10-26T12:00:00Z",
            &["2024-10-27T02:30:00+02:00", "2024-10-28T02:30:00+01:00"],
        );
        check(
            "30 * * * *",
            "Europe/Berlin",
            "2024-10-27T00:00:00Z",
            &[
                "2024-10-27T02:30:00+02:00",
                "2024-10-27T02:30:00+01:00",
                "2024-10-27T03:30:00+01:00",
            ],
        );
        check(
            "*/30 1 * * *",
            "America/New_York",
            "2024-11-03T00:00:00Z",
            &[
                "2024-11-03T01:00:00-04:00",
                "2024-11-03T01:30:00-04:00",
                "2024-11-04T01:00:00-05:00",
            ],
        );
        // Half an hour: a quarter past would be lost for an hour and a half; what repeats every half hour is not moved.
        check(
            "15 * * * *",
            "Australia/Lord_Howe",
            "2024-10-05T14:00:00Z",
            &[
                "2024-10-06T01:15:00+10:30",
                "2024-10-06T02:30:00+11:00",
                "2024-10-06T03:15:00+11:00",
            ],
        );
        check(
            "45 * * * *",
            "Australia/Lord_Howe",
            "2024-04-06T14:00:00Z",
            &["2024-04-07T01:45:00+11:00", "2024-04-07T02:45:00+10:30"],
        );
        check(
            "*/30 * * * *",
            "Australia/Lord_Howe",
            "2024-04-06T14:30:00Z",
            &["2024-04-07T01:30:00+10:30", "2024-04-07T02:00:00+10:30"],
        );
        // Winter time as the exception: Ireland's summer is its standard time.
        check(
            "30 1 * * *",
            "Europe/Dublin",
            "2024-03-30T12:00:00Z",
            &["2024-03-31T02:00:00+01:00", "2024-04-01T01:30:00+01:00"],
        );
        check(
            "30 1 * * *",
            "Europe/Dublin",
            "2024-10-26T12:00:00Z",
            &["2024-10-27T01:30:00+01:00", "2024-10-28T01:30:00+00:00"],
        );
        // A whole day: 30 December 2011 was left out in Samoa. What is daily goes on, what is for that day comes after it.
        check(
            "0 9 * * *",
            "Pacific/Apia",
            "2011-12-29T00:00:00Z",
            &["2011-12-29T09:00:00-10:00", "2011-12-31T09:00:00+14:00"],
        );
        check(
            "0 9 30 12 *",
            "Pacific/Apia",
            "2011-12-29T00:00:00Z",
            &["2011-12-31T00:00:00+14:00", "2012-12-30T09:00:00+14:00"],
        );
        check(
            "0 9 * * FRI",
            "Pacific/Apia",
            "2011-12-28T00:00:00Z",
            &["2011-12-31T00:00:00+14:00", "2012-01-06T09:00:00+14:00"],
        );
        // At midnight.
        check(
            "0 0 * * *",
            "America/Havana",
            "2024-03-09T12:00:00Z",
            &["2024-03-10T01:00:00-04:00", "2024-03-11T00:00:00-04:00"],
        );
        check(
            "30 0 * * *",
            "America/Havana",
            "2024-11-02T12:00:00Z",
            &["2024-11-03T00:30:00-04:00", "2024-11-04T00:30:00-05:00"],
        );
        check(
            "@once 2024-03-31T02:30",
            "Europe/Berlin",
            "2024-01-01T00:00:00Z",
            &["2024-03-31T03:00:00+02:00"],
        );
        check(
            "@once 2024-10-27T02:30",
            "Europe/Berlin",
            "2024-01-01T00:00:00Z",
            &["2024-10-27T02:30:00+02:00"],
        );
        check(
            "@every 1h",
            "Europe/Berlin",
            "2024-03-31T00:30:00Z",
            &["2024-03-31T03:30:00+02:00", "2024-03-31T04:30:00+02:00"],
        );
    }

    #[test]
    fn zones_have_names_of_the_iana_data_base() {
        let check = |name: &str, is: bool| assert_eq!(is_zone(name), is, "{name}");
        check("UTC", true);
        check("Europe/Berlin", true);
        check("America/Argentina/Ushuaia", true);
        check("Mars/Base", false);
        check("", false);
        check("../../etc/passwd", false);
    }
}
