//! The words of a shard's entries: an inverted index with BM25 scores over two fields.
//!
//! Refuses to know: vectors, stores, time. Invariants: pure; a place that was removed never scores; the counts are
//! those of the live entries, whatever was removed.
//!
//! The first field is the entry's own text. The second is the entry within what was said around it in the same source:
//! the words of a question are often in the turns before an answer, and sometimes after it. It needs no postings of its
//! own, because its counts are weighted sums of the first field's.

use smallvec::SmallVec;

use super::scores::{Saturation, Scores, rarity};
use super::terms::{Word, terms_of, words};
use super::words::Words;

/// What the words of the three entries before count in the second field, nearest first.
const BEFORE: [f32; 3] = [0.7, 0.5, 0.34];
/// What those of the two entries after count.
const AFTER: [f32; 2] = [0.3, 0.15];
/// Places where a word counts, its own among them.
const REACH: f32 = (1 + BEFORE.len() + AFTER.len()) as f32;
/// Postings of one question that are counted wherever they are.
const EVERYWHERE: usize = 16_384;
/// The same for the words of a second round, which are a hint.
const EVERYWHERE_SECOND: usize = 8_192;
/// Places for which the postings beyond those are counted.
const CHOSEN: usize = 4_096;
/// No place, and no term.
const NONE: u32 = u32::MAX;
/// Words whose terms are remembered, for speed only.
const REMEMBERED_MAX: usize = 131_072;

#[derive(Debug, Clone, Copy)]
struct Posting {
    place: u32,
    count: u16,
}

/// What is known of a term, together: an entry that is added misses the processor's caches once for each of its terms.
#[derive(Debug, Default)]
struct OfTerm {
    /// Most terms are in few entries. Those of removed places stay.
    postings: SmallVec<[Posting; 2]>,
    /// Live places that have it.
    live_in: u32,
}

/// The index. Places are given by the caller, from 0, without large gaps.
#[derive(Debug, Default)]
pub struct Lexical {
    /// The terms.
    numbers: Words,
    /// Words as they are written, for speed only, with the number of the term of each; [`NONE`] of a stop word.
    remembered: Words,
    of_terms: Vec<OfTerm>,
    lengths: Vec<u16>,
    previous: Vec<u32>,
    next: Vec<u32>,
    is_live: Vec<bool>,
    /// Lengths in the second field.
    around: Vec<f32>,
    /// The different terms of all places, each place's in a row and in order; those of removed places stay.
    terms: Vec<u32>,
    /// Where the terms of each place begin, and how many they are.
    terms_at: Vec<(u32, u32)>,
    live: usize,
    live_length: u64,
    live_around: f64,
    /// The terms of the text that is being added, kept for its allocation.
    adding: Vec<u32>,
}

impl Lexical {
    /// Makes room for so many entries.
    pub fn reserve(&mut self, entries: usize) {
        self.lengths.reserve(entries);
        self.previous.reserve(entries);
        self.next.reserve(entries);
        self.is_live.reserve(entries);
        self.around.reserve(entries);
        self.terms_at.reserve(entries);
    }

    /// Adds a text, in parts, at a place, between the two that are said before and after it where there are such. A place
    /// is used once.
    pub fn add(&mut self, place: u32, texts: &[&str], (before, after): (Option<u32>, Option<u32>)) {
        let at = place as usize;
        if self.lengths.len() <= at {
            self.lengths.resize(at + 1, 0);
            self.previous.resize(at + 1, NONE);
            self.next.resize(at + 1, NONE);
            self.is_live.resize(at + 1, false);
            self.around.resize(at + 1, 0.0);
            self.terms_at.resize(at + 1, (0, 0));
        }
        let mut adding = std::mem::take(&mut self.adding);
        for text in texts {
            words(text, |word| self.take(word, &mut adding));
        }
        let length = u16::try_from(adding.len()).unwrap_or(u16::MAX);
        adding.sort_unstable();
        let begin = self.terms.len();
        for same in adding.chunk_by(|a, b| a == b) {
            let number = same[0];
            let count = u16::try_from(same.len()).unwrap_or(u16::MAX);
            self.terms.push(number);
            let of_term = &mut self.of_terms[number as usize];
            of_term.postings.push(Posting { place, count });
            of_term.live_in += 1;
        }
        self.terms_at[at] = (begin as u32, (self.terms.len() - begin) as u32);
        adding.clear();
        self.adding = adding;
        self.lengths[at] = length;
        self.is_live[at] = true;
        self.live += 1;
        self.live_length += u64::from(length);
        let is_there = |other: &u32| (*other as usize) < at && self.is_live[*other as usize];
        let (before, after) = (before.filter(is_there), after.filter(is_there));
        // Those that it comes between are not next to each other any more.
        let mut parted = [NONE; 2];
        if let Some(before) = before {
            parted[0] = std::mem::replace(&mut self.next[before as usize], place);
            self.previous[at] = before;
        }
        if let Some(after) = after {
            parted[1] = std::mem::replace(&mut self.previous[after as usize], place);
            self.next[at] = after;
        }
        let [follower, leader] = parted;
        if follower != NONE && Some(follower) != after {
            self.previous[follower as usize] = NONE;
            self.measure_around(follower);
        }
        if leader != NONE && Some(leader) != before {
            self.next[leader as usize] = NONE;
            self.measure_around(leader);
        }
        self.measure_around(place);
    }

    /// Adds the terms of a word to a list.
    fn take(&mut self, word: Word<'_>, list: &mut Vec<u32>) {
        let Word::Simple(simple) = word else {
            return terms_of(word, |term| list.push(self.numbered(term)));
        };
        let of_word = if let Some(known) = self.remembered.number(simple) {
            known
        } else {
            let mut of_word = NONE;
            terms_of(word, |term| of_word = self.numbered(term));
            if self.remembered.len() >= REMEMBERED_MAX {
                self.remembered.clear();
            }
            self.remembered.put(simple, of_word);
            of_word
        };
        if of_word != NONE {
            list.push(of_word);
        }
    }

    /// The number of a term, given when it is first seen.
    pub fn numbered(&mut self, term: &str) -> u32 {
        let (number, is_new) = self.numbers.take(term);
        if is_new {
            self.of_terms.push(OfTerm::default());
        }
        number
    }

    /// Removes a place. Its neighbours become each other's.
    pub fn remove(&mut self, place: u32) {
        let at = place as usize;
        if !self.is_live(place) {
            return;
        }
        let (before, after) = (self.previous[at], self.next[at]);
        self.live -= 1;
        self.live_length -= u64::from(self.lengths[at]);
        self.live_around -= f64::from(std::mem::take(&mut self.around[at]));
        let (begin, count) = std::mem::take(&mut self.terms_at[at]);
        for term in &self.terms[begin as usize..(begin + count) as usize] {
            self.of_terms[*term as usize].live_in -= 1;
        }
        self.is_live[at] = false;
        self.previous[at] = NONE;
        self.next[at] = NONE;
        if before != NONE {
            self.next[before as usize] = after;
        }
        if after != NONE {
            self.previous[after as usize] = before;
        }
        for neighbour in [before, after] {
            if neighbour != NONE {
                self.measure_around(neighbour);
            }
        }
    }

    /// Brings the lengths in the second field up to date where this place counts.
    fn measure_around(&mut self, place: u32) {
        let mut first = place;
        for _ in 0..AFTER.len() {
            let before = self.previous[first as usize];
            if before == NONE {
                break;
            }
            first = before;
        }
        let mut here = first;
        for _ in 0..=AFTER.len() + BEFORE.len() {
            let mut length = f32::from(self.lengths[here as usize]);
            self.each_around(here, |other, weight| {
                length += weight * f32::from(self.lengths[other as usize]);
            });
            let old = std::mem::replace(&mut self.around[here as usize], length);
            self.live_around += f64::from(length) - f64::from(old);
            here = self.next[here as usize];
            if here == NONE {
                break;
            }
        }
    }

    /// The entries around a place and what their words count there.
    fn each_around(&self, place: u32, mut each: impl FnMut(u32, f32)) {
        for (list, weights) in [(&self.previous, &BEFORE[..]), (&self.next, &AFTER[..])] {
            let mut here = place;
            for weight in weights {
                here = list[here as usize];
                if here == NONE {
                    break;
                }
                each(here, *weight);
            }
        }
    }

    /// The places where the words of this place count, and what.
    fn each_reached(&self, place: u32, mut each: impl FnMut(u32, f32)) {
        for (list, weights) in [(&self.next, &BEFORE[..]), (&self.previous, &AFTER[..])] {
            let mut here = place;
            for weight in weights {
                here = list[here as usize];
                if here == NONE {
                    break;
                }
                each(here, *weight);
            }
        }
    }

    /// Live entries.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether nothing is live.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Places that were ever used, from 0.
    pub fn places(&self) -> usize {
        self.lengths.len()
    }

    /// Whether a place holds a live entry.
    pub fn is_live(&self, place: u32) -> bool {
        self.is_live.get(place as usize).copied().unwrap_or(false)
    }

    /// The entry before and the entry after a place in its source.
    pub fn neighbours(&self, place: u32) -> (Option<u32>, Option<u32>) {
        let of = |list: &[u32]| list.get(place as usize).copied().filter(|other| *other != NONE);
        (of(&self.previous), of(&self.next))
    }

    /// The number of a term, when an entry has it or had it.
    pub fn number(&self, term: &str) -> Option<u32> {
        self.numbers.number(term)
    }

    /// The different terms of a live place, by number.
    pub fn terms_of(&self, place: u32) -> &[u32] {
        let at = self.terms_at.get(place as usize);
        at.map_or(&[], |(begin, count)| {
            &self.terms[*begin as usize..(*begin + *count) as usize]
        })
    }

    /// How many terms a live place has, repeats included.
    pub fn length(&self, place: u32) -> u16 {
        self.lengths.get(place as usize).copied().unwrap_or(0)
    }

    /// Live places that have a term.
    pub fn live_in(&self, number: u32) -> u32 {
        self.of_terms[number as usize].live_in
    }

    /// How rare a term is that so many live places have.
    pub fn rarity(&self, found: u32) -> f32 {
        rarity(self.live as f32, found as f32)
    }

    /// How much a term that so many live places have says: its rarity, as if there were at least a hundred entries. In a
    /// few entries every word is in many of them.
    pub fn worth(&self, found: u32) -> f32 {
        rarity((self.live as f32).max(100.0), found as f32)
    }

    /// Scores all entries for terms with weights; each term once.
    pub fn score(&self, wanted: &[(u32, f32)], scores: &mut Scores) {
        self.score_fields::<true>(wanted, scores);
    }

    /// The same for the second field alone; the scores of the first stay 0.
    pub fn score_around(&self, wanted: &[(u32, f32)], scores: &mut Scores) {
        self.score_fields::<false>(wanted, scores);
    }

    fn score_fields<const OWN: bool>(&self, wanted: &[(u32, f32)], scores: &mut Scores) {
        let everywhere = if OWN { EVERYWHERE } else { EVERYWHERE_SECOND };
        self.score_within::<OWN>(wanted, scores, everywhere, CHOSEN);
    }

    /// Rare words are counted wherever they are. Once so many postings were, a frequent word is counted only for the best
    /// of what the rare ones found, of which there are then at least so many. A place that has frequent words alone is
    /// passed over: to find it, every posting of a question would have to be walked six times.
    fn score_within<const OWN: bool>(
        &self,
        wanted: &[(u32, f32)],
        scores: &mut Scores,
        everywhere: usize,
        chosen: usize,
    ) {
        scores.clear(self.lengths.len());
        if self.live == 0 {
            return;
        }
        let live = self.live as f32;
        let mean = self.live_length as f32 / live;
        let around_mean = (self.live_around / f64::from(live)) as f32;
        let (of_own, of_around) = (Saturation::of(mean), Saturation::of(around_mean));
        // What has no weight changes no score.
        let mut wanted: SmallVec<[(u32, f32); 32]> =
            wanted.iter().copied().filter(|(_, weight)| *weight > 0.0).collect();
        wanted.sort_unstable_by_key(|(number, _)| (self.of_terms[*number as usize].postings.len(), *number));
        let mut left = everywhere;
        for (number, weight) in wanted {
            let of_term = &self.of_terms[number as usize];
            let found = of_term.live_in as f32;
            let own_idf = weight * rarity(live, found);
            let is_everywhere = of_term.postings.len() <= left || scores.touched.count < chosen;
            if !is_everywhere && scores.chosen.is_empty() {
                scores.choose(chosen);
                self.mark(scores, true);
            }
            left = left.saturating_sub(of_term.postings.len());
            for posting in &of_term.postings {
                let is_counted = is_everywhere || scores.reaches[posting.place as usize];
                if !is_counted || !self.is_live[posting.place as usize] {
                    continue;
                }
                let at = posting.place as usize;
                let count = f32::from(posting.count);
                if OWN {
                    scores.own[at] += own_idf * of_own.saturated(count, f32::from(self.lengths[at]));
                }
                scores.count(posting.place, count);
                self.each_reached(posting.place, |place, weight| scores.count(place, weight * count));
            }
            let reached = if is_everywhere {
                scores.of_term.count as f32
            } else {
                // As many as words would reach that stand anywhere.
                live * (1.0 - (1.0 - found / live).powf(REACH))
            };
            let around_idf = weight * rarity(live, reached);
            for place in scores.of_term.as_slice() {
                let at = *place as usize;
                let count = std::mem::take(&mut scores.counts[at]);
                let around = &mut scores.around[at];
                scores.touched.put(*place, *around == 0.0);
                *around += around_idf * of_around.saturated(count, self.around[at]);
            }
            scores.of_term.count = 0;
        }
        self.mark(scores, false);
    }

    /// Says of the places whose words count for the chosen ones whether they do.
    fn mark(&self, scores: &mut Scores, reaches: bool) {
        for place in &scores.chosen {
            scores.reaches[*place as usize] = reaches;
            self.each_around(*place, |other, _| scores.reaches[other as usize] = reaches);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::scores::{B, K1};
    use super::super::terms::terms;
    use super::*;

    fn saturated(count: f32, length: f32, mean: f32) -> f32 {
        count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length / mean.max(1.0)))
    }

    /// BM25 as the textbook has it, over counts of words by place; none for a removed place.
    fn naive(counts: &[Option<HashMap<String, f32>>], query: &str) -> Vec<f32> {
        let live: Vec<&HashMap<String, f32>> = counts.iter().flatten().collect();
        let length = |words: &HashMap<String, f32>| words.values().sum::<f32>();
        let mean = live.iter().map(|words| length(words)).sum::<f32>() / (live.len().max(1) as f32);
        let scored = counts.iter().map(|words| {
            let Some(words) = words else { return 0.0 };
            let of_term = query.split(' ').map(|term| {
                let found = live.iter().filter(|words| words.contains_key(term)).count() as f32;
                let idf = (1.0 + (live.len() as f32 - found + 0.5) / (found + 0.5)).ln();
                let count = words.get(term).copied().unwrap_or(0.0);
                if count == 0.0 {
                    0.0
                } else {
                    idf * saturated(count, length(words), mean)
                }
            });
            of_term.sum()
        });
        scored.collect()
    }

    #[test]
    fn frequent_words_count_in_full_for_the_best_by_rare_ones_and_for_nobody_too_much() {
        let mut index = Lexical::default();
        for place in 0..400u32 {
            let rare = if place % 40 == 3 { "gravel barge " } else { "" };
            let text = format!("{rare}river {}", "water ".repeat(1 + place as usize % 3));
            index.add(place, &[&text], ((place % 10 > 0).then(|| place - 1), None));
        }
        let wanted = |text: &str| -> Vec<(u32, f32)> {
            let terms = text.split(' ').filter_map(|term| index.number(term));
            terms.map(|number| (number, 1.0)).collect()
        };
        let (mut full, mut within) = (Scores::default(), Scores::default());
        let question = wanted("water barg gravel river");
        index.score(&question, &mut full);
        assert!(full.chosen.is_empty(), "few postings are counted everywhere");
        // Twice: what one question left behind must not be in the next.
        for _ in 0..2 {
            index.score_within::<true>(&question, &mut within, 30, 20);
            assert_eq!(within.chosen.len(), 20);
            for place in 0..400usize {
                let is_chosen = within.chosen.contains(&(place as u32));
                let (own, all) = (within.own[place], full.own[place]);
                assert!(
                    own <= all + 1e-5 && (own - all).abs() < if is_chosen { 1e-5 } else { 9.0 },
                    "{place}"
                );
                let (around, all) = (within.around[place], full.around[place]);
                assert!(
                    !is_chosen || (around - all).abs() < 0.1 * all,
                    "{place}: {around} instead of {all}"
                );
            }
            let best = |scores: &Scores| (0..400).max_by(|a, b| scores.own[*a].total_cmp(&scores.own[*b]));
            assert_eq!(best(&within), best(&full));
            assert!(within.own[20] < 1e-6, "frequent words alone, far from the rare ones");
        }
    }

    proptest! {
        #[test]
        fn scores_are_those_of_the_textbook_after_any_adds_and_removes(
            texts in prop::collection::vec("[bcd ]{0,12}", 1..14),
            removed in prop::collection::vec(any::<bool>(), 14),
            chained in any::<bool>(),
        ) {
            let mut index = Lexical::default();
            for (place, text) in texts.iter().enumerate() {
                let previous = (chained && place > 0).then(|| place as u32 - 1);
                index.add(place as u32, &[text.as_str()], (previous, None));
            }
            let mut own: Vec<Option<HashMap<String, f32>>> = texts
                .iter()
                .map(|text| {
                    let mut counts = HashMap::new();
                    terms(text, |term| *counts.entry(term.to_owned()).or_default() += 1.0);
                    Some(counts)
                })
                .collect();
            for (place, remove) in removed.iter().enumerate().take(texts.len()) {
                if *remove {
                    index.remove(place as u32);
                    own[place] = None;
                }
            }
            let left: Vec<usize> = (0..own.len()).filter(|place| own[*place].is_some()).collect();
            let mut around = own.clone();
            if chained {
                for (at, place) in left.iter().enumerate() {
                    let before = left[..at].iter().rev().zip(BEFORE);
                    let after = left[at + 1..].iter().zip(AFTER);
                    for (other, weight) in before.chain(after) {
                        for (word, count) in own[*other].iter().flatten() {
                            let words = around[*place].as_mut().expect("live");
                            *words.entry(word.clone()).or_default() += weight * count;
                        }
                    }
                }
            }
            let mut scores = Scores::default();
            // Twice: what one query left behind must not be in the next.
            for query in ["b c", "bb d"] {
                let wanted: Vec<(u32, f32)> =
                    query.split(' ').filter_map(|term| index.number(term)).map(|number| (number, 1.0)).collect();
                index.score(&wanted, &mut scores);
                for (counts, found) in [(&own, &scores.own), (&around, &scores.around)] {
                    for (place, expected) in naive(counts, query).into_iter().enumerate() {
                        prop_assert!((found[place] - expected).abs() < 1e-3,
                            "{query} at {place}: {} instead of {expected} in {texts:?}", found[place]);
                    }
                }
            }
        }
    }
}
