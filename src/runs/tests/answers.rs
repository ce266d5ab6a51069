//! What persons are asked and say: yes, no, nothing, too late, and of calls that nobody knows about.

use super::scenarios::{given, leases, on_failure, summary, with};
use super::simulator::{ASK_MS, Case, START, Says, StepEnd, facts, load, play, reopen};
use crate::domain::approval::{Given, TIMED_OUT};
use crate::domain::fact::Fact;
use crate::domain::failure::FailureClass;
use crate::domain::plan::OnFailure;
use crate::runs::decision::{AnswerRefused, Judged, judge_approval, judge_resolution, same_answer};

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

#[test]
fn an_answer_counts_once_and_only_for_what_is_asked() {
    let given = |granted, reason: &str| Given {
        hash: "a#1".into(),
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
    let attempt = ended.attempt(&super::simulator::id("a")).expect("known");
    let judge = |ordinal, says: Says| judge_resolution(&ended, &attempt, ordinal, says.resolution(), "me".into());
    assert!(matches!(judge(0, Says::Happened), Ok(Judged::Take(_))));
    let b = ended.attempt(&super::simulator::id("b")).expect("known");
    let of_b = judge_resolution(&ended, &b, 0, Says::Happened.resolution(), "me".into());
    assert_eq!(of_b, Err(AnswerRefused::NotAsked));
}
