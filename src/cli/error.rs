//! What a command can end with: an error with code, causes and hint, or an exit code.
//!
//! **Shape**: `error: … [OC-NNNN] / caused by: … / hint: …` on the standard error; with `--json` one object
//! `{"error":{"code","type","message","causes","hint"}}`, and `details` where places of a document are wrong.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};

use super::output::one_line;
use crate::daemon::config::{ConfigError, HomeError};
use crate::domain::code::{self, Code};
use crate::domain::fault::Fault;

/// Characters of one wrong place for people.
const DETAIL_CHARS_MAX: usize = 400;

/// How a command ended, as a shell sees it. The numbers are promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The work failed, or a check said no.
    Failed = 1,
    /// The command line cannot be used.
    Usage = 2,
    /// Something named does not exist.
    NotFound = 3,
    /// Refused: authentication, limit, budget, conflict.
    Refused = 4,
    /// No daemon answers.
    Unreachable = 5,
    /// The outcome is not known.
    Unknown = 6,
    /// An invariant of the program is broken.
    Bug = 70,
}

impl Exit {
    /// The exit of a run's status word. A parked run waits for a person, so its outcome is not known.
    pub fn of_status(status: &str) -> Self {
        match status {
            "succeeded" => Self::Done,
            "failed" | "cancelled" | "expired" => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

/// Any error, as a cause.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Says why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration cannot be used or changed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The command line asks for something that cannot be done.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Something of the operator's files does not allow it.
    #[error("{message}")]
    Refused {
        /// The code that users see.
        code: Code,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The daemon refused the request.
    #[error("{message}")]
    Api {
        /// HTTP status.
        status: u16,
        /// The code in its answer; may be of a newer program.
        code: String,
        /// The word for programs.
        kind: String,
        /// What it says.
        message: String,
        /// What it advises.
        hint: Option<String>,
        /// The places of a document that are wrong, each with `pointer` and `message`; empty for most errors.
        details: Vec<Value>,
    },
    /// No daemon answers.
    #[error("failed to reach the daemon at {url}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// Why.
        #[source]
        source: Option<Cause>,
    },
    /// The daemon answered with something that is not of this protocol.
    #[error("failed to understand the answer of {url}: {reason}")]
    Protocol {
        /// Which request.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The daemon in this process could not do its part.
    #[error("failed to {step}")]
    Daemon {
        /// What was tried.
        step: &'static str,
        /// The code that users see.
        code: Code,
        /// What to do.
        hint: Option<String>,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A file named on the command line, or a stream of this process, cannot be used.
    #[error("failed to {verb} {what}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {ms} ms")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        ms: u64,
    },
}

impl CliError {
    /// A usage error.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// A refusal of this program's own.
    pub fn refused(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused {
            code,
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// The code as text.
    pub fn code(&self) -> &str {
        match self {
            Self::Api { code, .. } => code,
            other => other.known_code().id,
        }
    }

    fn known_code(&self) -> Code {
        match self {
            Self::Config(error) => error.code(),
            Self::Home(error) => error.code(),
            Self::Usage { .. } => code::INVALID_REQUEST,
            Self::Refused { code, .. } | Self::Daemon { code, .. } => *code,
            Self::Api { code, .. } => code::find(code).unwrap_or(code::PROTOCOL),
            Self::Unreachable { .. } | Self::TimedOut { .. } => code::DAEMON_UNREACHABLE,
            Self::Protocol { .. } => code::PROTOCOL,
            Self::Io { .. } => code::HOME_FILE,
        }
    }

    fn kind(&self) -> &str {
        match self {
            Self::Api { kind, .. } => kind,
            other => other.known_code().kind,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Home(error) => error.hint().map(str::to_owned),
            Self::Usage { hint, .. }
            | Self::Refused { hint, .. }
            | Self::Api { hint, .. }
            | Self::Daemon { hint, .. } => hint.clone(),
            Self::Unreachable { .. } => Some("`openclaw start` starts it; --url or --home names another one".into()),
            Self::Protocol { .. } => Some("is another program on this port, or a daemon of another version?".into()),
            Self::Io { .. } | Self::TimedOut { .. } => None,
        }
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } | Self::Config(ConfigError::Values(_) | ConfigError::Syntax { .. }) => Exit::Usage,
            Self::Config(ConfigError::UnknownKey { .. }) => Exit::NotFound,
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Config(_) | Self::Io { .. } | Self::TimedOut { .. } => Exit::Failed,
            Self::Api { status, code, .. } => match code::find(code) {
                Some(code) => of_code(code),
                // A code of a newer daemon: the status still says what kind of thing it is.
                None => match status {
                    404 => Exit::NotFound,
                    400 | 413 | 415 | 422 => Exit::Usage,
                    500 => Exit::Bug,
                    503 => Exit::Unreachable,
                    _ => Exit::Refused,
                },
            },
            other => of_code(other.known_code()),
        }
    }

    fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut source = self.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            source = cause.source();
        }
        causes
    }

    /// The first line, which reads as a sentence: those errors that begin with what was tried get "failed to".
    fn headline(&self) -> String {
        let verb_first = match self {
            Self::Config(error) => !matches!(
                error,
                ConfigError::Values(_) | ConfigError::UnknownKey { .. } | ConfigError::Syntax { .. }
            ),
            Self::Home(_) => true,
            _ => false,
        };
        if verb_first {
            format!("failed to {self}")
        } else {
            self.to_string()
        }
    }

    fn details(&self) -> &[Value] {
        match self {
            Self::Api { details, .. } => details,
            _ => &[],
        }
    }

    /// The text for people. Where places of a document are wrong, each has a line and takes the place of the hint, which
    /// speaks of the object for programs.
    pub fn to_text(&self) -> String {
        let headline = self.headline();
        let mut lines = headline.lines();
        let mut text = format!("error: {} [{}]\n", lines.next().unwrap_or_default(), self.code());
        for line in lines {
            let _ = writeln!(text, "       {line}");
        }
        for cause in self.causes() {
            let _ = writeln!(text, "caused by: {cause}");
        }
        for place in self.details() {
            let message = place["message"]
                .as_str()
                .map_or_else(|| place.to_string(), str::to_owned);
            let message = one_line(&message, DETAIL_CHARS_MAX);
            match place["pointer"].as_str().unwrap_or_default() {
                "" => writeln!(text, "  {message}").ok(),
                pointer => writeln!(text, "  {}: {message}", one_line(pointer, DETAIL_CHARS_MAX)).ok(),
            };
        }
        if let Some(hint) = self.hint().filter(|_| self.details().is_empty()) {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }

    /// The object for programs.
    pub fn to_json(&self) -> Value {
        let mut value = json!({ "error": {
            "code": self.code(),
            "type": self.kind(),
            "message": self.headline(),
            "causes": self.causes(),
            "hint": self.hint(),
        } });
        if !self.details().is_empty() {
            value["error"]["details"] = self.details().into();
        }
        value
    }
}

fn of_code(code: Code) -> Exit {
    if code == code::DAEMON_UNREACHABLE || code == code::STOPPING {
        return Exit::Unreachable;
    }
    match code.fault {
        Fault::Invalid => Exit::Usage,
        Fault::NotFound => Exit::NotFound,
        Fault::Conflict | Fault::Denied | Fault::Overloaded => Exit::Refused,
        Fault::Unavailable | Fault::TimedOut | Fault::Corrupt => Exit::Failed,
        Fault::Bug => Exit::Bug,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(status: u16, code: &str) -> CliError {
        CliError::Api {
            status,
            code: code.into(),
            kind: "x".into(),
            message: "no".into(),
            hint: None,
            details: Vec::new(),
        }
    }

    #[test]
    fn exit_codes_are_as_documented() {
        let check = |error: CliError, wanted: Exit| assert_eq!(error.exit(), wanted, "{error:?}");
        check(CliError::usage("x", "y"), Exit::Usage);
        check(api(400, "OC-1001"), Exit::Usage);
        check(api(404, "OC-1004"), Exit::NotFound);
        check(api(404, "OC-1005"), Exit::NotFound);
        check(api(409, "OC-1003"), Exit::Refused);
        check(api(409, "OC-1006"), Exit::Refused);
        check(api(401, "OC-2001"), Exit::Refused);
        check(api(403, "OC-2003"), Exit::Refused);
        check(api(429, "OC-1203"), Exit::Refused);
        check(api(503, "OC-1007"), Exit::Refused);
        check(api(503, "OC-1012"), Exit::Unreachable);
        check(api(500, "OC-9001"), Exit::Bug);
        check(api(404, "OC-1999"), Exit::NotFound);
        check(api(401, "OC-1999"), Exit::Refused);
        check(api(422, "OC-1999"), Exit::Usage);
        let unreachable = CliError::Unreachable {
            url: "http://127.0.0.1:1".into(),
            source: None,
        };
        check(unreachable, Exit::Unreachable);
        check(
            ConfigError::UnknownKey {
                key: "x".into(),
                nearest: None,
            }
            .into(),
            Exit::NotFound,
        );
        check(CliError::refused(code::EXISTS, "x", "y"), Exit::Refused);
        check(HomeError::Nowhere.into(), Exit::NotFound);
        for (status, exit) in [
            ("succeeded", Exit::Done),
            ("failed", Exit::Failed),
            ("cancelled", Exit::Failed),
            ("expired", Exit::Failed),
            ("unknown", Exit::Unknown),
            ("parked", Exit::Unknown),
        ] {
            assert_eq!(Exit::of_status(status), exit, "{status}");
        }
    }

    #[test]
    fn an_error_reads_as_error_causes_and_hint() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = CliError::Unreachable {
            url: "http://127.0.0.1:8080".into(),
            source: Some(refused.into()),
        };
        insta::assert_snapshot!(error.to_text(), @r"
        error: failed to reach the daemon at http://127.0.0.1:8080 [OC-7001]
        caused by: connection refused
        hint: `openclaw start` starts it; --url or --home names another one
        ");
        insta::assert_snapshot!(error.to_json(), @r#"{"error":{"causes":["connection refused"],"code":"OC-7001","hint":"`openclaw start` starts it; --url or --home names another one","message":"failed to reach the daemon at http://127.0.0.1:8080","type":"daemon_unreachable"}}"#);
        let places = CliError::Api {
            status: 400,
            code: "OC-1040".into(),
            kind: "schedule_invalid".into(),
            message: "save the schedule: it is wrong in 2 places".into(),
            hint: Some("each entry of details names a place in the schedule".into()),
            details: vec![
                json!({ "pointer": "/cron", "message": "found 61 for the minute, allowed is 0 to 59" }),
                json!({ "pointer": "", "message": "names no agent\u{1b}[2J" }),
            ],
        };
        insta::assert_snapshot!(places.to_text(), @r"
        error: save the schedule: it is wrong in 2 places [OC-1040]
          /cron: found 61 for the minute, allowed is 0 to 59
          names no agent [2J
        ");
        assert_eq!(places.to_json()["error"]["details"][0]["pointer"], "/cron");
        let missing = CliError::from(HomeError::Missing { path: "/x".into() });
        insta::assert_snapshot!(missing.to_text(), @r"
        error: failed to find a home at /x [OC-7002]
        hint: `openclaw init` makes one; `openclaw quickstart` makes one and does a first task
        ");
    }
}
