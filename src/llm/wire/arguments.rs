//! Arguments of a call as a model wrote them: either an object that may be executed, or the reason why not.
//!
//! Refuses to know: the skill's schema. Invariants: nothing is guessed; a text that could mean two things (a member
//! twice, a number that does not fit) is malformed.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::domain::conversation::Arguments;
use crate::domain::limits::{ARGUMENTS_BYTES_MAX, JSON_DEPTH_MAX};
use crate::domain::text;

use super::surrogate;

/// Characters of malformed arguments that are kept.
const PREVIEW_CHARS: usize = 200;

/// Reads the text of arguments. Empty text is an empty object, unless the answer was cut off.
pub fn parse(text: &str, answer_was_cut: bool) -> Arguments {
    if text.trim().is_empty() && !answer_was_cut {
        return Arguments::Object(Value::Object(Map::new()).into());
    }
    if text.len() > ARGUMENTS_BYTES_MAX {
        let reason = format!("{} bytes; at most {ARGUMENTS_BYTES_MAX} are allowed", text.len());
        return malformed(&reason, text);
    }
    let repaired = surrogate::repair(text);
    if let Some(position) = integer_out_of_range(&repaired) {
        return malformed(&format!("an integer at byte {position} does not fit 64 bits"), text);
    }
    let mut deserializer = serde_json::Deserializer::from_str(&repaired);
    let value = Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match value {
        Ok(value @ Value::Object(_)) => Arguments::Object(value.into()),
        Ok(_) => malformed("expected an object at line 1 column 1", text),
        Err(error) => {
            let cut = if answer_was_cut { "the answer was cut off: " } else { "" };
            malformed(&format!("{cut}{error}"), text)
        }
    }
}

fn malformed(reason: &str, text: &str) -> Arguments {
    let preview = if text.chars().nth(PREVIEW_CHARS).is_none() {
        text.to_owned()
    } else {
        let kept = PREVIEW_CHARS - text::CUT_MARK.chars().count();
        let bytes = text.char_indices().nth(kept).map_or(text.len(), |(index, _)| index);
        text::cut(text, bytes)
    };
    Arguments::Malformed {
        reason: text::preview(reason, 300).into(),
        preview: preview.into(),
    }
}

/// The place of a whole number that neither `i64` nor `u64` holds; the parser would round it silently.
fn integer_out_of_range(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let start = at;
                while at < bytes.len() && matches!(bytes[at], b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') {
                    at += 1;
                }
                let number = &text[start..at];
                let whole = number.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
                let digits = number.len() > 18;
                if whole && digits && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some(start);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// Reads a value, refusing a member that comes twice and nesting that is too deep.
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("more than {JSON_DEPTH_MAX} levels of nesting")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self.deeper()?)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if fields.contains_key(&name) {
                let shown = text::preview(&name, 60);
                return Err(A::Error::custom(format_args!("the member `{shown}` comes twice")));
            }
            let value = members.next_value_seed(self.deeper()?)?;
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_taken_as_it_is() {
        let check =
            |text: &str, expected: Value| assert_eq!(parse(text, false), Arguments::Object(expected.into()), "{text}");
        check("", json!({}));
        check(" \n", json!({}));
        check("{}", json!({}));
        check(
            r#"{"a":[1,-2,1.5,null,true],"b":{"a":"x"}}"#,
            json!({ "a": [1, -2, 1.5, null, true], "b": { "a": "x" } }),
        );
        check(r#"{"a":"\ud83d!"}"#, json!({ "a": "\u{fffd}!" }));
        check(r#"{"a":"\ud83d\ude00"}"#, json!({ "a": "😀" }));
        check(
            r#"{"n":18446744073709551615,"t":"99999999999999999999"}"#,
            json!({ "n": u64::MAX, "t": "99999999999999999999" }),
        );
    }

    #[test]
    fn anything_else_is_malformed_with_its_place() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(65), "]".repeat(65));
        let check = |text: &str, cut: bool, expected: &str| match parse(text, cut) {
            Arguments::Malformed { reason, .. } => assert!(reason.contains(expected), "{text}: {reason}"),
            Arguments::Object(value) => panic!("{text} was taken as {value}"),
        };
        check("[1]", false, "expected an object");
        check("\"x\"", false, "expected an object");
        check(r#"{"a":1,"a":2}"#, false, "the member `a` comes twice at line 1 column");
        check(r#"{"b":{"a":1,"a":2}}"#, false, "comes twice");
        check(r#"{"a":"#, false, "line 1 column 5");
        check(r#"{"a":"#, true, "the answer was cut off");
        check("", true, "the answer was cut off");
        check(r#"{"a":1} x"#, false, "trailing characters");
        check(
            r#"{"n":123456789012345678901234567890}"#,
            false,
            "at byte 5 does not fit",
        );
        check(r#"{"n":1e999}"#, false, "out of range");
        check(&deep, false, "levels of nesting");
        check(
            &format!("{{\"a\":\"{}\"}}", "x".repeat(ARGUMENTS_BYTES_MAX)),
            false,
            "bytes; at most",
        );
    }

    #[test]
    fn the_preview_is_never_cut_inside_a_character() {
        let family = "👨‍👩‍👧‍👦";
        let Arguments::Malformed { preview, .. } = parse(&family.repeat(100), false) else {
            panic!("malformed")
        };
        let kept = preview.strip_suffix(text::CUT_MARK).expect("marked");
        assert!(kept.len() % family.len() == 0 && !kept.is_empty(), "{preview}");
        assert!(preview.chars().count() <= PREVIEW_CHARS);
    }

    proptest! {
        #[test]
        fn no_text_is_a_surprise(text in "\\PC{0,100}") {
            let _ = parse(&text, false);
        }
    }
}
