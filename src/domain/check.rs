//! Checks decide whether a step succeeded; the model's own word does not.

use std::sync::Arc;

use serde_json::Value;

/// One declared condition. Paths are relative to the run's workspace and cannot leave it.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// The program of the step's last command ended with this code.
    ExitCode {
        /// The code wanted.
        equals: i32,
    },
    /// A file is there.
    File {
        /// Where, within the workspace.
        path: Arc<str>,
        /// Whether it must have been written since the attempt began.
        fresh: bool,
        /// The least size in bytes.
        bytes_min: u64,
    },
    /// A text matches a regular expression (syntax of the `regex` crate), or must not.
    Regex {
        /// Which text.
        target: CheckTarget,
        /// The expression.
        pattern: Arc<str>,
        /// True when it must *not* match.
        absent: bool,
    },
    /// A JSON value matches a JSON Schema.
    Schema {
        /// JSON Pointer into the step's output.
        pointer: Arc<str>,
        /// The schema.
        schema: Arc<Value>,
    },
    /// A command says so by its exit code. It should change nothing.
    Command {
        /// Program and arguments; no shell.
        argv: Vec<Arc<str>>,
        /// The exit code wanted.
        equals: i32,
        /// Its deadline in milliseconds.
        timeout_ms: u64,
        /// Whether it may be run again when nobody saw its end. If not, a person has to say what became of it.
        repeatable: bool,
    },
}

/// Commands of checks are calls of their attempt. Their numbers begin here, beyond those of its session.
pub const CHECK_ORDINALS: u32 = 1 << 16;

/// The position of the check whose command has this number among the calls of its attempt; none for a call of the
/// session.
pub fn check_of_call(ordinal: u32) -> Option<u32> {
    ordinal.checked_sub(CHECK_ORDINALS)
}

/// The text that a [`Check::Regex`] looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckTarget {
    /// A file within the workspace.
    File(Arc<str>),
    /// The step's output at a JSON Pointer; strings as they are, other values as JSON.
    Output(Arc<str>),
}

/// What a check found.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckReport {
    /// Position in the step's list.
    pub index: u32,
    /// Whether it holds.
    pub passed: bool,
    /// What was seen, in one line.
    pub evidence: Arc<str>,
}

impl Check {
    /// One line for people.
    pub fn describe(&self) -> String {
        match self {
            Self::ExitCode { equals } => format!("exit code is {equals}"),
            Self::File { path, fresh, bytes_min } => {
                let fresh = if *fresh { ", freshly written" } else { "" };
                format!("file {path} exists{fresh}, at least {bytes_min} bytes")
            }
            Self::Regex {
                target,
                pattern,
                absent,
            } => {
                let what = match target {
                    CheckTarget::File(path) => format!("file {path}"),
                    CheckTarget::Output(pointer) if pointer.is_empty() => "the output".to_owned(),
                    CheckTarget::Output(pointer) => format!("the output at {pointer}"),
                };
                format!(
                    "{what} {} /{pattern}/",
                    if *absent { "does not match" } else { "matches" }
                )
            }
            Self::Schema { pointer, .. } if pointer.is_empty() => "the output matches its schema".to_owned(),
            Self::Schema { pointer, .. } => format!("the output at {pointer} matches its schema"),
            Self::Command { argv, equals, .. } => format!("`{}` exits with {equals}", argv.join(" ")),
        }
    }
}
