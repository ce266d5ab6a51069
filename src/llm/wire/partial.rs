//! The best that can be shown of a JSON text while it is still arriving.
//!
//! For eyes only: nothing that is executed comes from here, because what is shown was partly guessed. Invariants: it
//! never fails, nests no deeper than [`JSON_DEPTH_MAX`], and takes time linear in the text; so a caller that shows
//! each of many pieces shows the whole again at intervals, not at each piece.

use serde_json::{Map, Value};

use crate::domain::limits::JSON_DEPTH_MAX;

use super::delta::DeltaJoiner;

/// What can be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialView {
    /// The value so far: an unfinished text is there as far as it goes, an unfinished number when it is one already;
    /// a member without a value, a cut word and a cut escape are left out. Null when nothing can be shown.
    pub value: Value,
    /// Whether the text was a whole value, with nothing but blanks after it.
    pub complete: bool,
}

/// Reads the beginning of a JSON text. At something that is no JSON the reading ends, and what was read is shown.
pub fn view(prefix: &str) -> PartialView {
    let mut reader = Reader {
        text: prefix,
        at: 0,
        open: Vec::new(),
        root: None,
    };
    let whole = reader.read().is_some();
    let complete = whole && reader.open.is_empty() && reader.root.is_some();
    while let Some(frame) = reader.open.pop() {
        reader.attach(frame.into_value());
    }
    PartialView {
        value: reader.root.unwrap_or(Value::Null),
        complete,
    }
}

/// A container whose end has not come.
enum Frame {
    List(Vec<Value>),
    Members(Map<String, Value>, Option<String>),
}

impl Frame {
    fn into_value(self) -> Value {
        match self {
            Self::List(items) => Value::Array(items),
            Self::Members(members, _) => Value::Object(members),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    open: Vec<Frame>,
    root: Option<Value>,
}

impl Reader<'_> {
    /// Reads until the text ends or makes no sense; something when neither happened within a value.
    fn read(&mut self) -> Option<()> {
        loop {
            // A value, or the end of a container.
            match self.peek()? {
                b']' if matches!(self.open.last(), Some(Frame::List(items)) if items.is_empty()) => self.close(),
                b'}' if matches!(self.open.last(), Some(Frame::Members(members, None)) if members.is_empty()) => {
                    self.close();
                }
                b'"' if matches!(self.open.last(), Some(Frame::Members(_, None))) => {
                    let (name, is_whole) = self.string();
                    if !is_whole || self.peek()? != b':' {
                        return None;
                    }
                    self.at += 1;
                    if let Some(Frame::Members(_, key)) = self.open.last_mut() {
                        *key = Some(name);
                    }
                    continue;
                }
                _ if matches!(self.open.last(), Some(Frame::Members(_, None))) => return None,
                opening @ (b'{' | b'[') => {
                    if self.open.len() == JSON_DEPTH_MAX {
                        return None;
                    }
                    self.at += 1;
                    self.open.push(match opening {
                        b'{' => Frame::Members(Map::new(), None),
                        _ => Frame::List(Vec::new()),
                    });
                    continue;
                }
                b'"' => {
                    let (text, is_whole) = self.string();
                    self.attach(Value::String(text));
                    if !is_whole {
                        return None;
                    }
                }
                _ => {
                    let value = self.word()?;
                    self.attach(value);
                }
            }
            // After a value: the next one, the ends of containers, or the end of all.
            loop {
                if self.open.is_empty() {
                    return self.peek().is_none().then_some(());
                }
                match (self.peek()?, self.open.last()) {
                    (b',', _) => {
                        self.at += 1;
                        break;
                    }
                    (b']', Some(Frame::List(_))) | (b'}', Some(Frame::Members(..))) => self.close(),
                    _ => return None,
                }
            }
        }
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blanks = rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.at += blanks.unwrap_or(rest.len());
        self.text.as_bytes().get(self.at).copied()
    }

    fn close(&mut self) {
        self.at += 1;
        if let Some(frame) = self.open.pop() {
            self.attach(frame.into_value());
        }
    }

    fn attach(&mut self, value: Value) {
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Frame::List(items)) => items.push(value),
            Some(Frame::Members(members, key)) => {
                if let Some(key) = key.take() {
                    members.insert(key, value);
                }
            }
        }
    }

    /// The text from a quote to its closing quote or as far as it goes, and whether it was closed.
    fn string(&mut self) -> (String, bool) {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut end = start;
        let mut is_whole = false;
        while end < bytes.len() {
            match bytes[end] {
                b'"' => {
                    is_whole = true;
                    break;
                }
                b'\\' => {
                    let length = if bytes.get(end + 1) == Some(&b'u') { 6 } else { 2 };
                    // The escape may hold no quote: `\u12"` ends the text there.
                    let escape = &bytes[end + 1..bytes.len().min(end + length)];
                    let quote = escape.iter().skip(1).position(|byte| *byte == b'"');
                    if escape.len() + 1 < length && quote.is_none() {
                        break;
                    }
                    end += quote.map_or(length, |at| at + 2);
                }
                _ => end += 1,
            }
        }
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        let inner = &self.text[start..end];
        self.at = if is_whole { end + 1 } else { bytes.len() };
        let mut out = String::with_capacity(inner.len());
        let mut joiner = DeltaJoiner::new();
        if joiner.push_inner(inner, &mut out).is_err() {
            // Raw line ends and invented escapes: shown as they are.
            inner.clone_into(&mut out);
        } else if is_whole {
            joiner.finish(&mut out);
        }
        (out, is_whole)
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Option<Value> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'));
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        match serde_json::from_str(word) {
            Ok(value) => Some(value),
            // `1.` and `1e` while the rest of the number is on its way.
            Err(_) if end.is_none() => serde_json::from_str(word.trim_end_matches(['+', '-', '.', 'e', 'E'])).ok(),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_arrived_is_shown_as_far_as_it_goes() {
        let check = |prefix: &str, expected: Value| {
            let shown = view(prefix);
            assert_eq!(shown.value, expected, "{prefix}");
            assert!(!shown.complete, "{prefix}");
        };
        check("", Value::Null);
        check("  ", Value::Null);
        check("{", json!({}));
        check("{\"pa", json!({}));
        check("{\"path\"", json!({}));
        check("{\"path\":", json!({}));
        check("{\"path\":\"src/li", json!({ "path": "src/li" }));
        check("{\"path\":\"a\",", json!({ "path": "a" }));
        check("{\"a\":[1,{\"b\":\"c\\n", json!({ "a": [1, { "b": "c\n" }] }));
        check("{\"a\":\"x\\", json!({ "a": "x" }));
        check("{\"a\":\"x\\u00", json!({ "a": "x" }));
        check("{\"a\":\"x\\ud83d", json!({ "a": "x" }));
        check("{\"a\":\"x\\ud83d\\ude", json!({ "a": "x" }));
        check("{\"a\":\"x\\ud83d\\ude00", json!({ "a": "x😀" }));
        check("[tru", json!([]));
        check("[true", json!([true]));
        check("[12", json!([12]));
        check("[12.", json!([12]));
        check("[-", json!([]));
        check("[1e", json!([1]));
        check("[1 2", json!([1]));
        check("{\"a\":1]", json!({ "a": 1 }));
        check("{\"a\":1} x", json!({ "a": 1 }));
        check("{a:1}", json!({}));
        check("{\"a\":\"line\nend", json!({ "a": "line\nend" }));
        check("{\"a\":\"\\u12\"", json!({ "a": "\\u12" }));
        check("{\"a\":\"\\x\"", json!({ "a": "\\x" }));
        check("[1,,2]", json!([1]));
    }

    proptest! {
        #[test]
        fn every_beginning_of_a_document_shows_and_the_whole_shows_all(value in crate::llm::wire::json_values::any_value()) {
            let text = value.to_string();
            prop_assert_eq!(view(&text), PartialView { value: value.clone(), complete: true });
            let mut texts = Vec::new();
            for (cut, _) in text.char_indices() {
                texts.push(view(&text[..cut]).value);
            }
            prop_assert!(texts.first().is_none_or(Value::is_null));
        }

        #[test]
        fn no_text_is_a_surprise(text in "[\\[\\]{}:,\"\\\\u0-9dtrue.eE+ \\-é😀\n]{0,60}") {
            let shown = view(&text);
            if shown.complete && serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(shown.value), "{}", text);
            }
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(view(&text), PartialView { value, complete: true }, "{}", text);
            }
        }
    }
}
