//! How a client stands with its limit, as the headers of an answer.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Requests at once.
    pub limit: u32,
    /// Of them left.
    pub remaining: u32,
    /// Until all are there again.
    pub reset: Duration,
}

/// Whole seconds, rounded up: whoever waits for so long does not come too early.
pub fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl Standing {
    /// Writes it as `RateLimit-*`, and as the names by which OpenAI's clients know it.
    pub fn write(&self, headers: &mut HeaderMap) {
        let reset = seconds(self.reset);
        for (name, value) in [
            ("ratelimit-limit", u64::from(self.limit)),
            ("ratelimit-remaining", u64::from(self.remaining)),
            ("ratelimit-reset", reset),
            ("x-ratelimit-limit-requests", u64::from(self.limit)),
            ("x-ratelimit-remaining-requests", u64::from(self.remaining)),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
        if let Ok(value) = HeaderValue::from_str(&format!("{reset}s")) {
            headers.insert(HeaderName::from_static("x-ratelimit-reset-requests"), value);
        }
    }
}
