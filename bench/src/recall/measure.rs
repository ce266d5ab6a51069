//! Puts conversations into a store, asks their questions through a shard's index, and counts what is found.

use std::collections::HashMap;

use openclaw::domain::memory::{IMPORTANCE_DEFAULT, MemoryScope, MemorySource, ShardName};
use openclaw::domain::time::UtcMillis;
use openclaw::memory::keep::Wish;
use openclaw::memory::question::Question;
use openclaw::memory::ranking::weights::Weights;
use openclaw::memory::shard::index::ShardIndex;
use openclaw::runtime::bus::Bus;
use openclaw::runtime::committer::Committer;
use openclaw::storage::batch::{Batch, Op};
use openclaw::storage::store::Store;

use super::material::{Conversation, Kind, Turn};

/// Entries that are asked for; evidence beyond counts as not found.
const DEPTH: usize = 100;

/// How the turns of a conversation are kept: clients do it in different ways, and none must lose much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// `Name: text` from one source, each at its time.
    Said,
    /// `text` from `person:Name`, each at its time.
    BySpeaker,
    /// `[day] Name: text` under a key for each session and turn, all at one moment.
    AtOnce,
}

impl Kept {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Said, Self::BySpeaker, Self::AtOnce];

    /// The word for tables and arguments.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Said => "said",
            Self::BySpeaker => "by-speaker",
            Self::AtOnce => "at-once",
        }
    }
}

/// A conversation in a store, with its index.
pub struct Shelf {
    /// What was said and asked.
    pub conversation: Conversation,
    store: Store,
    index: ShardIndex,
    turn_of: HashMap<u64, usize>,
    now: UtcMillis,
    _folder: tempfile::TempDir,
}

impl Shelf {
    /// Keeps every turn as an entry.
    pub async fn of(conversation: Conversation, kept: Kept) -> Self {
        let folder = tempfile::tempdir().expect("a folder for a store");
        let store = Store::open(&folder.path().join("recall.redb"), 16 << 20).expect("a new store opens");
        let committer = Committer::start(store.clone(), Bus::default()).expect("the writer starts");
        let shard = ShardName {
            scope: MemoryScope::Project,
            namespace: conversation.name.into(),
        };
        let mut turn_of = HashMap::new();
        let mut now = UtcMillis(0);
        let turns = conversation.turns.iter().enumerate();
        let last_ms = conversation.turns.last().map_or(0, |turn| turn.at_ms);
        let puts = turns.map(|(turn, said)| {
            let Turn { speaker, text, at_ms } = said;
            turn_of.insert(format!("turn-{turn}"), turn);
            let (key, text, by, at) = match kept {
                Kept::Said => (None, format!("{speaker}: {text}"), "conversation".to_owned(), *at_ms),
                Kept::BySpeaker => (None, text.clone(), format!("person:{speaker}"), *at_ms),
                Kept::AtOnce => {
                    let text = format!("[{}] {speaker}: {text}", day(*at_ms));
                    let key = format!("D{}:{turn}", at_ms / 86_400_000);
                    (Some(key.into()), text, "person:operator".to_owned(), last_ms)
                }
            };
            now = UtcMillis(at);
            let wish = Wish {
                shard: shard.clone(),
                key,
                text: text.into(),
                // Two turns of the same words stay two entries: each is kept with its number.
                tags: vec![format!("turn-{turn}").into()],
                source: MemorySource {
                    by: by.into(),
                    run: None,
                },
                importance: IMPORTANCE_DEFAULT,
                expires_at: None,
            };
            Op::MemoryPut(Box::new(wish.prepare(now)))
        });
        let batch = Batch::ops(puts.collect());
        committer.commit(batch).await.expect("the conversation is kept");
        let mut of_id: HashMap<u64, usize> = HashMap::new();
        let listed = store
            .memory_page(&shard, 0, usize::MAX)
            .expect("the store reads")
            .entries;
        for entry in listed {
            for tag in &entry.tags {
                of_id.insert(entry.id, turn_of[&**tag]);
            }
        }
        let mut index = ShardIndex::new(shard);
        index.follow(&store).expect("the index follows");
        Self {
            conversation,
            store,
            index,
            turn_of: of_id,
            now,
            _folder: folder,
        }
    }

    fn ask(&mut self, text: &str, weights: &Weights) -> Vec<usize> {
        let mut question = Question::new(text);
        question.limit = DEPTH;
        let found = self.index.query_weighted(&self.store, &question, weights, self.now);
        let found = found.expect("the store reads").into_iter();
        found.map(|found| self.turn_of[&found.entry.id]).collect()
    }
}

/// A day as people write it.
fn day(at_ms: u64) -> String {
    let at = i64::try_from(at_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.expect("a time of our own").strftime("%-d %B %Y").to_string()
}

/// Which questions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Those in words of the answer.
    Plain,
    /// Those in other words on purpose.
    Reworded,
}

/// What was found, as means over questions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    /// Part of the evidence among the first five.
    pub at_5: f64,
    /// Among the first ten.
    pub at_10: f64,
    /// One through the place of the first evidence.
    pub mrr: f64,
    /// How many questions.
    pub questions: usize,
}

/// Asks all questions of these shelves, whole and by kind. `half`: only those of even or odd scenes.
pub fn ask_all(
    shelves: &mut [Shelf],
    weights: &Weights,
    asked: Asked,
    half: Option<usize>,
) -> (Found, Vec<(Kind, Found)>) {
    let mut whole = Found::default();
    let mut kinds: Vec<(Kind, Found)> = Kind::ALL.iter().map(|kind| (*kind, Found::default())).collect();
    for shelf in shelves {
        let questions = shelf.conversation.questions.clone();
        for question in questions {
            let reworded = asked == Asked::Reworded;
            if question.reworded != reworded || half.is_some_and(|half| half != question.half) {
                continue;
            }
            let found = shelf.ask(&question.text, weights);
            let of = kinds.iter_mut().find(|(kind, _)| *kind == question.kind);
            let of = of.map(|(_, of)| of).expect("every kind has a row");
            for counted in [&mut whole, of] {
                let among = |first: usize| {
                    let first = &found[..found.len().min(first)];
                    let seen = question.evidence.iter().filter(|turn| first.contains(turn)).count();
                    seen as f64 / question.evidence.len() as f64
                };
                counted.at_5 += among(5);
                counted.at_10 += among(10);
                let place = found.iter().position(|turn| question.evidence.contains(turn));
                counted.mrr += place.map_or(0.0, |place| 1.0 / (place + 1) as f64);
                counted.questions += 1;
            }
        }
    }
    for counted in std::iter::once(&mut whole).chain(kinds.iter_mut().map(|(_, of)| of)) {
        let questions = counted.questions.max(1) as f64;
        counted.at_5 /= questions;
        counted.at_10 /= questions;
        counted.mrr /= questions;
    }
    (whole, kinds)
}
