//! The judge is judged: an observation that keeps every promise, broken in one place at a time.

use serde_json::{Value, json};

use super::ledger::Mark;
use super::observe::{Observed, Seen, Submitted};
use super::scenario::{Kind, SHARED_KEY, Scenario, StepPlan};
use super::verdict::judge;

const RUN: &str = "run_1";

fn seen(seq: u64, kind: &str, mut data: Value) -> Seen {
    data["seq"] = seq.into();
    data["kind"] = kind.into();
    Seen {
        seq,
        kind: kind.to_owned(),
        data,
    }
}

fn mark(step: &str, class: &str) -> Mark {
    Mark {
        run: RUN.to_owned(),
        step: step.to_owned(),
        key: format!("key of {step}"),
        class: class.to_owned(),
    }
}

/// Two steps, one after the other, and a note; killed once between two calls.
fn good() -> Observed {
    let step = |id: &str, kind, needs: &[&str]| StepPlan {
        id: id.to_owned(),
        kind,
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
    };
    let scenario = Scenario {
        tag: "tag".to_owned(),
        steps: vec![
            step("order", Kind::Idempotent, &[]),
            step("pay", Kind::Once, &["order"]),
            step("note", Kind::Memory, &["pay"]),
        ],
    };
    let mut facts = vec![seen(1, "run.accepted", json!({}))];
    let mut next = |kind: &str, data: Value| {
        let seq = facts.len() as u64 + 1;
        facts.push(seen(seq, kind, data));
    };
    for (id, class) in [("order", "idempotent"), ("pay", "once"), ("note", "local")] {
        next("step.leased", json!({ "step": id, "attempt": 1 }));
        if class != "local" {
            let key = format!("key of {id}");
            next(
                "call.intended",
                json!({ "step": id, "attempt": 1, "call": 0, "class": class, "key": key }),
            );
        }
        if id == "order" {
            next("run.recovered", json!({}));
        }
        next(
            "call.finished",
            json!({ "step": id, "attempt": 1, "call": 0, "error": false }),
        );
        next("step.done", json!({ "step": id, "attempt": 1 }));
    }
    next("run.done", json!({ "outcome": "succeeded" }));
    Observed {
        spooled: [].into(),
        wrong_figures: Vec::new(),
        submitted: vec![Submitted {
            scenario,
            answers: vec![RUN.to_owned(), RUN.to_owned()],
        }],
        runs: [(RUN.to_owned(), ("tag".to_owned(), facts))].into(),
        ledger: vec![mark("order", "idempotent"), mark("pay", "once")],
        attempts: vec![
            mark("order", "idempotent"),
            mark("order", "idempotent"),
            mark("pay", "once"),
        ],
        memory: [("tag/note".to_owned(), 1), (SHARED_KEY.to_owned(), 0)].into(),
        files: [].into(),
    }
}

fn facts(observed: &mut Observed) -> &mut Vec<Seen> {
    &mut observed.runs.get_mut(RUN).expect("the run").1
}

fn place(observed: &mut Observed, kind: &str, step: &str) -> usize {
    let found = facts(observed)
        .iter()
        .position(|fact| fact.kind == kind && fact.step() == step);
    found.expect("such a fact")
}

#[test]
fn each_broken_promise_is_found_and_kept_ones_are_not() {
    let check = |promise: &str, says: &str, break_it: &dyn Fn(&mut Observed)| {
        let mut observed = good();
        break_it(&mut observed);
        let findings = judge(&observed);
        let found = findings.iter().any(|finding| finding.contains(says));
        assert!(found, "{promise}: nothing says `{says}`: {findings:?}");
    };
    assert_eq!(judge(&good()), Vec::<String>::new());

    check("an accepted run is there", "accepted for `tag` and not there", &|it| {
        it.submitted[0].answers.push("run_2".to_owned());
    });
    check("one submission is one run", "submitted once, became", &|it| {
        let run = it.runs[RUN].clone();
        it.runs.insert("run_2".to_owned(), run);
    });
    check("a run has an outcome", "0 outcomes", &|it| {
        facts(it).pop();
    });
    check("a run has no two outcomes", "2 outcomes", &|it| {
        let last = facts(it).last().cloned().expect("a fact");
        facts(it).push(last);
    });
    check("nothing is parked", "nothing but kills happened", &|it| {
        facts(it).insert(3, seen(3, "run.parked", json!({})));
    });
    check("a run succeeds", "ended \"failed\"", &|it| {
        facts(it).last_mut().expect("a fact").data["outcome"] = "failed".into();
    });
    check("unknown has to be earned", "ended \"unknown\" with 0", &|it| {
        facts(it).last_mut().expect("a fact").data["outcome"] = "unknown".into();
    });
    check(
        "only a kill makes a call unknown",
        "unknown without an interrupted once call",
        &|it| {
            let at = place(it, "call.finished", "pay");
            let fact = &mut facts(it)[at];
            fact.kind = "call.unknown".to_owned();
        },
    );
    check("a report is not passed over", "although its report was there", &|it| {
        let at = place(it, "call.finished", "pay");
        facts(it)[at].kind = "call.unknown".to_owned();
        let at = place(it, "call.intended", "pay");
        let key = facts(it)[at].data["key"].as_str().expect("a key").to_owned();
        it.spooled.insert(key);
    });
    check(
        "a once effect happens at most once",
        "its effect happened 2 times",
        &|it| {
            it.ledger.push(mark("pay", "once"));
        },
    );
    check("a done effect happened", "its effect happened 0 times", &|it| {
        it.ledger.retain(|mark| mark.step != "pay");
    });
    check("a once call is not sent again", "was sent 2 times", &|it| {
        it.attempts.push(mark("pay", "once"));
    });
    check("no call is intended twice", "was intended twice", &|it| {
        let at = place(it, "call.intended", "pay");
        let again = facts(it)[at].clone();
        facts(it).insert(at, again);
    });
    check("distinct calls have distinct keys", "have the key", &|it| {
        let at = place(it, "call.intended", "pay");
        facts(it)[at].data["key"] = "key of order".into();
    });
    check("a repetition has the same key", "under several keys", &|it| {
        it.attempts[0].key = "another".to_owned();
    });
    check("what is done was intended", "done without an intent", &|it| {
        it.ledger[1].key = "another".to_owned();
    });
    check(
        "a step starts after what it needs",
        "began before order was done",
        &|it| {
            let at = place(it, "step.done", "order");
            let late = facts(it).len() as u64;
            facts(it)[at].seq = late;
        },
    );
    check(
        "effects keep the order of the graph",
        "is before order in the ledger",
        &|it| {
            it.ledger.swap(0, 1);
        },
    );
    check("a local effect happens with its outcome", "its version is 2", &|it| {
        it.memory.insert("tag/note".to_owned(), 2);
    });
    check(
        "a shared entry is put as often as its calls say",
        "its version is 1",
        &|it| {
            it.memory.insert(SHARED_KEY.to_owned(), 1);
        },
    );
}
