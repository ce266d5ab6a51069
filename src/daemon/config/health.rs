//! The keys of health: what is checked beside the parts of the program, and how people are told.

use std::path::Path;
use std::time::Duration;

use super::error::BadValue;
use super::key;
use super::model::SecretSource;
use super::setting::Settings;
use crate::health::check::Severity;
use crate::health::operator::{OperatorCheck, Question};

/// Longest name of a check or a channel: both are labels of metrics.
const NAME_BYTES_MAX: usize = 64;

/// How a channel goes, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayConfig {
    /// A webhook, and where the secret of its signatures is.
    Webhook(String, Option<SecretSource>),
    /// Program and arguments.
    Command(Vec<String>),
    /// E-mail.
    Mail {
        /// The server.
        server: String,
        /// Name and password for it.
        login: Option<(String, SecretSource)>,
        /// Who writes.
        from: String,
        /// To whom.
        to: Vec<String>,
    },
}

/// A configured channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelConfig {
    /// Its name.
    pub name: String,
    /// How it goes.
    pub way: WayConfig,
}

/// Everything under `health`.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthConfig {
    /// Between two rounds.
    pub interval: Duration,
    /// Failures in a row that are an incident.
    pub failures: u32,
    /// How long an incident waits for others before people are told.
    pub group_wait: Duration,
    /// After how long people are told again.
    pub repeat: Duration,
    /// What is less than this is told to nobody.
    pub least: Severity,
    /// How long incidents are kept.
    pub keep: Duration,
    /// Checks of the operator's.
    pub checks: Vec<OperatorCheck>,
    /// Ways to people.
    pub channels: Vec<ChannelConfig>,
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed)
}

impl HealthConfig {
    /// As configured; what is wrong is added to `bad`.
    pub(super) fn of(settings: &Settings, folder: &Path, bad: &mut Vec<BadValue>) -> Self {
        let number = |name| {
            let number = settings.number(&["health", name]);
            number.expect("the key has a default, and only allowed values replace it")
        };
        let seconds = |name| Duration::from_secs(number(name));
        Self {
            interval: seconds("interval"),
            failures: number("failures") as u32,
            group_wait: seconds("groupWait"),
            repeat: seconds("repeatInterval"),
            least: Severity::from_word(settings.text(&["health", "severity"]).unwrap_or("warning")),
            keep: seconds("keepIncidents"),
            checks: checks(settings, bad),
            channels: channels(settings, folder, bad),
        }
    }
}

/// Names under a path; what is no name is refused.
fn names(settings: &Settings, under: [&'static str; 2], bad: &mut Vec<BadValue>) -> Vec<String> {
    let named = settings.names(&under).into_iter().filter(|(name, place)| {
        let good = is_name(name);
        if !good {
            bad.push(BadValue {
                place: place.clone(),
                key: key::render_path(&under.map(str::to_owned)),
                found: format!("{name:?}"),
                allowed: "a name of 1 to 64 letters, digits, `-` and `_`".into(),
            });
        }
        good
    });
    named.map(|(name, _)| name).collect()
}

fn refuse(
    settings: &Settings,
    under: [&'static str; 2],
    name: &str,
    found: &str,
    allowed: &str,
    bad: &mut Vec<BadValue>,
) {
    let place = settings.names(&under).into_iter().find(|(own, _)| own == name);
    let Some((_, place)) = place else { return };
    bad.push(BadValue {
        place,
        key: key::render_path(&[under[0].to_owned(), under[1].to_owned(), name.to_owned()]),
        found: found.to_owned(),
        allowed: allowed.to_owned(),
    });
}

fn checks(settings: &Settings, bad: &mut Vec<BadValue>) -> Vec<OperatorCheck> {
    const UNDER: [&str; 2] = ["health", "checks"];
    let mut checks = Vec::new();
    for name in names(settings, UNDER, bad) {
        let text = |field: &str| settings.text(&["health", "checks", &name, field]).map(str::to_owned);
        let number = |field: &str| settings.number(&["health", "checks", &name, field]);
        let limit = |field: &str| settings.decimal(&["health", "checks", &name, field]);
        let mut questions = Vec::new();
        if let Some(url) = text("url") {
            let status = number("status").map(|status| status as u16);
            questions.push(Question::Http { url, status });
        }
        if let Some(address) = text("tcp") {
            questions.push(Question::Tcp { address });
        }
        if let Some(argv) = settings.texts(&["health", "checks", &name, "command"]) {
            questions.push(Question::Command { argv });
        }
        if let Some(metric) = text("metric") {
            let (above, below) = (limit("above"), limit("below"));
            if above.is_none() && below.is_none() {
                refuse(
                    settings,
                    UNDER,
                    &name,
                    "a metric without a bound",
                    "above, below or both, as numbers",
                    bad,
                );
                continue;
            }
            questions.push(Question::Metric { metric, above, below });
        }
        let (Some(question), true) = (questions.pop(), questions.is_empty()) else {
            refuse(
                settings,
                UNDER,
                &name,
                "none or several questions",
                "one of url, tcp, command and metric",
                bad,
            );
            continue;
        };
        checks.push(OperatorCheck {
            question,
            timeout: Duration::from_millis(number("timeout").unwrap_or(10_000)),
            severity: Severity::from_word(&text("severity").unwrap_or_else(|| "error".into())),
            name,
        });
    }
    checks
}

fn channels(settings: &Settings, folder: &Path, bad: &mut Vec<BadValue>) -> Vec<ChannelConfig> {
    const UNDER: [&str; 2] = ["health", "alerts"];
    let mut channels = Vec::new();
    for name in names(settings, UNDER, bad) {
        let text = |field: &str| settings.text(&["health", "alerts", &name, field]).map(str::to_owned);
        let texts = |field: &str| settings.texts(&["health", "alerts", &name, field]);
        let secret = |field: &str| text(field).and_then(|text| SecretSource::parse(&text, folder));
        let mut ways = Vec::new();
        if let Some(url) = text("url") {
            ways.push(WayConfig::Webhook(url, secret("secret")));
        }
        if let Some(argv) = texts("command") {
            ways.push(WayConfig::Command(argv));
        }
        if let Some(server) = text("smtp") {
            let (Some(from), Some(to)) = (text("from"), texts("to")) else {
                refuse(
                    settings,
                    UNDER,
                    &name,
                    "a mail server alone",
                    "from and to beside it",
                    bad,
                );
                continue;
            };
            let login = text("username").zip(secret("password"));
            ways.push(WayConfig::Mail {
                server,
                login,
                from,
                to,
            });
        }
        let (Some(way), true) = (ways.pop(), ways.is_empty()) else {
            refuse(
                settings,
                UNDER,
                &name,
                "none or several ways",
                "one of url, command and smtp",
                bad,
            );
            continue;
        };
        channels.push(ChannelConfig { name, way });
    }
    channels
}
