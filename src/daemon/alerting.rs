//! The ways to people, put together from the configuration, and the check that they can be gone.

use std::sync::Arc;

use crate::domain::alert::Delivery;
use crate::domain::fault::in_one_line;
use crate::domain::time::UtcMillis;
use crate::health::alerts::channel::{Channel, Way};
use crate::health::alerts::command::CommandChannel;
use crate::health::alerts::mail::MailChannel;
use crate::health::alerts::webhook::WebhookChannel;
use crate::health::check::{Check, Finding, Severity, Verdict};
use crate::runtime::clock::Clock;
use crate::storage::store::Store;

use super::ask::plain_client;
use super::config::health::{ChannelConfig, WayConfig};
use super::config::model::{SecretSource, Stored};

/// Messages that are looked at.
const DELIVERIES_MAX: usize = 1_000;
/// A message that was tried so often in vain is no slow one: half a minute has passed.
const TRIES_MAX: u32 = 5;
/// Nor is one that waits for so long, in milliseconds, however often it was tried.
const WAITS_MAX_MS: u64 = 10 * 60_000;

/// The ways to people.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// Those that can be gone.
    pub channels: Arc<[Channel]>,
    /// Those that cannot: their names, and why.
    pub unusable: Arc<[(Arc<str>, Arc<str>)]>,
}

/// Puts the ways together. One that cannot be used is told, and the others go on.
pub fn ways(config: &[ChannelConfig], stored: &Stored) -> Ways {
    let (mut channels, mut unusable) = (Vec::new(), Vec::new());
    for ChannelConfig { name, way } in config {
        match usable(way, stored) {
            Ok(way) => channels.push(Channel {
                name: name.as_str().into(),
                way,
            }),
            Err(reason) => {
                tracing::error!(channel = %name, %reason, "an alert channel cannot be used");
                unusable.push((name.as_str().into(), reason.into()));
            }
        }
    }
    Ways {
        channels: channels.into(),
        unusable: unusable.into(),
    }
}

/// Without the secret that was asked for nothing is sent: the receiver would not believe it.
fn usable(way: &WayConfig, stored: &Stored) -> Result<Way, String> {
    let secret = |source: &SecretSource| {
        let resolved = source.resolve(|name| std::env::var(name).ok(), stored);
        resolved.map_err(|error| in_one_line(&error))
    };
    match way {
        WayConfig::Webhook(url, source) => {
            let key = source.as_ref().map(secret).transpose()?;
            let webhook = WebhookChannel::new(plain_client(), url.clone(), key.as_deref());
            Ok(Way::Webhook(webhook))
        }
        WayConfig::Command(argv) => Ok(Way::Command(CommandChannel { argv: argv.clone() })),
        WayConfig::Mail {
            server,
            login,
            from,
            to,
        } => {
            let login = match login {
                Some((user, source)) => Some((user.clone(), secret(source)?)),
                None => None,
            };
            let mail = MailChannel::new(server, login, from, to)?;
            Ok(Way::Mail(mail))
        }
    }
}

/// Whether people would be told.
pub fn check(ways: Ways, store: Store, clock: Clock) -> Check {
    Check::new("alerts", Severity::Error, move || {
        let verdict = match store.deliveries(DELIVERIES_MAX) {
            Ok(waiting) => judge(&ways, &waiting, clock.now()),
            Err(error) => Verdict::Failed(Finding::new(
                in_one_line(&error),
                "`openclaw store verify` reads every row",
            )),
        };
        std::future::ready(verdict)
    })
}

fn judge(ways: &Ways, waiting: &[Delivery], now: UtcMillis) -> Verdict {
    let unusable = ways.unusable.iter();
    let mut wrong: Vec<String> = unusable
        .map(|(name, why)| format!("`{name}` cannot be used: {why}"))
        .collect();
    for channel in ways.channels.iter() {
        let own: Vec<&Delivery> = waiting.iter().filter(|waits| waits.channel == channel.name).collect();
        let stuck = |waits: &&&Delivery| waits.attempts >= TRIES_MAX || now.since(waits.made_at) >= WAITS_MAX_MS;
        if let Some(oldest) = own.iter().find(stuck) {
            wrong.push(format!(
                "`{}` takes nothing: {} messages wait, the oldest for {} s, tried {} times",
                channel.name,
                own.len(),
                now.since(oldest.made_at) / 1_000,
                oldest.attempts,
            ));
        }
    }
    if wrong.is_empty() {
        let (channels, waiting) = (ways.channels.len(), waiting.len());
        return Verdict::Good(format!("{channels} channels, {waiting} messages on their way").into());
    }
    Verdict::Failed(Finding::new(
        wrong.join("; "),
        "`openclaw incident list --open` shows what they would tell; look at health.alerts, and start the daemon anew \
         after a change of it or of a secret",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::AlertId;

    #[test]
    fn a_channel_that_cannot_be_used_or_takes_nothing_is_told_and_a_slow_one_is_not() {
        let channel = |name: &str| Channel {
            name: name.into(),
            way: Way::Command(CommandChannel { argv: Vec::new() }),
        };
        let now = UtcMillis(100 * WAITS_MAX_MS);
        let check = |unusable: &[(&str, &str)], waiting: &[(&str, u32, u64)], wanted: Result<&str, &str>| {
            let ways = Ways {
                channels: [channel("mail"), channel("hook")].into(),
                unusable: unusable.iter().map(|&(name, why)| (name.into(), why.into())).collect(),
            };
            let waiting: Vec<Delivery> = waiting
                .iter()
                .map(|&(channel, attempts, age_ms)| Delivery {
                    id: AlertId::new(now, u128::from(age_ms)),
                    channel: channel.into(),
                    subject: "".into(),
                    body: "".into(),
                    made_at: UtcMillis(now.0 - age_ms),
                    attempts,
                    next_at: now,
                })
                .collect();
            let found = match judge(&ways, &waiting, now) {
                Verdict::Good(seen) => Ok(seen),
                Verdict::Failed(finding) => Err(finding.why),
            };
            assert_eq!(found.as_deref().map_err(|why| &**why), wanted);
        };
        check(&[], &[], Ok("2 channels, 0 messages on their way"));
        check(&[], &[("mail", 4, 30_000)], Ok("2 channels, 1 messages on their way"));
        check(
            &[],
            &[("mail", 5, 30_000), ("mail", 0, 1_000), ("hook", 0, 1_000)],
            Err("`mail` takes nothing: 2 messages wait, the oldest for 30 s, tried 5 times"),
        );
        check(
            &[("chat", "the variable X is not set")],
            &[("hook", 0, WAITS_MAX_MS), ("gone", 9, WAITS_MAX_MS)],
            Err(
                "`chat` cannot be used: the variable X is not set; `hook` takes nothing: 1 messages wait, the oldest \
                 for 600 s, tried 0 times",
            ),
        );
    }
}
