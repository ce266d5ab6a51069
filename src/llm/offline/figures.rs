//! The figures of a review: under which label the draft states them, and where in the surveys they come from. The
//! reviewer reads them back by the same table.
//!
//! Refuses to know: how the draft is laid out, besides `- <label>: <number>`.

use serde_json::{Map, Value};

/// Label, survey, JSON Pointer.
pub(super) const FIGURES: &[(&str, &str, &str)] = &[
    ("Files", "inventory", "/files"),
    ("Folders", "inventory", "/folders"),
    ("Bytes", "inventory", "/bytes"),
    ("Lines", "inventory", "/lines"),
    ("Empty files", "inventory", "/empty_files"),
    ("Code files", "code", "/code_files"),
    ("Code files read", "code", "/files_read"),
    ("Functions", "code", "/functions"),
    ("Types", "code", "/types"),
    ("Tests", "code", "/tests"),
    ("Risky constructs", "code", "/risky"),
    ("Places marked as unfinished", "code", "/markers/count"),
    ("Documents", "documents", "/documents"),
    ("Words", "documents", "/words"),
    ("Test files", "health", "/tests/files"),
    ("Warnings", "health", "/warning_count"),
];

/// The line that states a figure.
pub(super) fn line(label: &str, value: u64) -> String {
    format!("- {label}: {value}\n")
}

/// What a figure is, by the surveys.
pub(super) fn known(surveys: &Map<String, Value>, survey: &str, pointer: &str) -> Option<u64> {
    surveys.get(survey)?.pointer(pointer)?.as_u64()
}

/// What a document states under a label; none when it does not.
pub(super) fn stated(document: &str, label: &str) -> Option<u64> {
    let start = format!("- {label}: ");
    let line = document.lines().find_map(|line| line.strip_prefix(start.as_str()))?;
    let digits: String = line.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
