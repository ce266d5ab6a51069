//! Words and vectors together: from a question to ranked places.
//!
//! Refuses to know: stores, scopes, time. Invariants: pure; removed places and places that the filter refuses never
//! come back; equal scores are ordered by place, so a query has one answer.
//!
//! Scores are fused, not ranks: each signal is brought to 0..1 over the entries that may be found, then weighted
//! ([`Weights`]). The best of that are looked at more closely: what their neighbours score, who speaks, whether they
//! tell a time or only ask. The words that the best of those share lead a second round.

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation;

use crate::memory::embed::table;
use crate::memory::embed::vector::{DIMENSIONS, Quantised};
use crate::memory::ranking::best::Best;
use crate::memory::ranking::span::Span;
use crate::memory::ranking::speech::{Speech, wants_time};
use crate::memory::ranking::weights::Weights;

use super::codes::Codes;
use super::gather::{Gathered, Source};
use super::graph::build::{BuiltGraph, GraphPolicy, GraphTask};
use super::lexical::{Lexical, Scores};
use super::terms::terms;

/// Places that are looked at more closely, when fewer are asked for.
const CLOSER: usize = 256;
/// Hits whose words lead the second round.
const LEADING: usize = 5;
/// Words of the second round.
const LED_WORDS: usize = 10;
/// A name begins at least so many entries, and one in [`SPEAKS_PART`], or it is no speaker's.
const SPEAKS_MIN: u32 = 8;
/// See [`SPEAKS_MIN`].
const SPEAKS_PART: usize = 20;
/// No speaker.
const NOBODY: u32 = u32::MAX;

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
    /// The same within what was said around it.
    pub words_around: f32,
    /// Cosine with the entry's text, 0 to 1 over this query.
    pub meaning: f32,
    /// The same with the entry before it.
    pub meaning_pair: f32,
    /// What the better neighbours added, after their weights.
    pub neighbour: f32,
    /// Speaker, time and form: what the sum was multiplied by.
    pub fit: f32,
    /// Words that the best hits share, 0 to 1 over this query.
    pub second: f32,
    /// How well the entry before it asks what is asked, 0 to 1, when somebody else said that.
    pub answers: f32,
    /// The prior, 0 to 1.
    pub prior: f32,
    /// Cosine with the question as it is: comparable between questions.
    pub cosine: f32,
    /// The part of the question's words that the entry has, by their rarity: comparable between questions.
    pub covered: f32,
}

/// What an entry's text shows of itself.
#[derive(Debug, Clone, Copy)]
struct Marks {
    speaker: u32,
    asks: f32,
    tells_time: bool,
}

/// The index of one shard.
#[derive(Debug, Default)]
pub struct Library {
    lexical: Lexical,
    codes: Codes,
    /// Over the rows of `codes`; none where the scan is as fast, or until one is built.
    graph: Option<BuiltGraph>,
    marks: Vec<Marks>,
    speakers: HashMap<Box<str>, u32>,
    /// The numbers of the terms of each speaker's name.
    names: Vec<Vec<u32>>,
    /// Live entries of each speaker.
    spoken: Vec<u32>,
}

/// Room for one query at a time, kept between queries.
#[derive(Debug, Default)]
pub struct Room {
    scores: Scores,
    second: Scores,
    gathered: Gathered,
    /// Cosines with the entry before taken in.
    pairs: Vec<f32>,
    /// Which places may be found.
    open: Vec<bool>,
    fused: Vec<f32>,
    sorted: Vec<f32>,
}

impl Room {
    /// How much of what the scan finds the graph found, when the last query was one of those that are checked.
    pub fn take_recall(&mut self) -> Option<f32> {
        self.gathered.recall.take()
    }
}

/// A question's words as one state of the index knows them; taken once for its vector and its query.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Terms with their weights.
    terms: Vec<(u32, f32)>,
    /// How many more there are that no entry has.
    unknown: usize,
    /// The one speaker who is named.
    speaker: Option<u32>,
}

impl Library {
    /// Makes room for so many entries.
    pub fn reserve(&mut self, entries: usize) {
        self.lexical.reserve(entries);
        self.marks.reserve(entries);
    }

    /// Adds an entry at a new place: what its words are beside the text (a key, the day it was put), and last its text,
    /// which may begin with a date and a speaker.
    pub fn add(&mut self, place: u32, texts: &[&str], vector: Option<&Quantised>, previous: Option<u32>) {
        let text = texts.last().copied().unwrap_or_default();
        self.lexical.add(place, texts, previous);
        if let Some(vector) = vector {
            self.set_vector(place, vector);
        }
        let speech = Speech::of(text);
        let speaker = speech.speaker.map_or(NOBODY, |name| self.speaker(name));
        if let Some(spoken) = self.spoken.get_mut(speaker as usize) {
            *spoken += 1;
        }
        let at = place as usize;
        let marks = Marks {
            speaker,
            asks: speech.asks(),
            tells_time: speech.tells_time(),
        };
        if self.marks.len() <= at {
            let nothing = Marks {
                speaker: NOBODY,
                asks: 0.0,
                tells_time: false,
            };
            self.marks.resize(at + 1, nothing);
        }
        self.marks[at] = marks;
    }

    fn speaker(&mut self, name: &str) -> u32 {
        if let Some(speaker) = self.speakers.get(name) {
            return *speaker;
        }
        let speaker = self.names.len() as u32;
        let mut of_name = Vec::new();
        // The text was indexed before, so its terms are known.
        terms(name, |term| of_name.extend(self.lexical.number(term)));
        self.speakers.insert(name.into(), speaker);
        self.names.push(of_name);
        self.spoken.push(0);
        speaker
    }

    /// Removes a place.
    pub fn remove(&mut self, place: u32) {
        if !self.lexical.is_live(place) {
            return;
        }
        self.lexical.remove(place);
        self.codes.remove(place);
        let speaker = self.marks[place as usize].speaker;
        if let Some(spoken) = self.spoken.get_mut(speaker as usize) {
            *spoken -= 1;
        }
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

    /// The cosine of two places; 0 when one has no vector.
    pub fn between(&self, a: u32, b: u32) -> f32 {
        self.codes.between(a, b)
    }

    /// Whether a place has a vector.
    pub fn has_vector(&self, place: u32) -> bool {
        self.codes.has(place)
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

    /// Gives a new place its vector as the store has it: signed codes as bytes. Returns whether it was taken.
    pub fn set_row(&mut self, place: u32, scale: f32, codes: &[u8]) -> bool {
        self.codes.put_bytes(place, scale, codes)
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

    fn source(&self) -> Source<'_> {
        Source {
            lexical: &self.lexical,
            codes: &self.codes,
            graph: self.graph.as_ref().map(BuiltGraph::nearest),
        }
    }

    /// The words of a question. They hold until the index changes.
    pub fn wanted(&self, text: &str, weights: &Weights) -> Wanted {
        let mut wanted = Wanted::default();
        terms(text, |term| {
            if let Some(number) = self.lexical.number(term) {
                match wanted.terms.iter_mut().find(|(known, _)| *known == number) {
                    // A word that is asked for twice counts a little more, not twice.
                    Some((_, weight)) => *weight += 0.3,
                    None => wanted.terms.push((number, 1.0)),
                }
            } else {
                wanted.unknown += 1;
            }
        });
        let least = SPEAKS_MIN.max((self.lexical.len() / SPEAKS_PART) as u32);
        let is_named = |speaker: &usize| {
            let name = &self.names[*speaker];
            self.spoken[*speaker] >= least
                && !name.is_empty()
                && name
                    .iter()
                    .all(|term| wanted.terms.iter().any(|(known, _)| known == term))
        };
        // Few can have a twentieth of all entries, so few are looked at closely.
        let named: Vec<usize> = (0..self.names.len()).filter(is_named).collect();
        if let [speaker] = named[..] {
            let name = &self.names[speaker];
            if wanted.terms.iter().any(|(term, _)| !name.contains(term)) {
                for (term, weight) in &mut wanted.terms {
                    if name.contains(term) {
                        *weight *= weights.name;
                    }
                }
                wanted.terms.retain(|(_, weight)| *weight > 0.0);
            }
            wanted.speaker = Some(speaker as u32);
        }
        wanted
    }

    /// The vector of a question by the built-in table: rare words count more than frequent ones, and the name of the one
    /// speaker who is named counts as little as among the words.
    pub fn question_vector(&self, text: &str, wanted: &Wanted, weights: &Weights) -> Option<Quantised> {
        let name: &[u32] = wanted.speaker.map_or(&[], |speaker| &self.names[speaker as usize]);
        let most = (self.lexical.len() as f32 + 1.0).ln().max(1.0);
        let mut sum = [0.0f32; DIMENSIONS];
        for word in text.unicode_words() {
            let word = word.split(['\'', '\u{2019}']).next().unwrap_or(word);
            let (mut rarity, mut is_name) = (0.0f32, false);
            terms(word, |term| {
                let number = self.lexical.number(term);
                let found = number.map_or(0, |number| self.lexical.live_in(number));
                rarity = rarity.max(self.lexical.rarity(found) / most);
                is_name |= number.is_some_and(|number| name.contains(&number));
            });
            let weight = 1.0 - weights.rarity + weights.rarity * rarity.min(1.2);
            let weight = if is_name { weight * weights.name } else { weight };
            if weight > 0.0 {
                table::add(word, weight, &mut sum);
            }
        }
        match table::unit(sum) {
            Some(vector) => Quantised::of(&vector),
            None => table::embed_quantised(text),
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
        let weights = &question.weights;
        let wanted = question.wanted;
        self.lexical.score(&wanted.terms, &mut room.scores);
        let is_open = |place: u32| self.lexical.is_live(place) && may_be_found(place);
        let Room {
            scores,
            second: led_scores,
            gathered,
            pairs,
            open,
            fused,
            sorted,
        } = room;
        gathered.gather(&self.source(), question.vector, scores, &is_open);
        let gathered = &*gathered;
        open.clear();
        open.resize(places, false);
        for place in &gathered.places {
            open[*place as usize] = true;
        }
        // With all of them gathered, what is not marked is not open.
        let is_open = |place: u32| open[place as usize] || (!gathered.is_all && is_open(place));
        let signals = Signals::over(&self.lexical, scores, gathered, pairs, open);
        signals.fuse(weights, fused);
        let mut close = self.closer(
            &gathered.places,
            fused,
            sorted,
            CLOSER.max(limit.saturating_mul(2)),
            open,
        );
        let wants_time = weights.time > 0.0 && wants_time(question.text);
        let fit = |place: u32| {
            let marks = self.marks[place as usize];
            let speaks = wanted.speaker.is_some_and(|speaker| speaker == marks.speaker);
            let gain = |is: bool, weight: f32| if is { 1.0 + weight } else { 1.0 };
            gain(speaks, weights.speaker)
                * gain(wants_time && marks.tells_time, weights.time)
                * (1.0 - weights.asks * marks.asks)
        };
        let first = |place: u32| (fused[place as usize] + self.neighbour(place, fused, weights)) * fit(place);
        let mut most_second = 0.0;
        if weights.second > 0.0 {
            let mut leading = Best::new(LEADING);
            for place in &close {
                leading.take(first(*place), *place, ());
            }
            let led = self.led(&leading.into_sorted(), wanted);
            self.lexical.score_around(&led, led_scores);
            for place in led_scores.touched() {
                let score = led_scores.around[*place as usize];
                // Whether it is open is asked only where it matters.
                if score > most_second && is_open(*place) {
                    most_second = score;
                }
            }
            // What only the second round finds, it has to find well.
            let well = |place: &&u32| led_scores.around[**place as usize] > most_second / 2.0 && is_open(**place);
            close.extend(led_scores.touched().iter().filter(well));
            close.sort_unstable();
            close.dedup();
        }
        let second = |place: u32| {
            if most_second > 0.0 {
                led_scores.around[place as usize] / most_second
            } else {
                0.0
            }
        };
        let answers = |place: u32| match self.lexical.neighbours(place).0 {
            Some(before) if self.marks[before as usize].speaker != self.marks[place as usize].speaker => {
                self.marks[before as usize].asks * signals.words.of(signals.scores.own[before as usize])
            }
            _ => 0.0,
        };
        let mut best = Best::new(limit);
        for place in close {
            let sum = first(place) + weights.second * second(place) + weights.answers * answers(place) * fit(place);
            // The prior is asked only where it can matter.
            if sum <= 0.0 || !best.may_take(sum) {
                continue;
            }
            let prior = prior(place).clamp(0.0, 1.0);
            best.take(sum * (1.0 - weights.prior + weights.prior * prior), place, prior);
        }
        let found = best.into_sorted().into_iter();
        found
            .map(|(score, place, prior)| Hit {
                place,
                score,
                parts: Parts {
                    neighbour: self.neighbour(place, fused, weights),
                    fit: fit(place),
                    second: second(place),
                    answers: answers(place),
                    prior,
                    cosine: gathered.cosines[place as usize],
                    covered: self.covered(place, wanted),
                    ..signals.of(place)
                },
            })
            .collect()
    }

    /// The part of the question's words, by their rarity, that a place has. Words that no entry has count as the rarest.
    fn covered(&self, place: u32, wanted: &Wanted) -> f32 {
        let terms_of = self.lexical.terms_of(place);
        let (mut has, mut all) = (0.0, wanted.unknown as f32 * self.lexical.worth(0));
        for (term, weight) in &wanted.terms {
            let worth = weight * self.lexical.worth(self.lexical.live_in(*term));
            all += worth;
            if terms_of.binary_search(term).is_ok() {
                has += worth;
            }
        }
        if all > 0.0 { has / all } else { 0.0 }
    }

    /// The places with the best fused scores, and the neighbours that these can lift; in order.
    fn closer(&self, gathered: &[u32], fused: &[f32], sorted: &mut Vec<f32>, count: usize, open: &[bool]) -> Vec<u32> {
        let mut least = 0.0;
        if gathered.len() > count {
            sorted.clear();
            sorted.extend(gathered.iter().map(|place| fused[*place as usize]));
            least = *sorted.select_nth_unstable_by(count, |a, b| b.total_cmp(a)).1;
        }
        let mut close = Vec::with_capacity(count * 2);
        for place in gathered {
            let score = fused[*place as usize];
            // All that are as good as the last one: which of equals are found must not depend on the order.
            if score > 0.0 && score >= least {
                close.push(*place);
            }
        }
        if least > 0.0 {
            let best = close.clone();
            for place in best {
                let (before, after) = self.lexical.neighbours(place);
                close.extend(before.into_iter().chain(after).filter(|other| open[*other as usize]));
            }
            close.sort_unstable();
            close.dedup();
        }
        close
    }

    /// What the better neighbour, and the better one of those beyond, add to a place.
    fn neighbour(&self, place: u32, fused: &[f32], weights: &Weights) -> f32 {
        let of = |other: Option<u32>| other.map_or(0.0, |other| fused[other as usize]);
        let (before, after) = self.lexical.neighbours(place);
        let far_before = before.and_then(|before| self.lexical.neighbours(before).0);
        let far_after = after.and_then(|after| self.lexical.neighbours(after).1);
        weights.neighbour * of(before).max(of(after)) + weights.neighbour_far * of(far_before).max(of(far_after))
    }

    /// The words that lead the second round: rare, shared by the best hits, and not asked for already.
    fn led(&self, leading: &[(f32, u32, ())], wanted: &Wanted) -> Vec<(u32, f32)> {
        let whole: f32 = leading.iter().map(|(score, ..)| score).sum();
        let name: &[u32] = wanted.speaker.map_or(&[], |speaker| &self.names[speaker as usize]);
        let mut shares: HashMap<u32, f32> = HashMap::new();
        for (score, place, ()) in leading {
            let share = score / whole.max(f32::EPSILON) / f32::from(self.lexical.length(*place).max(1)).sqrt();
            for term in self.lexical.terms_of(*place) {
                if !name.contains(term) && !wanted.terms.iter().any(|(known, _)| known == term) {
                    *shares.entry(*term).or_default() += share;
                }
            }
        }
        let weighed = |(term, share): (u32, f32)| (term, share * self.lexical.rarity(self.lexical.live_in(term)));
        let mut led: Vec<(u32, f32)> = shares.into_iter().map(weighed).collect();
        led.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        led.truncate(LED_WORDS);
        let most = led.first().map_or(1.0, |(_, weight)| *weight);
        for (_, weight) in &mut led {
            *weight /= most.max(f32::EPSILON);
        }
        led
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The words.
    pub text: &'q str,
    /// The same as the index knows them now.
    pub wanted: &'q Wanted,
    /// Their vector, when they have one.
    pub vector: Option<&'q Quantised>,
    /// What counts.
    pub weights: Weights,
}

/// The four signals of one query, brought to 0..1.
struct Signals<'q> {
    scores: &'q Scores,
    gathered: &'q Gathered,
    pairs: &'q [f32],
    open: &'q [bool],
    words: Span,
    words_around: Span,
    meaning: Span,
    meaning_pair: Span,
}

impl<'q> Signals<'q> {
    fn over(
        lexical: &Lexical,
        scores: &'q Scores,
        gathered: &'q Gathered,
        pairs: &'q mut Vec<f32>,
        open: &'q [bool],
    ) -> Self {
        let cosines = &gathered.cosines;
        pairs.clear();
        pairs.resize(cosines.len(), 0.0);
        let (mut meaning, mut meaning_pair) = (Span::empty(), Span::empty());
        for place in gathered.places.iter().chain(&gathered.sample) {
            let own = cosines[*place as usize];
            let pair = match lexical.neighbours(*place).0 {
                Some(before) => f32::midpoint(own, cosines[before as usize]),
                None => own,
            };
            pairs[*place as usize] = pair;
            meaning.take(own);
            meaning_pair.take(pair);
        }
        let (mut words, mut words_around) = (Span::from_zero(), Span::from_zero());
        for place in scores
            .touched()
            .iter()
            .map(|place| *place as usize)
            .filter(|place| open[*place])
        {
            words.take(scores.own[place]);
            words_around.take(scores.around[place]);
        }
        Self {
            scores,
            gathered,
            pairs,
            open,
            words,
            words_around,
            meaning,
            meaning_pair,
        }
    }

    fn of(&self, place: u32) -> Parts {
        let at = place as usize;
        Parts {
            words: self.words.of(self.scores.own[at]),
            words_around: self.words_around.of(self.scores.around[at]),
            meaning: self.meaning.of(self.gathered.cosines[at]),
            meaning_pair: self.meaning_pair.of(self.pairs[at]),
            ..Parts::default()
        }
    }

    /// The weighted sums, 0 for a place that may not be found.
    fn fuse(&self, weights: &Weights, fused: &mut Vec<f32>) {
        fused.clear();
        fused.resize(self.pairs.len(), 0.0);
        for place in &self.gathered.places {
            let at = *place as usize;
            fused[at] = weights.meaning * self.meaning.of(self.gathered.cosines[at])
                + weights.meaning_pair * self.meaning_pair.of(self.pairs[at]);
        }
        for place in self
            .scores
            .touched()
            .iter()
            .map(|place| *place as usize)
            .filter(|place| self.open[*place])
        {
            fused[place] += weights.words * self.words.of(self.scores.own[place])
                + weights.words_around * self.words_around.of(self.scores.around[place]);
        }
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
            library.add(place, &[text], embed_quantised(text).as_ref(), None);
        }
        library
    }

    fn ask(library: &Library, text: &str, limit: usize) -> Vec<u32> {
        let vector = embed_quantised(text);
        let question = Question {
            text,
            wanted: &library.wanted(text, &Weights::default()),
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
            wanted: &library.wanted("red pear", &Weights::default()),
            vector: vector.as_ref(),
            weights: Weights::default(),
        };
        let hits = library.query(&question, |place| place != 0, |_| 1.0, 9, &mut Room::default());
        assert_eq!(hits.iter().map(|hit| hit.place).collect::<Vec<_>>(), [2]);
    }

    /// A conversation of two, long enough that their names are those of speakers.
    fn conversation(told: &[&str]) -> Library {
        let chatter = [
            "Anna: That sounds lovely!",
            "Boris: Indeed, what a day.",
            "Anna: I know what you mean.",
            "Boris: Sleep well, see you.",
        ];
        let texts: Vec<&str> = told.iter().copied().chain((0..40).map(|at| chatter[at % 4])).collect();
        let mut library = Library::default();
        for (place, text) in (0u32..).zip(texts) {
            library.add(place, &[text], embed_quantised(text).as_ref(), place.checked_sub(1));
        }
        library
    }

    #[test]
    fn an_answer_is_found_by_who_speaks_when_it_was_and_what_was_said_around_it() {
        let check = |told: &[&str], question: &str, expected: u32, among: usize| {
            let found = ask(&conversation(told), question, among);
            assert!(found.contains(&expected), "{question}: {found:?} of {told:?}");
        };
        let kettles = ["Anna: My kettle is red.", "Boris: My kettle is red."];
        check(&kettles, "What colour is Anna's kettle?", 0, 1);
        check(&kettles, "What colour is Boris' kettle?", 1, 1);
        let visits = [
            "Boris: Good for you!",
            "Anna: How nice.",
            "Anna: I went to Paris by train.",
            "Boris: So it is.",
            "Anna: How nice.",
            "Boris: So it is.",
            "Anna: I went to Paris in May.",
        ];
        check(&visits, "When did Anna go to Paris?", 6, 1);
        let asked = [
            "Boris: What did the shelter say about the limping terrier?",
            "Anna: Nobody wanted him.",
        ];
        check(&asked, "What did the shelter say about the terrier?", 1, 2);
    }

    #[test]
    fn a_word_before_a_colon_is_no_speaker_and_still_counts() {
        let library = library(&["Deploy: the key is in the vault.", "Build: the key is on the wall."]);
        assert_eq!(ask(&library, "deploy key", 1), [0]);
        assert_eq!(ask(&library, "build key", 1), [1]);
    }

    #[test]
    fn the_second_round_finds_what_the_best_hits_speak_of() {
        let mut texts = vec![
            "The outage was caused by the certificate of Zephyr.",
            "Zephyr is run by the team in Oslo.",
        ];
        let filler: Vec<String> = (0..400).map(|at| format!("note {at} on lunch and weather")).collect();
        texts.extend(filler.iter().map(String::as_str));
        let library = library(&texts);
        let found = ask(&library, "what caused the outage", 2);
        assert_eq!(found, [0, 1], "the second entry shares no word with the question");
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
            with.add(number as u32, &[&text], embed_quantised(&text).as_ref(), None);
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
            wanted: &with.wanted("window", &Weights::default()),
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
        fn an_answer_is_the_same_each_time_and_an_unrelated_entry_takes_no_hit_away(
            texts in prop::collection::vec("(red|blue|green|apple|pear|kettle|vault)( (red|blue|apple|pear|key|door)){0,5}", 1..30),
            unrelated in prop::collection::vec("(zebra|giraffe|quokka)( (jumps|sleeps)){1,3}", 1..5),
            refused in any::<u32>(),
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut library = library(&texts);
            let vector = embed_quantised("blue apple");
            let passes = |place: u32| refused >> (place % 32) & 1 == 0;
            let ask = |library: &Library, room: &mut Room| -> Vec<(u32, u32)> {
                let (text, weights) = ("blue apple", Weights::default());
                let wanted = &library.wanted(text, &weights);
                let question = Question { text, wanted, vector: vector.as_ref(), weights };
                let hits = library.query(&question, passes, |_| 1.0, 50, room);
                hits.iter().map(|hit| (hit.place, hit.score.to_bits())).collect()
            };
            let mut room = Room::default();
            let before = ask(&library, &mut room);
            prop_assert_eq!(&before, &ask(&library, &mut room), "with a used room");
            prop_assert_eq!(&before, &ask(&library, &mut Room::default()), "with a new one");
            prop_assert!(before.iter().all(|(place, _)| passes(*place)));
            let has_words = |place: &u32| texts[*place as usize].split(' ').any(|word| word == "blue" || word == "apple");
            for text in &unrelated {
                let place = library.lexical.places() as u32;
                library.add(place, &[text], embed_quantised(text).as_ref(), None);
            }
            let after: Vec<u32> = ask(&library, &mut room).into_iter().map(|(place, _)| place).collect();
            for (place, _) in before.iter().filter(|(place, _)| has_words(place)) {
                prop_assert!(after.contains(place), "{place} of {texts:?} is lost: {after:?}");
            }
        }
    }
}
