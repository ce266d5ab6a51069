//! The debugger's work: the likely cause of failed results, by the marks that they carry.
//!
//! Refuses to know: how to repair. Invariant: every piece of evidence is a line of the context.

use serde_json::{Value, json};

use super::session::Session;
use super::summary;

/// Mark in lower case, cause, what to do next.
const CAUSES: &[(&str, &str, &str)] = &[
    (
        "error[e",
        "the code does not compile",
        "repair the first compiler error; later ones may follow from it",
    ),
    (
        "syntaxerror",
        "the code cannot be parsed",
        "look at the line named in the message and the one before",
    ),
    (
        "panicked at",
        "the program panicked",
        "look at the place named after `panicked at`",
    ),
    (
        "traceback",
        "the program ended with an exception",
        "look at the last frame of the trace",
    ),
    (
        "assertion",
        "an assertion does not hold",
        "compare the two values in the message",
    ),
    (
        "permission denied",
        "the program may not do this",
        "check owner and mode of the path",
    ),
    (
        "no such file",
        "a file or program is missing",
        "check the path and what should have made it",
    ),
    (
        "not found",
        "something named does not exist",
        "check the name and what should have made it",
    ),
    ("no space left", "the disk is full", "free space before another attempt"),
    (
        "connection refused",
        "nothing listens at the address",
        "start the server or correct the address",
    ),
    ("timed out", "the time was not enough", "give more time or less work"),
    ("timeout", "the time was not enough", "give more time or less work"),
    (
        "does not match",
        "a declared check or schema is not met",
        "compare the output with the check named",
    ),
    (
        "budget",
        "a token budget is used up",
        "raise the budget or split the work",
    ),
    ("out of memory", "memory ran out", "lower the size of the work"),
    ("exit code", "a command failed", "read the end of its error output"),
    ("\"exit_code\":", "a command failed", "read the end of its error output"),
];

fn lines(value: &Value, found: &mut Vec<String>) {
    if found.len() >= 400 {
        return;
    }
    match value {
        Value::String(text) => found.extend(text.lines().map(|line| summary::plain(line, 240))),
        Value::Array(items) => items.iter().for_each(|item| lines(item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Number(number) if name == "exit_code" && number.as_i64() != Some(0) => {
                        found.push(format!("exit code {number}"));
                    }
                    other => lines(other, found),
                }
            }
        }
        _ => {}
    }
}

/// Names the likely cause.
pub(super) fn run(session: &Session<'_>) -> Value {
    let mut seen = Vec::new();
    for (name, value) in &session.brief.context {
        if name != "method" {
            lines(value, &mut seen);
        }
    }
    seen.extend(session.brief.lessons.iter().map(|lesson| summary::plain(lesson, 240)));
    seen.extend(session.brief.task.lines().map(|line| summary::plain(line, 240)));
    for (mark, cause, next) in CAUSES {
        let evidence: Vec<&String> = seen
            .iter()
            .filter(|line| line.to_lowercase().contains(mark))
            .take(5)
            .collect();
        if !evidence.is_empty() {
            return json!({ "cause": cause, "evidence": evidence, "next": [next], "certain": false });
        }
    }
    let evidence: Vec<&String> = seen.iter().filter(|line| !line.is_empty()).take(3).collect();
    json!({
        "cause": "no known mark of a failure is in the results",
        "evidence": evidence,
        "next": ["look at the results themselves, or ask a model that can read them"],
        "certain": false,
    })
}
