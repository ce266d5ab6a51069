//! The places that a question looks at, with their cosines: all of them, or in a large shard those that words or
//! meaning bring near.
//!
//! Refuses to know: weights, stores, time. Invariants: pure; only open places are gathered, each once, in order; the
//! cosines of gathered and sampled places and of those before and after them are true, whatever a graph found.

use crate::memory::embed::vector::Quantised;

use super::codes::Codes;
use super::lexical::Lexical;
use super::nearest::{Near, Nearest, Scan, SearchRoom, Wanted, recall};
use super::scores::Scores;

/// Places that are near by meaning.
const NEAR: usize = 134;
/// Places that are near by words.
const WORDED: usize = 2_048;
/// Places at which one looks to know what is common: how far away a place is, how much a filter lets through.
const SAMPLE: usize = 512;
/// A filter that lets less than one in so many through is answered by a scan: a graph would search all of itself.
const SELECTIVE: usize = 4;
/// One question in so many, the first among them, is also answered by the scan.
const CHECK_EVERY: u64 = 1_000;
/// Places of an answer that are compared then.
const CHECKED: usize = 10;

/// Where places come from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'s> {
    /// Their words.
    pub lexical: &'s Lexical,
    /// Their vectors.
    pub codes: &'s Codes,
    /// A faster way to the nearest vectors, if there is one.
    pub graph: Option<&'s dyn Nearest>,
}

/// What was gathered; kept between questions for its room.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The places, in order.
    pub places: Vec<u32>,
    /// Whether that is all open places.
    pub is_all: bool,
    /// Cosines by place; 0 where nobody needs to look.
    pub cosines: Vec<f32>,
    /// Open places taken evenly from all, when not all were gathered: they show how far away the rest is.
    pub sample: Vec<u32>,
    /// How much of what the scan finds the graph found, when this question was checked.
    pub recall: Option<f32>,
    searches: u64,
    needed: Vec<u32>,
    near: Vec<Near>,
    search: SearchRoom,
}

impl Gathered {
    /// Gathers for a question that has been scored by words.
    pub fn gather(
        &mut self,
        source: &Source<'_>,
        vector: Option<&Quantised>,
        scores: &Scores,
        open: &dyn Fn(u32) -> bool,
    ) {
        let count = source.lexical.places();
        self.places.clear();
        self.is_all = false;
        self.sample.clear();
        self.recall = None;
        let (Some(vector), Some(graph)) = (vector, source.graph) else {
            return self.all(source, vector, open);
        };
        let step = (count / SAMPLE).max(1);
        let sample = (0..count as u32).step_by(step).filter(|place| open(*place));
        self.sample.extend(sample);
        if self.sample.len() < count / step / SELECTIVE || vector.codes.len() != source.codes.dimensions() {
            self.sample.clear();
            return self.all(source, Some(vector), open);
        }
        self.search(source.codes, graph, vector, NEAR, open);
        if self.searches.is_multiple_of(CHECK_EVERY) {
            self.check(source.codes, vector, open);
        }
        self.searches += 1;
        self.worded(scores, open);
        self.places.extend(self.near.iter().map(|near| near.place));
        // A neighbour shares in the score of what was found.
        for at in 0..self.places.len() {
            let (before, after) = source.lexical.neighbours(self.places[at]);
            let neighbours = [before, after].into_iter().flatten();
            self.places.extend(neighbours.filter(|place| open(*place)));
        }
        self.places.sort_unstable();
        self.places.dedup();
        self.needed.clear();
        for place in self.places.iter().chain(&self.sample) {
            self.needed.push(*place);
            let (before, after) = source.lexical.neighbours(*place);
            self.needed.extend(before.into_iter().chain(after));
        }
        self.cosines.clear();
        self.cosines.resize(count, 0.0);
        let cosines = &mut self.cosines;
        source
            .codes
            .cosines(vector, &self.needed, |place, cosine| cosines[place as usize] = cosine);
    }

    /// The open places that score best by words, in no order. Most that have one common word fall behind at once: nobody
    /// asks whether they are open.
    fn worded(&mut self, scores: &Scores, open: &dyn Fn(u32) -> bool) {
        let score = |place: &u32| scores.own[*place as usize] + scores.around[*place as usize];
        let better = |a: &u32, b: &u32| score(b).total_cmp(&score(a)).then(a.cmp(b));
        let mut enough = 0.0;
        for place in scores.touched() {
            if score(place) < enough || !open(*place) {
                continue;
            }
            self.places.push(*place);
            if self.places.len() == 2 * WORDED {
                enough = score(self.places.select_nth_unstable_by(WORDED - 1, better).1);
                self.places.truncate(WORDED);
            }
        }
        if self.places.len() > WORDED {
            self.places.select_nth_unstable_by(WORDED - 1, better);
            self.places.truncate(WORDED);
        }
    }

    fn all(&mut self, source: &Source<'_>, vector: Option<&Quantised>, open: &dyn Fn(u32) -> bool) {
        let count = source.lexical.places();
        self.is_all = true;
        if let Some(vector) = vector {
            source.codes.scan(vector, count, &mut self.cosines);
        } else {
            self.cosines.clear();
            self.cosines.resize(count, 0.0);
        }
        self.places.extend((0..count as u32).filter(|place| open(*place)));
    }

    /// What the graph knows by the graph, the rest by a scan.
    fn search(
        &mut self,
        codes: &Codes,
        graph: &dyn Nearest,
        vector: &Quantised,
        count: usize,
        accept: &dyn Fn(u32) -> bool,
    ) {
        let wanted = Wanted {
            query: vector,
            count,
            accept,
        };
        self.near.clear();
        graph.nearest(codes, &wanted, &mut self.search, &mut self.near);
        if (graph.covered() as usize) < codes.places() {
            let rest = Scan { from: graph.covered() };
            rest.nearest(codes, &wanted, &mut self.search, &mut self.near);
            self.near.sort_unstable_by(Near::order);
            self.near.truncate(count);
        }
    }

    fn check(&mut self, codes: &Codes, vector: &Quantised, accept: &dyn Fn(u32) -> bool) {
        let wanted = Wanted {
            query: vector,
            count: CHECKED,
            accept,
        };
        let mut truth = Vec::with_capacity(CHECKED);
        Scan { from: 0 }.nearest(codes, &wanted, &mut self.search, &mut truth);
        let found = &self.near[..self.near.len().min(CHECKED)];
        self.recall = Some(recall(&truth, found));
    }
}
