//! What an operator should know of a package that is not quite as the standard wants it.

use std::fmt;
use std::path::{Path, PathBuf};

/// One place that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageWarning {
    /// The file or folder.
    pub file: PathBuf,
    /// The line from 1; 0 when it is about the whole.
    pub line: usize,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub allowed: &'static str,
    /// Whether the package is left out because of it.
    pub fatal: bool,
}

impl PackageWarning {
    /// A package that is used all the same.
    pub fn mild(file: &Path, line: usize, found: impl Into<String>, allowed: &'static str) -> Self {
        Self {
            file: file.to_owned(),
            line,
            found: found.into(),
            allowed,
            fatal: false,
        }
    }

    /// A package that is left out.
    pub fn fatal(file: &Path, line: usize, found: impl Into<String>, allowed: &'static str) -> Self {
        Self {
            fatal: true,
            ..Self::mild(file, line, found, allowed)
        }
    }
}

impl fmt::Display for PackageWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        let left_out = if self.fatal { " (left out)" } else { "" };
        write!(f, ": {}; allowed: {}{left_out}", self.found, self.allowed)
    }
}
