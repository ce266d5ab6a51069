//! The checks of the daemon's own parts, and the ways to people, put together from the configuration.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::automation::handle::AutomationHandle;
use crate::domain::memory::{MemoryScope, ShardName};
use crate::domain::time::UtcMillis;
use crate::health::check::{Check, Finding, Severity, Verdict};
use crate::health::export::exporter::{ENDS_MAX, ExportParts};
use crate::identity::audit::AuditLog;
use crate::identity::authority::expiry::Ending;
use crate::llm::registry::Models;
use crate::memory::handle::MemoryHandle;
use crate::memory::question::Question;
use crate::runtime::bus::Bus;
use crate::runtime::clock::{Clock, since_boot_ms};
use crate::runtime::committer::Committer;
use crate::runtime::room::handle::Room;
use crate::runtime::telemetry::Telemetry;
use crate::skills::handle::SkillsHandle;
use crate::storage::store::Store;

use super::alerting::{self, Ways};
use super::ask::{answers, plain_client};
use super::config::Home;
use super::config::health::HealthConfig;
use super::config::model::{SecretSource, Stored};
use super::config::otlp::OtlpConfig;
use super::logging;
use super::rim::{Certificates, Way};

/// A clock that moves so much against the machine's own has been set.
const CLOCK_STEP_MAX_MS: u64 = 5_000;
/// For so long that is told; then the clock is taken as it is.
const CLOCK_STEP_TOLD_MS: u64 = 3_600_000;
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
    pub certificates: Certificates,
    /// The audit log.
    pub audit: AuditLog,
    /// Room on the disk.
    pub room: Room,
    /// Messages on their way.
    pub store: Store,
    /// How people are told.
    pub ways: Ways,
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
    checks.push(alerting::check(
        parts.ways.clone(),
        parts.store.clone(),
        parts.clock.clone(),
    ));
    let own = config.checks.iter().cloned();
    checks.extend(own.map(|check| check.into_check(&http, &parts.telemetry)));
    checks.into()
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
            let (answered, silent) = tokio::join!(
                memory.query(&shard, Question::new("health"), Check::TIMEOUT),
                memory.silent(Check::TIMEOUT / 2)
            );
            match (answered, silent.first()) {
                (Ok(_), Some(one)) => failed(
                    format!(
                        "{} parts do not answer, such as {} {}",
                        silent.len(),
                        one.scope.as_str(),
                        one.namespace
                    ),
                    "a large part may be read or searched just now; `openclaw tree` shows it, and \
                     `openclaw actor restart PATH` begins it anew from the store",
                ),
                (Ok(_), None) => good(format!("it answers; {} parts are open", memory.open_count())),
                (Err(error), _) => failed(
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
    let (certificates, clock) = (parts.certificates.clone(), parts.clock.clone());
    let certificates = Check::new("certificates", Severity::Error, move || {
        std::future::ready(judge(&certificates.endings(), clock.now()))
    });
    vec![
        disk,
        certificates,
        audit_check(parts.audit.clone()),
        clock_check(Clock::system(), since_boot_ms),
    ]
}

/// Whether a certificate ends, or has ended, for which somebody has to do something. The next one comes first.
fn judge(endings: &[Ending], now: UtcMillis) -> Verdict {
    let told = |ending: &Ending| {
        let hours = ending.left_ms(now) / 3_600_000;
        let (of, kind) = (&ending.of, ending.kind.as_str());
        if ending.not_after <= now {
            format!("the certificate of {of} ({kind}) ended {} hours ago", hours.abs())
        } else {
            format!("the certificate of {of} ({kind}) ends in {hours} hours")
        }
    };
    let mut near = endings.iter().filter(|ending| ending.is_near(now));
    match near.next() {
        Some(first) => {
            let why: Vec<String> = std::iter::once(first).chain(near).map(told).collect();
            failed(why.join("; "), first.kind.action())
        }
        None => good(endings.first().map_or_else(String::new, told)),
    }
}

/// Whether the audit log ends where its checkpoints do.
fn audit_check(audit: AuditLog) -> Check {
    Check::new("audit", Severity::Error, move || {
        let audit = audit.clone();
        async move {
            // It reads a file and a row.
            match tokio::task::spawn_blocking(move || audit.doubt()).await {
                Ok(Ok(None)) => good("its last row is sealed"),
                Ok(Ok(Some(broken))) => failed(
                    format!("row {}: {}", broken.seq, broken.what),
                    "`openclaw audit --verify` reads the whole log; the lines `audit checkpoint` in the daemon's log \
                     tell what was there",
                ),
                Ok(Err(error)) => failed(
                    crate::domain::fault::in_one_line(&error),
                    "look at `audit.checkpoints` in the state folder; changes are made, and not sealed",
                ),
                Err(_) => failed("it crashed", "this is a bug; the log of the daemon says where"),
            }
        }
    })
}

/// The wall clock held against the machine's own, which counts while the machine sleeps too: a lid that was closed sets
/// no clock.
struct ClockWatch {
    /// Both at one moment; the machine's own in milliseconds since it was switched on.
    began: (UtcMillis, u64),
    /// Since when the wall clock shows another time than it should, by the machine's own.
    stepped_at: Option<u64>,
}

impl ClockWatch {
    /// By how much the wall clock was set, in milliseconds. After a while what it shows is taken as it is.
    fn step_ms(&mut self, wall: UtcMillis, own: u64) -> u64 {
        let (then, began) = self.began;
        let expected = then.plus_ms(own.saturating_sub(began));
        let step = wall.0.abs_diff(expected.0);
        if step <= CLOCK_STEP_MAX_MS {
            self.stepped_at = None;
            return 0;
        }
        let since = *self.stepped_at.get_or_insert(own);
        if own.saturating_sub(since) < CLOCK_STEP_TOLD_MS {
            return step;
        }
        *self = Self {
            began: (wall, own),
            stepped_at: None,
        };
        0
    }
}

/// Whether the wall clock runs with the machine's own. It has to be the wall clock itself: one that takes the jumps out
/// of it has none to show.
fn clock_check(wall: Clock, own_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Check {
    let watch = Arc::new(Mutex::new(ClockWatch {
        began: (wall.now(), own_ms()),
        stepped_at: None,
    }));
    Check::new("clock", Severity::Warning, move || {
        let now = wall.now();
        // What a panic of another holder could leave is whole.
        let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
        let step_ms = watch.step_ms(now, own_ms());
        std::future::ready(if now < CLOCK_MIN {
            failed(
                "it shows a time long before this program was made",
                "set the clock of this machine",
            )
        } else if step_ms > 0 {
            failed(
                format!("it was set by {} s", step_ms / 1_000),
                "no slot is lost or doubled by it; look why it was set; after an hour it is taken as it is",
            )
        } else {
            good("it runs with the machine")
        })
    })
}

/// What a collector is told, where one is configured. Without the header that was asked for nothing is sent.
pub fn collector(config: Option<&OtlpConfig>, stored: &Stored, bus: &Bus) -> Option<ExportParts> {
    let config = config?;
    let resolve = |source: &SecretSource| source.resolve(|name| std::env::var(name).ok(), stored);
    let authorization = config.authorization.as_ref().map(resolve).transpose();
    let authorization = authorization
        .map_err(|error| tracing::error!(%error, "the collector is told nothing: its authorization is missing"))
        .ok()?;
    Some(ExportParts {
        client: plain_client(),
        endpoint: config.endpoint.as_str().into(),
        authorization: authorization.map(Into::into),
        ends: Arc::new(Mutex::new(bus.ends(ENDS_MAX))),
        // Whoever starts the log in another way than the daemon's command has no lines to tell.
        lines: logging::told().unwrap_or_default(),
    })
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
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::identity::authority::expiry::CertificateKind;

    #[test]
    fn a_certificate_that_ends_or_has_ended_is_told_with_what_to_do_and_one_that_has_time_is_not() {
        const HOUR: u64 = 3_600_000;
        let now = UtcMillis(100_000 * HOUR);
        let ending = |kind: CertificateKind, life: u64, ends: u64| Ending {
            kind,
            of: "x".into(),
            not_before: UtcMillis((ends - life) * HOUR),
            not_after: UtcMillis(ends * HOUR),
        };
        let check = |endings: &[Ending], expected: Result<&str, (&str, &str)>| match (judge(endings, now), expected) {
            (Verdict::Good(seen), Ok(expected)) => assert_eq!(&*seen, expected),
            (Verdict::Failed(found), Err((why, action))) => {
                assert_eq!(&*found.why, why);
                assert!(found.action.contains(action), "{}", found.action);
            }
            (judged, _) => panic!("{expected:?} became {judged:?}"),
        };
        let own = ending(CertificateKind::Own, 24, 100_009);
        check(
            std::slice::from_ref(&own),
            Ok("the certificate of x (own) ends in 9 hours"),
        );
        let late = ending(CertificateKind::Own, 24, 100_003);
        check(
            &[late],
            Err(("the certificate of x (own) ends in 3 hours", "tls renew")),
        );
        let issued = ending(CertificateKind::Issued, 720, 99_990);
        let files = ending(CertificateKind::Files, 2_160, 100_300);
        check(
            &[issued, own.clone(), files],
            Err((
                "the certificate of x (issued) ended 10 hours ago; the certificate of x (files) ends in 300 hours",
                "tls issue",
            )),
        );
        let authority = ending(CertificateKind::Authority, 43_920, 102_000);
        check(
            &[own, authority],
            Err(("the certificate of x (authority) ends in 2000 hours", "tls rotate")),
        );
    }

    #[test]
    fn a_wall_clock_that_is_set_is_told_for_an_hour_and_one_that_runs_is_not() {
        let began = (UtcMillis(CLOCK_MIN.0 + 1_000_000), 5_000);
        let mut watch = ClockWatch {
            began,
            stepped_at: None,
        };
        for (passed_s, step_s, wanted_s) in [
            (0_u32, 0_i64, 0_u64),
            (60, 4, 0),
            (120, 60, 60),
            (120, -60, 60),
            // Set right again.
            (120, 0, 0),
            (121, 60, 60),
            (3_720, 60, 60),
            (3_721, 60, 0),
            (9_999, 60, 0),
            // Now that is the jump.
            (9_999, 0, 60),
        ] {
            let shown = began.0.0.cast_signed() + (i64::from(passed_s) + step_s) * 1_000;
            let own = began.1 + u64::from(passed_s) * 1_000;
            let found = watch.step_ms(UtcMillis(shown.cast_unsigned()), own);
            assert_eq!(found / 1_000, wanted_s, "after {passed_s} s, by {step_s} s");
        }
    }

    #[tokio::test]
    async fn a_time_before_this_program_and_a_step_are_failures() {
        let wall = Clock::manual(UtcMillis(CLOCK_MIN.0 + 1_000_000));
        let check = clock_check(wall.clone(), || 7);
        assert!(matches!(check.make().await, Verdict::Good(_)));
        for (at, expected) in [
            (CLOCK_MIN.0 + 1_060_000, "it was set by 60 s"),
            (CLOCK_MIN.0 - 1, "it shows a time long before this program was made"),
        ] {
            wall.set(UtcMillis(at));
            let Verdict::Failed(found) = check.make().await else {
                panic!("{at} was taken for good");
            };
            assert_eq!(&*found.why, expected);
        }
    }

    #[tokio::test]
    async fn a_machine_that_has_slept_has_set_no_clock() {
        let wall = Clock::manual(UtcMillis(CLOCK_MIN.0 + 1_000_000));
        let own = Arc::new(AtomicU64::new(7_000));
        let told = own.clone();
        let check = clock_check(wall.clone(), move || told.load(Ordering::Relaxed));
        assert!(matches!(check.make().await, Verdict::Good(_)));
        // Eight hours, in which nothing of this process moved.
        let slept_ms = 8 * 3_600_000;
        wall.set(wall.now().plus_ms(slept_ms));
        own.fetch_add(slept_ms, Ordering::Relaxed);
        let found = check.make().await;
        assert!(matches!(found, Verdict::Good(_)), "{found:?}");
    }
}
