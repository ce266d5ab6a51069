//! The words of a shard's entries: an inverted index with BM25 scores over two fields.
//!
//! Refuses to know: vectors, stores, time. Invariants: pure; a place that was removed never scores; the counts are
//! those of the live entries, whatever was removed.
//!
//! The first field is the entry's own text. The second is the entry together with the one before it in the same
//! source (what was said before an answer often holds the words of the question): it needs no postings of its own,
//! because its counts are sums of the first field's.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::terms::terms;

/// Saturation of a term's count. **Source**: the usual value for short texts.
const K1: f32 = 1.2;
/// Weight of a text's length.
const B: f32 = 0.75;
/// No place.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Posting {
    place: u32,
    count: u16,
}

/// The index. Places are given by the caller, from 0, without large gaps.
#[derive(Debug, Default)]
pub struct Lexical {
    numbers: HashMap<Box<str>, u32, RandomState>,
    postings: Vec<Vec<Posting>>,
    lengths: Vec<u16>,
    previous: Vec<u32>,
    next: Vec<u32>,
    is_live: Vec<bool>,
    live: usize,
    live_length: u64,
    live_pair_length: u64,
    /// Term counts of the text that is being added, kept for its allocation.
    counting: HashMap<u32, u16, RandomState>,
}

/// Scores of one query, one a place; kept by the caller so that a query allocates nothing.
#[derive(Debug, Default)]
pub struct Scores {
    /// BM25 of the entry's own text.
    pub own: Vec<f32>,
    /// BM25 of the entry with the one before it.
    pub pair: Vec<f32>,
    /// The places with a score in either.
    pub touched: Vec<u32>,
    counts: Vec<u16>,
    of_term: Vec<u32>,
}

impl Lexical {
    /// Adds a text at a place, after another of the same source where there is one. A place is used once.
    pub fn add(&mut self, place: u32, text: &str, previous: Option<u32>) {
        let at = place as usize;
        if self.lengths.len() <= at {
            self.lengths.resize(at + 1, 0);
            self.previous.resize(at + 1, NONE);
            self.next.resize(at + 1, NONE);
            self.is_live.resize(at + 1, false);
        }
        let mut counting = std::mem::take(&mut self.counting);
        let mut length = 0u16;
        terms(text, |term| {
            length = length.saturating_add(1);
            let number = if let Some(number) = self.numbers.get(term) {
                *number
            } else {
                let number = self.postings.len() as u32;
                self.numbers.insert(term.into(), number);
                self.postings.push(Vec::new());
                number
            };
            let count = counting.entry(number).or_default();
            *count = count.saturating_add(1);
        });
        for (number, count) in counting.drain() {
            self.postings[number as usize].push(Posting { place, count });
        }
        self.counting = counting;
        self.lengths[at] = length;
        self.is_live[at] = true;
        self.live += 1;
        self.live_length += u64::from(length);
        let before = previous.filter(|before| (*before as usize) < at && self.is_live[*before as usize]);
        if let Some(before) = before {
            self.previous[at] = before;
            self.next[before as usize] = place;
        }
        self.live_pair_length += u64::from(self.pair_length(at));
    }

    /// Removes a place. Its neighbours become each other's.
    pub fn remove(&mut self, place: u32) {
        let at = place as usize;
        if !self.is_live.get(at).copied().unwrap_or(false) {
            return;
        }
        let (before, after) = (self.previous[at], self.next[at]);
        self.live -= 1;
        self.live_length -= u64::from(self.lengths[at]);
        self.live_pair_length -= u64::from(self.pair_length(at));
        if after != NONE {
            self.live_pair_length -= u64::from(self.pair_length(after as usize));
        }
        self.is_live[at] = false;
        if before != NONE {
            self.next[before as usize] = after;
        }
        if after != NONE {
            self.previous[after as usize] = before;
            self.live_pair_length += u64::from(self.pair_length(after as usize));
        }
        self.previous[at] = NONE;
        self.next[at] = NONE;
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

    /// Scores all entries for a query.
    pub fn score(&self, query: &str, scores: &mut Scores) {
        let places = self.lengths.len();
        scores.clear(places);
        if self.live == 0 {
            return;
        }
        let mut wanted: Vec<(u32, f32)> = Vec::new();
        terms(query, |term| {
            if let Some(number) = self.numbers.get(term) {
                match wanted.iter_mut().find(|(known, _)| known == number) {
                    // A word that is asked for twice counts a little more, not twice.
                    Some((_, weight)) => *weight += 0.3,
                    None => wanted.push((*number, 1.0)),
                }
            }
        });
        let live = self.live as f32;
        let mean = self.live_length as f32 / live;
        let pair_mean = self.live_pair_length as f32 / live;
        for (number, weight) in wanted {
            let postings = &self.postings[number as usize];
            let mut own_in = 0u32;
            for posting in postings.iter().filter(|posting| self.is_live[posting.place as usize]) {
                own_in += 1;
                scores.count(posting.place, posting.count);
                let after = self.next[posting.place as usize];
                if after != NONE {
                    scores.count(after, posting.count);
                }
            }
            let pair_in = scores.of_term.len() as u32;
            let idf = |found: u32| (1.0 + (live - found as f32 + 0.5) / (found as f32 + 0.5)).ln();
            let own_idf = weight * idf(own_in);
            for posting in postings.iter().filter(|posting| self.is_live[posting.place as usize]) {
                let at = posting.place as usize;
                scores.own[at] += own_idf * saturated(f32::from(posting.count), f32::from(self.lengths[at]), mean);
            }
            let pair_idf = weight * idf(pair_in);
            for place in scores.of_term.drain(..) {
                let at = place as usize;
                let count = f32::from(std::mem::take(&mut scores.counts[at]));
                if scores.pair[at] == 0.0 {
                    scores.touched.push(place);
                }
                scores.pair[at] += pair_idf * saturated(count, f32::from(self.pair_length(at)), pair_mean);
            }
        }
    }

    fn pair_length(&self, at: usize) -> u16 {
        let before = self.previous[at];
        let more = if before == NONE {
            0
        } else {
            self.lengths[before as usize]
        };
        self.lengths[at].saturating_add(more)
    }
}

impl Scores {
    fn clear(&mut self, places: usize) {
        for place in self.touched.drain(..) {
            self.own[place as usize] = 0.0;
            self.pair[place as usize] = 0.0;
        }
        self.own.resize(places, 0.0);
        self.pair.resize(places, 0.0);
        self.counts.resize(places, 0);
    }

    fn count(&mut self, place: u32, count: u16) {
        let counted = &mut self.counts[place as usize];
        if *counted == 0 {
            self.of_term.push(place);
        }
        *counted = counted.saturating_add(count);
    }
}

fn saturated(count: f32, length: f32, mean: f32) -> f32 {
    count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length / mean.max(1.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// BM25 as the textbook has it, over texts by place.
    fn naive(texts: &[Option<String>], query: &str) -> Vec<f32> {
        let split = |text: &str| {
            let mut found = Vec::new();
            terms(text, |term| found.push(term.to_owned()));
            found
        };
        let documents: Vec<Option<Vec<String>>> = texts.iter().map(|text| text.as_deref().map(split)).collect();
        let live: Vec<&Vec<String>> = documents.iter().flatten().collect();
        let mean = live.iter().map(|words| words.len() as f32).sum::<f32>() / (live.len().max(1) as f32);
        let mut wanted = split(query);
        wanted.sort();
        wanted.dedup();
        documents
            .iter()
            .map(|words| {
                let Some(words) = words else { return 0.0 };
                wanted
                    .iter()
                    .map(|term| {
                        let found = live.iter().filter(|words| words.contains(term)).count() as f32;
                        let count = words.iter().filter(|word| *word == term).count() as f32;
                        let idf = (1.0 + (live.len() as f32 - found + 0.5) / (found + 0.5)).ln();
                        if count == 0.0 {
                            0.0
                        } else {
                            idf * saturated(count, words.len() as f32, mean)
                        }
                    })
                    .sum()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn scores_are_those_of_the_textbook_after_any_adds_and_removes(
            texts in prop::collection::vec("[abc ]{0,12}", 1..12),
            removed in prop::collection::vec(any::<bool>(), 12),
            chained in any::<bool>(),
        ) {
            let mut index = Lexical::default();
            for (place, text) in texts.iter().enumerate() {
                let previous = (chained && place > 0).then(|| place as u32 - 1);
                index.add(place as u32, text, previous);
            }
            let mut left: Vec<Option<String>> = texts.iter().cloned().map(Some).collect();
            for (place, remove) in removed.iter().enumerate().take(texts.len()) {
                if *remove {
                    index.remove(place as u32);
                    left[place] = None;
                }
            }
            let pairs: Vec<Option<String>> = (0..left.len())
                .map(|place| {
                    let own = left[place].as_ref()?;
                    let before = chained.then(|| left[..place].iter().rev().flatten().next()).flatten();
                    Some(before.map_or_else(|| own.clone(), |before| format!("{before} {own}")))
                })
                .collect();
            let mut scores = Scores::default();
            // Twice: what one query left behind must not be in the next.
            for query in ["b c", "b bb ab"] {
                index.score(query, &mut scores);
                for (texts, found) in [(&left, &scores.own), (&pairs, &scores.pair)] {
                    for (place, expected) in naive(texts, query).into_iter().enumerate() {
                        prop_assert!((found[place] - expected).abs() < 1e-3,
                            "{query} at {place}: {} instead of {expected} in {texts:?}", found[place]);
                    }
                }
            }
        }
    }
}
