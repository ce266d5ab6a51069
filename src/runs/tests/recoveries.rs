//! Which ends of a life are laid at a run's door.

use std::sync::Arc;

use super::scenarios::leased;
use super::simulator::{Case, facts, id, load};
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::fact::{Attempt, Fact};
use crate::domain::limits::POISON_RECOVERIES_MAX;
use crate::domain::money::MicroUsd;
use crate::domain::name::{AgentName, ModelAlias, SkillName};
use crate::domain::time::UtcMillis;
use crate::runs::decision::{After, Event, RunLoop, react};
use crate::runs::state::RunState;

fn attempt() -> Attempt {
    Attempt {
        step: id("a"),
        number: 1,
    }
}

fn asks_a_model() -> Fact {
    Fact::TurnIntended {
        attempt: attempt(),
        turn: 1,
        agent: AgentName::new("worker").expect("valid"),
        model: ModelAlias::new("far").expect("valid"),
        reserved: 1,
        reserved_cost: MicroUsd(0),
        day: 0,
        prompt: "".into(),
    }
}

fn waits_for_the_gate() -> Fact {
    Fact::TurnDeferred {
        attempt: attempt(),
        turn: 1,
        model: ModelAlias::new("far").expect("valid"),
        reason: "busy".into(),
        until: UtcMillis(9),
    }
}

fn is_cut_off() -> Fact {
    Fact::TurnFailed {
        attempt: attempt(),
        turn: 1,
        class: crate::domain::failure::FailureClass::Crash,
        reason: "cut off".into(),
        charged: 0,
        cost: MicroUsd(0),
        retry_at: None,
    }
}

fn calls() -> Fact {
    Fact::CallIntended {
        attempt: attempt(),
        ordinal: 0,
        skill: SkillName::new("fs.write").expect("valid"),
        class: EffectClass::Idempotent,
        key: EffectKey::derive(super::simulator::run_id(), &id("a"), 1, 0),
    }
}

/// A run whose step was leased in the first life, in the middle of what these facts say, is taken up in life `boot`:
/// whether that is a fact, and whether it is laid at its door.
fn check(what: &str, session: &[Fact], after: After, boot: u128, told: bool, blamed: bool) {
    let (case, journal) = leased();
    let mut state: RunState = load(&journal);
    let at = facts(&journal).last().expect("facts").at;
    for fact in session {
        state.fold(fact, at);
    }
    let case = Case { boot, ..case };
    let before = state.recoveries;
    let mut run = RunLoop::new(state);
    let reaction = react(&mut run, Event::Taken { after }, at, &case);
    let is_told = reaction
        .facts
        .iter()
        .any(|fact| matches!(fact, Fact::RunRecovered { .. }));
    let found = (is_told, run.state.recoveries > before);
    assert_eq!(found, (told, blamed), "{what}: {after:?} in life {boot}");
}

#[test]
fn only_its_own_crash_or_an_end_of_the_process_while_it_worked_is_laid_at_its_door() {
    let (own, others) = (After::OwnCrash, After::OthersEnd);
    let waits = [asks_a_model()];
    // In the same life of the process.
    check("at work", &[], own, 1, true, true);
    check("waits for a model", &waits, own, 1, true, true);
    check("at work", &[], others, 1, false, false);
    check("waits for a model", &waits, others, 1, false, false);
    // In another one.
    check("at work", &[], others, 2, true, true);
    check("waits for a model", &waits, others, 2, true, false);
    check("waits at the gate", &[waits_for_the_gate()], others, 2, true, false);
    check("was answered", &[asks_a_model(), is_cut_off()], others, 2, true, true);
    check("calls", &[asks_a_model(), is_cut_off(), calls()], others, 2, true, true);
    // It was taken up in a second life, which ended before it had a slot there.
    let boot = crate::domain::id::BootId::new(UtcMillis(1), 2);
    let taken = Fact::RunRecovered { boot };
    check("waits for a slot", std::slice::from_ref(&taken), others, 3, true, false);
    // It had one, and died before it came to ask again: the wait of the earlier life is none of this one.
    let leased = Fact::StepLeased {
        attempt: attempt(),
        boot,
    };
    check("resumes", &[asks_a_model(), taken, leased], others, 3, true, true);
}

#[test]
fn a_run_that_waits_is_never_parked_and_one_that_works_is_after_its_bound() {
    let check = |asks: bool, parked: Option<u128>| {
        let (case, journal) = leased();
        let mut state = load(&journal);
        let at = facts(&journal).last().expect("facts").at;
        let mut found = None;
        for boot in 2..30 {
            if asks {
                state.fold(&asks_a_model(), at);
            }
            let case = Case { boot, ..case.clone() };
            let mut run = RunLoop::new(state);
            react(
                &mut run,
                Event::Taken {
                    after: After::OthersEnd,
                },
                at,
                &case,
            );
            state = run.state;
            if state.parked.is_some() {
                found = Some(boot - 1);
                break;
            }
            state.fold(
                &Fact::StepLeased {
                    attempt: attempt(),
                    boot: crate::runs::decision::Surroundings::boot(&case),
                },
                at,
            );
            if asks {
                state.fold(&is_cut_off(), at);
            }
        }
        assert_eq!(found, parked, "asks: {asks}");
    };
    check(true, None);
    check(false, Some(u128::from(POISON_RECOVERIES_MAX)));
}

#[test]
fn what_gets_a_run_further_clears_its_name() {
    let (case, journal) = leased();
    let mut state = load(&journal);
    let at = facts(&journal).last().expect("facts").at;
    let mut run = RunLoop::new(state.clone());
    react(&mut run, Event::Taken { after: After::OwnCrash }, at, &case);
    state = run.state;
    assert_eq!(state.recoveries, 1);
    let findings = Arc::new([]);
    let answered = Fact::AnswerRejected {
        attempt: attempt(),
        turn: 1,
        findings,
    };
    state.fold(&answered, at);
    assert_eq!(state.recoveries, 0);
}
