//! Checks as people write them on a command line: JSON, or a short form for the common ones.

use serde_json::{Value, json};

use crate::domain::plan_document::read_checks;

/// Reads one check and says what is wrong with it before anything is sent.
pub fn parse_check(text: &str) -> Result<Value, String> {
    let value = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?
    } else {
        short_form(text)
            .ok_or("expected JSON, file:PATH[:MIN_BYTES], regex:PATH:PATTERN, exit:CODE or command:PROGRAM ARGUMENTS")?
    };
    match read_checks("", std::slice::from_ref(&value)) {
        Ok(_) => Ok(value),
        Err(findings) => {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            Err(lines.join("; "))
        }
    }
}

fn short_form(text: &str) -> Option<Value> {
    let (kind, rest) = text.split_once(':')?;
    if rest.is_empty() {
        return None;
    }
    match kind {
        "file" => {
            let (path, bytes) = match rest.rsplit_once(':') {
                Some((path, bytes)) => (path, bytes.parse::<u64>().ok()?),
                None => (rest, 1),
            };
            Some(json!({ "type": "file", "path": path, "fresh": true, "min_bytes": bytes }))
        }
        "regex" => {
            let (path, pattern) = rest.split_once(':')?;
            Some(json!({ "type": "regex", "path": path, "pattern": pattern }))
        }
        "exit" => Some(json!({ "type": "exit_code", "equals": rest.parse::<u8>().ok()? })),
        "command" => {
            let argv: Vec<&str> = rest.split_whitespace().collect();
            Some(json!({ "type": "command", "argv": argv }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_checks_and_other_texts_are_refused() {
        let check = |text: &str, wanted: Option<Value>| assert_eq!(parse_check(text).ok(), wanted, "{text}");
        let file = |bytes: u64| json!({ "type": "file", "path": "REVIEW.md", "fresh": true, "min_bytes": bytes });
        check("file:REVIEW.md:200", Some(file(200)));
        check("file:REVIEW.md", Some(file(1)));
        check("file:REVIEW.md:many", None);
        check(
            "regex:a.md:^# ",
            Some(json!({ "type": "regex", "path": "a.md", "pattern": "^# " })),
        );
        check("exit:0", Some(json!({ "type": "exit_code", "equals": 0 })));
        check(
            "command:make test",
            Some(json!({ "type": "command", "argv": ["make", "test"] })),
        );
        check(
            r#"{"type":"exit_code","equals":1}"#,
            Some(json!({ "type": "exit_code", "equals": 1 })),
        );
        check(r#"{"type":"nothing"}"#, None);
        check(r#"{"type":"#, None);
        check("file:", None);
        check("nonsense", None);
    }
}
