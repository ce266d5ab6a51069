//! What an entry is worth, and which ones go first.
//!
//! Worth is importance times freshness. Freshness halves every 30 days **since the last use**, not since the entry was
//! made: what is used daily never fades. Each doubling of the uses lengthens the half-life by another 30 days. An entry
//! of importance 100 is pinned: it is worth all, and neither pruned nor evicted.
//!
//! An entry is pruned when it is worth less than 0.05 and has not been used for 30 days. One of ordinary importance
//! (50) that nobody ever used goes after 100 days, one of importance 10 after 30, one of importance 90 after 126.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::domain::memory::{AsSeen, IMPORTANCE_PINNED, MemoryEntry};
use crate::domain::time::UtcMillis;

const DAY_MS: f64 = 86_400_000.0;
const HALF_LIFE_DAYS: f64 = 30.0;
/// Below this an entry is of little value.
pub const WORTH_MIN: f64 = 0.05;
/// Days that an entry is left alone after its last use.
pub const SPARED_DAYS: f64 = 30.0;

fn days_unused(entry: &MemoryEntry, now: UtcMillis) -> f64 {
    now.since(entry.used_at.max(entry.updated_at)) as f64 / DAY_MS
}

/// What an entry is worth, from 0 to 1.
pub fn worth(entry: &MemoryEntry, now: UtcMillis) -> f64 {
    if entry.importance >= IMPORTANCE_PINNED {
        return 1.0;
    }
    let half_life = HALF_LIFE_DAYS * (1.0 + (entry.uses as f64 + 1.0).log2());
    f64::from(entry.importance) / 100.0 * 0.5f64.powf(days_unused(entry, now) / half_life)
}

/// Why an entry is to be pruned, if it is.
pub fn prune_reason(entry: &MemoryEntry, now: UtcMillis) -> Option<String> {
    let (worth, days) = (worth(entry, now), days_unused(entry, now));
    (worth < WORTH_MIN && days >= SPARED_DAYS).then(|| {
        format!(
            "of little value: importance {}, used {} times, last {days:.0} days ago",
            entry.importance, entry.uses
        )
    })
}

/// One that may go.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    worth: f64,
    used_at: UtcMillis,
    id: u64,
    version: u64,
    bytes: u64,
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    /// The most valuable is the greatest; of two alike the one used later, then the younger.
    fn cmp(&self, other: &Self) -> Ordering {
        self.worth
            .total_cmp(&other.worth)
            .then(self.used_at.cmp(&other.used_at))
            .then(self.id.cmp(&other.id))
    }
}

/// Finds the least valuable entries among any number: as few as make so many entries and so many bytes.
#[derive(Debug)]
pub struct Least {
    wanted: (u64, u64),
    most: usize,
    worst: BinaryHeap<Candidate>,
    held: u64,
    may_go: (u64, u64),
}

impl Least {
    /// Looks for so many entries with so many bytes of text, and holds at most `most`.
    pub fn new(wanted: (u64, u64), most: usize) -> Self {
        Self {
            wanted,
            most,
            worst: BinaryHeap::new(),
            held: 0,
            may_go: (0, 0),
        }
    }

    /// Entries and bytes that may go of all that was looked at.
    pub fn may_go(&self) -> (u64, u64) {
        self.may_go
    }

    /// Looks at one more. Pinned ones never go.
    pub fn look(&mut self, entry: &MemoryEntry, now: UtcMillis) {
        if entry.importance >= IMPORTANCE_PINNED {
            return;
        }
        let bytes = entry.text.len() as u64;
        self.may_go = (self.may_go.0 + 1, self.may_go.1.saturating_add(bytes));
        self.held = self.held.saturating_add(bytes);
        self.worst.push(Candidate {
            worth: worth(entry, now),
            used_at: entry.used_at,
            id: entry.id,
            version: entry.version,
            bytes,
        });
        while let Some(best) = self.worst.peek() {
            let others = (self.worst.len() as u64 - 1, self.held - best.bytes);
            let is_enough = others.0 >= self.wanted.0 && others.1 >= self.wanted.1;
            if !is_enough && self.worst.len() <= self.most {
                break;
            }
            self.held = others.1;
            self.worst.pop();
        }
    }

    /// Their numbers, and how they were, the least valuable first.
    pub fn found(self) -> Vec<(u64, AsSeen)> {
        let seen = |one: &Candidate| AsSeen {
            version: one.version,
            used_at: one.used_at,
        };
        let worst = self.worst.into_sorted_vec();
        worst.iter().map(|one| (one.id, seen(one))).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::memory::MemoryState;

    const NOW: UtcMillis = UtcMillis(1_000 * 86_400_000);

    fn entry(id: u64, importance: u8, uses: u64, days_ago: u64) -> MemoryEntry {
        let at = UtcMillis(NOW.0 - days_ago * 86_400_000);
        MemoryEntry {
            id,
            key: None,
            text: "x".into(),
            tags: Vec::new(),
            sources: Vec::new(),
            importance,
            created_at: at,
            updated_at: at,
            used_at: at,
            uses,
            expires_at: None,
            version: 1,
            previous: None,
            state: MemoryState::Live,
        }
    }

    #[test]
    fn an_entry_goes_by_importance_uses_and_time_since_its_last_use() {
        let check = |importance, uses, days_ago, goes: bool| {
            let reason = prune_reason(&entry(1, importance, uses, days_ago), NOW);
            assert_eq!(reason.is_some(), goes, "{importance} {uses} {days_ago}: {reason:?}");
        };
        check(50, 0, 99, false);
        check(50, 0, 101, true);
        check(90, 0, 120, false);
        check(90, 0, 130, true);
        check(10, 0, 29, false);
        check(10, 0, 31, true);
        check(0, 0, 29, false);
        check(0, 0, 30, true);
        check(50, 7, 101, false);
        check(50, 7, 401, true);
        check(100, 0, 900, false);
    }

    proptest! {
        #[test]
        fn worth_falls_with_time_and_rises_with_importance_and_use(
            importance in 0u8..100, uses in 0u64..1_000, days in 0u64..900,
        ) {
            let of = |importance, uses, days| worth(&entry(1, importance, uses, days), NOW);
            let own = of(importance, uses, days);
            prop_assert!((0.0..=1.0).contains(&own));
            prop_assert!(of(importance, uses, days + 1) <= own);
            prop_assert!(of(importance + 1, uses, days) >= own);
            prop_assert!(of(importance, uses + 1, days) >= own);
        }

        #[test]
        fn the_least_are_what_sorting_all_would_give(
            all in proptest::collection::vec((0u8..=100, 0u64..9, 0u64..400), 0..60), wanted in 0usize..20,
        ) {
            let entries: Vec<MemoryEntry> = (1..).zip(&all).map(|(id, one)| entry(id, one.0, one.1, one.2)).collect();
            let mut least = Least::new((wanted as u64, 0), wanted);
            for entry in &entries {
                least.look(entry, NOW);
            }
            let mut sorted: Vec<&MemoryEntry> = entries.iter().filter(|entry| entry.importance < 100).collect();
            sorted.sort_by(|one, other| {
                worth(one, NOW).total_cmp(&worth(other, NOW)).then(one.used_at.cmp(&other.used_at)).then(one.id.cmp(&other.id))
            });
            let expected: Vec<u64> = sorted.iter().take(wanted).map(|entry| entry.id).collect();
            prop_assert_eq!(least.may_go(), (sorted.len() as u64, sorted.len() as u64));
            let ids: Vec<u64> = least.found().into_iter().map(|(id, _)| id).collect();
            prop_assert_eq!(ids, expected);
        }

        #[test]
        fn as_few_go_as_make_the_bytes_that_are_wanted(
            all in proptest::collection::vec((0u8..=100, 1usize..40), 0..40), wanted in 0u64..400,
        ) {
            let entries = all.iter().zip(1..).map(|(one, id)| MemoryEntry {
                text: "x".repeat(one.1).into(),
                ..entry(id, one.0, 0, 3)
            });
            let entries: Vec<MemoryEntry> = entries.collect();
            let mut least = Least::new((0, wanted), usize::MAX);
            for entry in &entries {
                least.look(entry, NOW);
            }
            let mut sorted: Vec<&MemoryEntry> = entries.iter().filter(|entry| entry.importance < 100).collect();
            sorted.sort_by(|one, other| worth(one, NOW).total_cmp(&worth(other, NOW)).then(one.id.cmp(&other.id)));
            let mut bytes = 0;
            let enough = sorted.iter().take_while(|entry| {
                let is_missing = bytes < wanted;
                bytes += entry.text.len() as u64;
                is_missing
            });
            let expected: Vec<u64> = enough.map(|entry| entry.id).collect();
            let ids: Vec<u64> = least.found().into_iter().map(|(id, _)| id).collect();
            prop_assert_eq!(ids, expected);
        }
    }
}
