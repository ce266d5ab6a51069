//! What persons are asked and say: yes, no, nothing, too late, and of calls that nobody knows about.

use super::scenarios::{given, leases, on_failure, summary, with};
use super::simulator::{
    ASK_MS, Case, Journal, START, Says, StepEnd, facts, go_on, hash, id, load, more, outcome, play, reopen, reopen_with,
};
use crate::domain::approval::{Given, TIMED_OUT};
use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::FailureClass;
use crate::domain::plan::OnFailure;
use crate::domain::run::{Outcome, RunStatus};
use crate::domain::time::UtcMillis;
use crate::runs::decision::{AnswerRefused, Judged, judge_approval, judge_resolution, same_answer};
use crate::runs::state::StepPhase;

fn two(end: StepEnd) -> Case {
    let case = given(vec![
        with("a", &[], |_| {}),
        with("b", &[], |_| {}),
        with("c", &["a"], |_| {}),
    ]);
    Case { slots: 1, ..case }.end("a", 1, end)
}

fn check(case: &Case, expected: &str) {
    assert_eq!(summary(&play(case)), expected);
}

#[test]
fn a_call_waits_for_a_yes_without_a_slot_and_the_attempt_goes_on_with_it() {
    let case = two(StepEnd::Asks(Some((true, 60))));
    let journal = play(&case);
    assert_eq!(summary(&journal), "succeeded: a 1 done, b 1 done, c 1 done");
    let of_a = leases(&journal, "a");
    let of_b = leases(&journal, "b");
    assert_eq!(of_a.len(), 2, "once before and once after the answer");
    assert!(of_b[0] < of_a[1], "the one slot was free meanwhile: {of_a:?} {of_b:?}");
}

#[test]
fn the_first_answer_counts_and_none_in_time_is_a_no() {
    let given = |end| {
        let journal = play(&two(end));
        let answers = facts(&journal).filter_map(|stamped| match &stamped.fact {
            Fact::ApprovalGiven { given, .. } => Some((given.granted, given.by.to_string(), stamped.at.0)),
            _ => None,
        });
        let answers: Vec<_> = answers.collect();
        let [answer] = &answers[..] else { panic!("{answers:?}") };
        answer.clone()
    };
    let (granted, by, _) = given(StepEnd::Asks(Some((false, 5))));
    assert_eq!((granted, by.as_str()), (false, "a person"));
    let (granted, by, at) = given(StepEnd::Asks(None));
    assert_eq!((granted, by.as_str()), (false, TIMED_OUT));
    assert!(at >= START + ASK_MS, "{at}");
    let (granted, by, _) = given(StepEnd::Asks(Some((true, ASK_MS + 30))));
    assert_eq!((granted, by.as_str()), (false, TIMED_OUT), "a yes that comes too late");
}

/// Who answered which question of a step with what, in order.
fn answers(journal: &Journal) -> Vec<(u32, bool, String)> {
    let answers = facts(journal).filter_map(|stamped| match &stamped.fact {
        Fact::ApprovalGiven { ordinal, given, .. } => Some((*ordinal, given.granted, given.by.to_string())),
        _ => None,
    });
    answers.collect()
}

#[test]
fn questions_of_one_turn_are_answered_in_any_order_and_the_attempt_goes_on_after_the_last() {
    let check = |says: [Option<(bool, u64)>; 2], expected: &[(u32, bool, &str)]| {
        let journal = play(&two(StepEnd::AsksBoth(says)));
        assert_eq!(summary(&journal), "succeeded: a 1 done, b 1 done, c 1 done");
        let expected: Vec<_> = expected
            .iter()
            .map(|(ordinal, granted, by)| (*ordinal, *granted, (*by).to_owned()))
            .collect();
        assert_eq!(answers(&journal), expected, "{says:?}");
        let asked = facts(&journal).filter(|stamped| matches!(stamped.fact, Fact::ApprovalAsked { .. }));
        assert_eq!(asked.count(), 2, "nothing is asked twice: {says:?}");
        assert_eq!(
            leases(&journal, "a").len(),
            2,
            "once before and once after the answers: {says:?}"
        );
    };
    let me = "a person";
    check([Some((true, 5)), Some((true, 60))], &[(0, true, me), (1, true, me)]);
    check([Some((true, 60)), Some((true, 5))], &[(1, true, me), (0, true, me)]);
    check([Some((false, 5)), Some((true, 60))], &[(0, false, me), (1, true, me)]);
    check([Some((true, 5)), None], &[(0, true, me), (1, false, TIMED_OUT)]);
    check([None, None], &[(0, false, TIMED_OUT), (1, false, TIMED_OUT)]);
}

#[test]
fn an_attempt_that_an_earlier_build_took_up_after_the_first_answer_goes_on() {
    let journal = play(&two(StepEnd::AsksBoth([Some((true, 5)), Some((true, 60))])));
    let first = journal.iter().position(|batch| {
        let mut facts = batch.iter();
        facts.any(|stamped| matches!(stamped.fact, Fact::ApprovalGiven { .. }))
    });
    let mut state = load(&journal[..=first.expect("answered")].to_vec());
    let attempt = state.attempt(&id("a")).expect("known");
    assert_eq!(state.steps[&id("a")].phase, StepPhase::Asking);
    let boot = state.last_boot.expect("leased");
    let at = UtcMillis(START + 200);
    state.fold(&Fact::StepLeased { attempt, boot }, at);
    let step = &state.steps[&id("a")];
    let since = facts(&journal).find(|stamped| matches!(stamped.fact, Fact::ApprovalAsked { .. }));
    let waited = at.since(since.expect("asked").at);
    assert_eq!(
        (&step.phase, step.waited_ms, step.waits_since),
        (&StepPhase::Running, waited, None)
    );
}

#[test]
fn what_waits_for_a_yes_is_stopped_with_its_run() {
    let asks = StepEnd::Asks(None);
    let case = Case {
        cancel_at: Some(START + 40),
        ..two(asks)
    };
    check(&case, "cancelled: a 1 cancelled, b 1 done, c 0 waits");
    let case = Case {
        deadline: START + 40,
        ..two(asks)
    };
    check(&case, "expired: a 1 cancelled, b 1 done, c 0 waits");
    let failing = given(vec![
        with("a", &[], |_| {}),
        with("b", &[], on_failure(OnFailure::FailFast)),
    ]);
    let failing = failing
        .end("a", 1, asks)
        .end("b", 1, StepEnd::Fails(FailureClass::Refusal));
    let failing = Case { slots: 1, ..failing };
    check(&failing, "failed: a 1 skipped, b 1 failed");
}

#[test]
fn an_answer_while_other_branches_work_lets_the_step_go_on() {
    let case = |says| two(StepEnd::Lost(says, 5)).takes("b", 1, 300);
    check(&case(Says::Happened), "succeeded: a 1 done, b 1 done, c 1 done");
    check(&case(Says::NotHappened), "succeeded: a 1 done, b 1 done, c 1 done");
    check(&case(Says::Abandoned), "failed: a 1 failed, b 1 done, c 0 skipped");
    // Nobody said anything before there was nothing else to do.
    check(
        &two(StepEnd::Lost(Says::Happened, 9_000)),
        "unknown: a 1 unknown, b 1 done, c 0 waits",
    );
}

#[test]
fn a_run_that_ended_unknown_goes_on_when_a_person_can_say() {
    let case = Case {
        deadline: START + 1_000,
        ..two(StepEnd::Unknown)
    };
    let ended = play(&case);
    assert_eq!(summary(&ended), "unknown: a 1 unknown, b 1 done, c 0 waits");
    // Long after its deadline: the time in which it waited does not count.
    let check = |says, expected: &str| {
        let journal = reopen(&case, &ended, "a", says, 3_600_000);
        assert_eq!(summary(&journal), expected, "{says:?}");
        let outcomes = facts(&journal).filter(|stamped| matches!(stamped.fact, Fact::RunDone { .. }));
        assert_eq!(outcomes.count(), 2);
        assert_eq!(load(&journal).deadline.0, START + 3_601_000);
    };
    check(Says::Happened, "succeeded: a 1 done, b 1 done, c 1 done");
    check(Says::NotHappened, "succeeded: a 1 done, b 1 done, c 1 done");
    check(Says::Abandoned, "failed: a 1 failed, b 1 done, c 0 skipped");
}

/// The run until a step waits as unknown, and parked then.
fn parked(case: &Case) -> Journal {
    let whole = play(case);
    let lost = whole.iter().position(|batch| {
        let mut facts = batch.iter();
        facts.any(|stamped| matches!(stamped.fact, Fact::StepUnknown { .. }))
    });
    let reason = "it got no further".into();
    more(
        &whole[..=lost.expect("a step is unknown")],
        vec![Fact::RunParked { reason }],
        5,
    )
}

fn wants_to_end() -> Fact {
    Fact::CancelRequested {
        outcome: Outcome::Cancelled,
        reason: "enough".into(),
    }
}

#[test]
fn a_parked_run_is_settled_by_a_person() {
    let case = two(StepEnd::Unknown).takes("b", 1, 300);
    let parked = parked(&case);
    assert_eq!(load(&parked).status(), RunStatus::Parked);
    let journal = reopen(&case, &parked, "a", Says::Happened, 3_600_000);
    assert_eq!(summary(&journal), "succeeded: a 1 done, b 1 done, c 1 done");
    let journal = reopen(&case, &parked, "a", Says::Abandoned, 3_600_000);
    assert_eq!(summary(&journal), "failed: a 1 failed, b 0 skipped, c 0 skipped");
    let journal = reopen_with(&case, &parked, wants_to_end(), 3_600_000);
    assert_eq!(summary(&journal), "unknown: a 1 unknown, b 0 waits, c 0 waits");
    let journal = reopen(&case, &journal, "a", Says::Happened, 9);
    assert_eq!(summary(&journal), "cancelled: a 1 cancelled, b 0 waits, c 0 waits");
    // Where nothing is unknown it ends at once.
    let case = two(StepEnd::Answers);
    let reason = "it got no further".into();
    let parked = more(&play(&case)[..1], vec![Fact::RunParked { reason }], 5);
    let journal = reopen_with(&case, &parked, wants_to_end(), 9);
    assert_eq!(summary(&journal), "cancelled: a 0 waits, b 0 waits, c 0 waits");
}

#[test]
fn a_run_whose_end_is_asked_for_waits_for_what_nobody_knows_and_ends_so_afterwards() {
    let case = two(StepEnd::Unknown).takes("b", 1, 300);
    let check = |case: &Case, word: &str| {
        let ended = play(case);
        assert_eq!(
            summary(&ended),
            "unknown: a 1 unknown, b 1 cancelled, c 0 waits",
            "{word}: {:?}",
            outcome(&ended)
        );
        let (_, reason) = outcome(&ended);
        assert!(
            reason.contains("step a waits for a person: a call was cut off"),
            "{reason}"
        );
        for cut in 1..ended.len() {
            let again = go_on(case, &ended[..cut]);
            assert_ne!(outcome(&again).0, Outcome::Failed, "cut after {cut}");
        }
        for (says, a) in [
            (Says::Happened, "cancelled"),
            (Says::NotHappened, "cancelled"),
            (Says::Abandoned, "failed"),
        ] {
            let journal = reopen(case, &ended, "a", says, 3_600_000);
            assert_eq!(
                summary(&journal),
                format!("{word}: a 1 {a}, b 1 cancelled, c 0 waits"),
                "{says:?}"
            );
        }
    };
    let cancelled = Case {
        cancel_at: Some(START + 100),
        ..case.clone()
    };
    check(&cancelled, "cancelled");
    let expired = Case {
        deadline: START + 100,
        ..case
    };
    check(&expired, "expired");
}

#[test]
fn a_call_that_a_kill_cut_off_is_not_let_go_with_a_run_whose_time_is_over() {
    let case = Case {
        deadline: START + 100,
        ..two(StepEnd::Unknown)
    };
    // The process dies in the call, and comes back when the time of the run is over.
    let whole = play(&Case {
        slots: 2,
        ..case.clone()
    });
    let leased = whole.iter().position(|batch| {
        let mut facts = batch.iter();
        facts.any(|stamped| matches!(&stamped.fact, Fact::StepLeased { attempt, .. } if attempt.step == id("a")))
    });
    let boot = crate::domain::id::BootId::new(UtcMillis(START), 9);
    let dead = more(
        &whole[..=leased.expect("a is leased")],
        vec![Fact::RunRecovered { boot }],
        3_600_000,
    );
    let journal = go_on(&case, &dead);
    assert!(
        summary(&journal).starts_with("unknown: a 1 unknown"),
        "{}",
        summary(&journal)
    );
    let journal = reopen(&case, &journal, "a", Says::Happened, 9);
    assert!(
        summary(&journal).starts_with("expired: a 1 cancelled"),
        "{}",
        summary(&journal)
    );
}

#[test]
fn an_answer_counts_once_and_only_for_what_is_asked() {
    let attempt = Attempt {
        step: id("a"),
        number: 1,
    };
    let given = |granted, reason: &str| Given {
        hash: hash(&attempt, 0),
        granted,
        by: "me".into(),
        reason: reason.into(),
    };
    assert_eq!(same_answer(&given(true, ""), &given(true, "")), Ok(Judged::Same));
    assert_eq!(same_answer(&given(false, "x"), &given(false, "y")), Ok(Judged::Same));
    let refused = same_answer(&given(true, "blue"), &given(true, "red"));
    assert!(matches!(refused, Err(AnswerRefused::Contradicts { .. })));
    let refused = same_answer(&given(true, ""), &given(false, ""));
    assert!(matches!(refused, Err(AnswerRefused::Contradicts { said }) if said == "yes, by me"));

    let journal = play(&two(StepEnd::Asks(None)));
    let asked = journal
        .iter()
        .position(|batch| {
            batch
                .iter()
                .any(|stamped| matches!(stamped.fact, Fact::ApprovalAsked { .. }))
        })
        .expect("asked");
    let open = load(&journal[..=asked].to_vec());
    assert!(matches!(judge_approval(&open, &given(true, "")), Ok(Judged::Take(_))));
    let other = Given {
        hash: "changed".into(),
        ..given(true, "")
    };
    assert_eq!(judge_approval(&open, &other), Err(AnswerRefused::NotAsked));
    assert_eq!(
        judge_approval(&load(&journal), &given(true, "")),
        Err(AnswerRefused::NotAsked)
    );

    let ended = load(&play(&two(StepEnd::Unknown)));
    let attempt = ended.attempt(&id("a")).expect("known");
    let judge = |ordinal, says: Says| judge_resolution(&ended, &attempt, ordinal, says.resolution(), "me".into());
    assert!(matches!(judge(0, Says::Happened), Ok(Judged::Take(_))));
    let b = ended.attempt(&id("b")).expect("known");
    let of_b = judge_resolution(&ended, &b, 0, Says::Happened.resolution(), "me".into());
    assert_eq!(of_b, Err(AnswerRefused::NotAsked));
}
