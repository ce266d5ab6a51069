//! The coder's work: a document from the inputs in its context, written to a file.
//!
//! Refuses to know: how the inputs were made. Invariant: what an earlier attempt was refused for is in the text now.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::draft_text::{Material, SECTIONS, SURVEYS, compose, quote};
use super::pattern::pattern;
use super::session::{Flow, Session, call};
use super::summary;

/// What is in the context besides inputs of other steps.
const SETTINGS: &[&str] = &["method", "folder", "file", "action", "sections"];

/// Composes the document and writes it.
pub(super) fn run(session: &Session<'_>, file: &str) -> Flow<Value> {
    let mut inputs = Map::new();
    for name in session.brief.context.keys() {
        if !SETTINGS.contains(&name.as_str())
            && let Some(value) = session.input(name)
        {
            inputs.insert(name.clone(), value);
        }
    }
    let text = write(session, &inputs);
    put(session, file, &text)
}

/// Writes a file and says so.
pub(super) fn put(session: &Session<'_>, file: &str, text: &str) -> Flow<Value> {
    let outcome = session.one(call("fs.write", json!({ "path": file, "content": text })))?;
    if outcome.failed {
        let reason = summary::plain(&outcome.text, 300);
        return Ok(json!({ "file": file, "bytes": 0, "written": false, "problem": reason }));
    }
    Ok(json!({ "file": file, "bytes": text.len(), "written": true }))
}

/// The text for these inputs.
pub(super) fn write(session: &Session<'_>, inputs: &Map<String, Value>) -> String {
    let lessons: Vec<&str> = session.brief.lessons.iter().map(|lesson| &**lesson).collect();
    let known = inputs.keys().any(|name| SURVEYS.contains(&name.as_str()));
    let folder = session.folder();
    let mut extra: Vec<String> = Vec::new();
    let wanted = session.brief.context.get("sections").and_then(Value::as_array);
    extra.extend(
        wanted
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned),
    );
    extra.extend(lessons.iter().flat_map(|lesson| headings_asked(lesson)));
    if known {
        extra.retain(|title| !SECTIONS.iter().any(|section| section.eq_ignore_ascii_case(title)));
    }
    let mut unique: Vec<String> = Vec::new();
    for title in extra {
        if !unique.contains(&title) && unique.len() < 12 {
            unique.push(title);
        }
    }
    let mut text = if known {
        compose(&Material {
            folder: &folder,
            surveys: inputs,
            extra: &unique,
            detailed: !lessons.is_empty(),
        })
    } else {
        generic(session, inputs, &unique)
    };
    pad(&mut text, &lessons);
    text
}

/// Titles that a refused check wanted: the heading of each pattern, with the signs of the pattern taken out.
fn headings_asked(lesson: &str) -> Vec<String> {
    let mut titles = Vec::new();
    let pattern = pattern!(r"##+ *((?:\\.|[^/\\\n$`])+)");
    for found in pattern.captures_iter(lesson) {
        let title: String = found[1].replace(r"\s+", " ").replace(r"\s*", " ").replace(r"\b", "");
        let title: String = title
            .chars()
            .filter(|c| {
                !matches!(
                    c,
                    '\\' | '^' | '(' | ')' | '?' | '+' | '*' | '[' | ']' | '|' | '"' | '{' | '}'
                )
            })
            .collect();
        let title = title.split([';', ':', ',']).next().unwrap_or("").trim();
        if !title.is_empty() && title.len() <= 80 {
            titles.push(title.to_owned());
        }
    }
    let missing = pattern!(r#"(?i)section "([^"\n]{1,80})""#);
    titles.extend(missing.captures_iter(lesson).map(|found| found[1].to_owned()));
    titles
}

/// A document that was refused for its size gets what was asked as a glossary, which is more use than blanks.
fn pad(text: &mut String, lessons: &[&str]) {
    let wanted = pattern!(r"at least (\d{1,6}) bytes");
    let bytes = lessons
        .iter()
        .flat_map(|lesson| wanted.captures_iter(lesson))
        .filter_map(|found| found[1].parse::<usize>().ok())
        .max()
        .unwrap_or(0)
        .min(64 * 1024);
    if text.len() >= bytes {
        return;
    }
    text.push_str("\n## How to read this\n\n");
    let notes = [
        "Figures are counts of what the surveys saw; a survey that was cut off says so.",
        "Lines are counted by line ends; files that are not text have none.",
        "Functions, types and tests are counted by patterns at the beginning of a line, in the files that were read.",
        "A link counts as broken when its target is not in the listing.",
        "Summaries are sentences taken from the documents, not written anew.",
    ];
    let mut round = 0;
    while text.len() < bytes {
        let _ = writeln!(text, "- {}", notes[round % notes.len()]);
        round += 1;
    }
}

/// A document from inputs of any form: a section for each.
fn generic(session: &Session<'_>, inputs: &Map<String, Value>, extra: &[String]) -> String {
    let title = quote(session.brief.task.lines().next().unwrap_or("Report"));
    let mut text = format!("# {title}\n");
    for (name, value) in inputs {
        let _ = write!(text, "\n## {}\n\n", quote(name));
        section(&mut text, value, 0);
    }
    if inputs.is_empty() {
        text.push_str("\nNo input was given.\n");
    }
    for title in extra {
        let _ = write!(
            text,
            "\n## {}\n\nThe inputs say nothing under this title.\n",
            quote(title)
        );
    }
    text
}

fn section(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) if depth < 3 => {
            for (name, value) in fields.iter().take(40) {
                if value.is_object() || value.is_array() {
                    let _ = writeln!(text, "{indent}- {}:", quote(name));
                    section(text, value, depth + 1);
                } else {
                    let _ = writeln!(text, "{indent}- {}: {}", quote(name), scalar(value));
                }
            }
        }
        Value::Array(items) if depth < 3 => {
            for item in items.iter().take(20) {
                if item.is_object() || item.is_array() {
                    section(text, item, depth + 1);
                } else {
                    let _ = writeln!(text, "{indent}- {}", scalar(item));
                }
            }
        }
        Value::Object(_) | Value::Array(_) => {
            let _ = writeln!(text, "{indent}- {}", quote(&value.to_string()));
        }
        Value::String(words) if depth == 0 => {
            for line in words.lines().take(60) {
                let _ = writeln!(text, "{}", quote(line));
            }
        }
        scalar_value => {
            let _ = writeln!(text, "{indent}{}", scalar(scalar_value));
        }
    }
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), quote)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_refused_check_names_the_section_that_is_missing() {
        let check = |lesson: &str, expected: &[&str]| assert_eq!(headings_asked(lesson), expected, "{lesson}");
        check(
            r"attempt 1 failed (check): file REVIEW.md matches /(?m)^## Risks$/",
            &["Risks"],
        );
        check(
            r"file R.md matches /(?m)^##\s+Known\s+limits/ : no match",
            &["Known limits"],
        );
        check(r#"the section "Costs" is missing"#, &["Costs"]);
        check("too short", &[]);
    }
}
