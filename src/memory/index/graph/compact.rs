//! A layered neighbour graph (HNSW) over the shard's own rows: flat arrays of links, no copy of a vector.
//!
//! Refuses to know: words, stores, time. Invariants: pure; the same rows in the same order make the same graph; nodes are
//! places; places that are equal have one node; a place without a vector has none.
//!
//! **Source**: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical
//! Navigable Small World graphs" (2016), algorithms 1 to 5.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicBool, Ordering};

use pulp::{Arch, Simd, WithSimd};

use crate::memory::index::codes::{Codes, inner};
use crate::memory::index::nearest::{Near, Nearest, SearchRoom, Wanted};

use super::links::{GROUND, Links, NONE, UPPER};
use super::twins::{Representatives, Twins};

/// Nodes that are kept in view while a node is connected.
const BUILD_BREADTH: usize = 100;
/// Layers above the ground at most.
const LAYERS_MAX: u8 = 12;
/// Rows between two looks at whether building is still wanted.
const LOOK_EVERY: u32 = 64;

/// The graph.
#[derive(Debug, Clone, Default)]
pub struct CompactGraph {
    links: Links,
    twins: Twins,
    /// Where every search begins, and its layer.
    entry: Option<(u32, u8)>,
    nodes: usize,
}

impl CompactGraph {
    /// The graph of these rows: this one with those that it does not cover yet. None when `stop` was raised meanwhile.
    pub fn extended(mut self, codes: &Codes, stop: &AtomicBool) -> Option<Self> {
        let mut room = SearchRoom::default();
        let mut building = Building::default();
        let mut representatives = Representatives::default();
        let from = self.links.count() as u32;
        for place in 0..from {
            if self.links.has(place) {
                representatives.of(codes, place);
            }
        }
        for place in from..codes.places() as u32 {
            if place.is_multiple_of(LOOK_EVERY) && stop.load(Ordering::Relaxed) {
                return None;
            }
            if !codes.has(place) {
                self.links.skip();
                continue;
            }
            let representative = representatives.of(codes, place);
            if representative == place {
                self.connect(codes, place, &mut room, &mut building);
            } else {
                self.links.skip();
                self.twins.join(representative, place);
            }
        }
        Some(self)
    }

    /// Distinct rows that the graph leads to.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    fn connect(&mut self, codes: &Codes, place: u32, room: &mut SearchRoom, building: &mut Building) {
        let layer = layer_of(place);
        self.links.add(layer);
        self.nodes += 1;
        let Some((entry, top)) = self.entry else {
            self.entry = Some((place, layer));
            return;
        };
        Arch::new().dispatch(Connect {
            graph: self,
            codes,
            place,
            layer,
            entry,
            top,
            room,
            building,
        });
        if layer > top {
            self.entry = Some((place, layer));
        }
    }

    /// The links of a full node are chosen again, with one more to choose from.
    #[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
    #[inline(always)]
    fn make_room(&mut self, codes: &Codes, node: u32, layer: u8, place: u32, width: usize, building: &mut Building) {
        let (row, scale) = codes.row(node);
        let query = Query { codes, row, scale };
        building.others.clear();
        building.others.push(query.packed(place));
        for other in self.links.of(node, layer) {
            building.others.push(query.packed(*other));
        }
        building.others.sort_unstable_by(|a, b| b.cmp(a));
        choose(codes, &building.others, width, &mut building.kept);
        self.links.set(node, layer, &building.kept);
    }
}

impl Nearest for CompactGraph {
    fn nearest(&self, codes: &Codes, wanted: &Wanted<'_>, room: &mut SearchRoom, found: &mut Vec<Near>) {
        let (Some((entry, top)), true) = (self.entry, wanted.query.codes.len() == codes.dimensions()) else {
            return;
        };
        let breadth = breadth(self.nodes, wanted.count);
        Arch::new().dispatch(Search {
            graph: self,
            query: Query {
                codes,
                row: &wanted.query.codes,
                scale: wanted.query.scale,
            },
            wanted,
            entry,
            top,
            breadth,
            room,
        });
        let nodes = room.best.drain().map(|Reverse(packed)| node_of(packed));
        self.twins.expand(nodes, codes, wanted, found);
    }

    fn covered(&self) -> u32 {
        self.links.count() as u32
    }

    fn bytes(&self) -> usize {
        self.links.bytes() + self.twins.bytes()
    }
}

// What follows runs with the widest instructions that this processor has: see `codes.rs` for why these are no closures.

struct Search<'s, 'q> {
    graph: &'s CompactGraph,
    query: Query<'q>,
    wanted: &'s Wanted<'q>,
    entry: u32,
    top: u8,
    breadth: usize,
    room: &'s mut SearchRoom,
}

impl WithSimd for Search<'_, '_> {
    type Output = ();

    #[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let links = &self.graph.links;
        let mut at = self.entry;
        for above in (1..=self.top).rev() {
            at = descend(links, &self.query, at, above);
        }
        let (twins, codes) = (&self.graph.twins, self.query.codes);
        let accept = |node: u32| twins.accepts(node, codes, self.wanted);
        search(links, &self.query, at, 0, self.breadth, accept, self.room);
    }
}

struct Connect<'s> {
    graph: &'s mut CompactGraph,
    codes: &'s Codes,
    place: u32,
    layer: u8,
    entry: u32,
    top: u8,
    room: &'s mut SearchRoom,
    building: &'s mut Building,
}

impl WithSimd for Connect<'_> {
    type Output = ();

    #[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            graph,
            codes,
            place,
            layer,
            mut entry,
            top,
            room,
            building,
        } = self;
        let (row, scale) = codes.row(place);
        let query = Query { codes, row, scale };
        for above in (layer + 1..=top).rev() {
            entry = descend(&graph.links, &query, entry, above);
        }
        for on in (0..=layer.min(top)).rev() {
            search(&graph.links, &query, entry, on, BUILD_BREADTH, |_| true, room);
            building.found.clear();
            building.found.extend(room.best.drain().map(|Reverse(packed)| packed));
            building.found.sort_unstable_by(|a, b| b.cmp(a));
            entry = building.found.first().map_or(entry, |packed| node_of(*packed));
            let width = if on == 0 { GROUND } else { UPPER };
            // On the ground, half of the block stays free for those that come later.
            choose(codes, &building.found, UPPER, &mut building.chosen);
            graph.links.set(place, on, &building.chosen);
            for index in 0..building.chosen.len() {
                let other = building.chosen[index];
                if !graph.links.push(other, on, place) {
                    graph.make_room(codes, other, on, place, width, building);
                }
            }
        }
    }
}

/// Room while building.
#[derive(Debug, Default)]
struct Building {
    found: Vec<u64>,
    chosen: Vec<u32>,
    others: Vec<u64>,
    kept: Vec<u32>,
}

/// What is compared with rows.
struct Query<'q> {
    codes: &'q Codes,
    row: &'q [i8],
    scale: f32,
}

impl Query<'_> {
    #[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
    #[inline(always)]
    fn packed(&self, node: u32) -> u64 {
        let (row, scale) = self.codes.row(node);
        pack(inner(self.row, row) as f32 * (scale * self.scale), node)
    }
}

/// A cosine and a node as one number, which is greater the nearer the node is.
#[expect(clippy::inline_always, reason = "it is in the innermost loop")]
#[inline(always)]
fn pack(cosine: f32, node: u32) -> u64 {
    let bits = cosine.to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 };
    // Of equally near nodes the one with the smaller number is the greater.
    (u64::from(ordered) << 32) | u64::from(!node)
}

fn node_of(packed: u64) -> u32 {
    !(packed as u32)
}

/// How near a packed node is, as a number that is greater the nearer it is.
fn nearness(packed: u64) -> u32 {
    (packed >> 32) as u32
}

/// Nodes kept in view by a search: more in a larger graph, because more of them are nearly as near.
pub fn breadth(nodes: usize, count: usize) -> usize {
    let doublings = (nodes / 12_500).max(1).ilog2() as usize;
    (48 + 24 * doublings).max(count + count / 2)
}

/// The layer of a place: one in sixteen is on the first above the ground, one in sixteen of these on the next.
fn layer_of(place: u32) -> u8 {
    // SplitMix64: any place has the same layer in each build.
    let mut bits = u64::from(place).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    ((bits.trailing_zeros() / UPPER.ilog2()) as u8).min(LAYERS_MAX)
}

/// Goes to the nearest neighbour for as long as one is nearer.
#[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
#[inline(always)]
fn descend(links: &Links, query: &Query<'_>, from: u32, layer: u8) -> u32 {
    let mut best = query.packed(from);
    loop {
        let before = best;
        for next in links.of(node_of(best), layer) {
            best = best.max(query.packed(*next));
        }
        if best == before {
            return node_of(best);
        }
    }
}

/// Fills `room.best` with the accepted nodes nearest to the query, at most `breadth`.
#[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
#[inline(always)]
fn search(
    links: &Links,
    query: &Query<'_>,
    from: u32,
    layer: u8,
    breadth: usize,
    accept: impl Fn(u32) -> bool,
    room: &mut SearchRoom,
) {
    let SearchRoom {
        seen,
        search,
        frontier,
        best,
        batch,
    } = room;
    seen.resize(links.count().max(seen.len()), 0);
    *search = search.wrapping_add(1);
    if *search == 0 {
        seen.fill(0);
        *search = 1;
    }
    frontier.clear();
    best.clear();
    let first = query.packed(from);
    seen[from as usize] = *search;
    frontier.push(first);
    if accept(from) {
        best.push(Reverse(first));
    }
    while let Some(next) = frontier.pop() {
        if best.len() >= breadth
            && best
                .peek()
                .is_some_and(|Reverse(worst)| nearness(next) < nearness(*worst))
        {
            break;
        }
        batch.clear();
        for link in links.of(node_of(next), layer) {
            let mark = &mut seen[*link as usize];
            if *mark != *search {
                *mark = *search;
                batch.push(*link);
            }
        }
        // Apart from the marks, so that the processor fetches several rows at once.
        for node in batch.iter() {
            let packed = query.packed(*node);
            let worst = match best.peek() {
                Some(Reverse(worst)) if best.len() >= breadth => *worst,
                _ => 0,
            };
            if packed > worst {
                frontier.push(packed);
                if accept(*node) {
                    if best.len() >= breadth {
                        best.pop();
                    }
                    best.push(Reverse(packed));
                }
            }
        }
    }
}

/// Chooses links among candidates, nearest first: one that is nearer to a chosen one than to the node itself is
/// reached over that one, so it is taken only when places are left.
#[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
#[inline(always)]
fn choose(codes: &Codes, candidates: &[u64], width: usize, chosen: &mut Vec<u32>) {
    chosen.clear();
    if candidates.len() <= width {
        chosen.extend(candidates.iter().map(|packed| node_of(*packed)));
        return;
    }
    let mut passed = [NONE; GROUND];
    let mut passed_count = 0;
    for packed in candidates {
        if chosen.len() == width {
            return;
        }
        let node = node_of(*packed);
        let (row, scale) = codes.row(node);
        let own = Query { codes, row, scale };
        let mut reached = false;
        for other in chosen.iter() {
            if nearness(own.packed(*other)) > nearness(*packed) {
                reached = true;
                break;
            }
        }
        if !reached {
            chosen.push(node);
        } else if passed_count < passed.len() {
            passed[passed_count] = node;
            passed_count += 1;
        }
    }
    let free = width - chosen.len();
    chosen.extend(passed[..passed_count].iter().take(free));
}
