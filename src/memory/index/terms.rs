//! From text to the terms that are counted.
//!
//! Refuses to know: documents, scores. Invariants: pure; the same analysis for what is kept and for what is asked;
//! linear in the text.
//!
//! Words are those of Unicode (UAX 29). A word that is an identifier (`userId`, `user_id`, `HTTP2Server`) counts as
//! itself and as its parts. Stop words are left out, the rest is lower-cased, led back to its word where it is an
//! irregular form, and stemmed with Snowball's English rules, which leave words of other languages alone but for their
//! endings; Chinese, Japanese and Korean text, which has no blanks, counts by pairs of characters.

use std::cell::RefCell;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use rust_stemmers::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation;

use super::irregular::base;

/// Longest term in bytes; the rest of a longer word is left out.
const TERM_BYTES_MAX: usize = 64;
/// Stems that a thread remembers, for speed only.
const REMEMBERED_MAX: usize = 16_384;

/// Words that are in every text and tell none from another; sorted.
const STOP_WORDS: &[&str] = &[
    "a",
    "about",
    "above",
    "after",
    "again",
    "against",
    "all",
    "also",
    "am",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "because",
    "been",
    "before",
    "being",
    "below",
    "between",
    "both",
    "but",
    "by",
    "can",
    "cannot",
    "could",
    "did",
    "do",
    "does",
    "doing",
    "down",
    "during",
    "each",
    "few",
    "for",
    "from",
    "further",
    "had",
    "has",
    "have",
    "having",
    "he",
    "her",
    "here",
    "hers",
    "herself",
    "him",
    "himself",
    "his",
    "how",
    "i",
    "if",
    "in",
    "into",
    "is",
    "it",
    "its",
    "itself",
    "just",
    "let",
    "me",
    "more",
    "most",
    "my",
    "myself",
    "no",
    "nor",
    "not",
    "of",
    "off",
    "on",
    "once",
    "only",
    "or",
    "other",
    "ought",
    "our",
    "ours",
    "ourselves",
    "out",
    "over",
    "own",
    "same",
    "shall",
    "she",
    "should",
    "so",
    "some",
    "such",
    "than",
    "that",
    "the",
    "their",
    "theirs",
    "them",
    "themselves",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "through",
    "to",
    "too",
    "under",
    "until",
    "up",
    "very",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whom",
    "why",
    "will",
    "with",
    "would",
    "you",
    "your",
    "yours",
    "yourself",
    "yourselves",
];

/// Terms that say how one asks rather than what about, sorted: of what kind, how many, what somebody thinks.
const LIGHT_TERMS: &[&str] = &[
    "describ", "feel", "get", "give", "go", "happen", "kind", "like", "long", "make", "mani", "mention", "much",
    "name", "new", "often", "person", "say", "sort", "take", "talk", "tell", "thing", "think", "type", "want",
];

/// Whether a term says little where it is asked for.
pub fn is_light(term: &str) -> bool {
    LIGHT_TERMS.binary_search(&term).is_ok()
}

struct Stems {
    stemmer: Stemmer,
    /// What a word counts as; none for a stop word.
    known: HashMap<Box<str>, Option<Box<str>>, RandomState>,
    /// A word in lower case, kept for its allocation.
    lower: String,
}

thread_local! {
    static STEMS: RefCell<Stems> = RefCell::new(Stems {
        stemmer: Stemmer::create(Algorithm::English),
        known: HashMap::default(),
        lower: String::new(),
    });
}

/// A word of a text, before it is a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'t> {
    /// ASCII letters, of which only the first may be a capital: at most one term.
    Simple(&'t str),
    /// Another word: itself and its parts.
    Other(&'t str),
    /// A term as it is, of a script without blanks.
    Ready(&'t str),
}

/// Calls `each` with every word of the text, in order.
pub fn words(text: &str, mut each: impl FnMut(Word<'_>)) {
    let mut before: Option<char> = None;
    for word in text.unicode_words() {
        // A possessive or contraction counts as its first part: "Anna's" is about Anna, "don't" about nothing.
        let plain = match word.bytes().position(|byte| byte == b'\'' || !byte.is_ascii()) {
            None => word,
            Some(_) => word.split(['\'', '\u{2019}']).next().unwrap_or(word),
        };
        if is_simple(plain) {
            before = None;
            each(Word::Simple(plain));
            continue;
        }
        let mut characters = word.chars();
        let first = characters.next().expect("a word has a character");
        if characters.next().is_none() && is_unspaced(first) {
            // One character of a script without blanks: alone, and with the one before it.
            if let Some(before) = before {
                let mut both = String::from(before);
                both.push(first);
                each(Word::Ready(&both));
            }
            each(Word::Ready(word));
            before = Some(first);
            continue;
        }
        before = None;
        each(Word::Other(plain));
    }
}

/// Calls `each` with the terms of one word, in order.
pub fn terms_of(word: Word<'_>, mut each: impl FnMut(&str)) {
    STEMS.with_borrow_mut(|stems| {
        let mut lower = std::mem::take(&mut stems.lower);
        match word {
            // Who asks for one word remembers it.
            Word::Simple(word) => {
                lower.clear();
                lower.push_str(&word[..word.len().min(TERM_BYTES_MAX)]);
                lower.make_ascii_lowercase();
                if !is_stop(&lower) {
                    each(&stems.stemmer.stem(base(&lower)));
                }
            }
            word => stems.of(word, &mut lower, &mut each),
        }
        stems.lower = lower;
    });
}

/// Calls `each` with every term of the text, in order, repeats included.
pub fn terms(text: &str, mut each: impl FnMut(&str)) {
    STEMS.with_borrow_mut(|stems| {
        let mut lower = String::new();
        words(text, |word| stems.of(word, &mut lower, &mut each));
    });
}

fn is_stop(lower: &str) -> bool {
    STOP_WORDS.binary_search(&lower).is_ok()
}

/// Whether a word has no inner border that anybody could see.
fn is_simple(word: &str) -> bool {
    matches!(word.as_bytes(), [first, rest @ ..]
        if first.is_ascii_alphabetic() && rest.iter().all(u8::is_ascii_lowercase))
}

impl Stems {
    fn of(&mut self, word: Word<'_>, lower: &mut String, each: &mut impl FnMut(&str)) {
        match word {
            Word::Simple(word) => self.take(word, lower, each),
            Word::Other(word) => {
                self.take(word, lower, each);
                parts(word, |part| self.take(part, lower, each));
            }
            Word::Ready(term) => each(term),
        }
    }

    fn take(&mut self, word: &str, lower: &mut String, each: &mut impl FnMut(&str)) {
        lower.clear();
        if word.is_ascii() {
            lower.push_str(&word[..word.len().min(TERM_BYTES_MAX)]);
            lower.make_ascii_lowercase();
        } else {
            for character in word.chars() {
                if lower.len() >= TERM_BYTES_MAX {
                    break;
                }
                lower.extend(character.to_lowercase());
            }
        }
        if lower.is_empty() {
            return;
        }
        if !lower.is_ascii() || lower.bytes().any(|byte| byte.is_ascii_digit()) {
            return each(lower);
        }
        if let Some(known) = self.known.get(lower.as_str()) {
            if let Some(stem) = known {
                each(stem);
            }
            return;
        }
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
        let stem: Option<Box<str>> = (!is_stop(lower)).then(|| self.stemmer.stem(base(lower)).into());
        if let Some(stem) = &stem {
            each(stem);
        }
        self.known.insert(lower.as_str().into(), stem);
    }
}

/// The parts of an identifier; nothing for a word that has no inner border.
fn parts(word: &str, mut each: impl FnMut(&str)) {
    if is_simple(word) || word.bytes().all(|byte| byte.is_ascii_digit()) {
        return;
    }
    let characters: Vec<(usize, char)> = word.char_indices().collect();
    let is_border = |at: usize| {
        let (before, here) = (characters[at - 1].1, characters[at].1);
        let next_is_lower = characters.get(at + 1).is_some_and(|(_, next)| next.is_lowercase());
        !before.is_alphanumeric()
            || !here.is_alphanumeric()
            || before.is_lowercase() && here.is_uppercase()
            || before.is_uppercase() && here.is_uppercase() && next_is_lower
            || before.is_alphabetic() != here.is_alphabetic()
    };
    let borders: Vec<usize> = (1..characters.len()).filter(|at| is_border(*at)).collect();
    if borders.is_empty() {
        return;
    }
    let mut start = 0;
    for end in borders.into_iter().map(|at| characters[at].0).chain([word.len()]) {
        let part = &word[start..end];
        if part.chars().all(char::is_alphanumeric) && part.len() > 1 {
            each(part);
        }
        start = end;
    }
}

/// Whether a character belongs to a script that writes words without blanks.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{2ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_identifiers_and_unspaced_scripts_become_terms() {
        let check = |text: &str, expected: &[&str]| {
            let mut found = Vec::new();
            terms(text, |term| found.push(term.to_owned()));
            assert_eq!(found, expected, "{text:?}");
        };
        check("", &[]);
        check("The dogs were running!", &["dog", "run"]);
        check("She taught them, the children went", &["teach", "child", "go"]);
        check("Anna's don't", &["anna", "don"]);
        check("getUserId", &["getuserid", "get", "user", "id"]);
        check("HTTP2Server", &["http2server", "http", "server"]);
        check("user_id", &["user_id", "user", "id"]);
        check("version 3.14", &["version", "3.14", "14"]);
        check("2026-11-22", &["2026", "11", "22"]);
        check("東京に", &["東", "東京", "京", "京に", "に"]);
        check("Überläufer", &["überläufer"]);
        check("🙂", &[]);
        check(&"x".repeat(100), &["x".repeat(64).as_str()]);
    }

    #[test]
    fn the_stop_words_are_sorted_for_the_search() {
        assert!(STOP_WORDS.is_sorted());
        assert!(LIGHT_TERMS.is_sorted());
    }

    #[test]
    fn words_of_asking_are_light_in_every_form() {
        let check = |word: &str, expected: bool| {
            let mut found = Vec::new();
            terms(word, |term| found.push(is_light(term)));
            assert_eq!(found, [expected], "{word}");
        };
        for light in [
            "kinds",
            "many",
            "Think",
            "thought",
            "names",
            "described",
            "went",
            "things",
        ] {
            check(light, true);
        }
        for word in ["kindergarten", "barge", "typewriter", "newspaper"] {
            check(word, false);
        }
    }
}
