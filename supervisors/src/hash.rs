//! A hasher for keys that are small integers made by this process: nobody can choose them to collide.

use std::hash::{BuildHasherDefault, Hasher};

/// Folds integers with a multiplication (the golden ratio, as in Fibonacci hashing).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IntegerHasher(u64);

/// Tables of such keys.
pub(crate) type ByInteger = BuildHasherDefault<IntegerHasher>;

impl Hasher for IntegerHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The table takes its bits from both ends.
        self.0 ^= self.0 >> 32;
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }
}
