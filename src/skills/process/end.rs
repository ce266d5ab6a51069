//! How a program ended, and how that reads as the outcome of a call.
//!
//! Pure. Invariant: an outcome's content has at most [`RESULT_BYTES_MAX`] bytes and is valid JSON when the
//! rendering says so.

use serde_json::json;

use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::skill::CallOutcome;
use crate::domain::text;

/// Why a program is no longer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It exited by itself.
    Exited {
        /// Its code.
        code: i32,
    },
    /// A signal that did not come from here ended it.
    Signaled {
        /// Which.
        signal: i32,
    },
    /// Its time ran out; it was stopped.
    TimedOut {
        /// The limit.
        limit_ms: u64,
    },
    /// It and what it started had more than it may have; it was stopped.
    Overran {
        /// What it had too much of, with the limit.
        what: String,
    },
    /// The caller went away or cancelled; it was stopped.
    Interrupted,
    /// It could not be started: it had no effect.
    NotStarted {
        /// Why.
        reason: String,
    },
}

/// The end of a program with what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramEnd {
    /// Why it is no longer there.
    pub ended: Ended,
    /// What it wrote to its standard output; beginning and end when it was long.
    pub stdout: String,
    /// What it wrote to its standard error, likewise.
    pub stderr: String,
    /// Whether anything was left out.
    pub truncated: bool,
    /// True when it was not run because an earlier run under the same key is on record.
    pub from_spool: bool,
}

/// How the end becomes the content of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// A JSON object with exit code, signal and both outputs.
    Json,
    /// The standard output alone; for errors the exit code and the standard error.
    Stdout,
}

impl Ended {
    /// The exit code, where there is one.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Exited { code } => Some(*code),
            _ => None,
        }
    }

    /// One line for people and models; empty for success.
    pub fn describe(&self) -> String {
        match self {
            Self::Exited { code: 0 } => String::new(),
            Self::Exited { code } => format!("exit code {code}"),
            Self::Signaled { signal } => format!("ended by {}", signal_name(*signal)),
            Self::TimedOut { limit_ms } => format!("stopped: it did not end within {limit_ms} ms"),
            Self::Overran { what } => format!("stopped: it had more than {what}"),
            Self::Interrupted => "stopped before its end; it may have done a part of its work".to_owned(),
            Self::NotStarted { reason } => format!("not started: {reason}"),
        }
    }
}

impl ProgramEnd {
    /// The end of a program that was not started.
    pub fn not_started(reason: String) -> Self {
        Self {
            ended: Ended::NotStarted { reason },
            stdout: String::new(),
            stderr: String::new(),
            truncated: false,
            from_spool: false,
        }
    }

    /// The outcome of the call that ran the program.
    pub fn outcome(&self, rendering: Rendering) -> CallOutcome {
        let is_error = self.ended != Ended::Exited { code: 0 };
        let content = match rendering {
            Rendering::Json => self.as_json(),
            Rendering::Stdout if is_error => {
                let said = if self.stderr.trim().is_empty() {
                    &self.stdout
                } else {
                    &self.stderr
                };
                let head = self.ended.describe();
                let room = RESULT_BYTES_MAX - head.len().min(RESULT_BYTES_MAX) - 1;
                format!("{head}\n{}", text::cut(said.trim_end(), room))
            }
            Rendering::Stdout => text::cut_middle(&self.stdout, RESULT_BYTES_MAX),
        };
        CallOutcome {
            content: content.into(),
            is_error,
            exit_code: self.ended.code(),
        }
    }

    fn as_json(&self) -> String {
        let mut bytes_max = RESULT_BYTES_MAX / 2;
        loop {
            let stdout = text::cut_middle(&self.stdout, bytes_max);
            let stderr = text::cut_middle(&self.stderr, bytes_max);
            let truncated = self.truncated || stdout.len() < self.stdout.len() || stderr.len() < self.stderr.len();
            let mut object = json!({
                "exit_code": self.ended.code(), "stdout": stdout, "stderr": stderr, "truncated": truncated,
            });
            match &self.ended {
                Ended::Exited { .. } => {}
                Ended::Signaled { signal } => object["signal"] = json!(signal_name(*signal)),
                other => object["stopped"] = json!(text::cut(&other.describe(), 1024)),
            }
            let content = object.to_string();
            // Control characters take six bytes each in JSON, so the bound is on the result, not on the parts.
            if content.len() <= RESULT_BYTES_MAX {
                return content;
            }
            bytes_max /= 2;
        }
    }
}

/// The name of a signal as Linux on x86-64 and AArch64 numbers them; the number for rare ones.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn end(ended: Ended, stdout: &str, stderr: &str) -> ProgramEnd {
        ProgramEnd {
            ended,
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
            truncated: false,
            from_spool: false,
        }
    }

    #[test]
    fn only_exit_code_zero_is_no_error() {
        let check = |ended: Ended, is_error: bool, exit_code: Option<i32>, says: &str| {
            let outcome = end(ended, "out", "err").outcome(Rendering::Stdout);
            assert_eq!((outcome.is_error, outcome.exit_code), (is_error, exit_code), "{says}");
            assert!(outcome.content.contains(says), "{}", outcome.content);
        };
        check(Ended::Exited { code: 0 }, false, Some(0), "out");
        check(Ended::Exited { code: 3 }, true, Some(3), "exit code 3\nerr");
        check(Ended::Signaled { signal: 9 }, true, None, "SIGKILL");
        check(Ended::TimedOut { limit_ms: 5 }, true, None, "within 5 ms");
        check(Ended::Interrupted, true, None, "a part of its work");
        let what = "64 processes".to_owned();
        check(Ended::Overran { what }, true, None, "more than 64 processes");
        let reason = "no such file".to_owned();
        check(Ended::NotStarted { reason }, true, None, "not started: no such file");
    }

    #[test]
    fn json_stays_json_and_within_its_bound_whatever_the_program_wrote() {
        let noise = "\u{1}\"\\é👨‍👩‍👧".repeat(40_000);
        let outcome = end(Ended::Exited { code: 1 }, &noise, &noise).outcome(Rendering::Json);
        assert!(outcome.content.len() <= RESULT_BYTES_MAX, "{}", outcome.content.len());
        let value: Value = serde_json::from_str(&outcome.content).expect("valid JSON");
        assert_eq!((&value["exit_code"], &value["truncated"]), (&json!(1), &json!(true)));
    }
}
