//! A vector as it is stored and searched: one scale and one byte a dimension.

/// Dimensions of every vector of the built-in embedder.
pub const DIMENSIONS: usize = 128;

/// A unit vector, quantised: value = scale × code. The largest magnitude is 127.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantised {
    /// The scale; positive and finite.
    pub scale: f32,
    /// The codes.
    pub codes: Box<[i8]>,
}

impl Quantised {
    /// Quantises a vector; none when it has no direction or holds something that is no number.
    pub fn of(vector: &[f32]) -> Option<Self> {
        let square: f32 = vector.iter().map(|value| value * value).sum();
        if !square.is_finite() || square <= f32::MIN_POSITIVE {
            return None;
        }
        let length = square.sqrt();
        let largest = vector.iter().fold(0.0f32, |largest, value| largest.max(value.abs())) / length;
        let scale = largest / 127.0;
        if !scale.is_finite() || scale <= 0.0 {
            return None;
        }
        let codes = vector
            .iter()
            .map(|value| (value / length / scale).round().clamp(-127.0, 127.0) as i8);
        Some(Self {
            scale,
            codes: codes.collect(),
        })
    }

    /// The cosine of two vectors; 0 when their dimensions differ.
    pub fn cosine(&self, other: &Self) -> f32 {
        if self.codes.len() != other.codes.len() {
            return 0.0;
        }
        dot(&self.codes, &other.codes) as f32 * self.scale * other.scale
    }
}

/// The inner product of two rows of codes of the same length.
pub fn dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_direction_is_no_vector() {
        assert_eq!(Quantised::of(&[0.0; 4]), None);
        assert_eq!(Quantised::of(&[f32::NAN, 1.0]), None);
        assert_eq!(Quantised::of(&[f32::INFINITY, 1.0]), None);
        assert_eq!(Quantised::of(&[]), None);
    }

    #[test]
    fn a_quantised_cosine_is_close_to_the_true_one() {
        let a: Vec<f32> = (0..128u16).map(|i| f32::from(i * 37 % 101) - 50.0).collect();
        let b: Vec<f32> = (0..128u16).map(|i| f32::from(i * 53 % 97) - 40.0).collect();
        let inner = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let truth = inner(&a, &b) / (inner(&a, &a) * inner(&b, &b)).sqrt();
        let (a, b) = (Quantised::of(&a).expect("a"), Quantised::of(&b).expect("b"));
        assert!((a.cosine(&b) - truth).abs() < 0.01, "{} {truth}", a.cosine(&b));
        assert!((a.cosine(&a) - 1.0).abs() < 0.01);
    }
}
