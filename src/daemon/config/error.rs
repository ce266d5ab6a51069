//! What can be wrong with a configuration, said so that a person can repair it: file, line, key, found, allowed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::domain::code::{self, Code};

/// Where a value was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag of the command line, or a value given to `config set`.
    Flag(String),
    /// The program's own default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One value that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// Where it stands.
    pub place: Place,
    /// The key, dotted.
    pub key: String,
    /// What was found, as a person would write it.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            key,
            found,
            allowed,
        } = self;
        write!(f, "{place}: {key}: found {found}; allowed is {allowed}")
    }
}

/// Something that does not stop a start but that the operator should see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands.
    pub place: Place,
    /// What it is, in one line.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Says why a configuration cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is there and cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is longer than anything a person writes.
    #[error("read {}: it has {bytes} bytes, at most {bytes_max} are allowed", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A folder holds more files of a kind than the limit.
    #[error("read {}: more than {files_max} files", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// The limit.
        files_max: usize,
    },
    /// A file is not TOML.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// Values that are not allowed; never empty.
    #[error("{}", listing(.0))]
    Values(Vec<BadValue>),
    /// There is no such key.
    #[error("no configuration key is named `{key}`")]
    UnknownKey {
        /// What was asked for.
        key: String,
        /// The nearest known name.
        nearest: Option<String>,
    },
}

fn listing(bad: &[BadValue]) -> String {
    bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl ConfigError {
    /// One value that is not allowed.
    pub fn value(place: Place, key: impl Into<String>, found: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self::Values(vec![BadValue {
            place,
            key: key.into(),
            found: found.into(),
            allowed: allowed.into(),
        }])
    }

    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Read { .. } | Self::Write { .. } | Self::TooLarge { .. } | Self::TooMany { .. } => code::CONFIG_FILE,
            Self::Syntax { .. } => code::CONFIG_SYNTAX,
            Self::Values(_) => code::CONFIG_VALUE,
            Self::UnknownKey { .. } => code::CONFIG_KEY,
        }
    }

    /// What to do about it, when there is more to say than the text does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey {
                nearest: Some(nearest), ..
            } => Some(format!("did you mean `{nearest}`?")),
            Self::UnknownKey { nearest: None, .. } => Some("`openclaw config list` shows every key".into()),
            Self::Values(bad) if bad.iter().any(|bad| bad.key.ends_with(".apiKey")) => Some(
                "keys never stand in files: write apiKey = \"${NAME_OF_A_VARIABLE}\" or apiKey = \"file:path\"".into(),
            ),
            Self::Write { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => Some(
                "the file belongs to somebody else, that of a service to root: run the command as its owner".into(),
            ),
            Self::Syntax { .. } => Some("strings need quotes in TOML, tables look like [gateway]".into()),
            _ => None,
        }
    }
}
