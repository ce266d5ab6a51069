//! Numbers for texts: what the words of a shard are counted by.
//!
//! Refuses to know: what the texts mean. Invariants: pure; a text has the same number as long as it is known; the texts
//! themselves are not kept. A text is known by 64 bits of a hash under a random key, beside its number: a shard has a
//! hundred thousand words, and every look that misses the processor's caches costs more than everything else about it.
//! Two of a million words have one hash with a chance of 1 in 37 million; they would count as one word.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

/// The texts.
#[derive(Debug, Default)]
pub struct Words {
    hasher: RandomState,
    slots: HashTable<Slot>,
}

/// A hash in two halves, so that a slot has twelve bytes and not sixteen, and the number.
#[derive(Debug, Clone, Copy)]
struct Slot {
    high: u32,
    low: u32,
    number: u32,
}

impl Slot {
    fn hash(&self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }
}

impl Words {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.slots.clear();
    }

    /// The number of a text that is known.
    pub fn number(&self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        let found = self.slots.find(hash, |slot| slot.hash() == hash);
        found.map(|slot| slot.number)
    }

    /// The number of a text, and whether it is new: then it is the count of those before.
    pub fn take(&mut self, text: &str) -> (u32, bool) {
        if let Some(number) = self.number(text) {
            return (number, false);
        }
        let number = self.slots.len() as u32;
        self.put(text, number);
        (number, true)
    }

    /// Gives a text that is not known a number of the caller's.
    pub fn put(&mut self, text: &str, number: u32) {
        let hash = self.hasher.hash_one(text);
        let slot = Slot {
            high: (hash >> 32) as u32,
            low: hash as u32,
            number,
        };
        self.slots.insert_unique(hash, slot, Slot::hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_one_number_in_the_order_of_first_sight() {
        let mut words = Words::default();
        let texts: Vec<String> = (0..5_000).map(|number| format!("w{}", number * 7 % 2_500)).collect();
        let mut first: Vec<&str> = Vec::new();
        for text in &texts {
            let known = first.iter().position(|other| other == text);
            assert_eq!(words.number(text).map(|number| number as usize), known);
            let expected = known.unwrap_or(first.len());
            assert_eq!(words.take(text), (expected as u32, known.is_none()), "{text}");
            if known.is_none() {
                first.push(text);
            }
        }
        assert_eq!((words.len(), words.is_empty()), (2_500, false));
        assert_eq!(words.take(""), (2_500, true));
        assert_eq!((words.take(""), words.number("w")), ((2_500, false), None));
        words.put("own", 7);
        assert_eq!((words.number("own"), words.take("own")), (Some(7), (7, false)));
        words.clear();
        assert_eq!(
            (words.len(), words.number("w0"), words.take("w9")),
            (0, None, (0, true))
        );
    }
}
