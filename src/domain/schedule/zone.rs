//! The calendar on the line of real time.
//!
//! A zone is a row of segments with one offset each. Where two segments meet, the wall clock may be set forward (a
//! gap: some local times do not exist) or back (a fold: some exist twice). The rule, for shifts of any length:
//!
//! - An expression whose times of day are the same when they are moved by the shift (`30 * * * *` and one hour,
//!   `*/15 * * * *` and half an hour, `0 9 * * *` and a whole day) follows **elapsed time**: every instant whose local
//!   reading matches is a slot. Nothing is added at a gap, and both passes of a fold count.
//! - Any other expression follows the **calendar**: each local time is one slot. Times in a gap are due once, together,
//!   at the first instant after it; of a fold only the first pass counts.
//!
//! So no slot is lost, none is doubled, and what is hourly stays hourly.
//!
//! **Units**: seconds since 1970 in UTC, and local seconds as in [`super::calendar`].

use super::calendar::Calendar;

/// Segments further back than this cannot reach into the present one.
const REACH_S: i64 = 2 * 86_400;
/// How far ahead a slot is looked for: 100 years.
const HORIZON_S: i64 = 100 * 366 * 86_400;

/// Where the first segment of every zone begins.
pub const BEGINNING: i64 = i64::MIN / 4;
/// Where the last one ends.
pub const END: i64 = i64::MAX / 4;

/// A time with one offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// What is added to UTC, in seconds.
    pub offset: i64,
    /// Its first second; [`BEGINNING`] when there is none before.
    pub from: i64,
    /// The first second after it; [`END`] when there is none.
    pub until: i64,
}

/// A zone's offsets. The zone data is the world's; whoever has it hands it in.
pub trait Offsets {
    /// The segment of this second.
    fn segment(&self, at: i64) -> Segment;
}

/// The zone without any offset.
#[derive(Debug, Clone, Copy)]
pub struct Utc;

impl Offsets for Utc {
    fn segment(&self, _at: i64) -> Segment {
        Segment {
            offset: 0,
            from: BEGINNING,
            until: END,
        }
    }
}

/// What an expression makes of a segment.
struct Entered {
    segment: Segment,
    /// The local second from which on times count.
    local: i64,
    /// Whether the segment's first second is a slot for what its gap left out.
    makes_up: bool,
}

fn enter(calendar: &Calendar, zone: &dyn Offsets, at: i64) -> Entered {
    let segment = zone.segment(at);
    let begin = segment.from + segment.offset;
    let mut shown = i64::MIN;
    let mut earlier = segment;
    while earlier.from > BEGINNING.max(segment.from - REACH_S) {
        earlier = zone.segment(earlier.from - 1);
        shown = shown.max(earlier.until + earlier.offset);
    }
    // `shown`: up to here the wall clock had come before it was set.
    let plain = Entered {
        segment,
        local: begin,
        makes_up: false,
    };
    if shown == i64::MIN || shown == begin || calendar.is_unmoved_by((shown - begin).abs()) {
        return plain;
    }
    if shown > begin {
        return Entered { local: shown, ..plain };
    }
    let makes_up = calendar.next(shown).is_some_and(|local| local < begin);
    Entered { makes_up, ..plain }
}

/// The first slot after `after`; none within the next 100 years.
pub fn next(calendar: &Calendar, zone: &dyn Offsets, after: i64) -> Option<i64> {
    let mut at = after + 1;
    while at < after + HORIZON_S {
        let entered = enter(calendar, zone, at);
        let segment = entered.segment;
        if entered.makes_up && segment.from >= at {
            return Some(segment.from);
        }
        if let Some(local) = calendar.next((at + segment.offset).max(entered.local))
            && local < segment.until + segment.offset
        {
            return Some(local - segment.offset);
        }
        at = segment.until;
    }
    None
}

/// How many slots there are after `after`, up to and with `until`.
pub fn count(calendar: &Calendar, zone: &dyn Offsets, after: i64, until: i64) -> u64 {
    let mut at = after + 1;
    let mut slots = 0;
    while at <= until {
        let entered = enter(calendar, zone, at);
        let segment = entered.segment;
        let begin = segment.from + segment.offset;
        if entered.makes_up && segment.from >= at && !calendar.matches(begin) {
            slots += 1;
        }
        let end = segment.until.min(until + 1);
        slots += calendar.count((at + segment.offset).max(entered.local), end + segment.offset);
        at = segment.until;
    }
    slots
}

/// The instant of a local second: the first pass of a fold, the end of a gap.
pub fn instant_of(zone: &dyn Offsets, local: i64) -> i64 {
    let mut segment = zone.segment(local - REACH_S);
    while segment.until + segment.offset <= local {
        segment = zone.segment(segment.until);
    }
    (local - segment.offset).max(segment.from)
}
