//! The built-in embedder: a text's vector is the mean of its pieces' rows in a table that is part of the program.
//!
//! Refuses to know: stores, shards. Invariants: pure and deterministic; about ten microseconds for a short text; it
//! cannot fail, but a text without a known direction (no letters at all) has no vector.
//!
//! **Source**: `static_table/NOTICE` says what the table was made from.

use std::sync::LazyLock;

use super::vector::{DIMENSIONS, Quantised};
use super::wordpiece::WordPiece;

/// Names the vectors that this table makes; stored beside each of them.
pub const EMBEDDER: &str = "static-minilm-128-v1";

const BYTES: &[u8] = include_bytes!("static_table/table.bin");
const VOCABULARY: &str = include_str!("static_table/vocab.txt");
const MAGIC: &[u8] = b"OCEMBED1";

struct Table {
    pieces: WordPiece,
    scales: Box<[f32]>,
    /// Row by row, [`DIMENSIONS`] codes each; borrowed from the program's own image.
    codes: &'static [u8],
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let word = |at: usize| u32::from_le_bytes(BYTES[at..at + 4].try_into().expect("four bytes")) as usize;
    assert_eq!(&BYTES[..8], MAGIC, "the table in the program is whole");
    let (rows, dimensions) = (word(8), word(12));
    assert_eq!(
        dimensions, DIMENSIONS,
        "the table in the program has the dimensions of the program"
    );
    let (scales, codes) = BYTES[16..].split_at(rows * 4);
    assert_eq!(codes.len(), rows * dimensions, "the table in the program is whole");
    let scales = scales
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
        .collect();
    Table {
        pieces: WordPiece::new(VOCABULARY),
        scales,
        codes,
    }
});

/// Reads the table, so that the first text does not wait for it (about two milliseconds).
pub fn warm_up() {
    LazyLock::force(&TABLE);
}

/// The unit vector of a text; none when no piece of it has a direction.
pub fn embed(text: &str) -> Option<[f32; DIMENSIONS]> {
    let mut sum = [0.0f32; DIMENSIONS];
    add(text, 1.0, &mut sum);
    unit(sum)
}

/// Adds the rows of a text's pieces to a sum, each times the weight.
pub fn add(text: &str, weight: f32, sum: &mut [f32; DIMENSIONS]) {
    let table = &*TABLE;
    table.pieces.pieces(text, |piece| {
        let row = piece as usize;
        let scale = table.scales[row] * weight;
        let codes = &table.codes[row * DIMENSIONS..(row + 1) * DIMENSIONS];
        for (sum, code) in sum.iter_mut().zip(codes) {
            *sum += scale * f32::from(code.cast_signed());
        }
    });
}

/// The unit vector of a sum of rows; none when it has no direction.
pub fn unit(mut sum: [f32; DIMENSIONS]) -> Option<[f32; DIMENSIONS]> {
    let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
    if !length.is_finite() || length <= f32::EPSILON {
        return None;
    }
    for value in &mut sum {
        *value /= length;
    }
    Some(sum)
}

/// The same, quantised.
pub fn embed_quantised(text: &str) -> Option<Quantised> {
    Quantised::of(&embed(text)?)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn check_file() -> Value {
        serde_json::from_str(include_str!("static_table/check.json")).expect("JSON")
    }

    #[test]
    fn pieces_and_vectors_are_those_of_the_check_file() {
        for case in check_file()["tokens_and_vectors"].as_array().expect("list") {
            let text = case["text"].as_str().expect("text");
            let mut pieces = Vec::new();
            TABLE.pieces.pieces(text, |piece| pieces.push(u64::from(piece)));
            let expected: Vec<u64> = case["ids"]
                .as_array()
                .expect("list")
                .iter()
                .filter_map(Value::as_u64)
                .collect();
            assert_eq!(pieces, expected, "{text}");
            let vector = embed(text).expect("has a direction");
            for (at, expected) in case["first8"].as_array().expect("list").iter().enumerate() {
                let expected = expected.as_f64().expect("number") as f32;
                assert!(
                    (vector[at] - expected).abs() < 1e-4,
                    "{text} [{at}]: {} {expected}",
                    vector[at]
                );
            }
        }
    }

    #[test]
    fn cosines_are_those_of_the_check_file() {
        for case in check_file()["cosines"].as_array().expect("list") {
            let of = |name: &str| embed(case[name].as_str().expect("text")).expect("has a direction");
            let cosine: f32 = of("a").iter().zip(of("b")).map(|(a, b)| a * b).sum();
            let expected = case["cosine"].as_f64().expect("number") as f32;
            assert!((cosine - expected).abs() < 1e-3, "{case}: {cosine}");
        }
    }

    #[test]
    fn a_text_without_letters_has_no_vector() {
        assert!(embed("").is_none());
        assert!(embed(" \n\u{0}").is_none());
    }
}
