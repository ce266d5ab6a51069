//! Repair of the one thing that makes valid text invalid JSON for us: an escape that is half of a character.
//!
//! Models and proxies cut text inside an emoji and escape what is left. A strict parser refuses the whole document
//! for it. Invariant: a text without an unpaired `\uD800`…`\uDFFF` escape comes back as it is.

use std::borrow::Cow;

use memchr::memchr;

/// Replaces each unpaired surrogate escape with `\uFFFD`.
pub fn repair(text: &str) -> Cow<'_, str> {
    let Some(mut at) = next(text, 0) else {
        return Cow::Borrowed(text);
    };
    let mut repaired = String::with_capacity(text.len());
    let mut copied = 0;
    loop {
        repaired.push_str(&text[copied..at]);
        repaired.push_str("\\ufffd");
        copied = at + ESCAPE_BYTES;
        match next(text, copied) {
            Some(found) => at = found,
            None => break,
        }
    }
    repaired.push_str(&text[copied..]);
    Cow::Owned(repaired)
}

/// The byte at which the first unpaired surrogate escape begins.
pub fn find(text: &str) -> Option<usize> {
    next(text, 0)
}

/// Bytes of an escape of this kind.
const ESCAPE_BYTES: usize = 6;

/// The first unpaired surrogate escape from here, which is not within an escape.
fn next(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        at += memchr(b'\\', bytes.get(at..)?)?;
        match unit(bytes, at) {
            Some(0xd800..=0xdbff) if matches!(unit(bytes, at + ESCAPE_BYTES), Some(0xdc00..=0xdfff)) => {
                at += 2 * ESCAPE_BYTES;
            }
            Some(0xd800..=0xdfff) => return Some(at),
            // Any other escape, `\\` among them: its second byte begins nothing.
            _ => at += 2,
        }
    }
}

/// The code unit of a `\uXXXX` escape at this place.
pub(super) fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    if &escape[..2] != b"\\u" || !escape[2..].iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_unpaired_halves_are_replaced() {
        let check = |text: &str, expected: &str| assert_eq!(repair(text), expected, "{text}");
        check(r#""\ud83d\ude00""#, r#""\ud83d\ude00""#);
        check(r#""\ud83d""#, r#""\ufffd""#);
        check(r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#);
        check(r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#);
        check(r#""\\ud83d""#, r#""\\ud83d""#);
        check(r#""\\\ud83d x""#, r#""\\\ufffd x""#);
        check(r#""é\uD83D"#, r#""é\ufffd"#);
        check("\\", "\\");
    }

    proptest! {
        #[test]
        fn whatever_is_a_string_parses_after_repair(units in prop::collection::vec(any::<u16>(), 0..20), text in "[^\"\\\\\\x00-\\x1f]{0,8}") {
            let escaped: Vec<String> = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let escaped = escaped.concat();
            let json = format!("\"{text}{escaped}{text}\"");
            prop_assert!(serde_json::from_str::<String>(&repair(&json)).is_ok(), "{}", json);
        }
    }
}
