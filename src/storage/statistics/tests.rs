//! Figures kept while facts are written are those that the journal adds up to, whenever the process ends.

use std::sync::Arc;

use super::*;
use crate::domain::conversation::{ModelAnswer, Stop, Usage};
use crate::domain::fact::{Attempt, Fact};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::{HANDOFF_VERSION, Handoff};
use crate::domain::id::{BootId, RunId};
use crate::domain::money::MicroUsd;
use crate::domain::name::{AgentName, ModelAlias, StepId};
use crate::domain::run::{Outcome, RunSpec};
use crate::domain::time::UtcMillis;
use crate::storage::batch::{Batch, Submission};
use crate::storage::store::Store;
use crate::storage::writer::Writer;

const DAY_MS: u64 = 86_400_000;

fn agent(name: &str) -> AgentName {
    AgentName::new(name).expect("valid")
}

fn attempt(step: &str, number: u32) -> Attempt {
    Attempt {
        step: StepId::new(step).expect("valid"),
        number,
    }
}

fn accepted(by: Option<&str>) -> Fact {
    Fact::RunAccepted(Arc::new(RunSpec {
        agent: by.map(agent),
        ..RunSpec::plain()
    }))
}

fn leased(step: &str, number: u32) -> Fact {
    Fact::StepLeased {
        attempt: attempt(step, number),
        boot: BootId::new(UtcMillis(1), 1),
    }
}

fn sent(step: &str, number: u32, to: &str) -> Fact {
    Fact::HandoffSent {
        attempt: attempt(step, number),
        handoff: Arc::new(Handoff {
            version: HANDOFF_VERSION,
            from: None,
            to: agent(to),
            task: "t".into(),
            context: Vec::new(),
            constraints: Vec::new(),
            deadline: UtcMillis(u64::MAX),
            output_schema: None,
            lessons: Vec::new(),
        }),
    }
}

fn intended(step: &str, number: u32, by: &str, model: &str, day: u32) -> Fact {
    Fact::TurnIntended {
        attempt: attempt(step, number),
        turn: 1,
        agent: agent(by),
        model: ModelAlias::new(model).expect("valid"),
        reserved: 1_000,
        reserved_cost: MicroUsd(90),
        day,
        prompt: "v1".into(),
    }
}

fn answered(step: &str, number: u32) -> Fact {
    Fact::TurnFinished {
        attempt: attempt(step, number),
        turn: 1,
        answer: Arc::new(ModelAnswer {
            text: "yes".into(),
            calls: Vec::new(),
            stop: Stop::End,
            usage: Usage {
                input: 100,
                cache_read: 30,
                cache_write: 20,
                output: 7,
                estimated: false,
            },
            answered_by: "x".into(),
            kept: Arc::new([]),
        }),
        cost: MicroUsd(40),
    }
}

fn not_answered(step: &str, number: u32, charged: u64) -> Fact {
    Fact::TurnFailed {
        attempt: attempt(step, number),
        turn: 1,
        class: FailureClass::Transport,
        reason: "r".into(),
        charged,
        cost: MicroUsd(charged / 100),
        retry_at: None,
    }
}

fn done(step: &str, number: u32) -> Fact {
    Fact::StepDone {
        attempt: attempt(step, number),
        output: "1".into(),
    }
}

fn failed(step: &str, number: u32) -> Fact {
    Fact::StepFailed {
        attempt: attempt(step, number),
        class: FailureClass::Check,
        reason: "no".into(),
        tried: Arc::new([]),
        retry_at: None,
    }
}

fn ended() -> Fact {
    Fact::RunDone {
        outcome: Outcome::Succeeded,
        result: "1".into(),
    }
}

/// Batches of two runs at once: a repeated request, a failed attempt, a step of a skill, a request over midnight, and one
/// whose end nobody saw.
fn script() -> Vec<(u64, u64, Vec<Fact>)> {
    let night = DAY_MS - 10;
    vec![
        (1, 1, vec![accepted(Some("coder"))]),
        (2, 2, vec![accepted(None)]),
        (1, 10, vec![leased("a", 1), sent("a", 1, "coder")]),
        (1, 20, vec![intended("a", 1, "coder", "gpt", 0)]),
        (2, 25, vec![leased("plan", 1), sent("plan", 1, "planner")]),
        (2, 30, vec![intended("plan", 1, "planner", "gpt", 0)]),
        (1, 120, vec![not_answered("a", 1, 0)]),
        (1, 130, vec![intended("a", 1, "coder", "offline", 0)]),
        (1, 230, vec![answered("a", 1)]),
        (1, 240, vec![failed("a", 1)]),
        (1, 250, vec![leased("a", 2), sent("a", 2, "coder")]),
        (1, night, vec![intended("a", 2, "coder", "gpt", 0)]),
        (
            2,
            night,
            vec![
                Fact::RunRecovered {
                    boot: BootId::new(UtcMillis(2), 2),
                },
                leased("plan", 1),
            ],
        ),
        (
            2,
            night + 5,
            vec![not_answered("plan", 1, 1_000), intended("plan", 1, "planner", "gpt", 0)],
        ),
        (1, DAY_MS + 10, vec![answered("a", 2), done("a", 2)]),
        (
            2,
            DAY_MS + 11,
            vec![Fact::StepCancelled {
                step: StepId::new("plan").expect("valid"),
            }],
        ),
        (1, DAY_MS + 20, vec![leased("tool", 1), done("tool", 1)]),
        (1, DAY_MS + 30, vec![ended()]),
        (2, DAY_MS + 40, vec![ended()]),
    ]
}

fn run(number: u64) -> RunId {
    RunId::new(UtcMillis(number), u128::from(number))
}

fn batch((number, at, facts): (u64, u64, Vec<Fact>)) -> Batch {
    let at = UtcMillis(at);
    if matches!(facts[0], Fact::RunAccepted(_)) {
        let submission = Submission {
            idempotency: None,
            body: [0; 32],
            active_max: 10,
        };
        return Batch::accept(run(number), at, facts, submission);
    }
    Batch::facts(run(number), at, facts)
}

fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens")
}

#[test]
fn figures_are_what_the_journal_adds_up_to_after_any_end_of_the_process() {
    for ends_after in 0..=script().len() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut first = script();
        let second = first.split_off(ends_after);
        for part in [first, second] {
            // A new process each.
            let store = store(&folder);
            let mut writer = Writer::new(store.clone()).expect("writes");
            for step in part {
                let verdicts = writer.commit(&[batch(step)]).expect("commits");
                assert!(verdicts[0].is_ok(), "{verdicts:?}");
                assert_eq!(
                    store.statistics().expect("reads"),
                    store.fold_statistics().expect("reads")
                );
            }
        }
    }
}

#[test]
fn what_is_counted_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder);
    let mut writer = Writer::new(store.clone()).expect("writes");
    // All in one transaction, as a busy committer does it.
    let batches: Vec<Batch> = script().into_iter().map(batch).collect();
    writer.commit(&batches).expect("commits");
    let figures = |key: StatisticsKey| store.statistics().expect("reads").remove(&key).unwrap_or_default();
    let of = |name: &str, model: &str| {
        figures(StatisticsKey::Agent {
            agent: agent(name),
            prompt: "v1".into(),
            model: ModelAlias::new(model).ok(),
        })
    };
    let check = |figures: Figures, turns: [u64; 2], tokens: u64, cost: u64, orders: [u64; 4]| {
        let found = [figures.done, figures.failed, figures.unknown, figures.cancelled];
        assert_eq!(
            ([figures.turns, figures.turns_failed], found),
            (turns, orders),
            "{figures:?}"
        );
        assert_eq!(
            (figures.tokens.total(), figures.cost),
            (tokens, MicroUsd(cost)),
            "{figures:?}"
        );
        assert_eq!(figures.turn_ms.count(), turns[0] + turns[1]);
        assert_eq!(figures.order_ms.count(), orders[0] + orders[1] + orders[2]);
    };
    // The attempt that failed is that of the model that answered it.
    check(of("coder", "offline"), [1, 0], 107, 40, [0, 1, 0, 0]);
    check(of("coder", "gpt"), [1, 1], 107, 40, [1, 0, 0, 0]);
    // The request whose end nobody saw is charged like the one that failed.
    check(of("planner", "gpt"), [0, 2], 2_000, 100, [0, 0, 0, 1]);
    assert_eq!(of("coder", "gpt").success_percent(), Some(100));
    assert_eq!(of("coder", "offline").success_percent(), Some(0));
    assert_eq!(of("planner", "gpt").success_percent(), None);
    let kinds = of("coder", "gpt").tokens;
    assert_eq!(
        (kinds.input, kinds.cache_read, kinds.cache_write, kinds.output),
        (50, 30, 20, 7)
    );
    // Over midnight: the request belongs to the day on which it was booked, the order to the one on which it ended.
    let day = |day, model: &str| {
        figures(StatisticsKey::Day {
            day,
            agent: agent("coder"),
            model: ModelAlias::new(model).ok(),
        })
    };
    check(day(0, "gpt"), [1, 1], 107, 40, [0, 0, 0, 0]);
    check(day(1, "gpt"), [0, 0], 0, 0, [1, 0, 0, 0]);
    check(figures(StatisticsKey::Run(run(1))), [2, 1], 214, 80, [1, 1, 0, 0]);
    assert_eq!(
        store.statistics_of_run(run(1)).expect("reads"),
        figures(StatisticsKey::Run(run(1)))
    );
    assert_eq!(store.statistics_of_run(run(9)).expect("reads"), Figures::default());
    assert_eq!(
        store.statistics_of_agents(Some(&agent("coder"))).expect("reads").len(),
        2
    );
    assert_eq!(store.statistics_of_agents(None).expect("reads").len(), 3);
    assert_eq!(store.statistics_of_days(1, 1).expect("reads").len(), 2);
    assert_eq!(store.statistics_of_days(0, u32::MAX).expect("reads").len(), 5);
}
