//! Facts survive the disk, and the disk format of this version stays readable: the golden file was written once,
//! by the first program with this layout, and every later build opens it.

use std::sync::Arc;

use serde_json::json;

use super::fact::{EntryRecord, SnapshotRecord};
use crate::domain::approval::{Ask, Given};
use crate::domain::capability::CapabilitySet;
use crate::domain::check::CheckReport;
use crate::domain::conversation::{Arguments, CallRequest, KeptBlock, ModelAnswer, Stop, Usage};
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::fact::{Attempt, Fact, Stamped};
use crate::domain::failure::FailureClass;
use crate::domain::handoff::{ContextEntry, ContextSource, Finding, HANDOFF_VERSION, Handoff, Lesson};
use crate::domain::id::{BootId, RunId};
use crate::domain::money::MicroUsd;
use crate::domain::name::{AgentName, ModelAlias, SkillName, StepId};
use crate::domain::plan_document::{read_checks, read_plan};
use crate::domain::resolution::Resolution;
use crate::domain::run::{Outcome, RunSpec};
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;
use crate::storage::codec;

const GOLDEN_1: &[u8] = include_bytes!("golden/facts-1.bin");
const GOLDEN_2: &[u8] = include_bytes!("golden/facts-2.bin");
const GOLDEN_3: &[u8] = include_bytes!("golden/facts-3.bin");
const GOLDEN_4: &[u8] = include_bytes!("golden/facts-4.bin");
const GOLDEN_5: &[u8] = include_bytes!("golden/facts-5.bin");
const GOLDEN_6: &[u8] = include_bytes!("golden/facts-6.bin");

/// One fact of every kind, with text that likes to break things.
fn samples() -> Vec<Fact> {
    let awkward = "emoji 👨‍👩‍👧‍👦 \u{202e} NUL \0 tag \u{e0041} end";
    let attempt = || Attempt {
        step: StepId::new("draft").expect("valid"),
        number: 2,
    };
    let agent = || AgentName::new("coder").expect("valid");
    let boot = BootId::new(UtcMillis(5), 77);
    let run = RunId::new(UtcMillis(3), 9);
    let plan = Arc::new(
        read_plan(
            &json!({ "goal": awkward, "steps": [{ "id": "a", "agent": "coder", "task": "t", "retries": 3,
            "inputs": { "x": { "from": "steps.b.out#/y" } } }] }),
        )
        .expect("readable"),
    );
    let findings: Arc<[Finding]> = Arc::new([Finding::new("/steps/0", awkward)]);
    let spec = RunSpec {
        task: awkward.into(),
        agent: Some(agent()),
        plan: Some(plan.clone()),
        workspace: "/w".into(),
        checks: read_checks("", &[json!({ "type": "exit_code", "equals": 3 })]).expect("readable"),
        output_schema: Some(Arc::new(json!({ "type": "object" }))),
        deadline: UtcMillis(u64::MAX),
        tokens_max: Some(10),
        cost_max: Some(MicroUsd(u64::MAX)),
        model: Some(ModelAlias::new("m").expect("valid")),
        origin: "cli".into(),
        retry_of: Some(run),
        grant: Some(CapabilitySet::parse(["exec:git", "net:*.rs:443"]).expect("sound")),
    };
    let handoff = Handoff {
        version: HANDOFF_VERSION,
        from: None,
        to: agent(),
        task: awkward.into(),
        context: vec![
            ContextEntry {
                name: "l".into(),
                source: ContextSource::Literal(json!([1.5, null])),
            },
            ContextEntry {
                name: "o".into(),
                source: ContextSource::Output {
                    step: StepId::new("a").expect("valid"),
                    pointer: "/x".into(),
                },
            },
        ],
        constraints: vec!["short".into()],
        deadline: UtcMillis(8),
        output_schema: Some(Arc::new(json!(true))),
        lessons: vec![Lesson {
            attempt: 1,
            class: FailureClass::Check,
            reason: "no".into(),
            tried: vec!["this".into()],
        }],
    };
    let answer = ModelAnswer {
        text: awkward.into(),
        calls: vec![
            CallRequest {
                id: "1".into(),
                skill: "fs.read".into(),
                arguments: Arguments::Object(json!({ "p": awkward }).into()),
            },
            CallRequest {
                id: "2".into(),
                skill: "x".into(),
                arguments: Arguments::Malformed {
                    reason: "r".into(),
                    preview: "{".into(),
                },
            },
        ],
        stop: Stop::Length,
        usage: Usage {
            input: 300,
            output: 70_000,
            cache_read: 200,
            cache_write: 50,
            estimated: true,
        },
        answered_by: "offline".into(),
        kept: Arc::new([KeptBlock {
            dialect: "anthropic".into(),
            before: 1,
            json: r#"{"type":"thinking","thinking":"\u0041 ","signature":"x=="}"#.into(),
        }]),
    };
    let key = EffectKey::derive(run, &attempt().step, 2, 5);
    vec![
        Fact::RunAccepted(Arc::new(spec)),
        Fact::RunRecovered { boot },
        Fact::PlanProposed { round: 1, plan },
        Fact::PlanRejected {
            round: 2,
            findings: findings.clone(),
        },
        Fact::PlanAccepted { round: 3 },
        Fact::StepLeased {
            attempt: attempt(),
            boot,
        },
        Fact::HandoffSent {
            attempt: attempt(),
            handoff: Arc::new(handoff),
        },
        Fact::HandoffAccepted { attempt: attempt() },
        Fact::HandoffRejected {
            attempt: attempt(),
            findings: findings.clone(),
        },
        Fact::TurnIntended {
            attempt: attempt(),
            turn: 1,
            agent: agent(),
            model: ModelAlias::new("m").expect("valid"),
            reserved: 4096,
            reserved_cost: MicroUsd(7),
            day: 20_000,
            prompt: awkward.into(),
        },
        Fact::TurnFinished {
            cost: MicroUsd(9),
            attempt: attempt(),
            turn: 1,
            answer: Arc::new(answer),
        },
        Fact::TurnFailed {
            attempt: attempt(),
            turn: 2,
            class: FailureClass::Overload,
            reason: "busy".into(),
            charged: 7,
            cost: MicroUsd(8),
            retry_at: Some(UtcMillis(99)),
        },
        Fact::TurnDeferred {
            attempt: attempt(),
            turn: 2,
            model: ModelAlias::new("m").expect("valid"),
            reason: "cooling down".into(),
            until: UtcMillis(100),
        },
        Fact::CompactionBegun {
            attempt: attempt(),
            through: u32::MAX,
        },
        Fact::HistoryCompacted {
            attempt: attempt(),
            through: 7,
            summary: awkward.into(),
        },
        Fact::StepRested {
            attempt: attempt(),
            reason: "the provider asks for an hour".into(),
            until: UtcMillis(u64::MAX),
        },
        Fact::AnswerRejected {
            attempt: attempt(),
            turn: 3,
            findings,
        },
        Fact::CallIntended {
            attempt: attempt(),
            ordinal: 5,
            skill: SkillName::new("exec.run").expect("valid"),
            class: EffectClass::Once,
            key,
        },
        Fact::CallFinished {
            attempt: attempt(),
            ordinal: 5,
            outcome: Arc::new(CallOutcome {
                content: awkward.into(),
                is_error: true,
                exit_code: Some(-1),
            }),
        },
        Fact::CallUnknown {
            attempt: attempt(),
            ordinal: 6,
            evidence: awkward.into(),
        },
        Fact::CheckMade {
            attempt: attempt(),
            report: CheckReport {
                index: 0,
                passed: false,
                evidence: awkward.into(),
            },
        },
        Fact::StepDone {
            attempt: attempt(),
            output: "{\"a\":1}".into(),
        },
        Fact::StepFailed {
            attempt: attempt(),
            class: FailureClass::UnknownEffect,
            reason: "r".into(),
            tried: Arc::new(["a".into(), "b".into()]),
            retry_at: None,
        },
        Fact::StepSkipped {
            step: attempt().step,
            reason: "s".into(),
        },
        Fact::StepCancelled { step: attempt().step },
        Fact::StepUnknown {
            attempt: attempt(),
            evidence: "e".into(),
        },
        Fact::CancelRequested {
            outcome: Outcome::Expired,
            reason: "late".into(),
        },
        Fact::RunDone {
            outcome: Outcome::Succeeded,
            result: "null".into(),
        },
        Fact::RunParked { reason: "stuck".into() },
        Fact::CallResolved {
            attempt: attempt(),
            ordinal: 6,
            resolution: Resolution::Happened { output: awkward.into() },
            by: "operator".into(),
        },
        Fact::CallResolved {
            attempt: attempt(),
            ordinal: 7,
            resolution: Resolution::NotHappened,
            by: "operator".into(),
        },
        Fact::CallResolved {
            attempt: attempt(),
            ordinal: 8,
            resolution: Resolution::Abandoned,
            by: "operator".into(),
        },
        Fact::RunReopened {
            deadline: UtcMillis(300_000),
        },
        Fact::ApprovalAsked {
            attempt: attempt(),
            ask: Ask {
                ordinal: 9,
                skill: SkillName::new("exec.run").expect("valid"),
                hash: "00ff".into(),
                shown: awkward.into(),
                timeout_ms: 70_000,
            },
            until: UtcMillis(101),
        },
        Fact::ApprovalGiven {
            attempt: attempt(),
            ordinal: 9,
            given: Given {
                hash: "00ff".into(),
                granted: true,
                by: "operator".into(),
                reason: awkward.into(),
            },
        },
        Fact::CallDeadLettered {
            attempt: attempt(),
            ordinal: 10,
            skill: SkillName::new("fs.read").expect("valid"),
            call: "ff00".into(),
            text: awkward.into(),
        },
        Fact::CompensationQueued {
            step: StepId::new("undo-1").expect("valid"),
            undoes: attempt(),
            ordinal: Some(5),
            skill: SkillName::new("undeploy").expect("valid"),
            arguments: "{\"name\":\"x\"}".into(),
        },
        Fact::MemoryRecalled {
            attempt: attempt(),
            entries: Arc::new(["project#7@2".into(), "global#1@1".into()]),
            lines: Arc::new([awkward.into(), "[global] plain".into()]),
        },
    ]
}

fn stamped(facts: Vec<Fact>) -> Vec<Stamped> {
    let places = (10..).zip(facts);
    places
        .map(|(seq, fact)| Stamped {
            seq,
            at: UtcMillis(1_700_000_000_000),
            fact,
        })
        .collect()
}

#[test]
fn every_kind_of_fact_survives_the_disk_as_entry_and_as_snapshot() {
    let expected = stamped(samples());
    let entry = codec::encode(&EntryRecord::from_domain(UtcMillis(1_700_000_000_000), &samples()));
    let entry: EntryRecord = codec::decode(|| "entry".into(), &entry).expect("decodes");
    assert_eq!(entry.into_domain(10), Ok(expected.clone()));
    let snapshot = codec::encode(&SnapshotRecord::from_domain(34, &expected));
    let snapshot: SnapshotRecord = codec::decode(|| "snapshot".into(), &snapshot).expect("decodes");
    assert_eq!(snapshot.through, 34);
    assert_eq!(snapshot.into_domain(), Ok(expected));
}

/// Set to write the golden file of a new layout, once, under its own name.
const WRITE_GOLDEN: &str = "OPENCLAW_WRITE_GOLDEN";

/// The samples as the fifth layout knew them: memory tells nothing by itself.
fn samples_of_layout_5() -> Vec<Fact> {
    let mut samples = samples();
    samples.retain(|fact| !matches!(fact, Fact::MemoryRecalled { .. }));
    samples
}

/// The samples as the fourth layout knew them: no grant of a run, no dead letters, nothing that undoes.
fn samples_of_layout_4() -> Vec<Fact> {
    let mut samples = samples_of_layout_5();
    samples.retain(|fact| !matches!(fact, Fact::CallDeadLettered { .. } | Fact::CompensationQueued { .. }));
    for fact in &mut samples {
        if let Fact::RunAccepted(spec) = fact {
            Arc::make_mut(spec).grant = None;
        }
    }
    samples
}

/// The samples as the third layout knew them: no beginning of a compaction, nothing that persons say.
fn samples_of_layout_3() -> Vec<Fact> {
    let mut samples = samples_of_layout_4();
    samples.retain(|fact| {
        !matches!(
            fact,
            Fact::CompactionBegun { .. }
                | Fact::CallResolved { .. }
                | Fact::RunReopened { .. }
                | Fact::ApprovalAsked { .. }
                | Fact::ApprovalGiven { .. }
        )
    });
    samples
}

/// The samples as the second layout knew them: no limit of a run in money, no version of a prompt.
fn samples_of_layout_2() -> Vec<Fact> {
    let mut samples = samples_of_layout_3();
    for fact in &mut samples {
        match fact {
            Fact::RunAccepted(spec) => Arc::make_mut(spec).cost_max = None,
            Fact::TurnIntended { prompt, .. } => *prompt = "".into(),
            _ => {}
        }
    }
    samples
}

/// The samples as the first layout knew them: no money, no cache, nothing kept, none of the later facts.
fn samples_of_layout_1() -> Vec<Fact> {
    let mut samples = samples_of_layout_2();
    samples.retain(|fact| {
        !matches!(
            fact,
            Fact::TurnDeferred { .. } | Fact::HistoryCompacted { .. } | Fact::StepRested { .. }
        )
    });
    for fact in &mut samples {
        match fact {
            Fact::TurnIntended { reserved_cost, .. } => *reserved_cost = MicroUsd::ZERO,
            Fact::TurnFailed { cost, .. } => *cost = MicroUsd::ZERO,
            Fact::TurnFinished { cost, answer, .. } => {
                *cost = MicroUsd::ZERO;
                let answer = Arc::make_mut(answer);
                answer.kept = Arc::new([]);
                answer.usage.cache_read = 0;
                answer.usage.cache_write = 0;
            }
            _ => {}
        }
    }
    samples
}

#[test]
fn the_golden_files_of_all_layouts_still_open_and_the_newest_is_still_written_so() {
    if std::env::var_os(WRITE_GOLDEN).is_some() {
        let bytes = codec::encode(&EntryRecord::from_domain(UtcMillis(1_700_000_000_000), &samples()));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/storage/record/golden/facts-6.bin");
        std::fs::write(path, bytes).expect("written");
    }
    let check = |golden: &[u8], samples: Vec<Fact>| {
        let entry: EntryRecord = codec::decode(|| "golden".into(), golden).expect("decodes");
        assert_eq!(entry.into_domain(10), Ok(stamped(samples)));
    };
    check(GOLDEN_1, samples_of_layout_1());
    check(GOLDEN_2, samples_of_layout_2());
    check(GOLDEN_3, samples_of_layout_3());
    check(GOLDEN_4, samples_of_layout_4());
    check(GOLDEN_5, samples_of_layout_5());
    check(GOLDEN_6, samples());
    let written = codec::encode(&EntryRecord::from_domain(UtcMillis(1_700_000_000_000), &samples()));
    assert!(
        written == GOLDEN_6,
        "the layout has changed: append a new variant with an upcaster instead"
    );
}

#[test]
fn damaged_records_are_refused_and_never_panic() {
    let check = |bytes: &[u8]| {
        if let Ok(entry) = codec::decode::<EntryRecord>(|| "damaged".into(), bytes) {
            entry.into_domain(1).ok();
        }
    };
    for position in 0..GOLDEN_5.len() {
        for bit in [0, 3, 7] {
            let mut bytes = GOLDEN_5.to_vec();
            bytes[position] ^= 1 << bit;
            check(&bytes);
        }
        check(&GOLDEN_5[..position]);
    }
    let mut longer = GOLDEN_5.to_vec();
    longer.push(0);
    assert!(
        codec::decode::<EntryRecord>(|| "longer".into(), &longer).is_err(),
        "bytes left over are damage"
    );
}
