//! Makes every check at an interval, and keeps incidents in step with what they say.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::TaskExit;
use tokio::sync::oneshot;

use crate::domain::id::IncidentId;
use crate::domain::incident::{Incident, IncidentChange};
use crate::domain::time::UtcMillis;
use crate::runtime::telemetry::HEALTH_UP;
use crate::runtime::timer::Timer;
use crate::storage::batch::{Batch, Op};

use super::check::{Check, Verdict};
use super::decision::{Checks, Effect};
use super::parts::HealthInside;
use super::round::{CheckView, LastRound, RoundView};

/// The first round comes when everything had time to start.
const FIRST_AFTER: Duration = Duration::from_secs(5);
/// A failure that is no incident yet is asked again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Rounds that may wait for the one under way.
const ASKED_MAX: usize = 64;

/// What the checker is told.
#[derive(Debug)]
pub enum CheckerMessage {
    /// Somebody wants a round now.
    RoundAsked {
        /// Where it is said.
        reply: oneshot::Sender<RoundView>,
    },
    /// The checks of a round have been made.
    RoundMade {
        /// What was checked.
        checks: Arc<[Check]>,
        /// Each with its verdict and how long it took, in milliseconds.
        made: Vec<(usize, Verdict, u64)>,
    },
    /// The configuration says what is checked, and how often.
    CheckingChanged,
    /// The interval has passed.
    RoundDue,
}

/// The actor.
pub struct Checker {
    /// What it shares with its layer.
    pub inside: HealthInside,
    /// Where it says what it found.
    pub last: LastRound,
}

/// What it holds.
pub struct CheckerState {
    checks: Checks,
    running: bool,
    /// Whether what is checked has changed during the round under way.
    changed: bool,
    asked: Vec<oneshot::Sender<RoundView>>,
    timer: Option<Timer>,
}

/// What an incident of a check is called.
fn fingerprint(check: &str) -> Arc<str> {
    format!("check:{check}").into()
}

impl Actor for Checker {
    type Msg = CheckerMessage;
    type State = CheckerState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<CheckerMessage>, (): ()) -> Result<CheckerState, ActorProcessingErr> {
        let checks = self.known().await?;
        let first = FIRST_AFTER.min(self.interval());
        Ok(CheckerState {
            checks,
            running: false,
            changed: false,
            asked: Vec::new(),
            timer: Some(Timer::after(&myself, first, || CheckerMessage::RoundDue)),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<CheckerMessage>,
        message: CheckerMessage,
        state: &mut CheckerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CheckerMessage::RoundAsked { reply } => {
                if state.asked.len() < ASKED_MAX {
                    // Whoever finds no place sees that nobody answers.
                    state.asked.push(reply);
                }
                self.begin(&myself, state)?;
            }
            CheckerMessage::RoundDue => self.begin(&myself, state)?,
            CheckerMessage::CheckingChanged if state.running => state.changed = true,
            CheckerMessage::CheckingChanged => self.begin_anew(&myself, state).await?,
            CheckerMessage::RoundMade { checks, made } => {
                state.running = false;
                let round = self.ended(state, &checks, made).await?;
                for reply in state.asked.drain(..) {
                    // Whoever asked may have stopped waiting.
                    reply.send(round.clone()).ok();
                }
                if std::mem::take(&mut state.changed) {
                    return self.begin_anew(&myself, state).await;
                }
                let next = if state.checks.is_doubtful() {
                    AGAIN_AFTER.min(self.interval())
                } else {
                    self.interval()
                };
                state.timer = Some(Timer::after(&myself, next, || CheckerMessage::RoundDue));
            }
        }
        Ok(())
    }
}

impl Checker {
    fn interval(&self) -> Duration {
        self.inside.parts.checking.load().interval
    }

    /// Goes on with other checks: a round is made at once, and incidents of checks that are gone end.
    async fn begin_anew(
        &self,
        myself: &ActorRef<CheckerMessage>,
        state: &mut CheckerState,
    ) -> Result<(), ActorProcessingErr> {
        state.checks = self.known().await?;
        self.begin(myself, state)
    }

    /// What is known of the checks that there are: their open incidents. Those of others end.
    async fn known(&self) -> Result<Checks, ActorProcessingErr> {
        let parts = &self.inside.parts;
        let checking = parts.checking.load_full();
        let open = parts.store.open_incidents_under("check:")?;
        let of_checks = open.into_iter().map(|(check, incident, _)| (check, incident));
        let mut checks = Checks::new(checking.failures, of_checks);
        let made: Vec<Arc<str>> = checking.checks.iter().map(|check| check.name.clone()).collect();
        let at = parts.clock.now();
        let left = checks.left(&made).into_iter().map(|id| {
            let how = "it is checked no more".into();
            Op::IncidentChange(id, IncidentChange::Resolved { at, how })
        });
        let left: Vec<Op> = left.collect();
        if !left.is_empty() {
            parts.committer.commit(Batch::ops(left)).await?;
        }
        Ok(checks)
    }

    fn begin(&self, myself: &ActorRef<CheckerMessage>, state: &mut CheckerState) -> Result<(), ActorProcessingErr> {
        if state.running {
            return Ok(());
        }
        let (checks, clock) = (
            self.inside.parts.checking.load().checks.clone(),
            self.inside.parts.clock.clone(),
        );
        let checked = checks.clone();
        let making = async move {
            let each = checks.iter().enumerate().map(|(index, check)| {
                let clock = clock.clone();
                async move {
                    let began = clock.now();
                    let verdict = check.make().await;
                    (index, verdict, clock.now().since(began))
                }
            });
            futures_util::future::join_all(each).await
        };
        let told = myself.clone();
        self.inside.checking.spawn("a round of checks", making, move |exit| {
            // A round that could not be made says nothing; what the last one said stays, and the next one is made.
            let made = match exit {
                TaskExit::Done(made) => made,
                TaskExit::Panicked(_) | TaskExit::Cancelled => Vec::new(),
            };
            told.cast(CheckerMessage::RoundMade { checks: checked, made }).ok();
        })?;
        state.running = true;
        state.timer = None;
        Ok(())
    }

    async fn ended(
        &self,
        state: &mut CheckerState,
        checks: &[Check],
        made: Vec<(usize, Verdict, u64)>,
    ) -> Result<RoundView, ActorProcessingErr> {
        let parts = &self.inside.parts;
        if made.is_empty() && !checks.is_empty() {
            return Ok(self.last.lock().unwrap_or_else(PoisonError::into_inner).clone());
        }
        let now = parts.clock.now();
        let mut ops = Vec::new();
        let mut opened = Vec::new();
        for (index, verdict, _) in &made {
            let check = &checks[*index];
            let up = parts.telemetry.gauge(&HEALTH_UP, &[&check.name]);
            up.set(f64::from(u8::from(matches!(verdict, Verdict::Good(_)))));
            match state.checks.made(&check.name, verdict, now) {
                Some(Effect::Open { check: name, finding }) => {
                    let incident = Incident {
                        id: IncidentId::new(now, parts.entropy.u128()),
                        at: now,
                        severity: check.severity.as_str().into(),
                        what: format!("the check `{name}` fails").into(),
                        why: finding.why.clone(),
                        action: finding.action,
                        run: None,
                    };
                    let named = IncidentChange::Named {
                        fingerprint: fingerprint(&name),
                        evidence: finding.why,
                        quiet_ms: None,
                    };
                    opened.push((name, incident.id));
                    let id = incident.id;
                    ops.extend([Op::IncidentOpen(incident), Op::IncidentChange(id, named)]);
                }
                Some(Effect::Seen { incident, why }) => {
                    let seen = IncidentChange::Seen {
                        at: now,
                        times: 1,
                        evidence: why,
                    };
                    ops.push(Op::IncidentChange(incident, seen));
                }
                Some(Effect::Resolve { incident, seen }) => {
                    let how = format!("it is good again: {seen}").into();
                    ops.push(Op::IncidentChange(incident, IncidentChange::Resolved { at: now, how }));
                }
                None => {}
            }
        }
        if !ops.is_empty() {
            parts.committer.commit(Batch::ops(ops)).await?;
        }
        for (name, id) in opened {
            state.checks.opened(&name, id);
        }
        Ok(self.publish(state, checks, made, now))
    }

    fn publish(
        &self,
        state: &CheckerState,
        checks: &[Check],
        made: Vec<(usize, Verdict, u64)>,
        now: UtcMillis,
    ) -> RoundView {
        let view = |(index, verdict, took_ms): (usize, Verdict, u64)| {
            let Check { name, severity, .. } = &checks[index];
            let known = state.checks.known(name);
            let view = CheckView {
                verdict,
                severity: severity.as_str(),
                since: known.and_then(|known| known.since),
                at: now,
                took_ms,
                incident: known.and_then(|known| known.open),
            };
            (name.clone(), view)
        };
        let round = RoundView {
            at: Some(now),
            checks: made.into_iter().map(view).collect(),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = round.clone();
        round
    }
}
