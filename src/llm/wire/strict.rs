//! JSON that means one thing: what a parser would take by silently choosing or rounding is refused with its place.
//!
//! Refuses to know: what the document is for. Used for the arguments of calls and for the bodies of requests.
//! Invariants: what passes is read by `serde_json` without loss; the check builds nothing and is linear, but for the
//! logarithm of an object's members.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use memchr::memchr_iter;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::domain::limits::JSON_DEPTH_MAX;
use crate::domain::text;

use super::surrogate;

/// What is wrong with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrictKind {
    /// The bytes are not UTF-8.
    NotText,
    /// It is not JSON.
    Syntax,
    /// It is JSON and ends too early.
    Cut,
    /// An escape is half of a character.
    HalfCharacter,
    /// An object has the same member twice.
    Duplicate,
    /// It nests deeper than [`JSON_DEPTH_MAX`].
    TooDeep,
    /// A whole number is outside `i64` and `u64`.
    IntegerRange,
    /// A number is outside `f64`.
    NumberRange,
}

impl StrictKind {
    /// What a sender can do about it; empty when the reason says it all.
    pub fn hint(self) -> &'static str {
        match self {
            Self::NotText => "send JSON as UTF-8, without a byte order mark",
            Self::HalfCharacter => {
                "write a character outside the basic plane as itself or as both of its escapes, as in \\ud83d\\ude00"
            }
            Self::Duplicate => "give each member of an object once",
            Self::TooDeep => "nest less",
            Self::IntegerRange | Self::NumberRange => "send numbers that 64 bits do not hold as strings",
            Self::Syntax | Self::Cut => "",
        }
    }
}

/// A document that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StrictError {
    /// What is wrong.
    pub kind: StrictKind,
    /// The same in words, with line and column.
    pub reason: String,
}

/// Checks a document given as bytes and gives its text.
///
/// **Errors**: as [`check`], and bytes that are not UTF-8.
pub fn check_bytes(bytes: &[u8]) -> Result<&str, StrictError> {
    let text = std::str::from_utf8(bytes).map_err(|error| StrictError {
        kind: StrictKind::NotText,
        reason: format!("byte {} is not UTF-8", error.valid_up_to()),
    })?;
    check(text).map(|()| text)
}

/// Checks a document.
///
/// **Errors**: see [`StrictKind`]; size is the caller's to bound.
pub fn check(text: &str) -> Result<(), StrictError> {
    let kind = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Seed { depth: 0, kind: &kind }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    let Err(error) = read else {
        return integer_out_of_range(text).map_or(Ok(()), |at| {
            let reason = format!("an integer does not fit 64 bits at {}", place(text, at));
            Err(StrictError {
                kind: StrictKind::IntegerRange,
                reason,
            })
        });
    };
    if let Some(kind) = kind.get() {
        let reason = error.to_string();
        return Err(StrictError { kind, reason });
    }
    if text.starts_with('\u{feff}') {
        let reason = "the text begins with a byte order mark".to_owned();
        return Err(StrictError {
            kind: StrictKind::NotText,
            reason,
        });
    }
    // The parser has no word of its own for it, and stops at the first fault: that one is what is looked for.
    let half = surrogate::find(text).filter(|at| line_of(text, *at) == error.line());
    if let Some(at) = half.filter(|at| column_of(text, *at) < error.column() && !error.is_eof()) {
        let reason = format!("an escape is half of a character at {}", place(text, at));
        return Err(StrictError {
            kind: StrictKind::HalfCharacter,
            reason,
        });
    }
    let reason = error.to_string();
    let kind = if error.is_eof() {
        StrictKind::Cut
    } else if reason.starts_with("number out of range") {
        StrictKind::NumberRange
    } else {
        StrictKind::Syntax
    };
    Err(StrictError { kind, reason })
}

/// A place as the parser names it: columns are bytes.
fn place(text: &str, at: usize) -> String {
    format!("line {} column {}", line_of(text, at), column_of(text, at))
}

fn line_of(text: &str, at: usize) -> usize {
    memchr_iter(b'\n', &text.as_bytes()[..at]).count() + 1
}

fn column_of(text: &str, at: usize) -> usize {
    at - text.as_bytes()[..at]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1)
        + 1
}

/// The place of a whole number that neither `i64` nor `u64` holds, in a text that is JSON; the parser would round it
/// silently.
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
                let is_whole = number.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
                if is_whole && number.len() > 18 && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some(start);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// Goes through a value, building nothing.
#[derive(Clone, Copy)]
struct Seed<'k> {
    depth: usize,
    kind: &'k Cell<Option<StrictKind>>,
}

impl Seed<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= JSON_DEPTH_MAX {
            self.kind.set(Some(StrictKind::TooDeep));
            return Err(E::custom(format_args!("nested deeper than {JSON_DEPTH_MAX} levels")));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        while items.next_element_seed(deeper)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        let mut names = Names::default();
        while let Some(name) = members.next_key_seed(NameSeed)? {
            if let Some(twice) = names.insert(name) {
                self.kind.set(Some(StrictKind::Duplicate));
                let shown = text::preview(&twice, 60);
                return Err(A::Error::custom(format_args!("the member `{shown}` comes twice")));
            }
            members.next_value_seed(deeper)?;
        }
        Ok(())
    }
}

/// The names of an object's members so far: most objects have few, and a list of few is faster than a tree.
#[derive(Default)]
struct Names<'de> {
    few: Vec<Cow<'de, str>>,
    many: BTreeSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    const FEW: usize = 16;

    /// Takes a name in, or gives it back when it is there already.
    fn insert(&mut self, name: Cow<'de, str>) -> Option<Cow<'de, str>> {
        if self.few.contains(&name) || self.many.contains(&name) {
            return Some(name);
        }
        if self.few.len() < Self::FEW {
            self.few.push(name);
        } else {
            self.many.insert(name);
        }
        None
    }
}

/// The name of a member, borrowed when it has no escapes.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::llm::wire::json_values::any_value;

    #[test]
    fn a_document_that_could_mean_two_things_is_refused_with_its_place() {
        let check = |text: &str, kind: StrictKind, place: &str| {
            let error = check(text).expect_err(text);
            assert_eq!(error.kind, kind, "{text}: {error}");
            assert!(error.reason.contains(place), "{text}: {error}");
        };
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        check(
            r#"{"a":1,"a":2}"#,
            StrictKind::Duplicate,
            "`a` comes twice at line 1 column",
        );
        check("{\"x\":[{\"a\":1,\n\"\\u0061\":2}]}", StrictKind::Duplicate, "line 2");
        check(&deep(65), StrictKind::TooDeep, "deeper than 64 levels");
        check(&"[".repeat(100_000), StrictKind::TooDeep, "deeper than 64 levels");
        check(&"{\"a\":".repeat(65), StrictKind::TooDeep, "deeper than 64 levels");
        check("[18446744073709551616]", StrictKind::IntegerRange, "line 1 column 2");
        check(
            "[1,\n -9223372036854775809]",
            StrictKind::IntegerRange,
            "line 2 column 2",
        );
        check("1e999", StrictKind::NumberRange, "line 1 column");
        check(r#"["\ud83d"]"#, StrictKind::HalfCharacter, "line 1 column 3");
        check("[\"é\",\n\"\\ude00\"]", StrictKind::HalfCharacter, "line 2 column 2");
        check(r#"{"\ud83d\ud83d":1}"#, StrictKind::HalfCharacter, "line 1 column 3");
        check(r#"["a" "\ud83d"]"#, StrictKind::Syntax, "line 1 column 6");
        check("[1,]", StrictKind::Syntax, "line 1 column 4");
        check("[1", StrictKind::Cut, "line 1 column 2");
        check("", StrictKind::Cut, "");
        check("\u{feff}{}", StrictKind::NotText, "byte order mark");
        let many: Vec<String> = (0..40).map(|number| format!("\"{number}\":0")).collect();
        check(
            &format!("{{{},\"39\":1}}", many.join(",")),
            StrictKind::Duplicate,
            "`39`",
        );
        assert_eq!(super::check(&format!("{{{}}}", many.join(","))), Ok(()));
        assert_eq!(super::check(&deep(64)), Ok(()));
        assert_eq!(
            super::check("[18446744073709551615,-9223372036854775808,1e300,-0]"),
            Ok(())
        );
        let bytes = check_bytes(b"{\"a\":\"\xff\"}").expect_err("no text");
        assert_eq!(
            (bytes.kind, bytes.reason.as_str()),
            (StrictKind::NotText, "byte 6 is not UTF-8")
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_taken_and_read_without_loss(value in any_value()) {
            let text = value.to_string();
            prop_assert_eq!(check(&text), Ok(()));
            prop_assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
        }

        #[test]
        fn numbers_are_read_as_they_were_written(number in any::<f64>().prop_filter("JSON has no others", |number| number.is_finite())) {
            let text = Value::from(number).to_string();
            prop_assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), Value::from(number));
        }

        #[test]
        fn nothing_passes_that_the_parser_refuses(text in "[\\[\\]{}:,\"\\\\ud80-9trueE.+ \\-é\n]{0,40}") {
            if check(&text).is_ok() {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            }
        }
    }
}
