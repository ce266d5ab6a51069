//! Asking for JSON of a schema in words, for servers that ignore the field; and taking it out of what they answer.
//!
//! Invariant: a text that is JSON already is not touched; nothing is repaired.

use serde_json::Value;

use crate::domain::conversation::ModelRequest;

const WORDS: &str = "When you are done, answer with one JSON value and nothing else. It must match this JSON Schema:";

/// The system text with the wish for a schema at its end.
pub fn system(request: &ModelRequest) -> String {
    match &request.output_schema {
        Some(schema) => format!("{}\n\n{WORDS}\n{schema}", request.system),
        None => request.system.to_string(),
    }
}

/// The system text without what [`system`] added.
pub fn strip(system: &str) -> &str {
    match system.rfind(WORDS) {
        Some(start) => system[..start].trim_end_matches('\n'),
        None => system,
    }
}

/// The schema that [`system`] added, if it did.
pub fn schema(system: &str) -> Option<Value> {
    let start = system.rfind(WORDS)? + WORDS.len();
    serde_json::from_str(&system[start..]).ok()
}

/// The JSON in an answer to a request with a schema: models like to put it between fences or after a sentence.
pub fn unwrap_json(text: &str) -> &str {
    let is_json = |part: &str| serde_json::from_str::<Value>(part).is_ok();
    let text = text.trim();
    if is_json(text) {
        return text;
    }
    let fenced = text.split("```").nth(1);
    let fenced = fenced.map(|part| part.strip_prefix("json").unwrap_or(part).trim());
    if let Some(part) = fenced.filter(|part| is_json(part)) {
        return part;
    }
    for (open, close) in [('{', '}'), ('[', ']')] {
        if let (Some(start), Some(end)) = (text.find(open), text.rfind(close))
            && start < end
            && is_json(&text[start..=end])
        {
            return &text[start..=end];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_found_where_models_put_it() {
        let check = |text: &str, expected: &str| assert_eq!(unwrap_json(text), expected, "{text}");
        check(" {\"a\":1}\n", "{\"a\":1}");
        check("```json\n{\"a\":\"```\"}\n```", "{\"a\":\"```\"}");
        check("Here it is:\n```\n[1]\n```\nDone.", "[1]");
        check("Sure! {\"a\":{\"b\":1}} I hope it helps.", "{\"a\":{\"b\":1}}");
        check("no json { here", "no json { here");
        check("{\"a\":1", "{\"a\":1");
    }
}
