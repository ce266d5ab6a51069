//! What is checked, and what a check comes to.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It gets on; the text says what was seen.
    Good(Arc<str>),
    /// It does not.
    Failed(Finding),
}

/// Why a part is not well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The cause, as far as known, in one line.
    pub why: Arc<str>,
    /// What a person can do about it, or what the part does by itself.
    pub action: Arc<str>,
}

impl Finding {
    /// A finding.
    pub fn new(why: impl Into<Arc<str>>, action: impl Into<Arc<str>>) -> Self {
        Self {
            why: why.into(),
            action: action.into(),
        }
    }
}

/// How bad it is when a check fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something should be looked at.
    Warning,
    /// Work suffers.
    Error,
}

impl Severity {
    /// The word of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// The severity of a word; what is not known counts as an error.
    pub fn from_word(word: &str) -> Self {
        if word == "warning" { Self::Warning } else { Self::Error }
    }
}

/// Asks a part how it is.
pub type Ask = Arc<dyn Fn() -> BoxFuture<'static, Verdict> + Send + Sync>;

/// One check.
#[derive(Clone)]
pub struct Check {
    /// Its name, which is a label of metrics: from this program or from the configuration.
    pub name: Arc<str>,
    /// How bad it is when it fails.
    pub severity: Severity,
    /// Longest wait for its answer.
    pub timeout: Duration,
    /// The question.
    pub ask: Ask,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Check {
    /// Longest wait for a part of this process or machine.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// A check of a part of this program.
    pub fn new<F>(name: &str, severity: Severity, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        Self {
            name: name.into(),
            severity,
            timeout: Self::TIMEOUT,
            ask: Arc::new(move || Box::pin(ask())),
        }
    }

    /// Asks, within the deadline. Silence is a finding, and so is a check that panics: it takes no other one along.
    pub async fn make(&self) -> Verdict {
        let asked = AssertUnwindSafe(async { (self.ask)().await }).catch_unwind();
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) => Verdict::Failed(Finding::new(
                "the check itself panicked",
                "the log has where; report it, the part that it asks may be well",
            )),
            Err(_) => Verdict::Failed(Finding::new(
                format!("no answer in {} ms", self.timeout.as_millis()),
                "look whether it is stuck or overloaded",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_is_a_finding() {
        let check = Check {
            timeout: Duration::from_millis(20),
            ..Check::new("stuck", Severity::Error, std::future::pending::<Verdict>)
        };
        let Verdict::Failed(finding) = check.make().await else {
            panic!("silence passed for good");
        };
        assert_eq!(&*finding.why, "no answer in 20 ms");
    }

    #[tokio::test]
    async fn a_check_that_panics_is_a_finding() {
        let before = Check::new("before", Severity::Error, || -> std::future::Ready<Verdict> {
            panic!("asked to")
        });
        let within = Check::new("within", Severity::Error, || async { panic!("asked to") });
        for check in [before, within] {
            let verdict = check.make().await;
            assert!(matches!(verdict, Verdict::Failed(_)), "{verdict:?}");
        }
    }
}
