//! The best few of many, without sorting all.
//!
//! Invariant: equal scores are ordered by place, so the same question has the same answer.

/// The best few.
pub struct Best<T> {
    limit: usize,
    /// The worst of them is at the front.
    found: Vec<(f32, u32, T)>,
}

impl<T: Copy> Best<T> {
    /// Room for so many.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            found: Vec::with_capacity(limit.min(1_024)),
        }
    }

    /// Whether a score could be among them.
    pub fn may_take(&self, score: f32) -> bool {
        self.limit > 0 && (self.found.len() < self.limit || self.found.first().is_some_and(|worst| score >= worst.0))
    }

    /// Offers one.
    pub fn take(&mut self, score: f32, place: u32, with: T) {
        if !self.may_take(score) {
            return;
        }
        // Of equal scores the earlier place is the better one, whatever came first.
        let at = self
            .found
            .partition_point(|other| other.0.total_cmp(&score).then(place.cmp(&other.1)).is_lt());
        if self.found.len() < self.limit {
            self.found.insert(at, (score, place, with));
        } else if at > 0 {
            // The front falls out: those before `at` move one to the front.
            self.found.copy_within(1..at, 0);
            self.found[at - 1] = (score, place, with);
        }
    }

    /// Best first.
    pub fn into_sorted(mut self) -> Vec<(f32, u32, T)> {
        self.found.reverse();
        self.found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_best_few_are_those_of_a_full_sort_in_whatever_order_they_come(
            scores in prop::collection::vec(0u8..9, 0..60),
            limit in 0usize..12,
            backwards in any::<bool>(),
        ) {
            let mut all: Vec<(u8, u32)> = scores.iter().copied().zip(0u32..).collect();
            if backwards {
                all.reverse();
            }
            let mut best = Best::new(limit);
            for (score, place) in &all {
                best.take(f32::from(*score), *place, ());
            }
            all.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
            all.truncate(limit);
            let found: Vec<(u8, u32)> = best.into_sorted().iter().map(|found| (found.0 as u8, found.1)).collect();
            prop_assert_eq!(found, all);
        }
    }
}
