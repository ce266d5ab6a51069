//! The vectors of a shard's entries, searched exactly: every row is compared.
//!
//! Refuses to know: words, stores. Invariants: pure; a place without a vector has cosine 0; recall is 1 by construction,
//! so this is also what any faster index is held against.

use pulp::Arch;

use crate::memory::embed::vector::{DIMENSIONS, Quantised};

/// Rows of codes, one a place.
#[derive(Debug, Default)]
pub struct Codes {
    scales: Vec<f32>,
    codes: Vec<[i8; DIMENSIONS]>,
}

impl Codes {
    /// Puts a vector at a place; one of other dimensions counts as none.
    pub fn put(&mut self, place: u32, vector: &Quantised) {
        let Ok(row) = <[i8; DIMENSIONS]>::try_from(&*vector.codes) else {
            return;
        };
        let at = place as usize;
        if self.scales.len() <= at {
            self.scales.resize(at + 1, 0.0);
            self.codes.resize(at + 1, [0; DIMENSIONS]);
        }
        self.scales[at] = vector.scale;
        self.codes[at] = row;
    }

    /// Takes the vector of a place away.
    pub fn remove(&mut self, place: u32) {
        if let Some(scale) = self.scales.get_mut(place as usize) {
            *scale = 0.0;
        }
    }

    /// Bytes that the rows take.
    pub fn bytes(&self) -> usize {
        self.codes.capacity() * DIMENSIONS + self.scales.capacity() * size_of::<f32>()
    }

    /// The cosine of two places; 0 when one has no vector.
    pub fn between(&self, a: u32, b: u32) -> f32 {
        match (self.row(a), self.row(b)) {
            (Some((row_a, scale_a)), Some((row_b, scale_b))) => inner(row_a, row_b) as f32 * scale_a * scale_b,
            _ => 0.0,
        }
    }

    fn row(&self, place: u32) -> Option<(&[i8; DIMENSIONS], f32)> {
        let at = place as usize;
        Some((self.codes.get(at)?, *self.scales.get(at)?))
    }

    /// The cosine of a query with every place, in order; `places` may be more than have vectors.
    pub fn scan(&self, query: &Quantised, places: usize, cosines: &mut Vec<f32>) {
        cosines.clear();
        if let Ok(row) = <[i8; DIMENSIONS]>::try_from(&*query.codes) {
            // The widest instructions that this processor has, chosen once.
            Arch::new().dispatch(|| {
                cosines.extend(
                    self.codes
                        .iter()
                        .zip(&self.scales)
                        .map(|(codes, scale)| inner(&row, codes) as f32 * (scale * query.scale)),
                );
            });
        }
        cosines.resize(places, 0.0);
    }
}

/// Inlined into its caller, so that it is compiled for the instructions chosen there.
#[expect(clippy::inline_always, reason = "it is fast only where it is inlined")]
#[inline(always)]
fn inner(a: &[i8; DIMENSIONS], b: &[i8; DIMENSIONS]) -> i32 {
    let mut sum = 0i32;
    for at in 0..DIMENSIONS {
        sum += i32::from(i16::from(a[at]) * i16::from(b[at]));
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
            codes.put(place as u32 * 2, vector);
        }
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
        for (found, expected) in cosines.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert!((codes.between(0, 2) - vectors[0].cosine(&vectors[1])).abs() < 1e-6);
    }
}
