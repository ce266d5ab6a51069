//! Repair of the one thing that makes valid text invalid JSON for us: an escape that is half of a character.
//!
//! Models and proxies cut text inside an emoji and escape what is left. A strict parser refuses the whole document
//! for it. Invariant: a text without an unpaired `\uD800`…`\uDFFF` escape comes back as it is.

use std::borrow::Cow;

/// Replaces each unpaired surrogate escape with `\uFFFD`.
pub fn repair(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut repaired: Option<String> = None;
    let mut copied = 0;
    let mut at = 0;
    while at + 1 < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        match unit(bytes, at) {
            Some(0xd800..=0xdbff) if matches!(unit(bytes, at + 6), Some(0xdc00..=0xdfff)) => at += 12,
            Some(0xd800..=0xdfff) => {
                let out = repaired.get_or_insert_with(String::new);
                out.push_str(&text[copied..at]);
                out.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            // Any other escape, `\\` among them: its second byte begins nothing.
            _ => at += 2,
        }
    }
    match repaired {
        Some(mut out) => {
            out.push_str(&text[copied..]);
            Cow::Owned(out)
        }
        None => Cow::Borrowed(text),
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
