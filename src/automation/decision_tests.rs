//! The decision against a model of the store, over clocks that jump, processes that die and runs that take their time.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::backfill::backfill;
use super::decision::{CATCH_UP_ROWS_MAX, adopt, decide, drop_through, finish};
use super::effect::{Change, Step, Verdict, Written};
use super::state::{RETRY_MS, ScheduleState};
use super::zone::Zone;
use crate::domain::id::RunId;
use crate::domain::name::ScheduleName;
use crate::domain::schedule::definition::{CatchUp, DEADLINE_MS, LATE_AFTER_MS, Overlap, Schedule, Target};
use crate::domain::schedule::expression::When;
use crate::domain::schedule::slot::{Kept, SlotRow, SlotState};
use crate::domain::time::UtcMillis;

/// 2024-03-30T22:00:00Z, three hours before Berlin's clocks go forward.
const START: UtcMillis = UtcMillis(1_711_836_000_000);
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

fn schedule(expression: &str, overlap: Overlap, catch_up: CatchUp, jitter_ms: u64) -> Schedule {
    Schedule {
        name: ScheduleName::new("nightly").expect("a name"),
        expression: expression.into(),
        when: When::read(expression).expect(expression),
        zone: "Europe/Berlin".into(),
        target: Target::Agent {
            agent: None,
            task: "x".into(),
        },
        workspace: None,
        overlap,
        catch_up,
        jitter_ms,
        late_after_ms: LATE_AFTER_MS,
        deadline_ms: DEADLINE_MS,
        outputs: Vec::new(),
    }
}

/// What the store, the runs and the clock are.
struct World {
    zone: Zone,
    now: UtcMillis,
    kept: Kept,
    rows: BTreeMap<UtcMillis, SlotRow>,
    /// How often each slot was started.
    starts: BTreeMap<UtcMillis, u32>,
    state: ScheduleState,
    runs: u128,
    went_back: bool,
    /// Whether starts are refused for now.
    refuses: bool,
}

impl World {
    fn new(schedule: Schedule) -> Self {
        let kept = Kept {
            schedule: schedule.name.clone(),
            expression: schedule.expression.clone(),
            zone: schedule.zone.clone(),
            anchor: START,
            floor: UtcMillis(0),
            through: START,
            paused: None,
            succeeded_at: None,
        };
        Self {
            zone: Zone::find("Europe/Berlin").expect("a zone"),
            now: START,
            state: ScheduleState::load(Arc::new(schedule), kept.clone(), Vec::new(), Vec::new()),
            kept,
            rows: BTreeMap::new(),
            starts: BTreeMap::new(),
            runs: 0,
            went_back: false,
            refuses: false,
        }
    }

    /// One transaction: all of it, or nothing and a panic, because nobody else writes here.
    fn commit(&mut self, written: &Written) {
        for change in &written.rows {
            let found = self.rows.get(&change.row.slot).map(|row| row.state);
            assert_eq!(found, change.expected, "slot {} is taken", change.row.slot);
        }
        for change in &written.rows {
            self.rows.insert(change.row.slot, change.row.clone());
        }
        self.kept = written.kept.clone();
    }

    /// One step; false when there is nothing to do. With `dies` the process ends right after the commit, or, before
    /// anything is written, right before it.
    fn step(&mut self, dies: Option<bool>) -> bool {
        let step = decide(&self.state, &self.zone, self.now);
        let writes = matches!(step, Step::Write(_) | Step::Start(_));
        if dies == Some(true) && writes {
            self.restart();
            return true;
        }
        match step {
            Step::Wait(until) => {
                assert!(
                    until.is_none_or(|until| until > self.now),
                    "waiting for the past: {until:?}"
                );
                self.state.rests(self.now);
                return false;
            }
            Step::Rewind => {
                let slots = self.rows.range(UtcMillis(self.now.0 + 1)..).map(|(slot, _)| *slot);
                let slots: Vec<UtcMillis> = slots.collect();
                self.state.rewound(self.now, slots);
                return true;
            }
            Step::Write(written) => {
                assert!(
                    written.rows.len() as u64 <= CATCH_UP_ROWS_MAX + 1,
                    "{} rows at once",
                    written.rows.len()
                );
                self.commit(&written);
                self.state.wrote(&written);
            }
            Step::Start(_) if self.refuses => {
                assert!(self.state.refused(self.now), "given up");
            }
            Step::Start(start) => {
                self.runs += 1;
                *self.starts.entry(start.slot).or_default() += 1;
                let mut row = SlotRow::new(
                    self.state.schedule.name.clone(),
                    start.slot,
                    SlotState::Running,
                    self.now,
                );
                row.run = Some(RunId::new(self.now, self.runs));
                let written = Written {
                    rows: vec![Change {
                        row,
                        expected: start.expected,
                    }],
                    kept: start.kept,
                    cancels: None,
                    notice: None,
                };
                self.commit(&written);
                self.state.wrote(&written);
            }
            Step::Cancel(runs) => {
                // A run that is asked to end does so, in its own time.
                self.state.asked_to_end(runs, self.now);
            }
        }
        if dies == Some(false) && writes {
            self.restart();
        }
        true
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.step(None) {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn restart(&mut self) {
        let ahead = self
            .rows
            .range(UtcMillis(self.kept.through.0 + 1)..)
            .map(|(slot, _)| *slot)
            .collect();
        let open = self
            .rows
            .values()
            .filter(|row| !row.state.is_final())
            .cloned()
            .collect();
        self.state = ScheduleState::load(self.state.schedule.clone(), self.kept.clone(), open, ahead);
    }

    /// A person asks for slots; how many wait now.
    fn backfill(&mut self, between: (UtcMillis, UtcMillis)) -> usize {
        let found = backfill(&self.state, &self.zone, between, &self.rows, "asked for", self.now);
        for change in &found.queued {
            // Asked for, a slot that failed may start again.
            self.starts.remove(&change.row.slot);
        }
        let written = |rows: Vec<Change>| Written {
            rows,
            kept: self.kept.clone(),
            cancels: None,
            notice: None,
        };
        let (queued, left) = (written(found.queued), written(found.left));
        self.commit(&left);
        self.commit(&queued);
        self.state.wrote(&queued);
        queued.rows.len()
    }

    fn end_one(&mut self, succeeded: bool) {
        self.end_one_as(&Verdict {
            succeeded,
            is_superseded: false,
            why: "x".into(),
        });
    }

    fn end_one_as(&mut self, verdict: &Verdict) {
        let Some(slot) = self.state.running.keys().next().copied() else {
            return;
        };
        let written = finish(&self.state, &self.zone, slot, verdict, self.now).expect("it runs");
        self.commit(&written);
        self.state.wrote(&written);
        assert_eq!(
            finish(&self.state, &self.zone, slot, verdict, self.now),
            None,
            "told twice, written once"
        );
    }

    /// Every slot has a row or stands in a summary; without a clock that went back, exactly one of both.
    fn check(&self) {
        let when = &self.state.schedule.when;
        let mut after = START;
        let mut slots = 0u64;
        while let Some(slot) = when
            .next(&self.zone, START, after)
            .filter(|slot| *slot <= self.kept.through)
        {
            after = slot;
            slots += 1;
            let own = u64::from(self.rows.get(&slot).is_some_and(|row| row.count == 1));
            let summed = self
                .rows
                .values()
                .filter(|row| row.count > 1 && row.first <= slot && slot <= row.slot);
            let rows = own + summed.count() as u64;
            assert!(
                rows == 1 || (self.went_back && rows > 1),
                "slot {slot} stands in {rows} rows"
            );
        }
        if !self.went_back {
            let counted: u64 = self.rows.values().map(|row| row.count).sum();
            assert_eq!(counted, slots);
        }
        for (slot, starts) in &self.starts {
            assert_eq!(*starts, 1, "slot {slot} was started {starts} times");
            assert!(
                when.next(&self.zone, START, UtcMillis(slot.0 - 1)) == Some(*slot),
                "{slot} is no slot"
            );
        }
    }
}

#[derive(Debug, Clone)]
enum Deed {
    Pass(u64),
    Back(u64),
    Look,
    Die,
    DieAt(bool),
    End(bool),
    Pause,
    Resume,
    Backfill(u64, u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (1..20 * MINUTE).prop_map(Deed::Pass),
        1 => (HOUR..60 * HOUR).prop_map(Deed::Pass),
        1 => (1..3 * HOUR).prop_map(Deed::Back),
        6 => Just(Deed::Look),
        1 => Just(Deed::Die),
        2 => any::<bool>().prop_map(Deed::DieAt),
        3 => any::<bool>().prop_map(Deed::End),
        1 => Just(Deed::Pause),
        1 => Just(Deed::Resume),
        2 => (0..80 * HOUR, 0..40 * HOUR).prop_map(|(ago, length)| Deed::Backfill(ago, length)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_slot_is_in_the_ledger_and_none_starts_twice_whatever_the_clock_and_the_process_do(
        expression in prop::sample::select(vec!["*/10 * * * *", "@every 7m", "30 * * * *", "*/30 1-3 * * *", "30 2 * * *"]),
        overlap in prop::sample::select(Overlap::ALL.to_vec()),
        catch_up in prop::sample::select(CatchUp::ALL.to_vec()),
        jitter_ms in prop::sample::select(vec![0, 30_000, 5 * MINUTE]),
        deeds in prop::collection::vec(deed(), 1..60),
        goes_back: bool,
    ) {
        let mut world = World::new(schedule(expression, overlap, catch_up, jitter_ms));
        for deed in deeds {
            match deed {
                Deed::Pass(ms) => world.now = world.now.plus_ms(ms),
                Deed::Back(ms) if goes_back => {
                    world.now = UtcMillis(world.now.0.saturating_sub(ms).max(START.0));
                    world.went_back = true;
                }
                Deed::Back(_) => {}
                Deed::Look => world.settle(),
                Deed::Die => world.restart(),
                Deed::DieAt(before) => {
                    world.step(Some(before));
                }
                Deed::End(succeeded) => world.end_one(succeeded),
                Deed::Backfill(ago, length) => {
                    // Slots from before the schedule was there are in nobody's ledger.
                    let from = UtcMillis(world.now.0.saturating_sub(ago).max(START.0 + 1));
                    world.backfill((from, from.plus_ms(length)));
                }
                Deed::Pause | Deed::Resume => {
                    let mut kept = world.state.kept.clone();
                    kept.paused = matches!(deed, Deed::Pause).then(|| (world.now, "x".into()));
                    world.kept = kept.clone();
                    world.state.kept = kept;
                }
            }
            world.check();
        }
        // Left alone, everything that waits runs and ends.
        world.settle();
        for _ in 0..10_000 {
            if world.state.running.is_empty() && world.state.queued.is_empty() {
                break;
            }
            world.end_one(true);
            world.settle();
        }
        world.check();
        prop_assert!(world.rows.values().all(|row| row.state.is_final()));
    }
}

/// The states of all rows, oldest first; summaries with their count.
fn states(world: &World) -> Vec<String> {
    let rows = world.rows.values();
    let words = rows.map(|row| match row.count {
        1 => row.state.as_str().to_owned(),
        more => format!("{} x{more}", row.state.as_str()),
    });
    words.collect()
}

/// Equal words that follow each other, with how many they are.
fn groups(words: Vec<String>) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    for word in words {
        match found.last_mut() {
            Some((last, count)) if *last == word => *count += 1,
            _ => found.push((word, 1)),
        }
    }
    found
}

#[test]
fn a_downtime_is_caught_up_as_the_schedule_says_and_written_down_within_bounds() {
    let check = |expression: &str, catch_up: CatchUp, hours: u64, expected: &[(&str, usize)]| {
        let mut world = World::new(schedule(expression, Overlap::Queue, catch_up, 0));
        world.settle();
        world.now = START.plus_ms(hours * HOUR);
        world.restart();
        world.settle();
        while !world.state.running.is_empty() {
            world.end_one(true);
            world.settle();
        }
        world.check();
        let found = groups(states(&world));
        let found: Vec<(&str, usize)> = found.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        assert_eq!(found, expected, "{expression} {catch_up:?} {hours} h");
    };
    check("*/30 * * * *", CatchUp::All, 2, &[("late", 3), ("skipped", 1)]);
    check(
        "*/30 * * * *",
        CatchUp::Last,
        2,
        &[("missed", 2), ("late", 1), ("ran", 1)],
    );
    check("*/30 * * * *", CatchUp::Skip, 2, &[("missed", 3), ("ran", 1)]);
    // What is caught up runs or waits already, and one may wait. The last slot is due this very moment.
    check(
        "* * * * *",
        CatchUp::Last,
        48,
        &[("missed x2779", 1), ("missed", 99), ("ran", 2)],
    );
    check(
        "* * * * *",
        CatchUp::All,
        48,
        &[("missed x2779", 1), ("late", 99), ("ran", 1), ("skipped", 1)],
    );
    check(
        "* * * * *",
        CatchUp::Skip,
        48,
        &[("missed x2779", 1), ("missed", 100), ("ran", 1)],
    );
}

/// What keeps a schedule from deciding.
#[derive(Debug, Clone, Copy)]
enum Hindered {
    Down,
    Drained,
    Refused,
    Stalled,
}

#[test]
fn slots_that_were_due_in_a_gap_are_caught_up_also_where_they_are_due_more_often_than_they_are_late() {
    let check = |gap: Hindered, catch_up: CatchUp, seconds: u64, expected: &[&str]| {
        let mut world = World::new(schedule("@every 10s", Overlap::Skip, catch_up, 0));
        world.settle();
        let end = START.plus_ms(seconds * 1_000);
        match gap {
            Hindered::Down => {
                world.now = end;
                world.restart();
            }
            Hindered::Drained => {
                world.now = end;
                world.state.held();
            }
            Hindered::Refused => {
                world.refuses = true;
                while world.now < end {
                    world.settle();
                    world.now = world.now.plus_ms(5_000);
                }
                world.refuses = false;
            }
            Hindered::Stalled => world.now = end,
        }
        world.settle();
        while !world.state.running.is_empty() {
            world.now = world.now.plus_ms(100);
            world.end_one(true);
            world.settle();
        }
        world.check();
        assert_eq!(states(&world), expected, "{gap:?} {catch_up:?} {seconds} s");
        let why = world.rows.values().map(|row| row.why.to_string());
        assert!(
            why.clone().all(|why| !why.contains("earlier")),
            "{:?}",
            why.collect::<Vec<_>>()
        );
    };
    for gap in [Hindered::Down, Hindered::Drained, Hindered::Refused, Hindered::Stalled] {
        check(gap, CatchUp::All, 35, &["ran", "ran", "ran"]);
        // One alone that is not late yet is in time.
        check(gap, CatchUp::Skip, 15, &["ran"]);
    }
    for gap in [Hindered::Down, Hindered::Drained, Hindered::Stalled] {
        check(gap, CatchUp::Skip, 35, &["missed", "missed", "missed"]);
        check(gap, CatchUp::Last, 35, &["missed", "missed", "ran"]);
    }
    // What was refused first waits already; of what came after it the last one runs.
    check(Hindered::Refused, CatchUp::Last, 35, &["ran", "missed", "ran"]);
    check(Hindered::Refused, CatchUp::Skip, 35, &["missed", "missed", "ran"]);
}

#[test]
fn slots_of_a_gap_that_may_run_beside_each_other_start_in_time_where_there_is_room_for_all() {
    let check = |expression: &str, catch_up: CatchUp, expected: &[(&str, usize)]| {
        let mut world = World::new(schedule(expression, Overlap::Allow, catch_up, 0));
        world.settle();
        world.now = START.plus_ms(35_500);
        world.restart();
        world.settle();
        while !world.state.running.is_empty() {
            world.end_one(true);
            world.settle();
        }
        world.check();
        let words = states(&world);
        let found: Vec<(&str, usize)> = expected
            .iter()
            .map(|(word, _)| (*word, words.iter().filter(|one| one == word).count()))
            .collect();
        assert_eq!(
            (&found[..], words.len()),
            (expected, expected.iter().map(|one| one.1).sum()),
            "{words:?}"
        );
    };
    check("@every 10s", CatchUp::Skip, &[("ran", 3)]);
    check("@every 1s", CatchUp::Skip, &[("missed", 35)]);
    check("@every 1s", CatchUp::Last, &[("missed", 34), ("ran", 1)]);
    check("@every 1s", CatchUp::All, &[("ran", 35)]);
}

#[test]
fn an_overlap_is_handled_as_the_schedule_says() {
    let check = |overlap: Overlap, expected: &[&str], cancels: usize| {
        let mut world = World::new(schedule("*/10 * * * *", overlap, CatchUp::Last, 0));
        for _ in 0..4 {
            world.now = world.now.plus_ms(10 * MINUTE);
            world.settle();
        }
        assert_eq!(states(&world), expected, "{overlap:?}");
        assert_eq!(world.state.cancelled.len(), cancels, "{overlap:?}");
    };
    check(Overlap::Skip, &["running", "skipped", "skipped", "skipped"], 0);
    check(Overlap::Queue, &["running", "queued", "skipped", "skipped"], 0);
    check(Overlap::Allow, &["running"; 4], 0);
    check(Overlap::Cancel, &["running", "skipped", "skipped", "queued"], 1);
}

#[test]
fn a_run_that_its_schedule_cancels_for_a_later_slot_is_skipped_and_one_that_fails_is_told() {
    let check = |is_superseded: bool, succeeded: bool, expected: (&str, &str, bool)| {
        let mut world = World::new(schedule("*/10 * * * *", Overlap::Cancel, CatchUp::Last, 0));
        for _ in 0..2 {
            world.now = world.now.plus_ms(10 * MINUTE);
            world.settle();
        }
        let slot = *world.state.running.keys().next().expect("it runs");
        let verdict = Verdict {
            succeeded,
            is_superseded,
            why: "x".into(),
        };
        let written = finish(&world.state, &world.zone, slot, &verdict, world.now).expect("it runs");
        let row = &written.rows[0].row;
        let found = (row.state.as_str(), &*row.why, written.notice.is_some());
        assert_eq!(found, expected, "{verdict:?}");
        world.end_one_as(&verdict);
        world.settle();
        assert_eq!(states(&world)[1..], ["running"], "the later one runs");
    };
    check(true, false, ("skipped", "a later slot took its place", false));
    check(false, false, ("failed", "x", true));
    // It was quicker than its end.
    check(false, true, ("ran", "", false));
}

#[test]
fn a_clock_that_was_years_ahead_does_not_silence_a_schedule() {
    let mut world = World::new(schedule("0 * * * *", Overlap::Skip, CatchUp::Skip, 0));
    world.settle();
    world.now = START.plus_ms(5 * 365 * 24 * HOUR + 30 * MINUTE);
    world.settle();
    world.now = UtcMillis(START.plus_ms(HOUR).0 - 1);
    world.restart();
    world.settle();
    world.now = START.plus_ms(HOUR);
    world.settle();
    assert_eq!(world.starts.keys().collect::<Vec<_>>(), [&START.plus_ms(HOUR)]);
}

#[test]
fn one_that_was_saved_under_a_clock_that_was_ahead_counts_from_when_it_is_right() {
    let mut world = World::new(schedule("@every 15m", Overlap::Skip, CatchUp::Skip, 0));
    let ahead = START.plus_ms(365 * 24 * HOUR);
    (world.kept.anchor, world.kept.through) = (ahead, ahead);
    world.restart();
    world.settle();
    world.now = START.plus_ms(15 * MINUTE);
    world.settle();
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn a_run_that_has_not_ended_is_asked_again_to_end_also_by_the_next_life() {
    let mut world = World::new(schedule("* * * * *", Overlap::Cancel, CatchUp::Skip, 0));
    world.now = START.plus_ms(MINUTE);
    world.settle();
    world.now = START.plus_ms(2 * MINUTE);
    // The slot waits on disk, and nobody was asked.
    world.step(Some(false));
    assert_eq!(states(&world), ["running", "queued"]);
    let asked = |world: &World| match decide(&world.state, &world.zone, world.now) {
        Step::Cancel(runs) => runs.len(),
        _ => 0,
    };
    assert_eq!(asked(&world), 1, "by the next life");
    world.settle();
    assert_eq!(asked(&world), 0);
    world.now = world.now.plus_ms(RETRY_MS);
    assert_eq!(asked(&world), 1, "again after a while");
    world.settle();
    world.now = START.plus_ms(MINUTE);
    world.step(None);
    assert_eq!(asked(&world), 1, "also when the clock was set back");
}

#[test]
fn a_summary_that_is_run_later_in_part_stands_for_what_is_left_of_it() {
    let check = |from: u64, to: u64, expected: &[(&str, usize)]| {
        let mut world = World::new(schedule("@every 1h", Overlap::Queue, CatchUp::Skip, 0));
        world.settle();
        world.now = START.plus_ms(120 * HOUR + MINUTE);
        world.restart();
        world.settle();
        assert_eq!(states(&world)[0], "missed x20");
        let at = |hours: u64| START.plus_ms(hours * HOUR);
        world.backfill((at(from), at(to)));
        world.check();
        let found = groups(states(&world));
        let found: Vec<(&str, usize)> = found.iter().map(|(word, count)| (word.as_str(), *count)).collect();
        assert_eq!(found, expected, "{from} to {to}");
        // Once more, into what is left.
        world.backfill((at(2), at(3)));
        world.check();
    };
    check(1, 20, &[("queued", 20), ("missed", 100)]);
    check(1, 19, &[("queued", 19), ("missed", 101)]);
    check(20, 21, &[("missed x19", 1), ("queued", 2), ("missed", 99)]);
    check(
        5,
        6,
        &[("missed x4", 1), ("queued", 2), ("missed x14", 1), ("missed", 100)],
    );
    check(
        2,
        2,
        &[("missed", 1), ("queued", 1), ("missed x18", 1), ("missed", 100)],
    );
    check(
        30,
        31,
        &[("missed x20", 1), ("missed", 9), ("queued", 2), ("missed", 89)],
    );
}

#[test]
fn jitter_puts_off_and_stays() {
    let schedule = schedule("*/10 * * * *", Overlap::Skip, CatchUp::Last, 5 * MINUTE);
    let slots = (1..200).map(|number| START.plus_ms(number * 10 * MINUTE));
    let jitters: Vec<u64> = slots.clone().map(|slot| schedule.jitter_of(slot)).collect();
    assert_eq!(jitters, slots.map(|slot| schedule.jitter_of(slot)).collect::<Vec<_>>());
    assert!(jitters.iter().all(|jitter| *jitter <= 5 * MINUTE));
    let (least, most) = (jitters.iter().min().expect("some"), jitters.iter().max().expect("some"));
    assert!(
        *least < 30_000 && *most > 270_000,
        "spread over the whole: {least} to {most}"
    );
    let slot = START.plus_ms(10 * MINUTE);
    let jitter = schedule.jitter_of(slot);
    let mut world = World::new(schedule);
    world.now = slot.plus_ms(jitter - 1);
    world.settle();
    assert_eq!(world.starts.len(), 0);
    world.now = slot.plus_ms(jitter);
    world.settle();
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn jitter_that_is_longer_than_the_time_between_slots_puts_none_off_beyond_the_next() {
    let mut world = World::new(schedule("@every 10s", Overlap::Skip, CatchUp::Skip, 5 * MINUTE));
    while world.now < START.plus_ms(5 * MINUTE) {
        world.settle();
        world.end_one(true);
        world.now = world.now.plus_ms(100);
    }
    world.check();
    assert!(world.rows.len() >= 28, "{}", world.rows.len());
    for (slot, row) in &world.rows {
        assert_eq!(row.state, SlotState::Ran, "{slot}: {}", row.why);
        assert!(row.decided_at < slot.plus_ms(10_100), "{slot}: {}", row.decided_at);
    }
}

#[test]
fn a_schedule_that_was_changed_writes_down_what_its_old_form_missed() {
    let mut world = World::new(schedule("*/30 * * * *", Overlap::Skip, CatchUp::All, 0));
    world.settle();
    world.now = START.plus_ms(2 * HOUR);
    let old = world.state.schedule.when.clone();
    let changed = Arc::new(schedule("@every 1h", Overlap::Skip, CatchUp::All, 0));
    world.state = ScheduleState::load(changed, world.kept.clone(), Vec::new(), Vec::new());
    let written = adopt(&world.state, Some((&old, &world.zone)), world.now);
    assert_eq!(
        written.rows.len(),
        3,
        "the one that is due this moment belongs to nobody"
    );
    assert!(written.rows.iter().all(|change| change.row.state == SlotState::Missed));
    assert!(written.notice.is_some());
    world.commit(&written);
    world.state.wrote(&written);
    world.settle();
    assert_eq!(world.starts.len(), 0);
    world.now = world.now.plus_ms(HOUR);
    world.settle();
    assert_eq!(world.starts.len(), 1, "the new one counts from the change");
}

#[test]
fn rows_over_the_bound_or_too_old_go_and_none_that_has_not_ended() {
    let at = |ms: Option<u64>| ms.map(UtcMillis);
    let check = |over: Option<u64>, older: Option<u64>, open: Option<u64>, wanted: Option<u64>| {
        let found = drop_through(at(over), at(older), at(open));
        assert_eq!(found, at(wanted), "{over:?} {older:?} {open:?}");
    };
    check(None, None, None, None);
    check(Some(5), None, None, Some(5));
    check(None, Some(7), None, Some(7));
    check(Some(5), Some(7), None, Some(7));
    check(Some(9), Some(7), None, Some(9));
    check(Some(9), Some(7), Some(6), Some(5));
    check(Some(9), None, Some(20), Some(9));
    check(Some(9), None, Some(0), None);
}
