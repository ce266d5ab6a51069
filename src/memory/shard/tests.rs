//! A shard against a model that is a list: whatever is put, changed, expires, crashes and is opened again, with and
//! without a graph.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use crate::domain::id::RunId;
use crate::domain::memory::{MemoryEdit, MemoryScope, MemorySource, ShardName};
use crate::domain::time::UtcMillis;
use crate::memory::index::graph::build::{GraphKind, GraphPolicy};
use crate::memory::keep::Wish;
use crate::memory::question::{FoundEntry, Question, tokens_of};
use crate::memory::ranking::distinct::Gist;
use crate::storage::batch::{Batch, Op};
use crate::storage::store::Store;
use crate::storage::writer::Writer;

use super::index::ShardIndex;

/// No two of them are alike, and each entry's text is three of them.
const WORDS: &[&str] = &[
    "kettle",
    "vault",
    "bicycle",
    "harbour",
    "lemon",
    "thunder",
    "violin",
    "passport",
    "glacier",
    "spreadsheet",
];

fn text(number: u8) -> String {
    let word = |at: u8| WORDS[usize::from(number.wrapping_mul(7).wrapping_add(at * 3)) % WORDS.len()];
    format!("{} {} {}", word(0), word(1), WORDS[usize::from(number) % WORDS.len()])
}

#[derive(Debug, Clone)]
enum Step {
    Put {
        key: Option<u8>,
        text: u8,
        expires_in: Option<u8>,
    },
    Forget(u8),
    Archive(u8),
    Restore(u8),
    Used(u8),
    Pass(u8),
    /// The actor is gone, and the next one begins with nothing.
    Crash,
    /// The process is gone too.
    Reopen,
    BuildGraph(bool),
    Ask(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let few = 0u8..24;
    prop_oneof![
        8 => (prop::option::of(0u8..4), 0u8..30, prop::option::weighted(0.3, 0u8..40))
            .prop_map(|(key, text, expires_in)| Step::Put { key, text, expires_in }),
        2 => few.clone().prop_map(Step::Forget),
        1 => few.clone().prop_map(Step::Archive),
        1 => few.clone().prop_map(Step::Restore),
        1 => few.prop_map(Step::Used),
        2 => (0u8..30).prop_map(Step::Pass),
        1 => Just(Step::Crash),
        1 => Just(Step::Reopen),
        2 => any::<bool>().prop_map(Step::BuildGraph),
        5 => (0u8..10).prop_map(Step::Ask),
    ]
}

/// What is live, by number: the list that everything is held against. Which entry a text or key belongs to is the
/// store's own business and has its tests there; here counts that the index says what the store says.
struct World {
    folder: tempfile::TempDir,
    store: Option<(Store, Writer)>,
    index: ShardIndex,
    now: UtcMillis,
}

fn name() -> ShardName {
    ShardName {
        scope: MemoryScope::Project,
        namespace: "/a".into(),
    }
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut world = Self {
            folder,
            store: None,
            index: ShardIndex::new(name()),
            now: UtcMillis(1_000_000),
        };
        world.open();
        world
    }

    fn open(&mut self) {
        self.store = None;
        let store = Store::open(&self.folder.path().join("s.redb"), 1 << 20).expect("opens");
        let writer = Writer::new(store.clone()).expect("a writer");
        self.store = Some((store, writer));
        self.index = ShardIndex::new(name());
    }

    fn store(&self) -> &Store {
        &self.store.as_ref().expect("open").0
    }

    fn commit(&mut self, op: Op) {
        let writer = &mut self.store.as_mut().expect("open").1;
        let verdicts = writer.commit(&[Batch::ops(vec![op])]).expect("commits");
        assert!(verdicts.iter().all(Result::is_ok));
    }

    fn edit(&mut self, id: u8, edit: MemoryEdit) {
        let at = self.now;
        self.commit(Op::MemoryEdit {
            shard: name(),
            id: u64::from(id),
            edit,
            at,
        });
    }

    /// Every entry by a look at every record.
    fn listed(&self) -> BTreeMap<u64, Arc<str>> {
        let numbers: Vec<u64> = (1..=200).collect();
        let live = self.store().memory_entries(&name(), &numbers).expect("readable");
        let open = live
            .into_iter()
            .filter(|entry| entry.expires_at.is_none_or(|at| at > self.now));
        open.map(|entry| (entry.id, entry.text)).collect()
    }

    fn ask(&mut self, words: &str) -> Vec<FoundEntry> {
        let store = self.store().clone();
        let question = Question {
            limit: 100,
            ..Question::new(words)
        };
        self.index.follow(&store).expect("follows");
        self.index.query(&store, &question, self.now).expect("answers")
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Put {
                key,
                text: number,
                expires_in,
            } => {
                let wish = Wish {
                    shard: name(),
                    key: key.map(|key| format!("k{key}").into()),
                    text: text(*number).into(),
                    tags: Vec::new(),
                    source: MemorySource {
                        by: format!("person:{}", number % 3).into(),
                        run: None,
                    },
                    importance: 50,
                    expires_at: expires_in.map(|after| UtcMillis(self.now.0 + u64::from(after))),
                };
                let new = wish.prepare(self.now);
                self.commit(Op::MemoryPut(Box::new(new)));
            }
            Step::Forget(id) => self.edit(*id, MemoryEdit::Forget),
            Step::Archive(id) => self.edit(
                *id,
                MemoryEdit::Archive {
                    why: "old".into(),
                    until: UtcMillis(u64::MAX),
                    seen: None,
                },
            ),
            Step::Restore(id) => self.edit(*id, MemoryEdit::Restore),
            Step::Used(id) => self.edit(*id, MemoryEdit::Used { times: 1 }),
            Step::Pass(time) => self.now = UtcMillis(self.now.0 + u64::from(*time)),
            Step::Crash => self.index = ShardIndex::new(name()),
            Step::Reopen => self.open(),
            Step::BuildGraph(ours) => {
                let store = self.store().clone();
                self.index.follow(&store).expect("follows");
                let kind = if *ours { GraphKind::Compact } else { GraphKind::HnswRs };
                let policy = GraphPolicy { kind, from_places: 1 };
                if let Some(task) = self.index.graph_task(&policy) {
                    let graph = task.build(&AtomicBool::new(false)).expect("nobody stops it");
                    assert!(self.index.set_graph(graph), "nothing changed meanwhile");
                }
            }
            Step::Ask(word) => self.compare(WORDS[usize::from(*word)]),
        }
    }

    fn compare(&mut self, word: &str) {
        let listed = self.listed();
        let found = self.ask(word);
        let ids: BTreeSet<u64> = found.iter().map(|found| found.entry.id).collect();
        assert_eq!(ids.len(), found.len(), "each once");
        for found in &found {
            assert_eq!(
                listed.get(&found.entry.id),
                Some(&found.entry.text),
                "only what is live"
            );
        }
        for (id, text) in &listed {
            // Of two that say the same, one is enough.
            let is_said = || {
                found
                    .iter()
                    .any(|found| Gist::of(&found.entry.text).is_same(&Gist::of(text), || 1.0))
            };
            assert!(
                !text.contains(word) || ids.contains(id) || is_said(),
                "{word}: {id} {text:?} is missing"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_shard_says_what_the_store_says_after_any_steps(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        for word in WORDS {
            world.compare(word);
        }
    }
}

/// What is kept in turn, as who keeps it and within which run, and whether a question for the first finds the second
/// too: the second one has none of its words.
#[test]
fn entries_of_one_talk_one_run_or_one_file_are_each_others_context() {
    let check = |first: (&str, Option<u64>), second: (&str, Option<u64>), are: bool| {
        let mut world = World::new();
        for ((by, run), text) in [(first, "Where did the barge go?"), (second, "To Antwerp, with gravel.")] {
            let wish = Wish {
                shard: name(),
                key: None,
                text: text.into(),
                tags: Vec::new(),
                source: MemorySource {
                    by: by.into(),
                    run: run.map(|run| RunId::new(UtcMillis(1), u128::from(run))),
                },
                importance: 50,
                expires_at: None,
            };
            let new = wish.prepare(world.now);
            world.commit(Op::MemoryPut(Box::new(new)));
        }
        let found = world.ask("barge");
        let second = found.iter().find(|found| found.entry.text.contains("Antwerp"));
        let around = second.map_or(0.0, |found| found.parts.words_around);
        assert_eq!(around > 0.0, are, "{first:?} {second:?}");
    };
    check(("person:ann", None), ("person:ann", None), true);
    check(("person:ann", None), ("person:ben", None), true);
    check(("person:ann", None), ("agent:coder", None), true);
    check(("file:a.md", None), ("file:a.md", None), true);
    check(("file:a.md", None), ("file:b.md", None), false);
    check(("person:ann", None), ("file:a.md", None), false);
    check(("agent:coder", Some(1)), ("agent:reviewer", Some(1)), true);
    check(("agent:coder", Some(1)), ("agent:coder", Some(2)), false);
    check(("agent:coder", None), ("agent:coder", Some(2)), false);
    check(("file:talk#D1:3", None), ("file:talk#D1:4", None), true);
    check(("step:1", None), ("step:2", None), true);
}

fn put(world: &mut World, key: Option<&str>, text: String) {
    let wish = Wish {
        shard: name(),
        key: key.map(Into::into),
        text: text.into(),
        tags: Vec::new(),
        source: MemorySource {
            by: "person:ann".into(),
            run: None,
        },
        importance: 50,
        expires_at: None,
    };
    let new = wish.prepare(world.now);
    world.commit(Op::MemoryPut(Box::new(new)));
}

/// However many entries say the same or are too long, the answer is as long as was asked for.
#[test]
fn repeats_and_long_texts_hide_nothing() {
    let check = |repeats: usize, long: usize, limit: usize, tokens_max: Option<u64>, expected: &[&str]| {
        let mut world = World::new();
        for number in 0..repeats {
            put(
                &mut world,
                Some(&format!("same-{number}")),
                "The kettle is in the kitchen.".into(),
            );
        }
        for number in 0..long {
            let words = "kettle ".repeat(100);
            put(
                &mut world,
                Some(&format!("long-{number}")),
                format!("kettle kettle {number} {words}"),
            );
        }
        if repeats > 0 || tokens_max == Some(50) {
            for colour in ["red", "green", "blue"] {
                put(
                    &mut world,
                    Some(colour),
                    format!("In the old house by the sea a {colour} kettle stands on the stove."),
                );
            }
        }
        let store = world.store().clone();
        let question = Question {
            limit,
            tokens_max,
            ..Question::new("kettle")
        };
        world.index.follow(&store).expect("follows");
        let found = world.index.query(&store, &question, world.now).expect("answers");
        // Which one of those that say the same is told does not matter.
        let mut keys: Vec<&str> = found
            .iter()
            .filter_map(|found| found.entry.key.as_deref()?.split('-').next())
            .collect();
        keys.sort_unstable();
        assert_eq!(keys, expected, "{repeats} {long} {limit} {tokens_max:?}");
        let tokens: u64 = found.iter().map(|found| tokens_of(&found.entry.text)).sum();
        assert!(tokens <= tokens_max.unwrap_or(u64::MAX), "{tokens}");
    };
    check(200, 0, 4, None, &["blue", "green", "red", "same"]);
    check(200, 0, 10, None, &["blue", "green", "red", "same"]);
    check(0, 40, 10, Some(50), &["blue", "green", "red"]);
    // Where nothing fits, the beginning of the best one is told.
    check(0, 1, 10, Some(40), &["long"]);
    check(0, 1, 10, Some(4), &[]);
}

/// Who is asked about is found by the source where no text says who speaks.
#[test]
fn the_one_who_is_named_is_known_by_text_or_by_source() {
    let check = |kept: &dyn Fn(&str) -> (String, String)| {
        let mut world = World::new();
        for number in 0..20 {
            for (key, who) in [("a", "Anna"), ("b", "Boris")] {
                let (text, by) = kept(who);
                let wish = Wish {
                    shard: name(),
                    key: Some(format!("{key}-{number}").into()),
                    text: format!("{text}My favourite river is number {number}.").into(),
                    tags: Vec::new(),
                    source: MemorySource {
                        by: by.into(),
                        run: None,
                    },
                    importance: 50,
                    expires_at: None,
                };
                let new = wish.prepare(world.now);
                world.commit(Op::MemoryPut(Box::new(new)));
                world.now = world.now.plus_ms(7_200_000);
            }
        }
        for (of, who) in [("a", "anna"), ("b", "boris")] {
            let found = world.ask(&format!("What is {who}'s river number 7?"));
            let key = found.first().and_then(|found| found.entry.key.as_deref());
            assert_eq!(key, Some(&*format!("{of}-7")), "{:?}", kept(who));
        }
    };
    check(&|who| (format!("{who}: "), "person:operator".to_owned()));
    check(&|who| (String::new(), format!("person:{who}")));
    check(&|who| (String::new(), format!("agent:{}", who.to_lowercase())));
}

/// A name that all entries come from tells none from another, but it may be a word of theirs.
#[test]
fn a_source_that_all_is_from_takes_no_word_from_a_question() {
    let mut world = World::new();
    for number in 0..20 {
        let text = if number == 7 {
            "The operator restarts it."
        } else {
            "Nobody restarts it."
        };
        let wish = Wish {
            shard: name(),
            key: Some(format!("k-{number}").into()),
            text: text.into(),
            tags: Vec::new(),
            source: MemorySource {
                by: "person:operator".into(),
                run: None,
            },
            importance: 50,
            expires_at: None,
        };
        let new = wish.prepare(world.now);
        world.commit(Op::MemoryPut(Box::new(new)));
        world.now = world.now.plus_ms(7_200_000);
    }
    let found = world.ask("which operator restarts it");
    assert_eq!(found.first().and_then(|found| found.entry.key.as_deref()), Some("k-7"));
}
