//! The index of one shard: everything in it comes from the store and can be made again from it.
//!
//! Refuses to know: actors, other shards. Invariants: it is never behind the store when it answers, because it follows
//! the store's changes first; what it answers are numbers of entries, and the texts come from the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::domain::memory::{MemoryEntry, ShardName};
use crate::domain::text::cut;
use crate::domain::time::UtcMillis;
use crate::memory::embed::table::{EMBEDDER, embed_quantised};
use crate::memory::embed::vector::Quantised;
use crate::memory::index::graph::build::{BuiltGraph, GraphPolicy, GraphTask};
use crate::memory::index::library::{Library, Wanted};
use crate::memory::index::query::{Hit, Question as Asked, Room};
use crate::memory::question::{Direction, FOUND_MAX, Found, FoundEntry, Question, tokens_of};
use crate::memory::ranking::distinct::{Distinct, Gist};
use crate::memory::ranking::pack::pack;
use crate::memory::ranking::weights::Weights;
use crate::storage::error::StoreError;
use crate::storage::memory_follow::{Follower, Seen, SeenVector};
use crate::storage::store::Store;

use super::lists::Lists;
use super::thread::{Threads, speaker};

/// Days after which an entry that nobody used counts half as fresh.
const HALF_LIFE_DAYS: f64 = 30.0;
const DAY_MS: f64 = 86_400_000.0;
/// Removed places, as a part of all, from which on the index is made anew.
const REMOVED_PART: usize = 4;
/// Removed places that are never worth it.
const REMOVED_FEW: usize = 1_000;
/// Entries that room is made for at once.
const RESERVED_MAX: usize = 1 << 22;
/// Hits more than asked for: some fall out by the limit of tokens or have gone meanwhile.
const SPARE: usize = 8;
/// Hits of one question, however many of them say the same or are too long.
const HITS_MAX: usize = 4_096;
/// Bytes of texts that are read for one question at most, but for the last hits asked for.
const READ_BYTES_MAX: usize = 8 << 20;
/// Bytes of a limit of tokens from which on the beginning of a text says something.
const BEGINNING_TOKENS: u64 = 16;

/// What is known of a place beside its words and vector.
#[derive(Debug)]
struct Place {
    id: u64,
    updated_at: UtcMillis,
    used_at: UtcMillis,
    /// The end of time when it does not end.
    expires_at: UtcMillis,
    tags: u32,
    sources: u32,
    /// Of its text; the longest text has 16,384.
    tokens: u16,
    importance: u8,
}

/// The index.
#[derive(Debug)]
pub struct ShardIndex {
    name: ShardName,
    /// The embedder that is configured beside the built-in one.
    wanted: Option<Arc<str>>,
    /// The number of the embedder whose vectors are searched; none for the built-in one.
    space: Option<u32>,
    followed: u64,
    library: Library,
    places: Vec<Place>,
    place_of: HashMap<u64, u32, RandomState>,
    tags: Lists,
    sources: Lists,
    threads: Threads,
    removed: usize,
    day: Day,
    room: Room,
}

/// The day of the entry that was taken last, in words: most entries in a row are of one day.
#[derive(Debug, Default)]
struct Day {
    number: Option<u64>,
    words: String,
}

impl Day {
    fn of(&mut self, at: UtcMillis) -> &str {
        let number = at.0 / DAY_MS as u64;
        if self.number != Some(number) {
            self.number = Some(number);
            self.words = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX))
                .map(|at| at.strftime("%-d %B %Y").to_string())
                .unwrap_or_default();
        }
        &self.words
    }
}

/// What following found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Followed {
    /// Entries that cannot be read; they are left out.
    pub damaged: Vec<u64>,
    /// Whether the index was made anew.
    pub anew: bool,
}

/// What is in an index, for comparing it with the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexReview {
    /// The change up to which it follows the store.
    pub followed: u64,
    /// The entries that it finds.
    pub ids: BTreeSet<u64>,
    /// Documents that are searched.
    pub documents: usize,
}

impl Follower for ShardIndex {
    fn begin_anew(&mut self, live: u64) {
        self.forget_all(self.space);
        let live = usize::try_from(live).unwrap_or(0).min(RESERVED_MAX);
        self.library.reserve(live);
        self.places.reserve(live);
        self.threads.reserve(live);
        self.place_of.reserve(live);
    }

    fn take(&mut self, entry: &Seen<'_>) {
        let sources = self.sources.hold(entry.sources);
        let known = Place {
            id: entry.id,
            updated_at: entry.updated_at,
            used_at: entry.used_at,
            expires_at: entry.expires_at.unwrap_or(UtcMillis(u64::MAX)),
            tags: self.tags.hold(entry.tags),
            sources,
            tokens: u16::try_from(tokens_of(entry.text)).unwrap_or(u16::MAX),
            importance: entry.importance,
        };
        if let Some(place) = self.place_of.get(&entry.id).copied() {
            // The text of a number never changes: only what is known beside it.
            let before = std::mem::replace(&mut self.places[place as usize], known);
            self.tags.release(before.tags);
            self.sources.release(before.sources);
            if let (Some(vector), Some(_), false) = (self.own(entry), self.space, self.library.has_vector(place)) {
                let codes: Vec<i8> = vector.codes.iter().map(|code| code.cast_signed()).collect();
                let scale = vector.scale;
                self.library.set_vector(
                    place,
                    &Quantised {
                        scale,
                        codes: codes.into(),
                    },
                );
            }
            return;
        }
        let place = self.places.len() as u32;
        let between = self.threads.take(entry);
        let texts = [entry.key.unwrap_or_default(), self.day.of(entry.created_at), entry.text];
        let by = entry.sources.first().and_then(|source| speaker(source));
        self.library.add(place, &texts, by, None, between);
        match self.own(entry) {
            Some(vector) => {
                self.library.set_row(place, vector.scale, vector.codes);
            }
            // The built-in vector is made from the text where it is not stored; another is not, and until it is there
            // the entry is found by its words.
            None if self.space.is_none() => {
                if let Some(vector) = embed_quantised(entry.text) {
                    self.library.set_vector(place, &vector);
                }
            }
            None => {}
        }
        self.place_of.insert(entry.id, place);
        self.places.push(known);
    }

    fn lose(&mut self, id: u64) {
        let Some(place) = self.place_of.remove(&id) else { return };
        let lost = &self.places[place as usize];
        self.tags.release(lost.tags);
        self.sources.release(lost.sources);
        self.threads.lose(place);
        self.library.remove(place);
        self.removed += 1;
    }
}

impl ShardIndex {
    /// The vector of an entry in the space that is searched.
    fn own<'s>(&self, entry: &Seen<'s>) -> Option<SeenVector<'s>> {
        let name = self
            .wanted
            .as_deref()
            .filter(|_| self.space.is_some())
            .unwrap_or(EMBEDDER);
        entry.vector.filter(|vector| vector.embedder == name)
    }

    /// What is in it.
    pub fn review(&self) -> IndexReview {
        IndexReview {
            followed: self.followed,
            ids: self.place_of.keys().copied().collect(),
            documents: self.library.len(),
        }
    }

    /// An index that has seen nothing yet.
    pub fn new(name: ShardName) -> Self {
        Self::of(name, None)
    }

    /// The same, for a configured embedder: its vectors are searched once all of the shard has them.
    pub fn of(name: ShardName, wanted: Option<Arc<str>>) -> Self {
        Self {
            name,
            wanted,
            space: None,
            followed: 0,
            library: Library::default(),
            places: Vec::new(),
            place_of: HashMap::default(),
            tags: Lists::default(),
            sources: Lists::default(),
            threads: Threads::default(),
            removed: 0,
            day: Day::default(),
            room: Room::default(),
        }
    }

    /// Live entries.
    pub fn len(&self) -> usize {
        self.library.len()
    }

    /// Whether nothing is live.
    pub fn is_empty(&self) -> bool {
        self.library.is_empty()
    }

    /// Bytes of the vectors, and of the graph over them.
    pub fn bytes(&self) -> (usize, usize) {
        self.library.bytes()
    }

    /// Takes over what changed in the store since the last time.
    pub fn follow(&mut self, store: &Store) -> Result<Followed, StoreError> {
        let space = match &self.wanted {
            Some(wanted) => store.memory_served_by(&self.name, wanted)?,
            None => None,
        };
        let is_sparse = self.removed > REMOVED_FEW && self.removed > self.places.len() / REMOVED_PART;
        // Vectors of two embedders are never in one index.
        if is_sparse || space != self.space {
            // As far behind as can be: the store gives all that is live.
            self.forget_all(space);
        }
        let stand = store.memory_follow(&self.name.clone(), self.followed, self.space, self)?;
        self.followed = stand.through;
        Ok(Followed {
            damaged: stand.damaged,
            anew: stand.anew,
        })
    }

    fn forget_all(&mut self, space: Option<u32>) {
        *self = Self {
            space,
            ..Self::of(self.name.clone(), self.wanted.take())
        };
    }

    /// The graph that is to be built now, if any.
    pub fn graph_task(&self, policy: &GraphPolicy) -> Option<GraphTask> {
        self.library.graph_task(policy)
    }

    /// Searches with this graph from now on. One of rows that have changed meanwhile is refused.
    pub fn set_graph(&mut self, graph: BuiltGraph) -> bool {
        self.library.set_graph(graph)
    }

    /// How much of what the scan finds the graph found, when the last question was one of those that are checked.
    pub fn take_recall(&mut self) -> Option<f32> {
        self.room.take_recall()
    }

    /// The best entries for a question, best first. The index must have followed the store.
    pub fn query(&mut self, store: &Store, question: &Question, now: UtcMillis) -> Result<Vec<FoundEntry>, StoreError> {
        self.query_weighted(store, question, &Weights::default(), now)
    }

    /// The same in the space that the shard is searched in, when the question's direction there is known.
    pub fn query_in(
        &mut self,
        store: &Store,
        question: &Question,
        direction: &Direction,
        now: UtcMillis,
    ) -> Result<Found, StoreError> {
        let weights = Weights::default();
        let wanted = self.library.wanted(&question.text, &weights);
        let vector = match (self.space, direction) {
            (None, _) => self.library.question_vector(&question.text, &wanted, &weights),
            (Some(space), Direction::Of(embedder, vector)) if *embedder == space => Some(vector.clone()),
            (Some(_), _) => None,
        };
        let is_blind = self.space.is_some() && vector.is_none();
        Ok(Found {
            entries: self.query_along(store, question, (&wanted, vector.as_ref()), &weights, now)?,
            words_alone: is_blind.then(|| "the part is searched by other vectors since a moment".into()),
        })
    }

    /// The same with other weights, to find out what each is worth.
    pub fn query_weighted(
        &mut self,
        store: &Store,
        question: &Question,
        weights: &Weights,
        now: UtcMillis,
    ) -> Result<Vec<FoundEntry>, StoreError> {
        let wanted = self.library.wanted(&question.text, weights);
        let vector = self.library.question_vector(&question.text, &wanted, weights);
        self.query_along(store, question, (&wanted, vector.as_ref()), weights, now)
    }

    fn query_along(
        &mut self,
        store: &Store,
        question: &Question,
        (wanted, vector): (&Wanted, Option<&Quantised>),
        weights: &Weights,
        now: UtcMillis,
    ) -> Result<Vec<FoundEntry>, StoreError> {
        let limit = question.limit.min(FOUND_MAX);
        let asked = Asked {
            text: &question.text,
            wanted,
            vector,
            weights: *weights,
        };
        let tokens_max = question.tokens_max.unwrap_or(u64::MAX);
        let mut read: HashMap<u64, MemoryEntry> = HashMap::new();
        let (mut wanted, mut longest) = (limit + SPARE, u64::MAX);
        let mut best_of_all = None;
        loop {
            let hits = self.hits(&asked, question, (wanted, longest), now);
            let is_last = hits.len() < wanted || wanted >= HITS_MAX;
            let distinct = self.distinct(store, hits, &mut read)?;
            if best_of_all.is_none() {
                best_of_all = distinct.first().copied();
            }
            let tokens: Vec<u64> = distinct.iter().map(|(_, id)| tokens_of(&read[id].text)).collect();
            let taken = pack(&tokens, tokens_max, limit);
            let used: u64 = taken.iter().map(|at| tokens[*at]).sum();
            let read_bytes: usize = read.values().map(|entry| entry.text.len()).sum();
            // Half of a limit of tokens is enough: what is looked for in its rest has ever less to do with the question.
            let is_enough = taken.len() == limit || (distinct.len() >= limit && used > tokens_max / 2);
            if is_enough || is_last || read_bytes > READ_BYTES_MAX {
                let chosen = taken.iter().map(|at| distinct[*at]);
                let found: Vec<FoundEntry> = chosen
                    .filter_map(|(hit, id)| Some(self.found(&hit, read.remove(&id)?)))
                    .collect();
                let nothing_fits = found.is_empty() && limit > 0 && tokens_max >= BEGINNING_TOKENS;
                let Some((hit, id)) = best_of_all.filter(|_| nothing_fits) else {
                    return Ok(found);
                };
                let beginning = read.remove(&id).map(|mut entry| {
                    entry.text = cut(&entry.text, usize::try_from(tokens_max * 4).unwrap_or(usize::MAX)).into();
                    self.found(&hit, entry)
                });
                return Ok(beginning.into_iter().collect());
            }
            (wanted, longest) = ((wanted * 4).min(HITS_MAX), tokens_max);
        }
    }

    /// So many of the best hits whose texts are no longer than so many tokens.
    fn hits(
        &mut self,
        asked: &Asked<'_>,
        question: &Question,
        (wanted, longest): (usize, u64),
        now: UtcMillis,
    ) -> Vec<Hit> {
        let (places, tags, sources) = (&self.places, &self.tags, &self.sources);
        let passes = |place: &Place| {
            place.passes(question, now)
                && u64::from(place.tokens) <= longest
                && (question.tags.is_empty() || has_all(tags.of(place.tags), &question.tags))
                && (question.source.as_ref()).is_none_or(|begin| has_one(sources.of(place.sources), begin))
        };
        self.library.query(
            asked,
            |place| passes(&places[place as usize]),
            |place| places[place as usize].prior(now),
            wanted,
            &mut self.room,
        )
    }

    /// The hits that are there still and say something else than those before them, with the numbers of their entries,
    /// which are read where they were not.
    fn distinct(
        &self,
        store: &Store,
        hits: Vec<Hit>,
        read: &mut HashMap<u64, MemoryEntry>,
    ) -> Result<Vec<(Hit, u64)>, StoreError> {
        let id_of = |hit: &Hit| self.places[hit.place as usize].id;
        let unread: Vec<u64> = hits.iter().map(id_of).filter(|id| !read.contains_key(id)).collect();
        let entries = store.memory_entries(&self.name, &unread)?;
        read.extend(entries.into_iter().map(|entry| (entry.id, entry)));
        let mut said = Distinct::default();
        let mut distinct = Vec::with_capacity(hits.len());
        for hit in hits {
            let id = id_of(&hit);
            let Some(entry) = read.get(&id) else { continue };
            if said.take(hit.place, Gist::of(&entry.text), |a, b| self.library.between(a, b)) {
                distinct.push((hit, id));
            }
        }
        Ok(distinct)
    }

    fn found(&self, hit: &Hit, entry: MemoryEntry) -> FoundEntry {
        FoundEntry {
            shard: self.name.clone(),
            entry,
            score: hit.score,
            parts: hit.parts,
        }
    }
}

fn has_all(tags: &[Arc<str>], wanted: &[Arc<str>]) -> bool {
    wanted.iter().all(|tag| tags.contains(tag))
}

fn has_one(sources: &[Arc<str>], begin: &str) -> bool {
    sources.iter().any(|source| source.starts_with(begin))
}

impl Place {
    fn passes(&self, question: &Question, now: UtcMillis) -> bool {
        self.expires_at > now
            && question.since.is_none_or(|since| self.updated_at >= since)
            && question.until.is_none_or(|until| self.updated_at < until)
    }

    /// Half by how fresh it is, counted from its last use, half by its importance.
    fn prior(&self, now: UtcMillis) -> f32 {
        let days = now.since(self.used_at) as f64 / DAY_MS;
        let fresh = 0.5f64.powf(days / HALF_LIFE_DAYS);
        f32::midpoint(fresh as f32, f32::from(self.importance) / 100.0)
    }
}
