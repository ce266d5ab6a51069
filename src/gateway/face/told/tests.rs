//! Whatever pieces are heard, and wherever the listening begins, the same is told.

use proptest::prelude::*;

use super::*;
use crate::domain::conversation::Arguments;
use crate::domain::fact::Attempt;
use crate::domain::money::MicroUsd;
use crate::domain::name::StepId;

fn attempt(number: u32) -> Attempt {
    Attempt {
        step: StepId::new(ONLY_STEP).expect("valid"),
        number,
    }
}

fn answer(text: &str, calls: &[&str]) -> Arc<ModelAnswer> {
    let calls = calls.iter().map(|name| CallRequest {
        id: (*name).into(),
        skill: (*name).into(),
        arguments: Arguments::Object(Arc::default()),
    });
    Arc::new(ModelAnswer {
        text: text.into(),
        calls: calls.collect(),
        stop: Stop::End,
        usage: Usage {
            input: 10,
            output: 2,
            ..Usage::default()
        },
        answered_by: "m".into(),
        kept: Arc::new([]),
    })
}

fn finished(turn: u32, text: &str, calls: &[&str]) -> Fact {
    Fact::TurnFinished {
        attempt: attempt(1),
        turn,
        answer: answer(text, calls),
        cost: MicroUsd::ZERO,
    }
}

fn done(text: &str) -> [Fact; 2] {
    let output: Arc<str> = Value::from(text).to_string().into();
    [
        Fact::StepDone {
            attempt: attempt(1),
            output: output.clone(),
        },
        Fact::RunDone {
            outcome: Outcome::Succeeded,
            result: output,
        },
    ]
}

fn heard(turn: u32, kind: PieceKind, offset: usize, text: &str) -> LivePiece {
    LivePiece {
        step: StepId::new(ONLY_STEP).expect("valid"),
        attempt: 1,
        turn,
        kind,
        offset: offset as u64,
        text: text.into(),
    }
}

/// The texts that count, and how often a text was dropped.
fn texts(says: &[Say]) -> (Vec<String>, usize) {
    let (mut all, mut open, mut drops) = (Vec::new(), String::new(), 0);
    for say in says {
        match say {
            Say::Text(text) => open.push_str(text),
            Say::EndText => all.push(std::mem::take(&mut open)),
            Say::Dropped => {
                open.clear();
                drops += 1;
            }
            Say::Anew => all.clear(),
            Say::Calls(_) | Say::End(_) => {}
        }
    }
    assert_eq!(open, "", "a text that counts is ended");
    (all, drops)
}

#[test]
fn a_turn_that_is_asked_again_goes_on_where_it_is_the_same_and_else_drops_what_was_told() {
    let check = |first: &str, again: &str, drops: usize| {
        let mut teller = Teller::new(false);
        let mut says = Vec::new();
        teller.piece(&heard(1, PieceKind::Text, 0, first), &mut says);
        teller.piece(&heard(1, PieceKind::Restart, 0, ""), &mut says);
        for (offset, piece) in again.char_indices() {
            teller.piece(&heard(1, PieceKind::Text, offset, &piece.to_string()), &mut says);
        }
        teller.fact(&finished(1, again, &[]), &mut says);
        for fact in done(again) {
            teller.fact(&fact, &mut says);
        }
        assert_eq!(
            texts(&says),
            (vec![again.to_owned()], drops),
            "{first:?} then {again:?}: {says:?}"
        );
    };
    check("one two", "one two three", 0);
    check("one two", "one two", 0);
    check("one two", "one 2", 1);
    check("one two", "one", 1);
    check("", "one", 0);
}

#[test]
fn a_text_with_a_schema_is_told_when_it_is_accepted_and_calls_are_told_at_the_end() {
    let mut says = Vec::new();
    let mut teller = Teller::new(true);
    teller.piece(&heard(1, PieceKind::Text, 0, "{\"a\""), &mut says);
    teller.fact(&finished(1, "{\"a\": \"x\"}", &[]), &mut says);
    let rejected = Fact::AnswerRejected {
        attempt: attempt(1),
        turn: 1,
        findings: Arc::new([]),
    };
    teller.fact(&rejected, &mut says);
    teller.fact(&finished(2, "```{\"a\":1}```", &[]), &mut says);
    assert_eq!(says, [], "nothing yet");
    let output: Arc<str> = "{\"a\":1}".into();
    let facts = [
        Fact::StepDone {
            attempt: attempt(1),
            output: output.clone(),
        },
        Fact::RunDone {
            outcome: Outcome::Succeeded,
            result: output,
        },
    ];
    for fact in facts {
        teller.fact(&fact, &mut says);
    }
    assert_eq!(texts(&says), (vec!["{\"a\":1}".to_owned()], 0));
    let facts = [finished(1, "I ask", &["weather"])];
    let told = Told::of(facts.iter().chain(&done("")), false);
    assert_eq!((told.texts, told.calls.len()), (vec!["I ask".to_owned()], 1));
    assert_eq!(told.usage.total(), 12);
}

#[test]
fn only_the_last_attempt_of_a_step_is_the_answer() {
    let of = |number: u32, turn: u32, text: &str| Fact::TurnFinished {
        attempt: attempt(number),
        turn,
        answer: answer(text, &[]),
        cost: MicroUsd::ZERO,
    };
    let facts = [of(1, 1, "Let me look."), of(2, 1, "Let me look."), of(2, 2, "done")];
    let told = Told::of(facts.iter().chain(&done("done")), false);
    assert_eq!(told.texts, ["Let me look.", "done"]);
    assert_eq!(told.usage.total(), 36, "all attempts are counted");
}

#[test]
fn an_end_without_an_answer_says_why() {
    let failed = |class| Fact::StepFailed {
        attempt: attempt(1),
        class,
        reason: "because".into(),
        tried: Arc::new([]),
        retry_at: None,
    };
    let ended = |outcome| Fact::RunDone {
        outcome,
        result: "\"the run\"".into(),
    };
    let check = |facts: &[Fact], expected: How| {
        let told = Told::of(facts, false);
        assert_eq!(told.ending.map(|ending| ending.how), Some(expected), "{facts:?}");
    };
    let class = FailureClass::Budget;
    let how = How::Failed {
        class: Some(class),
        reason: "because".into(),
    };
    check(&[failed(class), ended(Outcome::Failed)], how);
    check(
        &[failed(FailureClass::Refusal), ended(Outcome::Failed)],
        How::Refused("because".into()),
    );
    check(&[ended(Outcome::Cancelled)], How::Cancelled("the run".into()));
    let parked = Fact::RunParked { reason: "stuck".into() };
    let how = How::Failed {
        class: None,
        reason: "stuck".into(),
    };
    check(&[parked], how);
}

#[test]
fn the_end_of_a_run_that_was_reopened_is_none_and_what_comes_then_counts() {
    use crate::domain::time::UtcMillis;
    let lost = [
        finished(1, "I pay", &["pay"]),
        Fact::StepFailed {
            attempt: attempt(1),
            class: FailureClass::UnknownEffect,
            reason: "nobody knows".into(),
            tried: Arc::new([]),
            retry_at: None,
        },
        Fact::RunDone {
            outcome: Outcome::Unknown,
            result: "\"nobody knows\"".into(),
        },
    ];
    let reopened = Fact::RunReopened { deadline: UtcMillis(9) };
    let goes_on: Vec<Fact> = lost.into_iter().chain([reopened]).collect();
    let told = Told::of(&goes_on, false);
    assert_eq!((told.ending, told.usage.total()), (None, 12));
    let check = |rest: &[Fact], texts: &[&str], how: How| {
        let told = Told::of(goes_on.iter().chain(rest), false);
        assert_eq!(told.texts, texts);
        assert_eq!(told.ending.map(|ending| ending.how), Some(how));
    };
    let answered: Vec<Fact> = [finished(2, "paid", &[])].into_iter().chain(done("paid")).collect();
    check(&answered, &["I pay", "paid"], How::Answered);
    let cancelled = Fact::RunDone {
        outcome: Outcome::Cancelled,
        result: "\"enough\"".into(),
    };
    check(&[cancelled], &["I pay"], How::Cancelled("enough".into()));
}

proptest! {
    /// Turns are heard in pieces cut anywhere; some pieces are missed; every text comes whole and in order, and none is
    /// dropped when no turn was asked again.
    #[test]
    fn pieces_change_nothing_of_what_is_told(
        turns in prop::collection::vec("[a-z é😀]{1,24}", 1..5),
        missed in prop::collection::vec(any::<bool>(), 0..120),
        size in 1usize..6,
    ) {
        let mut missed = missed.into_iter();
        let mut teller = Teller::new(false);
        let mut says = Vec::new();
        let last = turns.len();
        for (place, text) in turns.iter().enumerate() {
            let turn = place as u32 + 1;
            let characters: Vec<(usize, char)> = text.char_indices().collect();
            for piece in characters.chunks(size) {
                let word: String = piece.iter().map(|(_, character)| character).collect();
                if missed.next() != Some(true) {
                    teller.piece(&heard(turn, PieceKind::Text, piece[0].0, &word), &mut says);
                }
            }
            let calls: &[&str] = if place + 1 < last { &["own"] } else { &[] };
            teller.fact(&finished(turn, text, calls), &mut says);
            // What was committed is not heard again.
            teller.piece(&heard(turn, PieceKind::Text, 0, text), &mut says);
        }
        for fact in done(&turns[last - 1]) {
            teller.fact(&fact, &mut says);
        }
        prop_assert_eq!(texts(&says), (turns, 0));
        prop_assert!(teller.has_ended());
    }
}
