//! Words and vectors together: from a question to ranked places.
//!
//! Refuses to know: stores, scopes, time. Invariants: pure; removed places and places that the filter refuses never
//! come back; equal scores are ordered by place, so a query has one answer.
//!
//! Scores are fused, not ranks: each signal is brought to 0..1 over the entries that may be found, then weighted. The
//! weights are those that found most marked evidence in conversations (`bench`, program `recall`).

use crate::memory::embed::vector::Quantised;

use super::codes::Codes;
use super::gather::{Gathered, Source};
use super::graph::build::{BuiltGraph, GraphPolicy, GraphTask};
use super::lexical::{Lexical, Scores};

/// What each signal counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Words of the entry.
    pub words: f32,
    /// Words of the entry with the one before it.
    pub words_pair: f32,
    /// Meaning of the entry.
    pub meaning: f32,
    /// Meaning of the entry with the one before it.
    pub meaning_pair: f32,
    /// How much of the better neighbour's score is added.
    pub neighbour: f32,
    /// How much of the score the prior can take away.
    pub prior: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            words: 0.6,
            words_pair: 0.6,
            meaning: 0.3,
            meaning_pair: 0.3,
            neighbour: 0.2,
            prior: 0.15,
        }
    }
}

/// One place that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Where.
    pub place: u32,
    /// By which the hits are ordered; comparable within one query only.
    pub score: f32,
    /// What it is made of.
    pub parts: Parts,
}

/// The parts of a score, each before its weight.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Parts {
    /// BM25 of the entry's own words, 0 to 1 over this query.
    pub words: f32,
    /// The same with the entry before it.
    pub words_pair: f32,
    /// Cosine with the entry's text, 0 to 1 over this query.
    pub meaning: f32,
    /// The same with the entry before it.
    pub meaning_pair: f32,
    /// What the better neighbour added.
    pub neighbour: f32,
    /// The prior, 0 to 1.
    pub prior: f32,
}

/// The index of one shard.
#[derive(Debug, Default)]
pub struct Library {
    lexical: Lexical,
    codes: Codes,
    /// Over the rows of `codes`; none where the scan is as fast, or until one is built.
    graph: Option<BuiltGraph>,
}

/// Room for one query at a time, kept between queries.
#[derive(Debug, Default)]
pub struct Room {
    scores: Scores,
    gathered: Gathered,
    fused: Vec<f32>,
}

impl Room {
    /// How much of what the scan finds the graph found, when the last query was one of those that are checked.
    pub fn take_recall(&mut self) -> Option<f32> {
        self.gathered.recall.take()
    }
}

impl Library {
    /// Adds an entry at a new place.
    pub fn add(&mut self, place: u32, text: &str, vector: Option<&Quantised>, previous: Option<u32>) {
        self.lexical.add(place, text, previous);
        if let Some(vector) = vector {
            self.set_vector(place, vector);
        }
    }

    /// Gives a place its vector, or another one. Returns whether it was taken.
    pub fn set_vector(&mut self, place: u32, vector: &Quantised) -> bool {
        let leads_there = |graph: &BuiltGraph| place < graph.nearest().covered();
        if self.graph.as_ref().is_some_and(leads_there) {
            // Its edges were chosen for another row.
            self.graph = None;
        }
        self.codes.put(place, vector)
    }

    /// The graph that is to be built now, if any.
    pub fn graph_task(&self, policy: &GraphPolicy) -> Option<GraphTask> {
        policy.task(&self.codes, self.graph.as_ref())
    }

    /// Searches with this graph from now on, if it is of the rows as they are.
    pub fn set_graph(&mut self, graph: BuiltGraph) -> bool {
        let fits = graph.is_of(&self.codes);
        if fits {
            self.graph = Some(graph);
        }
        fits
    }

    /// Whether questions are answered with a graph.
    pub fn has_graph(&self) -> bool {
        self.graph.is_some()
    }

    /// Bytes of the rows, and of the graph over them.
    pub fn bytes(&self) -> (usize, usize) {
        let graph = self.graph.as_ref().map_or(0, |graph| graph.nearest().bytes());
        (self.codes.bytes(), graph)
    }

    /// Removes a place.
    pub fn remove(&mut self, place: u32) {
        self.lexical.remove(place);
        self.codes.remove(place);
    }

    /// The entry before and the entry after a place in its source.
    pub fn neighbours(&self, place: u32) -> (Option<u32>, Option<u32>) {
        self.lexical.neighbours(place)
    }

    /// Live entries.
    pub fn len(&self) -> usize {
        self.lexical.len()
    }

    /// Whether nothing is live.
    pub fn is_empty(&self) -> bool {
        self.lexical.is_empty()
    }

    /// The place whose vector is nearest to this one, with its cosine.
    pub fn nearest(&self, vector: &Quantised, room: &mut Room) -> Option<(u32, f32)> {
        let is_live = |place| self.lexical.is_live(place);
        let near = room.gathered.nearest(&self.source(), vector, 1, &is_live);
        near.first().map(|near| (near.place, near.cosine))
    }

    fn source(&self) -> Source<'_> {
        Source {
            lexical: &self.lexical,
            codes: &self.codes,
            graph: self.graph.as_ref().map(BuiltGraph::nearest),
        }
    }

    /// The best places for a question, best first, at most `limit`.
    pub fn query(
        &self,
        question: &Question<'_>,
        may_be_found: impl Fn(u32) -> bool,
        prior: impl Fn(u32) -> f32,
        limit: usize,
        room: &mut Room,
    ) -> Vec<Hit> {
        let places = self.lexical.places();
        self.lexical.score(question.text, &mut room.scores);
        let open = |place: u32| self.lexical.is_live(place) && may_be_found(place);
        let Room {
            scores,
            gathered,
            fused,
        } = room;
        gathered.gather(&self.source(), question.vector, scores, &open);
        let Gathered {
            places: looked_at,
            cosines,
            sample,
            ..
        } = gathered;
        let pair_cosine = |place: u32| {
            let own = cosines[place as usize];
            match self.lexical.neighbours(place).0 {
                Some(before) => f32::midpoint(own, cosines[before as usize]),
                None => own,
            }
        };
        let (mut own, mut pair) = (Span::from_zero(), Span::from_zero());
        let (mut meaning, mut meaning_pair) = (Span::empty(), Span::empty());
        for place in looked_at.iter().chain(&*sample) {
            own.take(scores.own[*place as usize]);
            pair.take(scores.pair[*place as usize]);
            meaning.take(cosines[*place as usize]);
            meaning_pair.take(pair_cosine(*place));
        }
        let weights = &question.weights;
        let parts = |place: u32| Parts {
            words: own.of(scores.own[place as usize]),
            words_pair: pair.of(scores.pair[place as usize]),
            meaning: meaning.of(cosines[place as usize]),
            meaning_pair: meaning_pair.of(pair_cosine(place)),
            neighbour: 0.0,
            prior: 0.0,
        };
        fused.clear();
        fused.resize(places, 0.0);
        for place in &*looked_at {
            let parts = parts(*place);
            fused[*place as usize] = weights.words * parts.words
                + weights.words_pair * parts.words_pair
                + weights.meaning * parts.meaning
                + weights.meaning_pair * parts.meaning_pair;
        }
        let mut best = Best::new(limit);
        for place in looked_at.iter().copied() {
            let (before, after) = self.lexical.neighbours(place);
            let of = |other: Option<u32>| other.map_or(0.0, |other| fused[other as usize]);
            let neighbour = weights.neighbour * of(before).max(of(after));
            let sum = fused[place as usize] + neighbour;
            // The prior is asked only where it can matter.
            if sum <= 0.0 || !best.may_take(sum) {
                continue;
            }
            let prior = prior(place).clamp(0.0, 1.0);
            let score = sum * (1.0 - weights.prior + weights.prior * prior);
            best.take(place, score, neighbour, prior);
        }
        let found = best.into_sorted().into_iter();
        found
            .map(|found| Hit {
                place: found.place,
                score: found.score,
                parts: Parts {
                    neighbour: found.neighbour,
                    prior: found.prior,
                    ..parts(found.place)
                },
            })
            .collect()
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The words.
    pub text: &'q str,
    /// Their vector, when they have one.
    pub vector: Option<&'q Quantised>,
    /// What counts.
    pub weights: Weights,
}

/// From the least to the most of a signal.
#[derive(Debug, Clone, Copy)]
struct Span {
    least: f32,
    most: f32,
}

impl Span {
    /// For a signal whose absence is 0.
    fn from_zero() -> Self {
        Self { least: 0.0, most: 0.0 }
    }

    /// For a signal that every entry has.
    fn empty() -> Self {
        Self {
            least: f32::INFINITY,
            most: f32::NEG_INFINITY,
        }
    }

    fn take(&mut self, value: f32) {
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    fn of(self, value: f32) -> f32 {
        let width = self.most - self.least;
        // Where all are alike, the value itself says how well they fit.
        let share = if width > f32::EPSILON {
            (value - self.least) / width
        } else {
            value
        };
        share.clamp(0.0, 1.0)
    }
}

#[derive(Debug, Clone, Copy)]
struct Found {
    place: u32,
    score: f32,
    neighbour: f32,
    prior: f32,
}

/// The best few of many.
struct Best {
    limit: usize,
    /// The worst of them is at the front.
    found: Vec<Found>,
}

impl Best {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            found: Vec::with_capacity(limit.min(1_024)),
        }
    }

    fn may_take(&self, score: f32) -> bool {
        self.limit > 0 && (self.found.len() < self.limit || score > self.found[0].score)
    }

    fn take(&mut self, place: u32, score: f32, neighbour: f32, prior: f32) {
        if !self.may_take(score) {
            return;
        }
        let at = self.found.partition_point(|other| other.score < score);
        let found = Found {
            place,
            score,
            neighbour,
            prior,
        };
        if self.found.len() < self.limit {
            self.found.insert(at, found);
        } else {
            // The front falls out: those before `at` move one to the front.
            self.found.copy_within(1..at, 0);
            self.found[at - 1] = found;
        }
    }

    fn into_sorted(mut self) -> Vec<Found> {
        self.found
            .sort_by(|a, b| b.score.total_cmp(&a.score).then(a.place.cmp(&b.place)));
        self.found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::embed::table::embed_quantised;

    fn library(texts: &[&str]) -> Library {
        let mut library = Library::default();
        for (place, text) in (0u32..).zip(texts) {
            library.add(place, text, embed_quantised(text).as_ref(), None);
        }
        library
    }

    fn ask(library: &Library, text: &str, limit: usize) -> Vec<u32> {
        let vector = embed_quantised(text);
        let question = Question {
            text,
            vector: vector.as_ref(),
            weights: Weights::default(),
        };
        let hits = library.query(&question, |_| true, |_| 1.0, limit, &mut Room::default());
        hits.iter().map(|hit| hit.place).collect()
    }

    #[test]
    fn words_and_meaning_both_find() {
        let library = library(&[
            "The deploy key of the staging cluster is rotated every Monday.",
            "Two eggs, flour and a pinch of salt.",
            "My automobile needs new tires.",
        ]);
        assert_eq!(ask(&library, "when do we rotate the deploy key", 1), [0]);
        assert_eq!(ask(&library, "car wheels", 1), [2], "no word is shared");
        assert_eq!(ask(&library, "", 3), [] as [u32; 0]);
        assert_eq!(ask(&library, "deploy", 0), [] as [u32; 0]);
    }

    #[test]
    fn many_equal_vectors_hide_nothing() {
        let mut texts = vec!["the same words again"; 1_000];
        texts.push("a lonely zebra");
        let library = library(&texts);
        assert_eq!(ask(&library, "zebra", 1), [1_000]);
        assert_eq!(
            ask(&library, "the same words again", 1_200).len(),
            1_000,
            "all but the one that fits least"
        );
    }

    #[test]
    fn what_is_filtered_or_removed_is_never_found() {
        let mut library = library(&["red apple", "red pear", "red plum"]);
        library.remove(1);
        let vector = embed_quantised("red pear");
        let question = Question {
            text: "red pear",
            vector: vector.as_ref(),
            weights: Weights::default(),
        };
        let hits = library.query(&question, |place| place != 0, |_| 1.0, 9, &mut Room::default());
        assert_eq!(hits.iter().map(|hit| hit.place).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn with_a_graph_the_answers_are_those_without_one() {
        let words = [
            "kettle", "vault", "deploy", "token", "rotate", "window", "garden", "bicycle", "soup", "engine", "river",
            "music", "doctor", "ticket", "winter", "cable", "mirror", "lemon", "harbour", "pencil",
        ];
        let text = |number: usize| {
            let word = |part: usize| words[(number / 20usize.pow(part as u32) + number * (part + 3)) % 20];
            format!("the {} {} and a {} near the {}", word(0), word(1), word(2), word(3))
        };
        let mut with = Library::default();
        for number in 0..600 {
            let text = text(number);
            with.add(number as u32, &text, embed_quantised(&text).as_ref(), None);
        }
        let queries: Vec<String> = (0..20)
            .map(|number| format!("where is the {}", text(number * 37 + 5)))
            .collect();
        let without: Vec<Vec<u32>> = queries.iter().map(|query| ask(&with, query, 10)).collect();
        let policy = GraphPolicy {
            from_places: 500,
            ..GraphPolicy::default()
        };
        let task = with.graph_task(&policy).expect("worth a graph");
        assert!(with.set_graph(task.build(&std::sync::atomic::AtomicBool::new(false)).expect("built")));
        let mut room = Room::default();
        let vector = embed_quantised("window");
        let question = Question {
            text: "window",
            vector: vector.as_ref(),
            weights: Weights::default(),
        };
        with.query(&question, |_| true, |_| 1.0, 10, &mut room);
        assert!(room.gathered.places.len() < 500, "it looks at a part");
        assert!(
            room.take_recall().is_some_and(|recall| recall > 0.9),
            "the first is checked"
        );
        let rare = with.query(&question, |place| place % 100 == 7, |_| 1.0, 20, &mut room);
        assert_eq!(room.gathered.places.len(), 6, "a selective filter is scanned");
        assert!(
            rare.iter().all(|hit| hit.place % 100 == 7) && rare.len() > 3,
            "{rare:?}"
        );
        let mut same = 0;
        for (query, without) in queries.iter().zip(&without) {
            let found = ask(&with, query, 10);
            same += found.iter().filter(|place| without.contains(place)).count();
        }
        assert!(same >= 196, "98 of 100 at least: {same} of 200");
        assert!(with.set_vector(3, &embed_quantised("quite another").expect("a vector")));
        assert!(!with.has_graph(), "its edges were chosen for another row");
        let task = with.graph_task(&policy).expect("worth a graph");
        assert!(with.set_vector(4, &embed_quantised("other again").expect("a vector")));
        let late = task.build(&std::sync::atomic::AtomicBool::new(false)).expect("built");
        assert!(
            !with.set_graph(late),
            "a graph of rows that were replaced meanwhile is refused"
        );
    }

    proptest! {
        #[test]
        fn the_best_few_are_those_of_a_full_sort(scores in prop::collection::vec(0u8..50, 0..60), limit in 0usize..12) {
            let mut best = Best::new(limit);
            for (place, score) in (0u32..).zip(&scores) {
                best.take(place, f32::from(*score), 0.0, 0.0);
            }
            let mut expected: Vec<u8> = scores.clone();
            expected.sort_unstable_by(|a, b| b.cmp(a));
            expected.truncate(limit);
            let found: Vec<u8> = best.into_sorted().iter().map(|found| found.score as u8).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
