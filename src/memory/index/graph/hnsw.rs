//! The graph of the `hnsw_rs` crate behind our trait.
//!
//! What it is never given, because it would accept it and go wrong: rows that are no unit vectors, rows of another
//! length, the same row twice. What is never used of it: its dump and its loader, which end the process over a damaged
//! file. It cannot delete, so what was removed is refused as it comes out, and it cannot be extended while it is shared,
//! so it is built anew.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use hnsw_rs::anndists::dist::distances::Distance;
use hnsw_rs::prelude::Hnsw;
use pulp::{Arch, Simd, WithSimd};

use crate::memory::index::codes::{Codes, inner};
use crate::memory::index::nearest::{Near, Nearest, SearchRoom, Wanted};

use super::compact::breadth;
use super::links::UPPER;
use super::twins::{Representatives, Twins};

/// Nodes that are kept in view while a node is connected.
const BUILD_BREADTH: usize = 100;
/// Layers at most; what the crate takes at most.
const LAYERS_MAX: usize = 16;
/// Rows between two looks at whether building is still wanted.
const LOOK_EVERY: u32 = 64;
/// Codes behind a row in which its scale travels.
const SCALE_CODES: usize = 4;

/// The graph.
pub struct HnswRs {
    graph: Hnsw<'static, i8, RowDistance>,
    twins: Twins,
    covered: u32,
    nodes: usize,
}

impl fmt::Debug for HnswRs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HnswRs")
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// One minus the cosine of two rows that carry their scales.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowDistance;

impl Distance<i8> for RowDistance {
    fn eval(&self, a: &[i8], b: &[i8]) -> f32 {
        let ((a, scale_a), (b, scale_b)) = (apart(a), apart(b));
        let inner = Arch::new().dispatch(Inner(a, b));
        // The crate panics on a negative distance, which rounding makes of two equal rows.
        (1.0 - inner as f32 * (scale_a * scale_b)).max(0.0)
    }
}

struct Inner<'r>(&'r [i8], &'r [i8]);

impl WithSimd for Inner<'_> {
    type Output = i32;

    #[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> i32 {
        inner(self.0, self.1)
    }
}

fn together(row: &[i8], scale: f32, into: &mut Vec<i8>) {
    into.clear();
    into.extend_from_slice(row);
    into.extend(scale.to_le_bytes().map(u8::cast_signed));
}

fn apart(row: &[i8]) -> (&[i8], f32) {
    match row.split_last_chunk::<SCALE_CODES>() {
        Some((codes, scale)) => (codes, f32::from_le_bytes(scale.map(i8::cast_unsigned))),
        None => (&[], 0.0),
    }
}

impl HnswRs {
    /// The graph of these rows. None when `stop` was raised meanwhile.
    pub fn build(codes: &Codes, stop: &AtomicBool) -> Option<Self> {
        let places = codes.places() as u32;
        let graph = Hnsw::new(UPPER, codes.places().max(1), LAYERS_MAX, BUILD_BREADTH, RowDistance);
        let mut twins = Twins::default();
        let mut representatives = Representatives::default();
        let mut row_with_scale = Vec::new();
        let mut nodes = 0;
        for place in (0..places).filter(|place| codes.has(*place)) {
            if place.is_multiple_of(LOOK_EVERY) && stop.load(Ordering::Relaxed) {
                return None;
            }
            let representative = representatives.of(codes, place);
            if representative == place {
                let (row, scale) = codes.row(place);
                together(row, scale, &mut row_with_scale);
                graph.insert((&row_with_scale, place as usize));
                nodes += 1;
            } else {
                twins.join(representative, place);
            }
        }
        Some(Self {
            graph,
            twins,
            covered: places,
            nodes,
        })
    }
}

impl Nearest for HnswRs {
    fn nearest(&self, codes: &Codes, wanted: &Wanted<'_>, _: &mut SearchRoom, found: &mut Vec<Near>) {
        if self.nodes == 0 || wanted.query.codes.len() != codes.dimensions() {
            return;
        }
        let mut row = Vec::new();
        together(&wanted.query.codes, wanted.query.scale, &mut row);
        let accept = |place: &usize| self.twins.accepts(*place as u32, codes, wanted);
        let near = self
            .graph
            .search_filter(&row, wanted.count, breadth(self.nodes, wanted.count), Some(&accept));
        let nodes = near.iter().map(|near| near.d_id as u32);
        self.twins.expand(nodes, codes, wanted, found);
    }

    fn covered(&self) -> u32 {
        self.covered
    }

    fn bytes(&self) -> usize {
        // Not counted by the crate: a copy of each row, sixteen lists a node, and every link an allocation.
        self.nodes * 2_700 + self.twins.bytes()
    }
}
