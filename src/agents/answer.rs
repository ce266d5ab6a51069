//! From the text of a final answer to the output of a step.

use std::fmt::Display;

use serde_json::Value;

use crate::domain::handoff::Finding;
use crate::llm::wire::strict;

/// Findings about one answer; more are not reported.
const FINDINGS_MAX: usize = 12;

/// The output that a text stands for. Without a schema it is the text itself. With one it must be JSON that
/// matches; a Markdown fence around it is allowed, because models like to put one there.
pub fn judge(text: &str, schema: Option<&jsonschema::Validator>) -> Result<Value, Vec<Finding>> {
    let Some(schema) = schema else {
        // An object or a list can be pointed into by later steps and checks; anything else is text, and so is what
        // would lose something as a value: a member that comes twice, a number that does not fit.
        let is_container = text.trim_start().starts_with(['{', '[']);
        let value = (is_container && strict::check(text).is_ok()).then(|| serde_json::from_str(text).ok());
        return Ok(value.flatten().unwrap_or_else(|| Value::String(text.to_owned())));
    };
    let json = unfenced(text);
    let refuse = |reason: &dyn Display| vec![Finding::new("", format!("the answer is not JSON: {reason}"))];
    strict::check(json).map_err(|error| refuse(&error))?;
    let value: Value = serde_json::from_str(json).map_err(|error| refuse(&error))?;
    let findings: Vec<Finding> = schema
        .iter_errors(&value)
        .take(FINDINGS_MAX)
        .map(|error| Finding::new(error.instance_path().to_string(), error.to_string()))
        .collect();
    if findings.is_empty() { Ok(value) } else { Err(findings) }
}

fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else {
        return text;
    };
    match inner.split_once('\n') {
        Some((language, body)) if language.chars().all(char::is_alphanumeric) => body.trim(),
        _ => inner.trim(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_found_with_and_without_a_fence_and_wrong_places_are_named() {
        let schema = json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "integer" } } });
        let schema = jsonschema::validator_for(&schema).expect("a schema");
        let check = |text: &str, expected: Result<Value, &str>| match (judge(text, Some(&schema)), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(findings), Err(pointer)) => assert_eq!(findings[0].pointer, pointer, "{findings:?}"),
            (found, expected) => panic!("{text}: expected {expected:?}, found {found:?}"),
        };
        check(r#"{"a":1}"#, Ok(json!({ "a": 1 })));
        check("```json\n{\"a\":1}\n```", Ok(json!({ "a": 1 })));
        check("```\n{\"a\":1}\n```", Ok(json!({ "a": 1 })));
        check("{\"a\":\"x\"}", Err("/a"));
        check("{}", Err(""));
        check("sure! {\"a\":1}", Err(""));
        check("{\"a\":1,\"a\":2}", Err(""));
        for text in [
            "{\"a\":1,\"a\":2}",
            "[18446744073709551616]",
            "[\"\\ud83d\"]",
            &format!("{}{}", "[".repeat(65), "]".repeat(65)),
        ] {
            assert_eq!(judge(text, None), Ok(json!(text)), "nothing of it is lost");
        }
        assert_eq!(judge("plain", None), Ok(json!("plain")));
        assert_eq!(judge("17", None), Ok(json!("17")), "a number in words is text");
        assert_eq!(judge("{\"b\":[1]}", None), Ok(json!({ "b": [1] })));
        assert_eq!(
            judge("", None),
            Ok(json!("")),
            "whether it may be empty is for the caller"
        );
    }
}
