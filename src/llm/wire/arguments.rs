//! Arguments of a call as a model wrote them: either an object that may be executed, or the reason why not.
//!
//! Refuses to know: the skill's schema. Invariants: nothing is guessed; a text that could mean two things (a member
//! twice, a number that does not fit) is malformed.

use serde_json::{Map, Value};

use crate::domain::conversation::Arguments;
use crate::domain::limits::ARGUMENTS_BYTES_MAX;
use crate::domain::text;

use super::{strict, surrogate};

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
    let read = strict::check(&repaired)
        .map_err(|error| error.reason)
        .and_then(|()| serde_json::from_str(&repaired).map_err(|error| error.to_string()));
    match read {
        Ok(value @ Value::Object(_)) => Arguments::Object(value.into()),
        Ok(_) => malformed("expected an object at line 1 column 1", text),
        Err(reason) => {
            let cut = if answer_was_cut { "the answer was cut off: " } else { "" };
            malformed(&format!("{cut}{reason}"), text)
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
            "an integer does not fit 64 bits at line 1 column 6",
        );
        check(r#"{"n":1e999}"#, false, "out of range");
        check(&deep, false, "deeper than 64 levels");
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
