//! The checks of the daemon's own parts, and the ways to people, put together from the configuration.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::automation::handle::AutomationHandle;
use crate::domain::memory::{MemoryScope, ShardName};
use crate::domain::time::UtcMillis;
use crate::health::alerts::channel::{Channel, Way};
use crate::health::alerts::command::CommandChannel;
use crate::health::alerts::mail::MailChannel;
use crate::health::alerts::webhook::WebhookChannel;
use crate::health::check::{Check, Finding, Severity, Verdict};
use crate::identity::authority::client::client_config;
use crate::identity::authority::handle::Authority;
use crate::llm::registry::Models;
use crate::memory::handle::MemoryHandle;
use crate::memory::question::Question;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::file::{read_at_most, read_private};
use crate::runtime::room::handle::Room;
use crate::runtime::telemetry::Telemetry;
use crate::runtime::tls::http_client;
use crate::skills::handle::SkillsHandle;

use super::config::Home;
use super::config::health::{ChannelConfig, HealthConfig, WayConfig};
use super::config::model::{SecretSource, Stored};

/// Longest time for which a healthy schedule is not looked after.
const TICK_MAX: Duration = Duration::from_secs(60);
/// A certificate that ends sooner has not been renewed when it should have been: it lives a day and is renewed after
/// two thirds of it.
const EXPIRY_MIN_MS: u64 = 4 * 3_600 * 1_000;
/// A clock that moves so much against the machine's own has been set.
const CLOCK_STEP_MAX_MS: u64 = 5_000;
/// A time before this is no time at which this program runs: 2024-01-01.
const CLOCK_MIN: UtcMillis = UtcMillis(1_704_067_200_000);
/// Largest file of certificates.
const PEM_BYTES_MAX: u64 = 256 * 1024;

/// What the checks ask.
#[derive(Clone)]
pub struct Parts {
    /// Tells the time.
    pub clock: Clock,
    /// The store's writer.
    pub committer: Committer,
    /// Schedules.
    pub automation: AutomationHandle,
    /// Memory.
    pub memory: MemoryHandle,
    /// Models.
    pub models: Arc<Models>,
    /// Servers of the Model Context Protocol.
    pub skills: SkillsHandle,
    /// Certificates.
    pub authority: Authority,
    /// Room on the disk.
    pub room: Room,
    /// Counts.
    pub telemetry: Telemetry,
    /// Where the gateway is reached by this machine.
    pub gateway: SocketAddr,
    /// Where the operators' listener is.
    pub admin: SocketAddr,
    /// Where the metrics are; none when they are not served.
    pub metrics: Option<Arc<str>>,
    /// The folder of certificates.
    pub tls: std::path::PathBuf,
}

fn good(seen: impl Into<Arc<str>>) -> Verdict {
    Verdict::Good(seen.into())
}

fn failed(why: impl Into<Arc<str>>, action: &str) -> Verdict {
    Verdict::Failed(Finding::new(why, action))
}

/// All checks: of the parts, then those of the configuration.
pub fn checks(parts: Parts, config: &HealthConfig) -> Arc<[Check]> {
    let http = plain_client();
    let mut checks = of_listeners(&parts, &http);
    checks.extend(of_parts(&parts));
    checks.extend(of_machine(&parts));
    let own = config.checks.iter().cloned();
    checks.extend(own.map(|check| check.into_check(&http, &parts.telemetry)));
    checks.into()
}

/// A client that follows nothing and goes through no proxy: what is checked is what was named.
fn plain_client() -> reqwest::Client {
    http_client(|builder| builder).expect("a client with no settings of its own can be made")
}

async fn answers(http: &reqwest::Client, url: &str) -> Verdict {
    match http.get(url).send().await {
        Ok(answer) if answer.status().is_success() => good(format!("it answered {}", answer.status().as_u16())),
        Ok(answer) => failed(
            format!("it answered {}", answer.status().as_u16()),
            "its supervisor restarts it; `openclaw tree` shows how often",
        ),
        Err(error) => failed(
            crate::domain::fault::in_one_line(&error),
            "its supervisor restarts it; `openclaw tree` shows how often",
        ),
    }
}

fn of_listeners(parts: &Parts, http: &reqwest::Client) -> Vec<Check> {
    let ask = |url: String| {
        let http = http.clone();
        move || {
            let (http, url) = (http.clone(), url.clone());
            async move { answers(&http, &url).await }
        }
    };
    let gateway = format!("http://{}/readyz", parts.gateway);
    let mut checks = vec![Check::new("gateway", Severity::Error, ask(gateway))];
    if let Some(address) = &parts.metrics {
        let url = format!("http://{address}/metrics");
        checks.push(Check::new("metrics", Severity::Warning, ask(url)));
    }
    let (admin, tls) = (parts.admin, parts.tls.clone());
    checks.push(Check::new("admin", Severity::Error, move || {
        let tls = tls.clone();
        async move { ask_admin(admin, &tls).await }
    }));
    checks
}

/// Comes as an operator does: with the certificate that was made for the home.
async fn ask_admin(address: SocketAddr, tls: &Path) -> Verdict {
    let action = "`openclaw security check` looks at the listener, `openclaw tls show` at the certificates";
    let trusted = read_at_most(&tls.join("internal.pem"), PEM_BYTES_MAX);
    let own = read_private(&tls.join("operator.pem"));
    let (Ok(trusted), Ok(own)) = (trusted, own) else {
        return failed("the operator's certificate cannot be read", action);
    };
    let config = match client_config(&trusted.unwrap_or_default(), own.as_deref()) {
        Ok(config) => config,
        Err(error) => return failed(crate::domain::fault::in_one_line(&error), action),
    };
    match http_client(|builder| builder.tls_backend_preconfigured(config.clone())) {
        Ok(client) => answers(&client, &format!("https://{address}/openapi.json")).await,
        Err(error) => failed(error.to_string(), action),
    }
}

fn of_parts(parts: &Parts) -> Vec<Check> {
    let committer = parts.committer.clone();
    let store = Check::new("store", Severity::Error, move || {
        let committer = committer.clone();
        async move {
            match committer.barrier().await {
                Ok(()) => good(format!("it commits; {} batches wait", committer.depth())),
                Err(error) => failed(
                    crate::domain::fault::in_one_line(&error),
                    "the process ends after a failed commit and the next one opens the file anew",
                ),
            }
        }
    });
    let automation = parts.automation.clone();
    let schedules = Check::new("schedules", Severity::Error, move || {
        let late = automation.tick_age();
        std::future::ready(match late {
            Some((name, age)) if age > TICK_MAX => failed(
                format!("`{name}` was not looked after for {} s", age.as_secs()),
                "`openclaw cron show` shows it; the watchdog of the service restarts a daemon whose schedules stand",
            ),
            Some((_, age)) => good(format!("looked after {} s ago at most", age.as_secs())),
            None => good("there are none"),
        })
    });
    let memory = parts.memory.clone();
    let memory = Check::new("memory", Severity::Error, move || {
        let memory = memory.clone();
        async move {
            // The global part: a question opens its shard, which reads the store.
            let shard = ShardName {
                scope: MemoryScope::Global,
                namespace: "".into(),
            };
            match memory.query(&shard, Question::new("health"), Check::TIMEOUT).await {
                Ok(_) => good(format!("it answers; {} parts are open", memory.open_count())),
                Err(error) => failed(
                    crate::domain::fault::in_one_line(&error),
                    "`openclaw memory verify` compares indexes and store",
                ),
            }
        }
    });
    let (models, clock) = (parts.models.clone(), parts.clock.clone());
    let models = Check::new("models", Severity::Error, move || {
        // What asking them came to, not a question of its own: that would cost tokens every few minutes.
        let gates = models.gates(clock.now());
        let shut: Vec<String> = gates
            .iter()
            .filter(|(_, gate)| gate.state == "open")
            .map(|(alias, _)| format!("{alias} fails again and again"))
            .collect();
        std::future::ready(if shut.is_empty() {
            good(format!("{} models, none is shut", gates.len()))
        } else {
            failed(
                shut.join("; "),
                "requests go to the fallback, and a probe opens it again by itself; `openclaw doctor --models` asks each",
            )
        })
    });
    let skills = parts.skills.clone();
    let servers = Check::new("mcp", Severity::Warning, move || {
        let reports = skills.mcp().reports();
        let down: Vec<String> = reports
            .iter()
            .filter(|server| matches!(server.state, "failed" | "gave_up"))
            .map(|server| format!("{}: {}", server.name, server.reason.as_deref().unwrap_or("it is down")))
            .collect();
        std::future::ready(if down.is_empty() {
            good(format!("{} servers", reports.len()))
        } else {
            failed(
                down.join("; "),
                "`openclaw mcp test NAME` starts it anew and shows what it says",
            )
        })
    });
    vec![store, schedules, memory, models, servers]
}

fn of_machine(parts: &Parts) -> Vec<Check> {
    let room = parts.room.clone();
    let disk = Check::new("disk", Severity::Error, move || {
        let state = room.state();
        let free = state.disk.free / (1 << 20);
        std::future::ready(if state.is_low {
            failed(
                format!("{free} MiB are free, less than store.minFreeBytes"),
                "new work is refused until there is room; see OC-2020",
            )
        } else {
            good(format!("{free} MiB are free"))
        })
    });
    let (authority, clock) = (parts.authority.clone(), parts.clock.clone());
    let certificates = Check::new("certificates", Severity::Error, move || {
        let left = authority.own_expiry().since(clock.now());
        let hours = left / 3_600_000;
        std::future::ready(if left < EXPIRY_MIN_MS {
            failed(
                format!("the daemon's own certificate ends in {hours} hours"),
                "`openclaw tls renew` makes it anew; it should have been renewed by itself",
            )
        } else {
            good(format!("{hours} hours are left"))
        })
    });
    let clock = parts.clock.clone();
    #[expect(
        clippy::disallowed_methods,
        reason = "the clock is held against the one that nobody can set"
    )]
    let began = (clock.now(), Instant::now());
    let clock = Check::new("clock", Severity::Warning, move || {
        let (wall, own) = began;
        let expected = UtcMillis(wall.0.saturating_add(own.elapsed().as_millis() as u64));
        let now = clock.now();
        let step = now.0.abs_diff(expected.0);
        std::future::ready(if now < CLOCK_MIN {
            failed(
                "it shows a time long before this program was made",
                "set the clock of this machine",
            )
        } else if step > CLOCK_STEP_MAX_MS {
            failed(
                format!("it was set by {} s since the start", step / 1_000),
                "no slot is lost or doubled by it; look why it was set, and restart the daemon to take it as it is",
            )
        } else {
            good("it runs with the machine")
        })
    });
    vec![disk, certificates, clock]
}

/// The ways to people. One that cannot be used is said here, and the others go on.
pub fn channels(config: &[ChannelConfig], stored: &Stored) -> Arc<[Channel]> {
    let secret = |channel: &str, source: &SecretSource| {
        let resolved = source.resolve(|name| std::env::var(name).ok(), stored);
        resolved
            .map_err(|error| tracing::error!(channel, %error, "an alert channel has no secret"))
            .ok()
    };
    let mut channels = Vec::new();
    for ChannelConfig { name, way } in config {
        let way = match way {
            WayConfig::Webhook(url, source) => {
                let key = match source {
                    // Without the secret that was asked for nothing is sent: the receiver would not believe it.
                    Some(source) => match secret(name, source) {
                        Some(key) => Some(key),
                        None => continue,
                    },
                    None => None,
                };
                Way::Webhook(WebhookChannel::new(plain_client(), url.clone(), key.as_deref()))
            }
            WayConfig::Command(argv) => Way::Command(CommandChannel { argv: argv.clone() }),
            WayConfig::Mail {
                server,
                login,
                from,
                to,
            } => {
                let login = match login {
                    Some((user, source)) => match secret(name, source) {
                        Some(password) => Some((user.clone(), password)),
                        None => continue,
                    },
                    None => None,
                };
                match MailChannel::new(server, login, from, to) {
                    Ok(mail) => Way::Mail(mail),
                    Err(reason) => {
                        tracing::error!(channel = %name, %reason, "an alert channel cannot be used");
                        continue;
                    }
                }
            }
        };
        channels.push(Channel {
            name: name.as_str().into(),
            way,
        });
    }
    channels.into()
}

/// The name of this machine, for messages.
pub fn host(home: &Home) -> Arc<str> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        return home.state_dir().display().to_string().into();
    }
    name.into()
}
