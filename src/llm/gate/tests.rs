//! Gates against simulated providers, in simulated time.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::state::{End, GateState, Ticket, Why};
use crate::domain::time::UtcMillis;
use crate::llm::model::{RateLimits, RateWindow};

const START: u64 = 1_000_000;

/// A provider that takes so many requests in each of its windows and refuses the rest.
#[derive(Debug, Clone, Copy)]
struct Provider {
    allowed: u64,
    window_ms: u64,
    /// Until the head of an answer.
    head_ms: u64,
    /// Until its end.
    answer_ms: u64,
    /// Whether it says what is left.
    headers: bool,
    /// Whether a refusal names a wait.
    retry_after: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Ask { waited: bool },
    Head,
    End(End),
}

/// What came of it.
#[derive(Debug)]
struct Course {
    limited: u64,
    ms: u64,
    asked: u64,
}

/// So many requests, all at once, each repeated until it is answered.
fn play(provider: Provider, count: usize) -> Course {
    let mut gate = GateState::default();
    let mut events: BTreeMap<(u64, usize), (usize, Step)> = BTreeMap::new();
    let mut order = 0;
    let mut put = |events: &mut BTreeMap<_, _>, at: u64, who: usize, step: Step| {
        order += 1;
        events.insert((at, order), (who, step));
    };
    for who in 0..count {
        put(&mut events, START, who, Step::Ask { waited: false });
    }
    let mut tickets: Vec<Option<Ticket>> = vec![None; count];
    let mut waiting: VecDeque<usize> = VecDeque::new();
    let (mut answered, mut limited, mut asked) = (0, 0, 0);
    let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
    let mut now = START;
    while answered < count {
        let ((at, _), (who, step)) = events.pop_first().expect("somebody waits for nothing");
        now = at;
        let time = UtcMillis(now);
        match step {
            Step::Ask { waited } => {
                if tickets[who].is_some() {
                    // It was called earlier and has been let through since.
                    continue;
                }
                waiting.retain(|other| *other != who);
                match gate.admit(1_000, waited, time) {
                    Ok(ticket) => {
                        asked += 1;
                        tickets[who] = Some(ticket);
                        let window = now / provider.window_ms;
                        let used = taken.entry(window).or_default();
                        let left = provider.allowed.saturating_sub(*used);
                        *used += 1;
                        let reset_ms = (window + 1) * provider.window_ms - now;
                        let told = RateLimits {
                            requests: Some(RateWindow {
                                limit: provider.allowed,
                                remaining: left.saturating_sub(1),
                                reset_ms,
                            }),
                            ..RateLimits::default()
                        };
                        if provider.headers {
                            // They are read when the head comes; the order of the heads is that of the requests.
                            gate.limits(told, time);
                        }
                        if left > 0 {
                            put(&mut events, now + provider.head_ms, who, Step::Head);
                            put(&mut events, now + provider.answer_ms, who, Step::End(End::Answered));
                        } else {
                            let retry_after_ms = provider.retry_after.then_some(reset_ms);
                            let end = End::Limited { retry_after_ms };
                            put(&mut events, now + provider.head_ms, who, Step::End(end));
                        }
                    }
                    Err(wait) => {
                        assert!(wait.until > time, "{wait:?}");
                        put(&mut events, wait.until.0, who, Step::Ask { waited: !wait.early });
                        if wait.early {
                            waiting.push_back(who);
                        }
                    }
                }
            }
            Step::Head => gate.heard(tickets[who].as_mut().expect("asked"), time),
            Step::End(end) => {
                let ticket = tickets[who].take().expect("asked");
                gate.ended(ticket, end, time);
                if end == End::Answered {
                    answered += 1;
                    tickets[who] = Some(ticket);
                } else {
                    limited += 1;
                    put(&mut events, now, who, Step::Ask { waited: false });
                }
            }
        }
        let room = gate.room().min(waiting.len());
        for who in waiting.drain(..room).collect::<Vec<_>>() {
            put(&mut events, now, who, Step::Ask { waited: false });
        }
    }
    Course {
        limited,
        ms: now - START,
        asked,
    }
}

#[test]
fn a_hundred_parallel_requests_do_not_each_find_out_that_there_is_a_limit() {
    let check = |headers: bool, retry_after: bool, limited_max: u64, ms_max: u64| {
        let provider = Provider {
            allowed: 10,
            window_ms: 1_000,
            head_ms: 50,
            answer_ms: 400,
            headers,
            retry_after,
        };
        let course = play(provider, 100);
        assert!(
            course.limited <= limited_max && course.ms <= ms_max,
            "headers {headers}, retry-after {retry_after}: {course:?}"
        );
    };
    check(true, false, 6, 15_000);
    check(true, true, 6, 15_000);
    check(false, true, 20, 30_000);
    check(false, false, 20, 30_000);
}

#[test]
fn a_provider_without_limits_is_soon_asked_as_fast_as_anybody_wants() {
    let provider = Provider {
        allowed: u64::MAX,
        window_ms: 1_000,
        head_ms: 50,
        answer_ms: 1_000,
        headers: false,
        retry_after: false,
    };
    let course = play(provider, 100);
    assert_eq!((course.limited, course.asked), (0, 100), "{course:?}");
    assert!(course.ms <= 1_300, "{course:?}");
}

fn ask(gate: &mut GateState, now: u64) -> Result<Ticket, (Why, u64)> {
    let waited = gate.admit(1, false, UtcMillis(now));
    waited.map_err(|wait| (wait.why, wait.until.0))
}

const FAILED: End = End::Failed { retry_after_ms: None };

fn fails(gate: &mut GateState, now: u64, count: usize) {
    for _ in 0..count {
        let ticket = ask(gate, now).expect("let through");
        gate.ended(ticket, FAILED, UtcMillis(now));
    }
}

#[test]
fn a_breaker_opens_lets_one_probe_through_and_closes_or_opens_for_longer() {
    let mut gate = GateState::default();
    fails(&mut gate, 1_000, 4);
    assert_eq!(gate.view(UtcMillis(1_000)).state, "closed");
    fails(&mut gate, 1_500, 1);
    let view = gate.view(UtcMillis(1_500));
    assert_eq!(
        (view.state, view.since, view.until),
        ("open", UtcMillis(1_500), Some(UtcMillis(3_500)))
    );
    assert_eq!(ask(&mut gate, 3_499), Err((Why::Open, 3_500)));
    assert_eq!(gate.view(UtcMillis(3_500)).state, "half_open", "by itself");

    let probe = ask(&mut gate, 3_500).expect("the probe");
    assert_eq!(ask(&mut gate, 3_500), Err((Why::Probed, 13_500)));
    gate.ended(probe, FAILED, UtcMillis(4_000));
    assert_eq!(ask(&mut gate, 4_000), Err((Why::Open, 8_000)), "twice as long");

    let lost = ask(&mut gate, 8_000).expect("a probe");
    gate.ended(lost, End::Dropped, UtcMillis(8_100));
    assert_eq!(gate.room(), 1, "a probe that nobody waited for is no answer");
    let probe = ask(&mut gate, 8_100).expect("another");
    gate.ended(probe, End::Answered, UtcMillis(8_200));
    let view = gate.view(UtcMillis(8_200));
    assert_eq!((view.state, view.opened), ("closed", 2));
    assert!(ask(&mut gate, 8_200).is_ok());

    let mut gate = GateState::default();
    let mut now = 1_000;
    fails(&mut gate, now, 5);
    for _ in 0..10 {
        let (_, until) = ask(&mut gate, now).expect_err("open");
        assert!(until - now <= 60_000, "{}", until - now);
        now = until;
        let probe = ask(&mut gate, now).expect("a probe");
        gate.ended(probe, FAILED, UtcMillis(now));
    }
}

#[test]
fn a_breaker_stays_closed_while_most_requests_are_answered_or_failures_are_rare() {
    let mut gate = GateState::default();
    for at in 0..30 {
        let now = 1_000 + at;
        let ticket = ask(&mut gate, now).expect("let through");
        gate.ended(ticket, if at % 3 == 0 { FAILED } else { End::Answered }, UtcMillis(now));
    }
    assert_eq!(gate.view(UtcMillis(2_000)).state, "closed");
    let mut gate = GateState::default();
    for at in 1..20 {
        fails(&mut gate, at * 30_000, 1);
    }
    assert_eq!(gate.view(UtcMillis(600_000)).state, "closed");
}

#[test]
fn what_one_request_is_told_of_waiting_all_keep_and_none_comes_at_the_same_moment() {
    let mut gate = GateState::default();
    let ticket = ask(&mut gate, 1_000).expect("let through");
    let end = End::Limited {
        retry_after_ms: Some(30_000),
    };
    gate.ended(ticket, end, UtcMillis(1_000));
    let mut slots: Vec<u64> = (0..20)
        .map(|_| match ask(&mut gate, 1_001) {
            Err((Why::Cooling, until)) => until,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(slots.iter().all(|at| *at >= 31_000), "{slots:?}");
    slots.dedup();
    assert_eq!(slots.len(), 20);
    let waited = gate.admit(1, true, UtcMillis(31_000));
    assert!(waited.is_ok(), "at the time that it was given: {waited:?}");
}

#[test]
fn tokens_that_are_not_left_are_waited_for_and_what_no_window_holds_is_left_to_the_provider() {
    let mut gate = GateState::default();
    let told = |remaining| RateLimits {
        tokens: Some(RateWindow {
            limit: 10_000,
            remaining,
            reset_ms: 5_000,
        }),
        ..RateLimits::default()
    };
    gate.limits(told(4_000), UtcMillis(1_000));
    assert!(gate.admit(3_000, false, UtcMillis(1_000)).is_ok());
    assert_eq!(gate.view(UtcMillis(1_000)).tokens_left, Some(1_000));
    let wait = gate.admit(3_000, false, UtcMillis(1_000)).expect_err("too many");
    assert_eq!((wait.why, wait.until), (Why::Limited, UtcMillis(6_000)));
    assert!(
        gate.admit(3_000, true, UtcMillis(6_000)).is_ok(),
        "the window is full again"
    );
    gate.limits(told(10_000), UtcMillis(7_000));
    assert!(gate.admit(50_000, false, UtcMillis(7_000)).is_ok());
}

proptest! {
    /// Whatever happens, the counts stay right, somebody is let through again in the end, and an open breaker lets
    /// nobody through.
    #[test]
    fn a_gate_never_stays_shut(
        steps in prop::collection::vec((0u8..8, 0u64..5_000, 0usize..8), 1..200),
    ) {
        let mut gate = GateState::default();
        let mut out: Vec<Ticket> = Vec::new();
        let mut now = START;
        for (what, ms, which) in steps {
            now += ms;
            let time = UtcMillis(now);
            match what {
                0..=2 => {
                    let open = gate.view(time).state == "open";
                    if let Ok(ticket) = gate.admit(10, ms % 2 == 0, time) {
                        prop_assert!(!open);
                        out.push(ticket);
                    }
                }
                3 => if let Some(ticket) = out.get_mut(which) { gate.heard(ticket, time) },
                4 if !out.is_empty() => {
                    let requests = Some(RateWindow { limit: 10, remaining: ms % 10, reset_ms: ms });
                    gate.limits(RateLimits { requests, ..RateLimits::default() }, time);
                }
                _ if !out.is_empty() => {
                    let ticket = out.remove(which % out.len());
                    let retry_after_ms = (ms % 3 == 0).then_some(ms);
                    let end = match what {
                        4 | 5 => End::Answered,
                        6 => End::Limited { retry_after_ms },
                        _ if ms % 4 == 0 => End::Dropped,
                        _ => End::Failed { retry_after_ms },
                    };
                    gate.ended(ticket, end, time);
                }
                _ => {}
            }
            prop_assert_eq!(gate.view(time).asking as usize, out.len());
        }
        for ticket in out {
            gate.ended(ticket, End::Dropped, UtcMillis(now));
        }
        let mut waited = false;
        for _ in 0..20 {
            match gate.admit(10, waited, UtcMillis(now)) {
                Ok(_) => return Ok(()),
                Err(wait) => {
                    now = wait.until.0;
                    waited = !wait.early;
                }
            }
        }
        prop_assert!(false, "nobody is let through: {:?}", gate);
    }
}
