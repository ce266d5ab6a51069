//! Which rows are nearest to a query: one trait, with the exact scan as the base that all others are held against.
//!
//! Refuses to know: words, stores, time. Invariants: pure; a place that is not accepted or has no vector never comes
//! back; a cosine that comes back is that of [`Codes::cosine`], however the place was found.

use std::fmt::Debug;

use crate::memory::embed::vector::Quantised;

use super::codes::Codes;

/// A place and its cosine with the query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Near {
    /// Where.
    pub place: u32,
    /// How near.
    pub cosine: f32,
}

impl Near {
    /// Nearest first, equal ones by place.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        other.cosine.total_cmp(&self.cosine).then(self.place.cmp(&other.place))
    }
}

/// What is looked for.
#[derive(Clone, Copy)]
pub struct Wanted<'q> {
    /// Near to this.
    pub query: &'q Quantised,
    /// So many.
    pub count: usize,
    /// Only these.
    pub accept: &'q dyn Fn(u32) -> bool,
}

/// Room for one search at a time, kept between searches.
#[derive(Debug, Default)]
pub struct SearchRoom {
    /// When a node was last seen, as a number of a search.
    pub(super) seen: Vec<u32>,
    /// The number of this search.
    pub(super) search: u32,
    /// Nodes to look at next.
    pub(super) frontier: std::collections::BinaryHeap<u64>,
    /// The best so far, the worst of them on top.
    pub(super) best: std::collections::BinaryHeap<std::cmp::Reverse<u64>>,
    /// Neighbours that are compared together.
    pub(super) batch: Vec<u32>,
}

/// A way to find the nearest rows.
pub trait Nearest: Debug + Send + Sync {
    /// Appends the nearest places below [`Self::covered`], nearest first, at most `wanted.count`.
    fn nearest(&self, codes: &Codes, wanted: &Wanted<'_>, room: &mut SearchRoom, found: &mut Vec<Near>);

    /// It knows the places below this one; the rest is scanned.
    fn covered(&self) -> u32;

    /// Bytes that it takes beside the rows, as far as that can be counted.
    fn bytes(&self) -> usize;
}

/// Compares every row from a place on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scan {
    /// The first place.
    pub from: u32,
}

impl Nearest for Scan {
    fn nearest(&self, codes: &Codes, wanted: &Wanted<'_>, _: &mut SearchRoom, found: &mut Vec<Near>) {
        if wanted.count == 0 {
            return;
        }
        let mut best: Vec<Near> = Vec::with_capacity(2 * wanted.count);
        let mut place = self.from;
        let mut enough = f32::NEG_INFINITY;
        codes.scan_from(wanted.query, self.from as usize, |cosine| {
            if cosine > enough && codes.has(place) && (wanted.accept)(place) {
                best.push(Near { place, cosine });
                if best.len() == 2 * wanted.count {
                    best.select_nth_unstable_by(wanted.count - 1, Near::order);
                    best.truncate(wanted.count);
                    enough = best[wanted.count - 1].cosine;
                }
            }
            place += 1;
        });
        best.sort_unstable_by(Near::order);
        best.truncate(wanted.count);
        found.append(&mut best);
    }

    fn covered(&self) -> u32 {
        u32::MAX
    }

    fn bytes(&self) -> usize {
        0
    }
}

/// How many of the true nearest were found, 0 to 1; 1 when there are none. A place that is as near as the last true
/// one counts as one of them.
pub fn recall(truth: &[Near], found: &[Near]) -> f32 {
    let Some(last) = truth.last() else { return 1.0 };
    let good = found.iter().filter(|near| near.cosine >= last.cosine).count();
    (good.min(truth.len()) as f32) / truth.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_finds_the_nearest_of_those_that_are_accepted() {
        let mut codes = Codes::default();
        for place in 0..100u32 {
            // Nearer to the first axis the higher the place; every tenth is the same as its predecessor.
            let angle = (place - u32::from(place % 10 == 9)) as f32 / 100.0;
            let vector = Quantised::of(&[angle, 1.0 - angle, 0.1]).expect("a direction");
            assert!(codes.put(place, &vector));
        }
        codes.remove(98);
        let query = Quantised::of(&[1.0, 0.0, 0.0]).expect("a direction");
        let ask = |from: u32, count: usize, accept: &dyn Fn(u32) -> bool| {
            let mut found = Vec::new();
            let wanted = Wanted {
                query: &query,
                count,
                accept,
            };
            Scan { from }.nearest(&codes, &wanted, &mut SearchRoom::default(), &mut found);
            found.iter().map(|near| near.place).collect::<Vec<_>>()
        };
        assert_eq!(ask(0, 3, &|_| true), [99, 97, 96]);
        assert_eq!(ask(0, 2, &|place| place < 90), [88, 89], "equal ones by place");
        assert_eq!(ask(97, 9, &|_| true), [99, 97]);
        assert_eq!(ask(0, 0, &|_| true), [] as [u32; 0]);
    }
}
