//! A snapshot folds to the same state as the facts that it stands for, for the run and for every session that lives.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use crate::agents::turn::state::{SessionWork, TurnRules, TurnState};
use crate::domain::compaction::compact;
use crate::domain::conversation::{ModelAnswer, Stop, Usage};
use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::failure::FailureClass;
use crate::domain::id::{BootId, RunId};
use crate::domain::name::{AgentName, ModelAlias, StepId};
use crate::domain::plan_document::read_plan;
use crate::domain::run::RunSpec;
use crate::domain::time::UtcMillis;
use crate::runs::state::RunState;

const STEPS: [&str; 3] = ["a", "b", "c"];

fn run() -> RunId {
    RunId::new(UtcMillis(1), 1)
}

fn attempt(step: usize, number: u32) -> Attempt {
    Attempt {
        step: StepId::new(STEPS[step]).expect("valid"),
        number,
    }
}

fn first_facts() -> Vec<Fact> {
    let steps: Vec<_> = STEPS
        .iter()
        .map(|id| json!({ "id": id, "agent": "x", "task": "t" }))
        .collect();
    let plan = Arc::new(read_plan(&json!({ "goal": "g", "steps": steps })).expect("readable"));
    let spec = RunSpec {
        plan: Some(plan.clone()),
        ..RunSpec::plain()
    };
    vec![
        Fact::RunAccepted(Arc::new(spec)),
        Fact::PlanProposed { round: 1, plan },
        Fact::PlanAccepted { round: 1 },
    ]
}

/// A life of three steps: `(step, choice)` begins an attempt when none runs, else goes on with it or ends it.
fn journal(choices: &[(usize, u8)]) -> (Vec<Stamped>, BTreeMap<usize, u32>) {
    let mut facts = first_facts();
    let mut running: BTreeMap<usize, u32> = BTreeMap::new();
    let mut begun: BTreeMap<usize, u32> = BTreeMap::new();
    let mut turns: BTreeMap<usize, u32> = BTreeMap::new();
    for (step, choice) in choices {
        let boot = BootId::new(UtcMillis(1), 1);
        let Some(number) = running.get(step).copied() else {
            let number = begun.entry(*step).or_default();
            *number += 1;
            running.insert(*step, *number);
            facts.push(Fact::StepLeased {
                attempt: attempt(*step, *number),
                boot,
            });
            continue;
        };
        let attempt = attempt(*step, number);
        let turn = turns.entry(*step).or_default();
        let end = |reason: &str| -> Arc<str> { reason.into() };
        facts.push(match choice {
            0..=3 => {
                *turn += 1;
                Fact::TurnIntended {
                    attempt,
                    turn: *turn,
                    agent: AgentName::new("x").expect("valid"),
                    model: ModelAlias::new("m").expect("valid"),
                    reserved: 5,
                    reserved_cost: crate::domain::money::MicroUsd(7),
                    day: 1,
                    prompt: "v1".into(),
                }
            }
            4..=6 => Fact::TurnFinished {
                cost: crate::domain::money::MicroUsd(9),
                attempt,
                turn: *turn,
                answer: Arc::new(ModelAnswer {
                    text: format!("{turn}").into(),
                    calls: Vec::new(),
                    stop: Stop::End,
                    usage: Usage::default(),
                    answered_by: "m".into(),
                    kept: Arc::new([]),
                }),
            },
            7 => Fact::RunRecovered { boot },
            8 => {
                running.remove(step);
                Fact::StepDone {
                    attempt,
                    output: "1".into(),
                }
            }
            9 => {
                running.remove(step);
                Fact::StepFailed {
                    attempt,
                    class: FailureClass::Check,
                    reason: end("no"),
                    tried: Arc::new([]),
                    retry_at: Some(UtcMillis(3)),
                }
            }
            10 => {
                running.remove(step);
                Fact::StepCancelled { step: attempt.step }
            }
            11 => Fact::StepRested {
                attempt,
                reason: end("cools down"),
                until: UtcMillis(4),
            },
            12 => Fact::TurnDeferred {
                attempt,
                turn: *turn + 1,
                model: ModelAlias::new("m").expect("valid"),
                reason: end("is full"),
                until: UtcMillis(4),
            },
            _ => Fact::CancelRequested {
                outcome: crate::domain::run::Outcome::Cancelled,
                reason: end("stop"),
            },
        });
    }
    let stamped = (1..).zip(facts).map(|(seq, fact)| Stamped {
        seq,
        at: UtcMillis(seq),
        fact,
    });
    (stamped.collect(), running)
}

fn session(attempt: Attempt, facts: &[Stamped]) -> TurnState {
    let rules = TurnRules {
        run: run(),
        attempt,
        agent: AgentName::new("x").expect("valid"),
        model: ModelAlias::new("m").expect("valid"),
        fallback: Vec::new(),
        deadline: UtcMillis(1_000_000),
        rest_over_ms: 60_000,
        prompt: "v1".into(),
        work: SessionWork::Agent { brief: "t".into() },
        turns_max: 9,
        turn_retries_max: 1,
        rejections_max: 1,
        exit_code_is_checked: false,
    };
    TurnState::load(rules, facts.iter().map(|stamped| &stamped.fact))
}

proptest! {
    #[test]
    fn a_snapshot_folds_to_the_same_state(choices in prop::collection::vec((0usize..3, 0u8..14), 0..60)) {
        let (facts, running) = journal(&choices);
        let kept = compact(facts.clone());
        prop_assert!(kept.len() <= facts.len());
        let through = facts.last().map_or(0, |stamped| stamped.seq);
        let mut whole = RunState::load(run(), &facts);
        let mut short = RunState::load(run(), &kept);
        // The snapshot says itself how far it reaches.
        whole.last_seq = through;
        short.last_seq = through;
        prop_assert_eq!(short, whole);
        for (step, number) in running {
            let attempt = attempt(step, number);
            prop_assert_eq!(session(attempt.clone(), &kept), session(attempt, &facts));
        }
        prop_assert_eq!(compact(kept.clone()), kept, "there is nothing more to leave out");
    }
}
