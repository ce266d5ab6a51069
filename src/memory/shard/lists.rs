//! Lists of words that many entries have alike, such as tags and sources: each is kept once, as long as an entry has it.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

type Words = Arc<[Arc<str>]>;

/// The lists, by numbers. A number whose last holder let it go is given to the next new list.
#[derive(Debug, Default)]
pub(super) struct Lists {
    numbers: HashMap<Words, u32, RandomState>,
    all: Vec<Held>,
    free: Vec<u32>,
    /// The list that was asked for last: most entries in a row have the same.
    last: u32,
}

#[derive(Debug)]
struct Held {
    words: Words,
    holders: u32,
}

impl Lists {
    /// The number of a list, for one holder more.
    pub(super) fn hold(&mut self, words: &[&str]) -> u32 {
        let is_it = |held: &Held| held.holders > 0 && held.words.iter().map(|word| &**word).eq(words.iter().copied());
        if !self.all.get(self.last as usize).is_some_and(is_it) {
            let words: Words = words.iter().map(|word| Arc::from(*word)).collect();
            self.last = match self.numbers.get(&words) {
                Some(number) => *number,
                None => self.add(words),
            };
        }
        self.all[self.last as usize].holders += 1;
        self.last
    }

    fn add(&mut self, words: Words) -> u32 {
        let held = Held {
            words: words.clone(),
            holders: 0,
        };
        let number = self.free.pop().unwrap_or(self.all.len() as u32);
        match self.all.get_mut(number as usize) {
            Some(free) => *free = held,
            None => self.all.push(held),
        }
        self.numbers.insert(words, number);
        number
    }

    /// One holder of a list less.
    pub(super) fn release(&mut self, number: u32) {
        let held = &mut self.all[number as usize];
        held.holders -= 1;
        if held.holders == 0 {
            self.numbers.remove(&std::mem::take(&mut held.words));
            self.free.push(number);
        }
    }

    /// The words of a list that is held.
    pub(super) fn of(&self, number: u32) -> &[Arc<str>] {
        &self.all[number as usize].words
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entry_whose_list_changes_all_the_time_keeps_one() {
        let mut lists = Lists::default();
        let steady = lists.hold(&["steady"]);
        let mut own = lists.hold(&[]);
        for round in 0..1_000 {
            let next = lists.hold(&["tag", &round.to_string()]);
            lists.release(own);
            own = next;
        }
        assert_eq!((&*lists.of(own)[1], &*lists.of(steady)[0]), ("999", "steady"));
        assert!(lists.all.len() <= 3 && lists.numbers.len() == 2, "{lists:?}");
    }

    proptest! {
        #[test]
        fn whoever_holds_a_list_reads_its_own_words_and_no_other_list_is_kept(
            steps in proptest::collection::vec((0u8..8, 0usize..5), 1..80),
        ) {
            let all: [&[&str]; 5] = [&[], &["a"], &["b"], &["a", "b"], &["b", "a"]];
            let mut lists = Lists::default();
            let mut holders: HashMap<u8, (usize, u32)> = HashMap::new();
            for (holder, wanted) in steps {
                let number = lists.hold(all[wanted]);
                if let Some((_, before)) = holders.insert(holder, (wanted, number)) {
                    lists.release(before);
                }
                for (wanted, number) in holders.values() {
                    let words: Vec<&str> = lists.of(*number).iter().map(|word| &**word).collect();
                    prop_assert_eq!(words, all[*wanted]);
                }
                let held: std::collections::HashSet<usize> = holders.values().map(|held| held.0).collect();
                prop_assert_eq!(lists.numbers.len(), held.len());
                prop_assert_eq!(lists.all.len() - lists.free.len(), held.len());
            }
        }
    }
}
