//! What holds for the journal of every run, and that a run cut anywhere ends as the uncut one does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::simulator::{
    Case, Journal, PlannerEnd, START, Says, StepEnd, UNSENDABLE, facts, go_on, id, outcome, plan, play, run_id,
    some_check, step,
};
use crate::domain::fact::Fact;
use crate::domain::failure::{FailureClass, NextAttempt};
use crate::domain::limits::{PLAN_REPAIRS_MAX, REPLANS_MAX};
use crate::domain::name::{SkillName, StepId};
use crate::domain::plan::{Join, Need, NeedState, OnFailure, Plan, Step, Work};
use crate::domain::plan_admission::PLANNING_STEP;
use crate::domain::run::Outcome;
use crate::runs::state::{RunState, StepPhase, StepState};

/// The graph order, said once more in its own words.
fn needs_allow(state: &RunState, plan: &Plan, step: &Step) -> bool {
    let met = step.needs.iter().filter(|need| {
        let phase = &state.steps[&need.step].phase;
        let policy = plan.step(&need.step).expect("planned").on_failure;
        match need.on {
            NeedState::Ok => {
                *phase == StepPhase::Done || (*phase == StepPhase::Failed && policy == OnFailure::Continue)
            }
            NeedState::Done => matches!(
                phase,
                StepPhase::Done | StepPhase::Failed | StepPhase::Skipped | StepPhase::Cancelled
            ),
            NeedState::Failed => *phase == StepPhase::Failed,
            NeedState::Skipped => *phase == StepPhase::Skipped,
        }
    });
    let met = met.count();
    match step.join {
        Join::All => met == step.needs.len(),
        Join::Any => met >= 1 || step.needs.is_empty(),
        Join::AtLeast(count) => met >= count as usize,
    }
}

/// Whether a step has failed in a way after which nothing new may start (before the plan is mended).
fn has_fatal_failure(state: &RunState) -> bool {
    state.planned().any(|(step, known)| {
        known.phase == StepPhase::Failed && matches!(step.on_failure, OnFailure::FailFast | OnFailure::Replan)
    })
}

/// Asserts what holds for every journal.
fn audit(case: &Case, journal: &Journal) {
    let mut state = RunState::new(run_id());
    let mut attempts: BTreeMap<StepId, u32> = BTreeMap::new();
    // Attempts since the plan in force was accepted.
    let mut begun: BTreeMap<StepId, u32> = BTreeMap::new();
    let mut leased_in_this_life: BTreeSet<StepId> = BTreeSet::new();
    let mut done: BTreeSet<StepId> = BTreeSet::new();
    for stamped in facts(journal) {
        let fact = &stamped.fact;
        assert!(
            state.done.is_none() && state.parked.is_none(),
            "{fact:?} follows the end"
        );
        match fact {
            Fact::RunRecovered { .. } => leased_in_this_life.clear(),
            // The attempt goes on in a new session.
            Fact::ApprovalGiven { attempt, .. } | Fact::CallResolved { attempt, .. } => {
                leased_in_this_life.remove(&attempt.step);
            }
            Fact::StepFailed { attempt, .. } if state.steps.get(&attempt.step).is_some_and(StepState::is_abandoned) => {
            }
            Fact::StepLeased { attempt, .. } => {
                let known = state.step(&attempt.step).expect("only known steps are leased");
                assert!(!done.contains(&attempt.step), "{attempt} is done and starts again");
                assert!(state.cancel.is_none(), "{attempt} starts after the end was asked for");
                assert_ne!(
                    known.phase,
                    StepPhase::Unknown,
                    "{attempt} starts while a person must say"
                );
                let last = attempts.entry(attempt.step.clone()).or_default();
                if known.phase == StepPhase::Running {
                    assert_eq!(attempt.number, *last, "a lease is taken up with its own attempt");
                    let again = !leased_in_this_life.insert(attempt.step.clone());
                    assert!(!again, "{attempt} is leased twice in one life");
                } else if let StepPhase::Resting(until) = known.phase {
                    assert_eq!(attempt.number, *last, "an attempt that rested goes on as itself");
                    assert!(until <= stamped.at, "{attempt} goes on before its time");
                    assert!(stamped.at.0 < case.deadline, "{attempt} goes on after the deadline");
                    // A plan is mended when what was begun has ended.
                    let may = !has_fatal_failure(&state) || state.needs_planning();
                    assert!(may, "{attempt} goes on after a fatal failure");
                    leased_in_this_life.insert(attempt.step.clone());
                } else {
                    assert!(stamped.at < state.deadline, "{attempt} starts after the deadline");
                    assert_eq!(attempt.number, *last + 1, "attempts of {} rise by one", attempt.step);
                    *last += 1;
                    leased_in_this_life.insert(attempt.step.clone());
                    *begun.entry(attempt.step.clone()).or_default() += 1;
                    if attempt.step.as_str() == PLANNING_STEP {
                        let most = case.retries + 1 + PLAN_REPAIRS_MAX;
                        assert!(begun[&attempt.step] <= most, "the planner is asked too often");
                        let running = state.planned().find(|(_, known)| known.phase == StepPhase::Running);
                        assert!(running.is_none(), "a plan is mended while {running:?} runs");
                    } else {
                        let plan = state.plan.as_ref().expect("a step is of a plan");
                        let step = plan.step(&attempt.step).expect("planned");
                        assert!(
                            matches!(known.phase, StepPhase::Waiting | StepPhase::Retrying(_)),
                            "{attempt} had ended: {:?}",
                            known.phase
                        );
                        if let StepPhase::Retrying(at) = known.phase {
                            assert!(at <= stamped.at, "{attempt} starts before its time");
                        }
                        assert!(
                            needs_allow(&state, plan, step),
                            "{attempt} starts before its needs allow"
                        );
                        assert!(!has_fatal_failure(&state), "{attempt} starts after a fatal failure");
                        let most = step.retries.unwrap_or(case.retries) + 1;
                        assert!(begun[&attempt.step] <= most, "{attempt} is one too many");
                    }
                }
            }
            Fact::PlanAccepted { .. } => begun.clear(),
            Fact::StepDone { attempt, .. }
            | Fact::StepFailed { attempt, .. }
            | Fact::StepRested { attempt, .. }
            | Fact::HandoffSent { attempt, .. }
            | Fact::HandoffRejected { attempt, .. }
            | Fact::CheckMade { attempt, .. } => {
                let known = state.step(&attempt.step).expect("known");
                assert_eq!(
                    (&known.phase, known.attempt),
                    (&StepPhase::Running, attempt.number),
                    "{fact:?}"
                );
            }
            _ => {}
        }
        if let Fact::StepDone { attempt, .. } = fact
            && attempt.step.as_str() != PLANNING_STEP
        {
            assert!(done.insert(attempt.step.clone()), "{attempt} is done twice");
        }
        state.fold(fact, stamped.at);
    }
    assert!(state.done.is_some() || state.parked.is_some(), "the journal has an end");
    assert!(state.replans <= REPLANS_MAX, "{} replans", state.replans);
    let (outcome, _) = state.done.clone().unwrap_or((Outcome::Failed, "".into()));
    let unknown = state.all_steps().any(|step| step.phase == StepPhase::Unknown);
    if unknown {
        assert_eq!(outcome, Outcome::Unknown, "a person must say");
    }
    if outcome != Outcome::Unknown {
        assert_eq!(
            outcome == Outcome::Cancelled || outcome == Outcome::Expired,
            state.cancel.is_some()
        );
    }
    for (id, known) in &state.steps {
        let open = matches!(
            known.phase,
            StepPhase::Running | StepPhase::Retrying(_) | StepPhase::Resting(_) | StepPhase::Asking
        );
        assert!(!open, "{id} is left as {:?}", known.phase);
    }
}

/// Whether chance (what ran beside what when the process died) may change the outcome. In a chain there is no
/// beside. Elsewhere, ends race when a join stops losers, when a failure keeps others from coming to their own
/// bad end, or when a plan is mended while others are under way.
fn is_decided_by_the_script(case: &Case, journal: &Journal) -> bool {
    if case.cancel_at.is_some() || case.deadline < START + 1_000_000 {
        return false;
    }
    let plans: Vec<&Arc<Plan>> = facts(journal)
        .filter_map(|stamped| match &stamped.fact {
            Fact::PlanProposed { plan, .. } => Some(plan),
            _ => None,
        })
        .collect();
    let is_chain = |plan: &Plan| {
        let pairs = plan.steps.windows(2);
        let mut linked = pairs.map(|pair| pair[1].needs.iter().any(|need| need.step == pair[0].id));
        linked.all(|linked| linked) && plan.steps.iter().all(|step| step.join == Join::All)
    };
    if plans.iter().all(|plan| is_chain(plan)) {
        return true;
    }
    let [plan] = plans[..] else { return plans.is_empty() };
    let mut may_fail = false;
    let mut may_be_unknown = false;
    let mut may_replan = false;
    for step in &plan.steps {
        let retries = step.retries.unwrap_or(case.retries);
        let end_of = |attempt: u32| {
            case.ends
                .get(&(step.id.clone(), attempt))
                .map_or(StepEnd::Answers, |end| end.0)
        };
        let fails = |end: StepEnd| match end {
            StepEnd::Fails(_) | StepEnd::ChecksFail | StepEnd::Refuses => true,
            StepEnd::Answers | StepEnd::Unknown | StepEnd::Asks(_) | StepEnd::AsksBoth(_) | StepEnd::Lost(..) => false,
        };
        let is_unsendable = step.constraints.iter().any(|text| &**text == UNSENDABLE);
        let is_refused = is_unsendable || (1..=retries + 1).any(|attempt| end_of(attempt) == StepEnd::Refuses);
        let is_final = |end: StepEnd| match end {
            StepEnd::Fails(class) => class.next_attempt() == NextAttempt::None,
            _ => false,
        };
        let fails_for_good = is_refused
            || (1..=retries + 1).all(|attempt| fails(end_of(attempt)))
            || (1..=retries + 1).any(|attempt| is_final(end_of(attempt)));
        may_fail |= fails_for_good && step.on_failure != OnFailure::Continue;
        may_replan |= case.given.is_none() && (is_refused || (fails_for_good && step.on_failure == OnFailure::Replan));
        may_be_unknown |=
            (1..=retries + 1).any(|attempt| matches!(end_of(attempt), StepEnd::Unknown | StepEnd::Lost(..)));
        // Whether an answer comes before the run has nothing else to do is a matter of time.
        if (1..=retries + 1).any(|attempt| matches!(end_of(attempt), StepEnd::Lost(..))) {
            return false;
        }
    }
    let joins_all = plan.steps.iter().all(|step| step.join == Join::All);
    if may_replan || (may_fail && may_be_unknown) {
        return false;
    }
    joins_all || !(may_fail || may_be_unknown)
}

fn classes() -> impl Strategy<Value = FailureClass> {
    use FailureClass::{Check, Crash, Refusal, Timeout, ToolError, Transport};
    prop::sample::select(vec![Transport, Timeout, Crash, ToolError, Check, Refusal])
}

fn answer() -> impl Strategy<Value = Option<(bool, u64)>> {
    prop::option::of((any::<bool>(), 0u64..140))
}

fn step_end() -> impl Strategy<Value = (StepEnd, u64)> {
    let end = prop_oneof![
        6 => Just(StepEnd::Answers),
        1 => Just(StepEnd::ChecksFail),
        3 => classes().prop_map(StepEnd::Fails),
        1 => prop::bool::weighted(0.5).prop_map(|yes| if yes { StepEnd::Unknown } else { StepEnd::Answers }),
        1 => answer().prop_map(StepEnd::Asks),
        1 => [answer(), answer()].prop_map(StepEnd::AsksBoth),
        1 => (prop::sample::select(vec![Says::Happened, Says::NotHappened, Says::Abandoned]), 0u64..60)
            .prop_map(|(says, ms)| StepEnd::Lost(says, ms)),
        1 => prop::bool::weighted(0.5).prop_map(|yes| if yes { StepEnd::Refuses } else { StepEnd::Answers }),
    ];
    (end, 0u64..40)
}

fn a_step(index: usize, chain: bool) -> impl Strategy<Value = Step> {
    let need_state = prop_oneof![
        5 => Just(NeedState::Ok),
        2 => Just(NeedState::Done),
        1 => Just(NeedState::Failed),
        1 => Just(NeedState::Skipped),
    ];
    let needs = prop::collection::vec(prop::option::weighted(0.4, need_state.clone()), index);
    let on_failure = prop::sample::select(vec![
        OnFailure::FailFast,
        OnFailure::SkipSubtree,
        OnFailure::Continue,
        OnFailure::Continue,
        OnFailure::Replan,
    ]);
    let rest = (
        0u32..5,
        prop::option::of(0u32..3),
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.04),
        0u64..50,
    );
    (needs, need_state, on_failure, rest).prop_map(move |(needs, linked, on_failure, rest)| {
        let (join, retries, checked, by_skill, unsendable, estimated_ms) = rest;
        let mut made = step(&format!("s{index}"));
        let mut needs: Vec<Need> = (0..)
            .zip(needs)
            .filter_map(|(at, on)| {
                Some(Need {
                    step: id(&format!("s{at}")),
                    on: on.filter(|_| !chain)?,
                })
            })
            .collect();
        if chain && index > 0 {
            needs.push(Need {
                step: id(&format!("s{}", index - 1)),
                on: linked,
            });
        }
        made.join = match join {
            0 if !chain => Join::Any,
            1 if !chain && needs.len() > 1 => Join::AtLeast(needs.len() as u32 - 1),
            _ => Join::All,
        };
        made.needs = needs;
        made.on_failure = on_failure;
        made.retries = retries;
        made.estimated_ms = estimated_ms;
        if checked {
            made.checks.push(some_check());
        }
        if by_skill {
            made.work = Work::Skill(SkillName::new("fs.read").expect("valid"));
        } else if unsendable {
            made.constraints.push(UNSENDABLE.into());
        }
        made
    })
}

fn a_plan() -> impl Strategy<Value = Arc<Plan>> {
    let steps = (1usize..9, prop::bool::weighted(0.3)).prop_flat_map(|(count, chain)| {
        let steps: Vec<_> = (0..count).map(|index| a_step(index, chain)).collect();
        steps
    });
    (steps, any::<bool>()).prop_map(|(steps, first)| {
        let mut plan = plan(steps);
        plan.result = first.then(|| id("s0"));
        Arc::new(plan)
    })
}

/// Attempts that give their slot back for a while.
fn rests() -> impl Strategy<Value = BTreeMap<(StepId, u32), u64>> {
    let step = (0usize..10).prop_map(|index| match index {
        9 => id(PLANNING_STEP),
        index => id(&format!("s{index}")),
    });
    prop::collection::btree_map((step, 1u32..4), START + 10..START + 2_000, 0..5)
}

fn a_case() -> impl Strategy<Value = Case> {
    let planner = |plan: Arc<Plan>| {
        let other = a_plan().prop_map(PlannerEnd::Plans);
        let end = prop_oneof![
            8 => Just(PlannerEnd::Plans(plan)),
            4 => other,
            2 => Just(PlannerEnd::PlansBadly),
            2 => classes().prop_map(PlannerEnd::Fails),
            1 => Just(PlannerEnd::Unknown),
        ];
        prop::collection::vec(end, 1..6)
    };
    let ends = prop::collection::vec(prop::collection::vec(step_end(), 4), 9);
    let moments = (
        prop::option::weighted(0.15, START..START + 300),
        prop::option::weighted(0.15, START + 5..START + 300),
    );
    (
        a_plan(),
        any::<(bool, bool)>(),
        ends,
        1usize..5,
        0u32..3,
        moments,
        1u64..30,
        rests(),
    )
        .prop_flat_map(
            move |(plan, (given, echo), ends, slots, retries, moments, usual_ms, rests)| {
                let case = Case {
                    given: given.then(|| plan.clone()),
                    planner: Vec::new(),
                    ends: BTreeMap::new(),
                    usual_ms,
                    rests: BTreeMap::new(),
                    slots,
                    retries,
                    cancel_at: moments.0,
                    deadline: moments.1.unwrap_or(START + 10_000_000),
                    checks: Vec::new(),
                    echo,
                    boot: 1,
                };
                (Just((case, ends, rests)), planner(plan))
            },
        )
        .prop_map(|((mut case, ends, rests), planner)| {
            case.planner = planner;
            case.rests = rests;
            for (index, ends) in ends.into_iter().enumerate() {
                let attempts = (1u32..).zip(ends);
                case.ends
                    .extend(attempts.map(|(attempt, end)| ((id(&format!("s{index}")), attempt), end)));
            }
            case
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The process dies after any batch, and once more later on: the run ends, keeps every rule, and ends the same way where the
    /// script alone decides.
    #[test]
    fn cut_after_any_batch_it_ends_as_the_uncut_run_does(case in a_case(), again in 0usize..100) {
        let uncut = play(&case);
        audit(&case, &uncut);
        let (ended, result) = outcome(&uncut);
        let comparable = is_decided_by_the_script(&case, &uncut);
        let check = |journal: &Journal, batches: usize| {
            audit(&case, journal);
            if comparable {
                let again = outcome(journal);
                assert_eq!(again.0, ended, "cut after {batches} batches: {}, not {result}", again.1);
                if ended == Outcome::Succeeded {
                    assert_eq!(again.1, result, "cut after {batches} batches");
                }
            }
        };
        for batches in 1..uncut.len() {
            let once = go_on(&case, &uncut[..batches]);
            check(&once, batches);
            // And again, somewhere in the second life.
            let second = batches + 1 + again % (once.len() - batches);
            if second < once.len() {
                check(&go_on(&case, &once[..second]), second);
            }
        }
    }
}
