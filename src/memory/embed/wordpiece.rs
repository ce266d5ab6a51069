//! BERT's uncased WordPiece: from a text to the numbers of its pieces.
//!
//! Refuses to know: vectors. Invariants: pure; linear in the text; every text has a result, and a word that no pieces
//! make up is one unknown piece.
//!
//! **Source**: the tokenizer of all-MiniLM-L6-v2 (BERT base uncased); no truncation, no special pieces.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Longest word that is looked up, in characters; longer ones are unknown.
const WORD_CHARACTERS_MAX: usize = 100;
/// The piece for what no pieces make up.
const UNKNOWN: &str = "[UNK]";

/// The vocabulary.
pub struct WordPiece {
    // Nobody but us chooses what is in them, so their hash need not withstand chosen keys.
    starts: HashMap<&'static str, u32, RandomState>,
    continuations: HashMap<&'static str, u32, RandomState>,
    unknown: u32,
    piece_bytes_max: usize,
}

impl WordPiece {
    /// A vocabulary with one piece a line; the number of a piece is its line, from 0.
    pub fn new(vocabulary: &'static str) -> Self {
        let mut starts = HashMap::with_capacity_and_hasher(32_768, RandomState::default());
        let mut continuations = HashMap::with_capacity_and_hasher(8_192, RandomState::default());
        let mut piece_bytes_max = 0;
        for (number, piece) in vocabulary.lines().enumerate() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            piece_bytes_max = piece_bytes_max.max(piece.len());
            match piece.strip_prefix("##") {
                Some(rest) if !rest.is_empty() => continuations.insert(rest, number),
                _ => starts.insert(piece, number),
            };
        }
        let unknown = starts.get(UNKNOWN).copied().unwrap_or(0);
        Self {
            starts,
            continuations,
            unknown,
            piece_bytes_max,
        }
    }

    /// Calls `each` with the number of every piece, in order.
    pub fn pieces(&self, text: &str, mut each: impl FnMut(u32)) {
        let mut word = String::new();
        let mut take = |word: &mut String| {
            if !word.is_empty() {
                self.word(word, &mut each);
                word.clear();
            }
        };
        for character in text.chars() {
            if character.is_ascii() {
                // Most text: no decomposition, no table.
                if character.is_ascii_alphanumeric() {
                    word.push(character.to_ascii_lowercase());
                } else if character.is_ascii_punctuation() {
                    take(&mut word);
                    word.push(character);
                    take(&mut word);
                } else if character.is_ascii_whitespace() {
                    take(&mut word);
                }
                continue;
            }
            if is_left_out(character) {
                continue;
            }
            if character.is_whitespace() {
                take(&mut word);
                continue;
            }
            if is_ideograph(character) {
                take(&mut word);
                word.push(character);
                take(&mut word);
                continue;
            }
            for plain in character.to_lowercase().nfd().filter(|part| !is_combining_mark(*part)) {
                if is_punctuation(plain) {
                    take(&mut word);
                    word.push(plain);
                    take(&mut word);
                } else {
                    word.push(plain);
                }
            }
        }
        take(&mut word);
    }

    /// Splits one word: the longest piece that fits, again and again.
    fn word(&self, word: &str, each: &mut impl FnMut(u32)) {
        if let Some(number) = self.starts.get(word) {
            return each(*number);
        }
        if word.chars().count() > WORD_CHARACTERS_MAX {
            return each(self.unknown);
        }
        let mut found = Vec::new();
        let mut start = 0;
        while start < word.len() {
            let pieces = if start == 0 { &self.starts } else { &self.continuations };
            let longest = (start + self.piece_bytes_max).min(word.len());
            let mut ends = (start + 1..=longest).rev().filter(|end| word.is_char_boundary(*end));
            let fit = ends.find_map(|end| pieces.get(&word[start..end]).map(|number| (end, *number)));
            let Some((end, number)) = fit else {
                return each(self.unknown);
            };
            found.push(number);
            start = end;
        }
        found.into_iter().for_each(each);
    }
}

/// Control and format characters, and the replacement character.
fn is_left_out(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{fffd}' | '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}' | '\u{e000}'..='\u{f8ff}')
}

fn is_ideograph(character: char) -> bool {
    matches!(character,
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{20000}'..='\u{2a6df}' | '\u{2a700}'..='\u{2b73f}'
        | '\u{2b740}'..='\u{2b81f}' | '\u{2b820}'..='\u{2ceaf}' | '\u{f900}'..='\u{faff}' | '\u{2f800}'..='\u{2fa1f}')
}

/// ASCII symbols and the punctuation of other scripts; other symbols (arrows, pictures) belong to words.
fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation()
        || matches!(character,
            '\u{a1}' | '\u{a7}' | '\u{ab}' | '\u{b6}' | '\u{b7}' | '\u{bb}' | '\u{bf}' | '\u{37e}' | '\u{387}'
            | '\u{55a}'..='\u{55f}' | '\u{589}' | '\u{58a}' | '\u{5be}' | '\u{5c0}' | '\u{5c3}' | '\u{5f3}' | '\u{5f4}'
            | '\u{60c}' | '\u{60d}' | '\u{61b}' | '\u{61e}' | '\u{61f}' | '\u{66a}'..='\u{66d}' | '\u{6d4}'
            | '\u{964}' | '\u{965}' | '\u{970}' | '\u{e4f}' | '\u{e5a}' | '\u{e5b}'
            | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{2043}' | '\u{2045}'..='\u{2051}' | '\u{2053}'..='\u{205e}'
            | '\u{207d}' | '\u{207e}' | '\u{208d}' | '\u{208e}' | '\u{2308}'..='\u{230b}' | '\u{2329}' | '\u{232a}'
            | '\u{2768}'..='\u{2775}' | '\u{27c5}' | '\u{27c6}' | '\u{27e6}'..='\u{27ef}' | '\u{2983}'..='\u{2998}'
            | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301f}' | '\u{3030}' | '\u{303d}'
            | '\u{30a0}' | '\u{30fb}' | '\u{fe10}'..='\u{fe19}' | '\u{fe30}'..='\u{fe52}' | '\u{fe54}'..='\u{fe61}'
            | '\u{fe63}' | '\u{fe68}' | '\u{fe6a}' | '\u{fe6b}' | '\u{ff01}'..='\u{ff03}' | '\u{ff05}'..='\u{ff0a}'
            | '\u{ff0c}'..='\u{ff0f}' | '\u{ff1a}' | '\u{ff1b}' | '\u{ff1f}' | '\u{ff20}' | '\u{ff3b}'..='\u{ff3d}'
            | '\u{ff3f}' | '\u{ff5b}' | '\u{ff5d}' | '\u{ff5f}'..='\u{ff65}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<u32> {
        let vocabulary = WordPiece::new("[UNK]\nun\n##believ\n##able\nbelieve\n,\n東\ncafe\n##s\nab\n##abc\n##c");
        let mut found = Vec::new();
        vocabulary.pieces(text, |piece| found.push(piece));
        found
    }

    #[test]
    fn words_are_split_into_the_longest_pieces() {
        let check = |text: &str, expected: &[u32]| assert_eq!(pieces(text), expected, "{text:?}");
        check("", &[]);
        check("  \t\n", &[]);
        check("Unbelievable", &[1, 2, 3]);
        check("believe, believe", &[4, 5, 4]);
        check("東東", &[6, 6]);
        check("CAFÉS", &[7, 8]);
        check("cafe\u{301}s", &[7, 8]);
        check("caf\u{0}es", &[7, 8]);
        check("xyz", &[0]);
        check("unx", &[0]);
        check("ababc", &[9, 10]);
        check(&"a".repeat(101), &[0]);
    }
}
