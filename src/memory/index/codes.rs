//! The vectors of a shard's entries, one row a place, in chunks that are shared until one of them changes.
//!
//! Refuses to know: words, stores. Invariants: pure; a place without a vector has cosine 0; a clone shares all rows and
//! sees no later change, so a graph can be built from it while this one goes on; the row of a removed place can still
//! be read by a graph that leads over it.

use std::sync::Arc;

use pulp::{Arch, Simd, WithSimd};

use crate::memory::embed::vector::Quantised;

/// Rows of one chunk: few enough that copying one for a change costs microseconds.
const CHUNK_ROWS: usize = 1_024;

/// Rows of codes. The first vector decides the dimensions.
#[derive(Debug, Default, Clone)]
pub struct Codes {
    dimensions: usize,
    places: usize,
    version: Version,
    chunks: Vec<Arc<Chunk>>,
}

/// Tells rows apart from others and from what they were before one of them was replaced.
#[derive(Debug, Default, Clone)]
pub struct Version(Arc<()>);

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[derive(Debug, Default, Clone)]
struct Chunk {
    /// Of the rows; 0 where there is none, negative where it was removed.
    scales: Vec<f32>,
    codes: Vec<i8>,
}

impl Codes {
    /// Puts a vector at a place; one of other dimensions than the rest counts as none.
    ///
    /// Returns whether it was taken.
    pub fn put(&mut self, place: u32, vector: &Quantised) -> bool {
        let Some(row) = self.slot(place, vector.codes.len(), vector.scale) else {
            return false;
        };
        row.copy_from_slice(&vector.codes);
        true
    }

    /// The same for a row as the store has it: signed codes as bytes.
    pub fn put_bytes(&mut self, place: u32, scale: f32, codes: &[u8]) -> bool {
        let Some(row) = self.slot(place, codes.len(), scale) else {
            return false;
        };
        for (slot, code) in row.iter_mut().zip(codes) {
            *slot = code.cast_signed();
        }
        true
    }

    /// Room for the row of a place, with its scale in place.
    fn slot(&mut self, place: u32, dimensions: usize, scale: f32) -> Option<&mut [i8]> {
        if self.dimensions == 0 {
            self.dimensions = dimensions;
        }
        if dimensions != self.dimensions || dimensions == 0 {
            return None;
        }
        let at = place as usize;
        while self.places <= at {
            if self.places.is_multiple_of(CHUNK_ROWS) {
                self.chunks.push(Arc::default());
            }
            let last = self.chunks.len() - 1;
            let chunk = Arc::make_mut(&mut self.chunks[last]);
            if chunk.scales.is_empty() && last > 0 {
                // The first chunk may be of a small shard; the others are filled.
                chunk.scales.reserve_exact(CHUNK_ROWS);
                chunk.codes.reserve_exact(CHUNK_ROWS * self.dimensions);
            }
            chunk.scales.push(0.0);
            chunk.codes.resize(chunk.scales.len() * self.dimensions, 0);
            self.places += 1;
        }
        let chunk = Arc::make_mut(&mut self.chunks[at / CHUNK_ROWS]);
        let row = at % CHUNK_ROWS;
        if chunk.scales[row] != 0.0 {
            self.version = Version::default();
        }
        chunk.scales[row] = scale;
        Some(&mut chunk.codes[row * dimensions..(row + 1) * dimensions])
    }

    /// Takes the vector of a place away.
    pub fn remove(&mut self, place: u32) {
        if self.has(place) {
            let at = place as usize;
            let scale = &mut Arc::make_mut(&mut self.chunks[at / CHUNK_ROWS]).scales[at % CHUNK_ROWS];
            *scale = -*scale;
        }
    }

    /// Whether a place has a vector.
    pub fn has(&self, place: u32) -> bool {
        (place as usize) < self.places && self.signed_scale(place) > 0.0
    }

    /// Dimensions of every row; 0 before the first vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Places from 0 that may have a row.
    pub fn places(&self) -> usize {
        self.places
    }

    /// Changes when a row is replaced, not when one is added or removed: a graph of another version leads astray.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Bytes that the rows take.
    pub fn bytes(&self) -> usize {
        let of = |chunk: &Arc<Chunk>| chunk.codes.capacity() + chunk.scales.capacity() * size_of::<f32>();
        self.chunks.iter().map(of).sum()
    }

    /// The row of a place, also of one that was removed; the place must be below [`Self::places`].
    #[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
    #[inline(always)]
    pub(super) fn row(&self, place: u32) -> (&[i8], f32) {
        let at = place as usize;
        let chunk = &self.chunks[at / CHUNK_ROWS];
        let row = at % CHUNK_ROWS;
        let codes = &chunk.codes[row * self.dimensions..(row + 1) * self.dimensions];
        (codes, chunk.scales[row].abs())
    }

    #[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
    #[inline(always)]
    fn signed_scale(&self, place: u32) -> f32 {
        let at = place as usize;
        self.chunks[at / CHUNK_ROWS].scales[at % CHUNK_ROWS]
    }

    /// The cosine of two places; 0 when one has no vector.
    pub fn between(&self, a: u32, b: u32) -> f32 {
        if !self.has(a) || !self.has(b) {
            return 0.0;
        }
        let ((row_a, scale_a), (row_b, scale_b)) = (self.row(a), self.row(b));
        inner(row_a, row_b) as f32 * (scale_a * scale_b)
    }

    /// The cosine of a query with one place; 0 when it has no vector.
    pub fn cosine(&self, query: &Quantised, place: u32) -> f32 {
        if query.codes.len() != self.dimensions || !self.has(place) {
            return 0.0;
        }
        let (row, scale) = self.row(place);
        inner(row, &query.codes) as f32 * (scale * query.scale)
    }

    /// The cosines of a query with some places, as [`Self::cosine`] has them.
    pub fn cosines(&self, query: &Quantised, places: &[u32], each: impl FnMut(u32, f32)) {
        Arch::new().dispatch(Chosen {
            codes: self,
            query,
            places,
            each,
        });
    }

    /// The cosine of a query with every place, in order; `places` may be more than have vectors.
    pub fn scan(&self, query: &Quantised, places: usize, cosines: &mut Vec<f32>) {
        cosines.clear();
        cosines.reserve(places.max(self.places));
        self.scan_from(query, 0, |cosine| cosines.push(cosine));
        cosines.resize(places, 0.0);
    }

    /// Calls `each` with the cosine of every place from one on, in order; with none when the dimensions differ.
    pub fn scan_from(&self, query: &Quantised, from: usize, each: impl FnMut(f32)) {
        if query.codes.len() == self.dimensions && self.dimensions > 0 {
            Arch::new().dispatch(All {
                codes: self,
                query,
                from,
                each,
            });
        }
    }
}

// What follows runs with the widest instructions that this processor has, chosen once. It works only where everything
// is inlined into `with_simd`: a closure handed to `dispatch` is not, and stays compiled for the oldest processor.

struct All<'q, E> {
    codes: &'q Codes,
    query: &'q Quantised,
    from: usize,
    each: E,
}

impl<E: FnMut(f32)> WithSimd for All<'_, E> {
    type Output = ();

    #[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let query = self.query;
        let dimensions = self.codes.dimensions;
        for (number, chunk) in self.codes.chunks.iter().enumerate().skip(self.from / CHUNK_ROWS) {
            let skipped = self.from.saturating_sub(number * CHUNK_ROWS).min(chunk.scales.len());
            let scales = &chunk.scales[skipped..];
            let codes = &chunk.codes[skipped * dimensions..];
            // A length that is known when it is compiled makes the loop faster.
            if let Ok(row) = <&[i8; 128]>::try_from(&*query.codes) {
                for (codes, scale) in codes.as_chunks::<128>().0.iter().zip(scales) {
                    (self.each)(inner(codes, row) as f32 * (scale.max(0.0) * query.scale));
                }
            } else {
                for (codes, scale) in codes.chunks_exact(dimensions).zip(scales) {
                    (self.each)(inner(codes, &query.codes) as f32 * (scale.max(0.0) * query.scale));
                }
            }
        }
    }
}

struct Chosen<'q, E> {
    codes: &'q Codes,
    query: &'q Quantised,
    places: &'q [u32],
    each: E,
}

impl<E: FnMut(u32, f32)> WithSimd for Chosen<'_, E> {
    type Output = ();

    #[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let fits = self.query.codes.len() == self.codes.dimensions;
        for place in self.places {
            let cosine = if fits && self.codes.has(*place) {
                let (row, scale) = self.codes.row(*place);
                inner(row, &self.query.codes) as f32 * (scale * self.query.scale)
            } else {
                0.0
            };
            (self.each)(*place, cosine);
        }
    }
}

/// The inner product of two rows of the same length. Inlined into its caller, so that it is compiled for the
/// instructions chosen there.
#[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
#[inline(always)]
pub(super) fn inner(a: &[i8], b: &[i8]) -> i32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let mut sum = 0i32;
    for (a, b) in a.iter().zip(b) {
        let mut part = 0i32;
        for at in 0..32 {
            part += i32::from(a[at]) * i32::from(b[at]);
        }
        sum += part;
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        sum += i32::from(*a) * i32::from(*b);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::embed::table::embed_quantised;

    #[test]
    fn a_scan_gives_every_place_its_cosine_and_none_to_the_removed() {
        let texts = ["the car is red", "an automobile", "two eggs and flour"];
        let vectors: Vec<Quantised> = texts
            .iter()
            .map(|text| embed_quantised(text).expect("a vector"))
            .collect();
        let mut codes = Codes::default();
        for (place, vector) in vectors.iter().enumerate() {
            assert!(codes.put(place as u32 * 2, vector));
        }
        let before = codes.clone();
        codes.remove(4);
        let query = embed_quantised("car").expect("a vector");
        let mut cosines = vec![9.0; 40];
        codes.scan(&query, 7, &mut cosines);
        let expected = [
            query.cosine(&vectors[0]),
            0.0,
            query.cosine(&vectors[1]),
            0.0,
            0.0,
            0.0,
            0.0,
        ];
        assert_eq!(cosines.len(), expected.len());
        for (place, (found, expected)) in (0u32..).zip(cosines.iter().zip(expected)) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            assert!((codes.cosine(&query, place) - expected).abs() < 1e-6);
        }
        assert!((codes.between(0, 2) - vectors[0].cosine(&vectors[1])).abs() < 1e-6);
        assert!(before.has(4), "a clone sees no later change");
        let mut tail = Vec::new();
        before.scan_from(&query, 3, |cosine| tail.push(cosine));
        assert_eq!(tail, [0.0, before.cosine(&query, 4)]);
    }

    #[test]
    fn rows_have_one_length_and_chunks_no_seam() {
        let row = |seed: u32, dimensions: u32| {
            let values: Vec<f32> = (0..dimensions)
                .map(|at| ((seed * 31 + at * 7) % 13) as f32 - 5.5)
                .collect();
            Quantised::of(&values).expect("a direction")
        };
        for dimensions in [3, 128, 200] {
            let mut codes = Codes::default();
            for place in 0..CHUNK_ROWS as u32 * 2 + 5 {
                assert!(codes.put(place, &row(place, dimensions)));
            }
            assert!(!codes.put(0, &row(1, dimensions + 1)), "another length is refused");
            let query = row(77, dimensions);
            let mut cosines = Vec::new();
            codes.scan(&query, codes.places(), &mut cosines);
            for (place, cosine) in (0u32..).zip(&cosines) {
                assert!((cosine - query.cosine(&row(place, dimensions))).abs() < 1e-5, "{place}");
            }
            codes.scan(&row(1, dimensions + 1), 4, &mut cosines);
            assert_eq!(cosines, [0.0; 4]);
        }
    }
}
