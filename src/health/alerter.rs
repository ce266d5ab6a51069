//! Looks at incidents, writes what people have to be told, and sees to it that it arrives.
//!
//! Supervised by `health` (permanent). It holds nothing that the store does not have but which messages are being sent;
//! a crash sends those again, under the same id.

use std::ops::ControlFlow;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::TaskExit;
use tokio::time::Instant;

use crate::domain::alert::Delivery;
use crate::domain::id::AlertId;
use crate::domain::incident::IncidentChange;
use crate::domain::time::UtcMillis;
use crate::runtime::telemetry::{ALERTS, INCIDENTS_OPEN};
use crate::runtime::timer::Timer;
use crate::storage::batch::{Batch, Op};
use crate::storage::error::StoreError;

use super::alerts::decision::{Look, Telling};
use super::alerts::message::compose;
use super::alerts::outbox::{Sending, backoff_ms, is_given_up, next, place};
use super::parts::HealthInside;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// And so many times what the last look took, so that hundreds of thousands of open incidents keep no core busy.
const LOOK_SHARE: u32 = 20;
/// Incidents that are told, and that are ended, by one look; the next one goes on.
const AT_ONCE_MAX: usize = 1_000;
/// Messages that are looked at: those that wait for a hundred channels.
const DELIVERIES_MAX: usize = 1_000;
/// Messages that are being sent at once.
pub const SENDING_MAX: usize = 16;
/// Longest time of one try.
const TRY_MAX: Duration = Duration::from_secs(30);
/// How often old incidents are removed.
const TRIM_EVERY_MS: u64 = 3_600 * 1_000;

/// What the alerter is told.
#[derive(Debug)]
pub enum AlerterMessage {
    /// Look.
    LookDue,
    /// A try has ended.
    Tried {
        /// Which message.
        delivery: Box<Delivery>,
        /// Why it did not arrive; none when it did.
        failure: Option<String>,
    },
}

/// The actor.
pub struct Alerter {
    /// What it shares with its layer.
    pub inside: HealthInside,
}

/// What it holds.
pub struct AlerterState {
    sending: Sending,
    trimmed_at: UtcMillis,
    timer: Timer,
}

impl Actor for Alerter {
    type Msg = AlerterMessage;
    type State = AlerterState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<AlerterMessage>, (): ()) -> Result<AlerterState, ActorProcessingErr> {
        Ok(AlerterState {
            sending: Sending::new(),
            trimmed_at: self.inside.parts.clock.now(),
            timer: Timer::after(&myself, LOOK_EVERY, || AlerterMessage::LookDue),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<AlerterMessage>,
        message: AlerterMessage,
        state: &mut AlerterState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AlerterMessage::LookDue => {
                let took = self.tell(state).await?;
                self.send(&myself, state)?;
                self.trim(state).await?;
                let wait = LOOK_EVERY.max(took * LOOK_SHARE);
                state.timer = Timer::after(&myself, wait, || AlerterMessage::LookDue);
            }
            AlerterMessage::Tried { delivery, failure } => {
                state.sending.remove(&delivery.id);
                self.tried(*delivery, failure).await?;
                self.send(&myself, state)?;
            }
        }
        Ok(())
    }
}

impl Alerter {
    /// Writes what has to be told, and settles what needs no word. Gives how long it looked.
    async fn tell(&self, state: &AlerterState) -> Result<Duration, ActorProcessingErr> {
        let parts = &self.inside.parts;
        let now = parts.clock.now();
        let (store, policy) = (parts.store.clone(), parts.policy);
        let began = Instant::now();
        let looked = tokio::task::spawn_blocking(move || {
            let mut look = Look::new(policy, now, AT_ONCE_MAX);
            store.each_unsettled(&mut |(incident, state)| {
                look.see(incident, state);
                ControlFlow::Continue(())
            })?;
            Ok::<_, StoreError>(look)
        });
        let mut look = looked.await??;
        let took = began.elapsed();
        self.measure(&look);
        let mut ops = Vec::new();
        for id in look.quiet.drain(..) {
            let how = "it did not happen again".into();
            ops.push(Op::IncidentChange(id, IncidentChange::Resolved { at: now, how }));
        }
        for id in look.settled.drain(..) {
            ops.push(Op::IncidentChange(id, IncidentChange::EndTold));
        }
        let told = look.due();
        if !parts.channels.is_empty() && !told.is_empty() {
            let message = compose(&told, &parts.host, now);
            let waiting = parts.store.deliveries(DELIVERIES_MAX)?;
            for channel in parts.channels.iter() {
                let new = Delivery {
                    id: AlertId::new(now, parts.entropy.u128()),
                    channel: channel.name.clone(),
                    subject: message.subject.as_str().into(),
                    body: message.body.as_str().into(),
                    made_at: now,
                    attempts: 0,
                    next_at: now,
                };
                let placed = place(&waiting, &state.sending, new, &parts.host);
                ops.extend(placed.instead_of.into_iter().map(Op::DeliveryDrop));
                ops.push(Op::DeliveryPut(placed.put));
            }
            for (incident, _, telling) in told {
                let change = match telling {
                    Telling::Ended => IncidentChange::EndTold,
                    Telling::Began | Telling::Again => IncidentChange::Alerted { at: now },
                };
                ops.push(Op::IncidentChange(incident.id, change));
            }
        }
        if !ops.is_empty() {
            parts.committer.commit(Batch::ops(ops)).await?;
        }
        Ok(took)
    }

    fn measure(&self, look: &Look) {
        for severity in ["warning", "error"] {
            let gauge = self.inside.parts.telemetry.gauge(&INCIDENTS_OPEN, &[severity]);
            gauge.set(look.open.get(severity).copied().unwrap_or_default() as f64);
        }
    }

    /// Sends what is due and is not being sent.
    fn send(&self, myself: &ActorRef<AlerterMessage>, state: &mut AlerterState) -> Result<(), ActorProcessingErr> {
        let parts = &self.inside.parts;
        let now = parts.clock.now();
        let waiting = parts.store.deliveries(DELIVERIES_MAX)?;
        for delivery in next(waiting, &state.sending, now, SENDING_MAX) {
            let channel = parts
                .channels
                .iter()
                .find(|channel| channel.name == delivery.channel)
                .cloned();
            let (told, of) = (myself.clone(), delivery.clone());
            let sending = async move {
                let Some(channel) = channel else {
                    return Some("there is no such channel any more".to_owned());
                };
                match tokio::time::timeout(TRY_MAX, channel.send(&of, now.seconds())).await {
                    Ok(sent) => sent.err().map(|error| error.to_string()),
                    Err(_) => Some(format!("no answer in {} s", TRY_MAX.as_secs())),
                }
            };
            state.sending.insert(delivery.id, delivery.channel.clone());
            self.inside.sending.spawn("send an alert", sending, move |exit| {
                let failure = match exit {
                    TaskExit::Done(failure) => failure,
                    TaskExit::Panicked(_) | TaskExit::Cancelled => Some("the sending crashed".into()),
                };
                let delivery = Box::new(delivery);
                told.cast(AlerterMessage::Tried { delivery, failure }).ok();
            })?;
        }
        Ok(())
    }

    async fn tried(&self, delivery: Delivery, failure: Option<String>) -> Result<(), ActorProcessingErr> {
        let parts = &self.inside.parts;
        let now = parts.clock.now();
        let is_known = parts.channels.iter().any(|channel| channel.name == delivery.channel);
        let attempts = delivery.attempts.saturating_add(1);
        let outcome = match &failure {
            None => "arrived",
            Some(_) if !is_known || is_given_up(delivery.made_at, attempts, now) => "given_up",
            Some(_) => "failed",
        };
        if is_known {
            parts
                .telemetry
                .counter(&ALERTS, &[&delivery.channel, outcome])
                .increment(1);
        }
        let op = match (failure, outcome) {
            (None, _) => Op::DeliveryDrop(delivery.id),
            (Some(why), "given_up") => {
                tracing::error!(alert = %delivery.id, channel = %delivery.channel, %why, "an alert is given up");
                Op::DeliveryDrop(delivery.id)
            }
            (Some(why), _) => {
                tracing::warn!(alert = %delivery.id, channel = %delivery.channel, attempts, %why, "an alert did not arrive");
                Op::DeliveryPut(Delivery {
                    attempts,
                    next_at: now.plus_ms(backoff_ms(attempts)),
                    ..delivery
                })
            }
        };
        parts.committer.commit(Batch::ops(vec![op])).await?;
        Ok(())
    }

    async fn trim(&self, state: &mut AlerterState) -> Result<(), ActorProcessingErr> {
        let parts = &self.inside.parts;
        let now = parts.clock.now();
        if now.since(state.trimmed_at) < TRIM_EVERY_MS {
            return Ok(());
        }
        state.trimmed_at = now;
        let before = UtcMillis(now.0.saturating_sub(parts.keep_ms));
        parts
            .committer
            .commit(Batch::ops(vec![Op::IncidentsDrop(before)]))
            .await?;
        Ok(())
    }
}
