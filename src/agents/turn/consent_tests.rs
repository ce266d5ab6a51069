//! Calls that need a person's yes, and calls of which a person says what became of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::agreement::Policy;
use super::decision::{Admission, CallVerdict, Effect, Event, SessionEnd, Surroundings, react};
use super::state::{Phase, TurnState};
use super::summary::Compaction;
use super::tests::{rules, says};
use crate::domain::approval::{Ask, Given, TIMED_OUT};
use crate::domain::conversation::{CallRequest, Message};
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::fact::Fact;
use crate::domain::handoff::Finding;
use crate::domain::money::Price;
use crate::domain::name::{ModelAlias, SkillName};
use crate::domain::resolution::Resolution;
use crate::domain::skill::CallOutcome;
use crate::domain::time::UtcMillis;

/// Skills are named after their classes; `once` needs a yes, `probe` is a question, `local` is denied.
#[derive(Default)]
struct Careful {
    /// What the hashes rest on.
    basis: Cell<u32>,
    /// Whether anything has to be agreed to.
    asks: bool,
    /// Whether that has to be looked at first, and what has been.
    looks: bool,
    seen: RefCell<BTreeSet<EffectKey>>,
}

impl Surroundings for Careful {
    fn judge_call(&self, call: &CallRequest) -> CallVerdict {
        CallVerdict::Make {
            skill: SkillName::new(&call.skill).expect("valid"),
            class: EffectClass::from_word(&call.skill).expect("a class"),
            arguments: json!({}),
        }
    }

    fn ceiling(&self, _: &TurnState) -> u64 {
        1
    }

    fn request_tokens(&self, _: &TurnState) -> u64 {
        0
    }

    fn compaction(&self) -> Compaction {
        Compaction::default()
    }

    fn price(&self, _: &ModelAlias) -> Price {
        Price::default()
    }

    fn admit(&self, _: &ModelAlias, _: u64, _: bool, _: UtcMillis) -> Admission {
        Admission::Go
    }

    fn judge_answer(&self, text: &str) -> Result<Value, Vec<Finding>> {
        Ok(text.into())
    }

    fn spooled(&self, _: EffectKey) -> Option<CallOutcome> {
        None
    }

    fn policy(&self, skill: &SkillName, _: &Value, key: EffectKey) -> Policy {
        match skill.as_str() {
            _ if !self.asks => Policy::Auto,
            "once" | "probe" if self.looks && !self.seen.borrow().contains(&key) => Policy::Look,
            "once" | "probe" => Policy::Ask {
                hash: format!("{key}/{}", self.basis.get()).into(),
                shown: "$ make".into(),
                timeout_ms: 9,
                is_question: skill.as_str() == "probe",
            },
            "local" => Policy::Deny("no".into()),
            _ => Policy::Auto,
        }
    }
}

const NOW: UtcMillis = UtcMillis(5);

struct Scene {
    world: Careful,
    journal: Vec<Fact>,
    state: TurnState,
}

impl Scene {
    /// A session whose model wants these calls; gives what follows.
    fn begin(calls: &[&str], asks: bool) -> (Self, Vec<Effect>) {
        let world = Careful {
            asks,
            ..Careful::default()
        };
        let mut scene = Self {
            world,
            journal: Vec::new(),
            state: TurnState::new(rules()),
        };
        scene.hear(Event::Begun);
        let answer = says("", calls, 1);
        let effects = scene.hear(Event::Answered { turn: 1, answer });
        (scene, effects)
    }

    fn hear(&mut self, event: Event) -> Vec<Effect> {
        let reaction = react(&mut self.state, event, NOW, &self.world);
        self.journal.extend(reaction.facts);
        reaction.effects
    }

    fn ends(&mut self, ordinal: u32) -> Vec<Effect> {
        let outcome = Arc::new(CallOutcome::ok("made"));
        self.hear(Event::CallEnded { ordinal, outcome })
    }

    /// What these calls would do is known.
    fn looked(&mut self, looks: &[Effect]) -> Vec<Effect> {
        let looked = looks.iter().map(|effect| match effect {
            Effect::Look { ordinal, key, .. } => (*ordinal, *key),
            other => panic!("{other:?}"),
        });
        let mut effects = Vec::new();
        for (ordinal, key) in looked {
            self.world.seen.borrow_mut().insert(key);
            effects.extend(self.hear(Event::Looked { ordinal }));
        }
        effects
    }

    /// The next session of the attempt.
    fn resume(&mut self, facts: Vec<Fact>) -> Vec<Effect> {
        self.journal.extend(facts);
        self.state = TurnState::load(rules(), &self.journal);
        self.hear(Event::Begun)
    }

    fn answer(&self, ask: &Ask, granted: bool, by: &str, reason: &str) -> Fact {
        Fact::ApprovalGiven {
            attempt: self.state.rules.attempt.clone(),
            ordinal: ask.ordinal,
            given: Given {
                hash: ask.hash.clone(),
                granted,
                by: by.into(),
                reason: reason.into(),
            },
        }
    }

    fn says(&self, ordinal: u32, resolution: Resolution) -> Fact {
        Fact::CallResolved {
            attempt: self.state.rules.attempt.clone(),
            ordinal,
            resolution,
            by: "me".into(),
        }
    }

    fn results(&self) -> Vec<(String, bool)> {
        match self.state.messages.last() {
            Some(Message::Results(results)) => results
                .iter()
                .map(|result| (result.content.to_string(), result.is_error))
                .collect(),
            other => panic!("{other:?}"),
        }
    }
}

fn asked(effects: &[Effect]) -> Vec<Ask> {
    match effects {
        [Effect::End(SessionEnd::Asks(asks))] => asks.clone(),
        other => panic!("expected questions, found {other:?}"),
    }
}

fn made(effects: &[Effect]) -> Vec<u32> {
    let calls = effects.iter().map(|effect| match effect {
        Effect::Call { ordinal, .. } => *ordinal,
        other => panic!("{other:?}"),
    });
    calls.collect()
}

#[test]
fn siblings_come_to_their_end_before_a_person_is_asked_and_are_not_made_again() {
    let (mut scene, effects) = Scene::begin(&["idempotent", "once"], true);
    assert_eq!(made(&effects), [0]);
    let asks = asked(&scene.ends(0));
    assert_eq!(asks.len(), 1);
    assert_eq!((asks[0].ordinal, &*asks[0].shown), (1, "$ make"));
    let intents = |scene: &Scene| {
        let intents = scene
            .journal
            .iter()
            .filter(|fact| matches!(fact, Fact::CallIntended { .. }));
        intents.count()
    };
    assert_eq!(intents(&scene), 1, "what is only asked about is not intended");
    let yes = scene.answer(&asks[0], true, "me", "");
    assert_eq!(made(&scene.resume(vec![yes])), [1]);
    assert_eq!(intents(&scene), 2);
    scene.ends(1);
    assert_eq!(
        scene.results(),
        [("made".to_owned(), false), ("made".to_owned(), false)]
    );
}

#[test]
fn what_calls_would_do_is_looked_at_before_anybody_is_asked_and_again_when_one_of_them_was_made() {
    let (mut scene, _) = Scene::begin(&[], true);
    scene.world.looks = true;
    scene.state = TurnState::new(rules());
    scene.journal.clear();
    scene.hear(Event::Begun);
    let answer = says("", &["idempotent", "once", "probe"], 1);
    let effects = scene.hear(Event::Answered { turn: 1, answer });
    let (calls, looks) = effects.split_at(1);
    assert_eq!(made(calls), [0]);
    assert_eq!(scene.looked(looks), [], "a sibling is under way");
    scene.world.seen.borrow_mut().clear();
    let again = scene.ends(0);
    assert_eq!(again.len(), 2, "{again:?}");
    assert!(
        !scene
            .journal
            .iter()
            .any(|fact| matches!(fact, Fact::CallIntended { class, .. } if *class == EffectClass::Once))
    );
    let asks = asked(&scene.looked(&again));
    assert_eq!(asks.iter().map(|ask| ask.ordinal).collect::<Vec<_>>(), [1, 2]);
    // A life that was cut off while it looked has journaled nothing of that: the next one looks again.
    scene.world.seen.borrow_mut().clear();
    let next = scene.resume(Vec::new());
    assert!(
        matches!(next[..], [Effect::Look { .. }, Effect::Look { .. }]),
        "{next:?}"
    );
}

#[test]
fn a_no_no_answer_and_a_denial_are_results_that_the_model_reads() {
    let check = |granted, by, reason, expected: &str| {
        let (mut scene, effects) = Scene::begin(&["once"], true);
        let answer = scene.answer(&asked(&effects)[0], granted, by, reason);
        scene.resume(vec![answer]);
        assert_eq!(scene.results(), [(expected.to_owned(), true)]);
    };
    check(false, "me", "too dear", "not made: a person said no: too dear");
    let late = "not made: a person had to agree and nobody answered in time";
    check(false, TIMED_OUT, "", late);
    let (scene, _) = Scene::begin(&["local"], true);
    assert_eq!(scene.results(), [("no".to_owned(), true)]);
}

#[test]
fn the_answer_to_a_question_is_its_outcome() {
    let (mut scene, effects) = Scene::begin(&["probe"], true);
    let answer = scene.answer(&asked(&effects)[0], true, "me", "the blue one");
    scene.resume(vec![answer]);
    assert_eq!(scene.results(), [("the blue one".to_owned(), false)]);
}

#[test]
fn a_yes_to_what_was_shown_is_none_to_what_has_changed() {
    let (mut scene, effects) = Scene::begin(&["once"], true);
    let first = asked(&effects);
    let yes = scene.answer(&first[0], true, "me", "");
    scene.world.basis.set(1);
    let again = asked(&scene.resume(vec![yes]));
    assert_ne!(again[0].hash, first[0].hash);
}

#[test]
fn a_person_settles_an_unknown_call() {
    let lost = || {
        let (mut scene, effects) = Scene::begin(&["once", "idempotent"], false);
        assert_eq!(made(&effects), [0, 1]);
        scene.ends(1);
        let effects = scene.resume(Vec::new());
        assert!(
            matches!(&effects[..], [Effect::End(SessionEnd::Unknown { .. })]),
            "{effects:?}"
        );
        scene
    };
    let mut scene = lost();
    let output = "paid".into();
    let happened = scene.says(0, Resolution::Happened { output });
    let effects = scene.resume(vec![happened]);
    assert!(matches!(effects[..], [Effect::Ask { turn: 2 }]), "{effects:?}");
    assert_eq!(
        scene.results(),
        [("paid".to_owned(), false), ("made".to_owned(), false)]
    );

    let mut scene = lost();
    let cleared = scene.says(0, Resolution::NotHappened);
    let effects = scene.resume(vec![cleared]);
    let is_made = matches!(
        effects[..],
        [Effect::Call {
            ordinal: 0,
            durable_first: true,
            ..
        }]
    );
    assert!(is_made, "{effects:?}");
    let keys = scene.journal.iter().filter_map(|fact| match fact {
        Fact::CallIntended { ordinal: 0, key, .. } => Some(*key),
        _ => None,
    });
    let keys: Vec<EffectKey> = keys.collect();
    assert_eq!(keys.len(), 2, "the new try is intended anew");
    assert_eq!(keys[0], keys[1], "under the same key");
    // The process dies again: it is unknown again, and never made a third time by the machine.
    let effects = scene.resume(Vec::new());
    assert!(
        matches!(&effects[..], [Effect::End(SessionEnd::Unknown { .. })]),
        "{effects:?}"
    );
    assert!(matches!(scene.state.phase, Phase::Unknown { .. }));
}
