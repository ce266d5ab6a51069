//! Secrets out of text that leaves the machine or is kept for others: values that are configured, and what looks like a key of a known kind.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use regex::Regex;

/// Stands where a secret was.
pub const SECRET_MARK: &str = "(secret)";
/// Shorter values are words rather than keys: replacing them would garble any text.
const VALUE_BYTES_MIN: usize = 6;

/// Keys by their shape: API keys of vendors and of this program, tokens of code hosts and chats, cloud key ids, JSON web
/// tokens, bearer headers, private keys.
static SHAPES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}",
        r"|\bocl_[0-9a-z]{20,}_[0-9A-Za-z]{16,}",
        r"|\b(?:gh[pousr]|github_pat)_[A-Za-z0-9_]{20,}",
        r"|\bglpat-[A-Za-z0-9_-]{16,}",
        r"|\bxox[abprs]-[A-Za-z0-9-]{10,}",
        r"|\bAKIA[0-9A-Z]{16}\b",
        r"|\bAIza[0-9A-Za-z_-]{30,}",
        r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
        r"|(?i:\bbearer )[A-Za-z0-9._~+/-]{16,}=*",
        r"|(?s:-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----)",
    ))
    .expect("the pattern is constant; a test uses it")
});

/// Takes secrets out. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that a secret within another one does not leave the rest behind.
    values: Arc<[String]>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} values)", self.values.len())
    }
}

impl Redactor {
    /// Knows these values beside the known shapes.
    pub fn new<'value>(values: impl IntoIterator<Item = &'value str>) -> Self {
        let long = values.into_iter().filter(|value| value.len() >= VALUE_BYTES_MIN);
        let mut values: Vec<String> = long.map(str::to_owned).collect();
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self { values: values.into() }
    }

    /// The same with more values.
    #[must_use]
    pub fn and<'value>(&'value self, values: impl IntoIterator<Item = &'value str>) -> Self {
        Self::new(self.values.iter().map(String::as_str).chain(values))
    }

    /// The text without secrets.
    pub fn text<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let mut clean = Cow::Borrowed(text);
        for value in &*self.values {
            if clean.contains(value.as_str()) {
                clean = Cow::Owned(clean.replace(value.as_str(), SECRET_MARK));
            }
        }
        match SHAPES.replace_all(&clean, SECRET_MARK) {
            Cow::Borrowed(_) => clean,
            Cow::Owned(shaped) => Cow::Owned(shaped),
        }
    }
}
