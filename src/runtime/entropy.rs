//! Randomness for ids and secrets, handed to those who need it.

use std::sync::{Arc, Mutex};

/// Gives random numbers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Entropy(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Seeded(Arc<Mutex<fastrand::Rng>>),
}

impl Entropy {
    /// The operating system's source.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A source that repeats: for tests.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)))))
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            Source::System => getrandom::fill(bytes).expect("the operating system has a random source"),
            Source::Seeded(source) => source
                .lock()
                .expect("nothing panics while it holds the source")
                .fill(bytes),
        }
    }

    /// 128 random bits.
    pub fn u128(&self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }
}
