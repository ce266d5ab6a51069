//! Joining of text that a server sends in pieces, each a JSON string of its own.
//!
//! A piece may end with the escape of one half of a character, whose other half begins the next piece. A strict
//! parser refuses both, so the pieces are decoded here from their raw literals and the half is held until its other
//! half comes. Invariants: what comes out does not depend on where the pieces were cut; a half that stays alone
//! becomes one U+FFFD.

use memchr::memchr;
use serde_json::value::RawValue;

use super::surrogate;

/// A piece that is not a JSON string; nothing of it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a piece of the text is not a JSON string (at byte {position} of it)")]
pub struct DeltaError {
    /// Where, in bytes from the beginning of the literal.
    pub position: usize,
}

/// Joins the pieces of one content block. One for each block: halves of two blocks do not belong together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DeltaJoiner {
    /// The first half of a character whose second half has not come yet.
    high: Option<u16>,
    replaced: u64,
}

impl DeltaJoiner {
    /// A joiner at the beginning of a block.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the text of the next piece to `out`.
    ///
    /// **Errors**: the piece is not a string (a number, for example); `out` and the joiner are as before.
    pub fn push_value(&mut self, piece: &RawValue, out: &mut String) -> Result<(), DeltaError> {
        self.push(piece.get(), out)
    }

    /// Appends the text of the next piece, given as the literal with its quotes, to `out`.
    ///
    /// **Errors**: as [`push_value`](Self::push_value).
    pub fn push(&mut self, literal: &str, out: &mut String) -> Result<(), DeltaError> {
        let inner = literal
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .ok_or(DeltaError { position: 0 })?;
        self.push_inner(inner, out)
    }

    /// As [`push`](Self::push), of what is between the quotes.
    pub(super) fn push_inner(&mut self, inner: &str, out: &mut String) -> Result<(), DeltaError> {
        let Some(first) = memchr(b'\\', inner.as_bytes()) else {
            check_plain(inner, 1)?;
            self.push_text(inner, out);
            return Ok(());
        };
        let length = out.len();
        let before = self.clone();
        let result = self.unescape(inner, first, out);
        if result.is_err() {
            out.truncate(length);
            *self = before;
        }
        result
    }

    /// Appends a piece that is decoded already.
    pub fn push_text(&mut self, text: &str, out: &mut String) {
        if !text.is_empty() {
            self.flush(out);
            out.push_str(text);
        }
    }

    /// Ends the block: a half that is still held becomes U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        self.flush(out);
    }

    /// Halves so far that stayed alone and became U+FFFD.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    fn flush(&mut self, out: &mut String) {
        if self.high.take().is_some() {
            self.replaced += 1;
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// Decodes a string with escapes, the first of which is here.
    fn unescape(&mut self, inner: &str, first: usize, out: &mut String) -> Result<(), DeltaError> {
        let bytes = inner.as_bytes();
        let mut plain = 0;
        let mut escape = Some(first);
        while let Some(at) = escape {
            check_plain(&inner[plain..at], plain + 1)?;
            self.push_text(&inner[plain..at], out);
            // One more than in `inner`, because of the quote.
            let wrong = DeltaError { position: at + 1 };
            let short = match bytes.get(at + 1) {
                Some(b'u') => {
                    let unit = surrogate::unit(bytes, at).ok_or(wrong)?;
                    self.push_unit(unit, out);
                    None
                }
                Some(b'n') => Some('\n'),
                Some(b'"') => Some('"'),
                Some(b'\\') => Some('\\'),
                Some(b't') => Some('\t'),
                Some(b'r') => Some('\r'),
                Some(b'/') => Some('/'),
                Some(b'b') => Some('\u{8}'),
                Some(b'f') => Some('\u{c}'),
                _ => return Err(wrong),
            };
            plain = at + if short.is_some() { 2 } else { 6 };
            if let Some(character) = short {
                self.flush(out);
                out.push(character);
            }
            escape = memchr(b'\\', &bytes[plain..]).map(|next| plain + next);
        }
        check_plain(&inner[plain..], plain + 1)?;
        self.push_text(&inner[plain..], out);
        Ok(())
    }

    fn push_unit(&mut self, unit: u16, out: &mut String) {
        match (self.high, unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                self.high = None;
                let character = char::decode_utf16([high, unit]).next().and_then(Result::ok);
                out.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (_, 0xd800..=0xdbff) => {
                self.flush(out);
                self.high = Some(unit);
            }
            (None, 0xdc00..=0xdfff) => {
                self.replaced += 1;
                out.push(char::REPLACEMENT_CHARACTER);
            }
            _ => {
                self.flush(out);
                let character = char::from_u32(u32::from(unit));
                out.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
    }
}

/// What stands in a string as it is: neither a quote nor a control character, as in RFC 8259.
fn check_plain(text: &str, offset: usize) -> Result<(), DeltaError> {
    let wrong = text.bytes().position(|byte| byte < 0x20 || byte == b'"');
    wrong.map_or(Ok(()), |at| Err(DeltaError { position: offset + at }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn join(pieces: &[&str]) -> (String, u64) {
        let mut joiner = DeltaJoiner::new();
        let mut out = String::new();
        for piece in pieces {
            joiner.push(&format!("\"{piece}\""), &mut out).expect("a string");
        }
        joiner.finish(&mut out);
        (out, joiner.replaced())
    }

    #[test]
    fn halves_that_belong_together_are_joined_and_others_replaced() {
        let check = |pieces: &[&str], expected: &str, replaced: u64| {
            assert_eq!(join(pieces), (expected.to_owned(), replaced), "{pieces:?}");
        };
        check(&[], "", 0);
        check(&["", "plain", " text 😀"], "plain text 😀", 0);
        check(&[r"\ud83d\ude00"], "😀", 0);
        check(&[r"a\ud83d", r"\ude00b"], "a😀b", 0);
        check(&[r"\ud83d", "", "", r"\ude00"], "😀", 0);
        check(&[r"\uD83D", r"\uDE00"], "😀", 0);
        check(&[r"\ud83d", "x"], "\u{fffd}x", 1);
        check(&[r"\ud83d", r"\n"], "\u{fffd}\n", 1);
        check(&[r"\ud83d", r"\u0041"], "\u{fffd}A", 1);
        check(&[r"\ud83d", r"\ud83d", r"\ude00"], "\u{fffd}😀", 1);
        check(&[r"\ude00", r"\ud83d"], "\u{fffd}\u{fffd}", 2);
        check(&[r"\ude00\ud83d"], "\u{fffd}\u{fffd}", 2);
        check(&[r"\\ud83d"], r"\ud83d", 0);
        check(
            &[r#"\"\\\/\b\f\n\r\t\u0000\uffff"#],
            "\"\\/\u{8}\u{c}\n\r\t\0\u{ffff}",
            0,
        );
        check(&[r"\ud83d\udc69\u200d", r"\ud83d", r"\udc67"], "👩\u{200d}👧", 0);
    }

    #[test]
    fn what_is_no_string_is_refused_with_its_place_and_changes_nothing() {
        let check = |literal: &str, position: usize| {
            let mut joiner = DeltaJoiner::new();
            let mut out = "kept".to_owned();
            joiner.push(r#""\ud83d""#, &mut out).expect("a string");
            let before = joiner.clone();
            assert_eq!(
                joiner.push(literal, &mut out),
                Err(DeltaError { position }),
                "{literal}"
            );
            assert_eq!((out.as_str(), joiner), ("kept", before), "{literal}");
        };
        check("", 0);
        check("\"", 0);
        check("null", 0);
        check("12", 0);
        check("{\"a\":1}", 0);
        check("\"a\"b\"", 2);
        check("\"a\nb\"", 2);
        check(r#""a\x""#, 2);
        check(r#""ab\n\u12""#, 5);
        check(r#""\u12g4""#, 1);
        check(r#""\u+123""#, 1);
        check(r#""\""#, 1);
        check("\"\\é\"", 1);
        check("\"\\n\u{1}\"", 3);
    }

    /// The text as a JSON string with every character escaped as UTF-16 code units, one piece for each.
    fn escaped_units(text: &str) -> Vec<String> {
        text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
    }

    proptest! {
        #[test]
        fn every_text_is_the_same_wherever_its_escapes_are_cut(text in "\\PC{0,12}|[\\x00-\\x20\"\\\\é😀👩‍👧🇩🇪]{0,12}") {
            let units = escaped_units(&text);
            for cut in 0..=units.len() {
                let (head, tail) = units.split_at(cut);
                prop_assert_eq!(join(&[&head.concat(), &tail.concat()]), (text.clone(), 0));
            }
            let each: Vec<&str> = units.iter().map(String::as_str).collect();
            prop_assert_eq!(join(&each), (text.clone(), 0));
            let json = serde_json::to_string(&text).expect("a string");
            prop_assert_eq!(join(&[&json[1..json.len() - 1]]), (text, 0));
        }

        #[test]
        fn code_units_decode_as_utf_16_does_wherever_they_are_cut(units in prop::collection::vec(prop_oneof![any::<u16>(), 0xd800u16..0xe000], 0..12), cut in 0usize..12) {
            let pieces: Vec<String> = units.iter().map(|unit| format!("\\u{unit:04X}")).collect();
            let (head, tail) = pieces.split_at(cut.min(pieces.len()));
            let (text, replaced) = join(&[&head.concat(), &tail.concat()]);
            prop_assert_eq!(&text, &String::from_utf16_lossy(&units));
            let alone = char::decode_utf16(units).filter(Result::is_err).count();
            prop_assert_eq!(replaced, alone as u64);
        }

        #[test]
        fn it_takes_what_the_parser_takes(literal in "\"([a\\\\\"/bfnrtu0-9d\\x00-\\x21é]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-d]{4}){0,8}\"") {
            let parsed = serde_json::from_str::<String>(&surrogate::repair(&literal));
            let mut out = String::new();
            let mut joiner = DeltaJoiner::new();
            let joined = joiner.push(&literal, &mut out).map(|()| joiner.finish(&mut out));
            match parsed {
                Ok(text) => prop_assert_eq!((joined, out), (Ok(()), text)),
                Err(_) => prop_assert!(joined.is_err(), "{}", literal),
            }
        }
    }
}
