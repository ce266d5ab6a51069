//! The reviewer's work: whether a file is what was asked, and whether its figures are those of the surveys.
//!
//! Refuses to know: who wrote the file. Invariant: it approves nothing that it has not read.

use serde_json::{Map, Value, json};

use super::draft_text::{SECTIONS, SURVEYS};
use super::figures::{FIGURES, known, stated};
use super::session::{Flow, Session, call};
use super::summary;

/// Reads the file and judges it.
pub(super) fn run(session: &Session<'_>, file: &str) -> Flow<Value> {
    let outcome = session.one(call("fs.read", json!({ "path": file })))?;
    let mut findings: Vec<String> = Vec::new();
    if outcome.failed {
        findings.push(format!(
            "{file} could not be read: {}",
            summary::plain(&outcome.text, 200)
        ));
        return Ok(json!({ "approved": false, "findings": findings, "file": file, "figures_checked": 0 }));
    }
    let (document, cut) = outcome.file_text();
    let mut surveys = Map::new();
    for name in SURVEYS {
        if let Some(value @ Value::Object(_)) = session.input(name) {
            surveys.insert((*name).to_owned(), value);
        }
    }
    let asked: Vec<String> = match session.brief.context.get("sections").and_then(Value::as_array) {
        Some(sections) => sections.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None if surveys.is_empty() => Vec::new(),
        None => SECTIONS.iter().map(|section| (*section).to_owned()).collect(),
    };
    let headings = summary::headings(document, 60);
    for section in &asked {
        let found = headings.iter().any(|heading| heading.eq_ignore_ascii_case(section));
        if !found && !cut {
            findings.push(format!("the section \"{section}\" is missing"));
        }
    }
    if document.trim().is_empty() {
        findings.push(format!("{file} is empty"));
    }
    let mut checked = 0;
    for (label, survey, pointer) in FIGURES {
        let (Some(is), Some(says)) = (known(&surveys, survey, pointer), stated(document, label)) else {
            continue;
        };
        checked += 1;
        if is != says {
            findings.push(format!(
                "\"{label}\" is stated as {says}; the survey {survey} says {is}"
            ));
        }
    }
    Ok(json!({
        "approved": findings.is_empty(),
        "findings": findings,
        "file": file,
        "figures_checked": checked,
        "bytes": document.len(),
    }))
}
