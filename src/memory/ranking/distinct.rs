//! Leaves out of an answer what another entry of it says already.
//!
//! Refuses to know: where entries come from. Invariants: pure; the better one of two that say the same stays; texts say
//! the same here exactly when they would be one entry without keys, so that a negation, a number, a name or the order of
//! words keeps both.

use std::collections::HashMap;

use crate::storage::memory_row::{text_hash, words_hash};

/// From this cosine on two texts with the same core say the same.
const SAME_COSINE: f32 = 0.9;

/// What is compared of a text: all of its words, and their core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gist {
    words: [u8; 16],
    core: [u8; 16],
}

impl Gist {
    /// The gist of a text.
    pub fn of(text: &str) -> Self {
        Self {
            words: words_hash(text),
            core: text_hash(text),
        }
    }

    /// Whether two texts say the same: the same words in the same order, or the same core and nearly one direction.
    pub fn is_same(&self, other: &Self, cosine: impl FnOnce() -> f32) -> bool {
        self.words == other.words || (self.core == other.core && cosine() >= SAME_COSINE)
    }
}

/// The gists of an answer so far, each once; a look costs the same however many there are.
#[derive(Debug, Default)]
pub struct Distinct {
    of_core: HashMap<[u8; 16], Vec<(u32, Gist)>>,
    of_words: HashMap<[u8; 16], u32>,
}

impl Distinct {
    /// Takes a text at a place. False when an earlier one says the same; `between` is the cosine of two places.
    pub fn take(&mut self, place: u32, gist: Gist, between: impl Fn(u32, u32) -> f32) -> bool {
        let same_core = self.of_core.entry(gist.core).or_default();
        let is_said = self.of_words.contains_key(&gist.words)
            || same_core
                .iter()
                .any(|(other, said)| said.is_same(&gist, || between(*other, place)));
        if !is_said {
            same_core.push((place, gist));
            self.of_words.insert(gist.words, place);
        }
        !is_said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::embed::table::embed_quantised;

    #[test]
    fn only_what_says_the_same_counts_as_the_same() {
        let check = |a: &str, b: &str, expected: bool| {
            let between = |_: u32, _: u32| match (embed_quantised(a), embed_quantised(b)) {
                (Some(a), Some(b)) => a.cosine(&b),
                _ => 0.0,
            };
            let mut distinct = Distinct::default();
            assert!(distinct.take(0, Gist::of(a), between), "{a:?} alone");
            let is_same = !distinct.take(1, Gist::of(b), between);
            assert_eq!(is_same, expected, "{a:?} {b:?} {}", between(0, 1));
        };
        check("The key is in the vault.", "the key is in the vault", true);
        check("The deploy key is in the vault.", "The deploy key is in a vault.", true);
        check("The limit is 5,000 requests", "the limit is 5000 requests", true);
        check("Tokens rotate on Monday.", "Tokens rotate on Friday.", false);
        check("The limit is 10 seconds.", "The limit is 20 seconds.", false);
        check("🙂", "🙃", false);
        check("...", "!!", false);
        check("...", "...", true);
        check("Okay.", "Actually", false);
        check("The deploy key is in the vault.", "Two eggs and flour.", false);
        let job = "The nightly job of the billing team is";
        for (one, other) in [
            ("allowed to run on the replica", "not allowed to run on the replica"),
            ("given a spare node", "given no spare node"),
            ("turned on for all customers", "turned off for all customers"),
            ("paid by Amy and not by Tim", "paid by Tim and not by Amy"),
            ("bound to port 80", "bound to port 81"),
            ("done", "done?"),
        ] {
            check(&format!("{job} {one}"), &format!("{job} {other}"), false);
        }
        check(
            "Alice owes Bob the money for the tickets",
            "Bob owes Alice the money for the tickets",
            false,
        );
    }
}
