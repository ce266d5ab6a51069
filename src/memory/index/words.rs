//! Numbers for texts, each text once: what the words of a shard are counted by.
//!
//! Refuses to know: what the texts mean. Invariants: pure; numbers rise from 0 in the order of first sight; the texts lie
//! in one string and their hashes beside their numbers, because a shard has a hundred thousand of them and a look that
//! misses the processor's caches costs more than everything else about it.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// The texts.
#[derive(Debug, Default)]
pub struct Words {
    hasher: RandomState,
    /// Half a hash and a number.
    slots: HashTable<(u32, u32)>,
    text: String,
    /// Where each text ends.
    ends: Vec<u32>,
}

impl Words {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.text.clear();
        self.ends.clear();
    }

    /// The number of a text that was seen.
    pub fn number(&self, text: &str) -> Option<u32> {
        let half = self.half(text);
        self.find(half, text)
    }

    /// The number of a text, and whether it is new.
    pub fn take(&mut self, text: &str) -> (u32, bool) {
        let half = self.half(text);
        if let Some(number) = self.find(half, text) {
            return (number, false);
        }
        let number = self.ends.len() as u32;
        self.text.push_str(text);
        self.ends.push(self.text.len() as u32);
        self.slots
            .insert_unique(spread(half), (half, number), |(half, _)| spread(*half));
        (number, true)
    }

    fn find(&self, half: u32, text: &str) -> Option<u32> {
        let is_it = |(other, number): &(u32, u32)| *other == half && self.text_of(*number) == text;
        self.slots.find(spread(half), is_it).map(|(_, number)| *number)
    }

    fn text_of(&self, number: u32) -> &str {
        let at = number as usize;
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.text[begin..self.ends[at] as usize]
    }

    fn half(&self, text: &str) -> u32 {
        self.hasher.hash_one(text) as u32
    }
}

/// A whole hash out of its half: the table takes its highest bits for itself.
fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
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
        words.clear();
        assert_eq!(
            (words.len(), words.number("w0"), words.take("w9")),
            (0, None, (0, true))
        );
    }
}
