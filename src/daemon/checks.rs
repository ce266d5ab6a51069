//! The checks of the daemon's own parts, and the ways to people, put together from the configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::automation::handle::AutomationHandle;
use crate::domain::memory::{MemoryScope, ShardName};
use crate::domain::time::UtcMillis;
use crate::health::alerts::channel::{Channel, Way as AlertWay};
use crate::health::alerts::command::CommandChannel;
use crate::health::alerts::mail::MailChannel;
use crate::health::alerts::webhook::WebhookChannel;
use crate::health::check::{Check, Finding, Severity, Verdict};
use crate::identity::authority::handle::Authority;
use crate::llm::registry::Models;
use crate::memory::handle::MemoryHandle;
use crate::memory::question::Question;
use crate::runtime::clock::Clock;
use crate::runtime::committer::Committer;
use crate::runtime::room::handle::Room;
use crate::runtime::telemetry::Telemetry;
use crate::runtime::tls::http_client;
use crate::skills::handle::SkillsHandle;

use super::ask::answers;
use super::config::Home;
use super::config::health::{ChannelConfig, HealthConfig, WayConfig};
use super::config::model::{SecretSource, Stored};
use super::rim::Way;

/// A certificate that ends sooner has not been renewed when it should have been: it lives a day and is renewed after
/// two thirds of it.
const EXPIRY_MIN_MS: u64 = 4 * 3_600 * 1_000;
/// A clock that moves so much against the machine's own has been set.
const CLOCK_STEP_MAX_MS: u64 = 5_000;
/// A time before this is no time at which this program runs: 2024-01-01.
const CLOCK_MIN: UtcMillis = UtcMillis(1_704_067_200_000);

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
    /// How this machine reaches the gateway.
    pub gateway: Way,
    /// The operators' listener.
    pub admin: Way,
    /// Where the metrics are; none when they are not served.
    pub metrics: Option<SocketAddr>,
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
    let mut checks = of_listeners(&parts);
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

/// Asks a listener of this program as its clients do.
fn asks(name: &'static str, severity: Severity, way: Way, path: &'static str, action: &'static str) -> Check {
    Check::new(name, severity, move || {
        let way = way.clone();
        async move {
            match answers(way, path).await {
                Ok(()) => good("it answered 200"),
                Err(why) => failed(why, action),
            }
        }
    })
}

fn of_listeners(parts: &Parts) -> Vec<Check> {
    const RESTARTED: &str = "its supervisor restarts it; `openclaw tree` shows how often";
    const OPERATORS: &str = "`openclaw security check` looks at the listener, `openclaw tls show` at the certificates";
    let gateway = parts.gateway.clone();
    let mut checks = vec![asks("gateway", Severity::Error, gateway, "/readyz", RESTARTED)];
    if let Some(address) = parts.metrics {
        let metrics = Way { address, tls_dir: None };
        checks.push(asks("metrics", Severity::Warning, metrics, "/metrics", RESTARTED));
    }
    let admin = parts.admin.clone();
    checks.push(asks("admin", Severity::Error, admin, "/openapi.json", OPERATORS));
    checks
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
        std::future::ready(match (automation.late(), automation.tick_age()) {
            (Some((name, age)), _) => failed(
                format!("`{name}` was not looked after for {} s", age.as_secs()),
                "`openclaw cron show` shows it; the watchdog of the service restarts a daemon whose schedules stand",
            ),
            (None, Some((_, age))) => good(format!("looked after {} s ago at most", age.as_secs())),
            (None, None) => good("there are none"),
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
    vec![disk, certificates, clock_check(Clock::system())]
}

/// Whether the wall clock runs with the machine's own. It has to be the wall clock itself: one that takes the jumps out
/// of it has none to show.
fn clock_check(wall: Clock) -> Check {
    #[expect(
        clippy::disallowed_methods,
        reason = "the clock is held against the one that nobody can set"
    )]
    let began = (wall.now(), Instant::now());
    Check::new("clock", Severity::Warning, move || {
        let (then, own) = began;
        let expected = UtcMillis(then.0.saturating_add(own.elapsed().as_millis() as u64));
        let now = wall.now();
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
    })
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
                AlertWay::Webhook(WebhookChannel::new(plain_client(), url.clone(), key.as_deref()))
            }
            WayConfig::Command(argv) => AlertWay::Command(CommandChannel { argv: argv.clone() }),
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
                    Ok(mail) => AlertWay::Mail(mail),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wall_clock_that_is_set_is_told_and_one_that_runs_is_not() {
        let wall = Clock::manual(UtcMillis(CLOCK_MIN.0 + 1_000_000));
        let check = clock_check(wall.clone());
        assert!(matches!(check.make().await, Verdict::Good(_)));
        for (at, expected) in [
            (CLOCK_MIN.0 + 1_060_000, "it was set by 60 s since the start"),
            (CLOCK_MIN.0 + 940_000, "it was set by 60 s since the start"),
            (CLOCK_MIN.0 - 1, "it shows a time long before this program was made"),
        ] {
            wall.set(UtcMillis(at));
            let Verdict::Failed(found) = check.make().await else {
                panic!("{at} was taken for good");
            };
            assert_eq!(&*found.why, expected);
        }
    }
}
