//! The keys of the collector of OpenTelemetry.

use std::path::Path;

use super::model::SecretSource;
use super::setting::Settings;

/// Where runs and log lines are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The base address, without a slash at the end.
    pub endpoint: String,
    /// Where the value of the `Authorization` header is.
    pub authorization: Option<SecretSource>,
}

impl OtlpConfig {
    /// As configured; none when there is no collector.
    pub(super) fn of(settings: &Settings, folder: &Path) -> Option<Self> {
        let text = |name| settings.text(&["otlp", name]).filter(|text| !text.is_empty());
        Some(Self {
            endpoint: text("endpoint")?.trim_end_matches('/').to_owned(),
            authorization: text("authorization").and_then(|text| SecretSource::parse(text, folder)),
        })
    }
}
