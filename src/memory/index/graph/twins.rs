//! Places with the same row: a graph gets one of them, so that a thousand equal vectors cannot wall off the rest.
//!
//! Refuses to know: how a graph searches. Invariants: pure; every place is either its own representative or among the
//! twins of exactly one.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::memory::index::codes::Codes;
use crate::memory::index::nearest::{Near, Wanted};

/// Twins by the place that stands for them.
#[derive(Debug, Default, Clone)]
pub struct Twins(HashMap<u32, Arc<Vec<u32>>>);

/// Finds out who stands for whom; kept only while a graph is built.
#[derive(Debug, Default)]
pub struct Representatives {
    by_hash: HashMap<u64, u32>,
}

impl Representatives {
    /// The place that stands for this one: itself, or one with the same row.
    pub fn of(&mut self, codes: &Codes, place: u32) -> u32 {
        let (row, scale) = codes.row(place);
        let mut hasher = FixedState::with_seed(7).build_hasher();
        for code in row {
            hasher.write_i8(*code);
        }
        hasher.write_u32(scale.to_bits());
        let first = *self.by_hash.entry(hasher.finish()).or_insert(place);
        // Two rows with one hash are both in the graph.
        if codes.row(first) == (row, scale) { first } else { place }
    }
}

impl Twins {
    /// Notes that another place stands for this one.
    pub fn join(&mut self, representative: u32, place: u32) {
        Arc::make_mut(self.0.entry(representative).or_default()).push(place);
    }

    fn of(&self, representative: u32) -> &[u32] {
        self.0.get(&representative).map_or(&[], |twins| twins.as_slice())
    }

    /// Whether the place or a twin of it is wanted.
    pub fn accepts(&self, representative: u32, codes: &Codes, wanted: &Wanted<'_>) -> bool {
        let is_wanted = |place: u32| codes.has(place) && (wanted.accept)(place);
        is_wanted(representative) || self.of(representative).iter().any(|twin| is_wanted(*twin))
    }

    /// The wanted places that representatives stand for, nearest first, at most as many as wanted.
    pub fn expand(
        &self,
        representatives: impl Iterator<Item = u32>,
        codes: &Codes,
        wanted: &Wanted<'_>,
        found: &mut Vec<Near>,
    ) {
        let from = found.len();
        for representative in representatives {
            let (row, scale) = codes.row(representative);
            let cosine =
                crate::memory::index::codes::inner(row, &wanted.query.codes) as f32 * (scale * wanted.query.scale);
            for place in std::iter::once(representative).chain(self.of(representative).iter().copied()) {
                if codes.has(place) && (wanted.accept)(place) {
                    found.push(Near { place, cosine });
                }
            }
        }
        found[from..].sort_unstable_by(Near::order);
        found.truncate(from + wanted.count);
    }

    /// Bytes, about.
    pub fn bytes(&self) -> usize {
        self.0.values().map(|twins| 64 + twins.capacity() * 4).sum()
    }
}
