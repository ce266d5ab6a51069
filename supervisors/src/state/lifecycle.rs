//! The life of one child: start, end, judgement, restart.

use std::time::Duration;

use super::{Action, Answer, Cancel, Core, Key, Phase, Plan, RequestId, StartOutcome};
use crate::exit::KILLED;
use crate::{
    AutoShutdown, ExitReason, Fact, GiveUp, Restart, Shutdown, StartError, Strategy,
    decision::{backoff_delay, is_restarted},
};

impl<P> Core<P> {
    /// Begins a start.
    pub(super) fn start(&mut self, key: Key, restarting: bool) {
        self.enter(key, Phase::Starting(None));
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.incarnation += 1;
        slot.restarting = restarting;
        slot.restarts += u64::from(restarting);
        let (incarnation, unnamed, deadline) = (slot.incarnation, slot.zombies > 0, slot.policy.start_deadline);
        if let Some(deadline) = deadline {
            self.set_timer(key, deadline);
        }
        self.actions.push_back(Action::Start {
            key,
            incarnation,
            unnamed,
        });
    }

    /// A start came to an end.
    pub(super) fn started(&mut self, key: Key, incarnation: u64, outcome: StartOutcome) {
        let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.incarnation == incarnation) else {
            return;
        };
        let Phase::Starting(cancel) = &mut slot.phase else {
            return;
        };
        match (cancel.take(), outcome) {
            (None, StartOutcome::Running) => self.start_succeeded(key),
            (None, StartOutcome::Ignored) => self.start_ignored(key),
            (None, StartOutcome::Failed(error)) => self.start_failed(key, error),
            // It came up although it was being cancelled: it must go again before anything else happens.
            (Some(cancel), StartOutcome::Running) => {
                slot.phase = Phase::Starting(Some(cancel));
                self.actions.push_back(Action::Kill { key });
            }
            (Some(cancel), _) => self.start_cancelled(key, cancel),
        }
    }

    fn start_succeeded(&mut self, key: Key) {
        self.enter(key, Phase::Running);
        let now = self.now;
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.started_at = now;
        let (restarted, starter) = (slot.restarting, slot.starter.take());
        self.report(key, Fact::Started { restarted });
        if let Some((id, _)) = starter {
            self.reply(id, Answer::Started(key));
        }
        self.serve_waiting(key);
    }

    fn start_ignored(&mut self, key: Key) {
        self.enter(key, Phase::Down);
        self.report(key, Fact::Ignored);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let forgotten = slot.policy.restart == Restart::Temporary;
        if let Some((id, _)) = slot.starter.take() {
            self.reply(id, Answer::Ignored);
        }
        if forgotten || self.is_dynamic() {
            self.remove(key);
        } else {
            self.serve_waiting(key);
        }
    }

    fn start_failed(&mut self, key: Key, error: StartError) {
        self.report(key, Fact::StartFailed { error: error.clone() });
        self.enter(key, Phase::Down);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let id = slot.id.clone();
        if let Some((request, fresh)) = slot.starter.take() {
            self.reply(request, Answer::Refused(error.into()));
            if fresh {
                self.remove(key);
            } else {
                self.serve_waiting(key);
            }
        } else if matches!(self.plan, Plan::Init { .. }) {
            let error = StartError::Child {
                id,
                source: Box::new(error),
            };
            self.plan = Plan::Unwind {
                cursor: u64::MAX,
                error,
            };
        } else {
            let is_apart = self.slots.get(&key).is_some_and(|slot| slot.policy.apart);
            if matches!(self.plan, Plan::GroupStart { .. }) && !is_apart {
                self.plan = Plan::Idle;
            }
            self.retry_later(key);
        }
    }

    /// A restart failed: try again through a timer, even if there is nothing to wait for, so that requests and a
    /// shutdown get their turn in between. The attempt is charged when it is made.
    fn retry_later(&mut self, key: Key) {
        let delay = self.next_delay(key);
        self.enter(key, Phase::Waiting { charged: false });
        self.set_timer(key, delay);
        self.serve_waiting(key);
    }

    fn start_cancelled(&mut self, key: Key, cancel: Cancel) {
        match cancel {
            Cancel::Deadline => {
                let deadline = self
                    .slots
                    .get(&key)
                    .and_then(|slot| slot.policy.start_deadline)
                    .unwrap_or_default();
                self.start_failed(key, StartError::DeadlineExceeded(deadline));
            }
            Cancel::Stop(reply) => {
                let starter = self.slots.get_mut(&key).and_then(|slot| slot.starter.take());
                if let Some((id, _)) = starter {
                    self.reply(id, Answer::Refused(StartError::Cancelled.into()));
                }
                self.stopped(key, reply, starter.is_some_and(|(_, fresh)| fresh));
            }
        }
    }

    /// A child ended.
    pub(super) fn exited(&mut self, key: Key, incarnation: u64, reason: ExitReason) {
        let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.incarnation == incarnation) else {
            return;
        };
        match &mut slot.phase {
            Phase::Running => {
                slot.phase = Phase::Ended(reason.clone());
                self.ripe.push_back(key);
                self.report(key, Fact::Exited { reason, asked: false });
            }
            Phase::Starting(Some(_)) => {
                let Phase::Starting(Some(cancel)) = std::mem::replace(&mut slot.phase, Phase::Down) else {
                    return;
                };
                self.start_cancelled(key, cancel);
            }
            Phase::Stopping { killed, reply } => {
                let (killed, reply) = (*killed, *reply);
                let expected = reason.is_orderly() || (killed && slot.policy.shutdown == Shutdown::Brutal);
                self.report(
                    key,
                    Fact::Exited {
                        reason: reason.clone(),
                        asked: true,
                    },
                );
                if !expected && reason != ExitReason::Unknown {
                    self.report(key, Fact::ShutdownError { reason });
                }
                self.stopped(key, reply, false);
            }
            Phase::Down | Phase::Starting(None) | Phase::Waiting { .. } | Phase::Ended(_) => {}
        }
    }

    /// A child that was told to stop has stopped, or is left behind.
    fn stopped(&mut self, key: Key, reply: Option<RequestId>, fresh: bool) {
        self.enter(key, Phase::Down);
        if let Plan::ShutdownAll { left } = &mut self.plan {
            *left = left.saturating_sub(1);
        }
        if let Some(id) = reply {
            self.reply(id, Answer::Done);
        }
        let temporary = self
            .slots
            .get(&key)
            .is_some_and(|slot| slot.policy.restart == Restart::Temporary);
        let closing = matches!(
            self.plan,
            Plan::Shutdown { .. } | Plan::ShutdownAll { .. } | Plan::Unwind { .. }
        );
        if !closing && (temporary || fresh || self.is_dynamic()) {
            self.remove(key);
        } else {
            self.serve_waiting(key);
        }
    }

    /// Judges a child that ended by itself, or whose wait for a restart is over.
    pub(super) fn judge(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let reason = match &slot.phase {
            Phase::Ended(reason) => reason,
            // Its wait was over, but a group restart came first and made it wait anew.
            Phase::Waiting { .. } if slot.timer.is_some() => return,
            Phase::Waiting { charged } => {
                if *charged || self.window.charge(self.now, self.flags.intensity) {
                    self.restart_after(key, Duration::ZERO);
                } else {
                    self.enter(key, Phase::Down);
                    self.give_up(Some(key), GiveUp::Intensity);
                }
                return;
            }
            _ => return,
        };
        if is_restarted(slot.policy.restart, reason) {
            self.restart(key);
            return;
        }
        let (significant, temporary) = (slot.policy.significant, slot.policy.restart == Restart::Temporary);
        let is_forgiven = *reason == ExitReason::Killed && !self.flags.kills_count;
        self.enter(key, Phase::Down);
        if temporary || self.is_dynamic() {
            self.remove(key);
        } else {
            self.serve_waiting(key);
        }
        if significant {
            self.check_auto_shutdown(key, is_forgiven);
        }
    }

    fn check_auto_shutdown(&mut self, key: Key, is_forgiven: bool) {
        let over = match self.auto_shutdown() {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => !self
                .slots
                .iter()
                .any(|(other, slot)| *other != key && slot.policy.significant && slot.phase != Phase::Down),
        };
        if over && !self.finishing {
            self.finishing = true;
            self.actions.push_back(Action::Report {
                child: None,
                incarnation: 0,
                fact: Fact::AutoShutdown,
            });
            // Whoever forgives a kill of the child forgives that its supervisor ends with it.
            let killed = || ExitReason::Stopped(KILLED.to_owned());
            let reason = if is_forgiven { killed() } else { ExitReason::Shutdown };
            self.actions.push_back(Action::Finish(reason));
        }
    }

    /// Charges a restart and begins it, or gives up.
    fn restart(&mut self, key: Key) {
        let phase = self.slots.get(&key).map(|slot| &slot.phase);
        let is_killed = matches!(phase, Some(Phase::Ended(ExitReason::Killed)));
        if is_killed && !self.flags.kills_count {
            self.restart_after(key, Duration::ZERO);
            return;
        }
        if !self.window.charge(self.now, self.flags.intensity) {
            self.enter(key, Phase::Down);
            self.give_up(Some(key), GiveUp::Intensity);
            return;
        }
        let delay = self.next_delay(key);
        self.restart_after(key, delay);
    }

    fn restart_after(&mut self, key: Key, delay: Duration) {
        let is_apart = self.slots.get(&key).is_some_and(|slot| slot.policy.apart);
        let strategy = if is_apart || self.is_dynamic() {
            Strategy::OneForOne
        } else {
            self.flags.strategy
        };
        let from = match strategy {
            Strategy::OneForOne => {
                if delay.is_zero() {
                    self.start(key, true);
                } else {
                    self.enter(key, Phase::Waiting { charged: true });
                    self.set_timer(key, delay);
                    self.serve_waiting(key);
                }
                return;
            }
            Strategy::OneForAll => 0,
            Strategy::RestForOne => self.slots.get(&key).map_or(0, |slot| slot.rank),
        };
        self.enter(key, Phase::Down);
        self.plan = Plan::GroupStop {
            from,
            cursor: u64::MAX,
            trigger: key,
            delay,
        };
    }

    /// Draws the delay of the child's next restart and reports it.
    fn next_delay(&mut self, key: Key) -> Duration {
        let now = self.now;
        let Some(slot) = self.slots.get_mut(&key) else {
            return Duration::ZERO;
        };
        let backoff = slot.policy.backoff;
        let ran = matches!(slot.phase, Phase::Ended(_));
        if ran && now.saturating_sub(slot.started_at) >= backoff.healthy_after {
            slot.attempt = 0;
        }
        let attempt = slot.attempt;
        slot.attempt = attempt.saturating_add(1);
        let delay = backoff_delay(&backoff, attempt, &mut self.random);
        self.report(key, Fact::Restarting { attempt, delay });
        delay
    }

    /// Gives up: everything stops and the parent decides.
    pub(super) fn give_up(&mut self, key: Option<Key>, reason: GiveUp) {
        if std::mem::replace(&mut self.finishing, true) {
            return;
        }
        let slot = key.and_then(|key| self.slots.get(&key));
        let (child, incarnation) = (
            slot.map(|slot| slot.id.clone()),
            slot.map_or(0, |slot| slot.incarnation),
        );
        self.actions.push_back(Action::Report {
            child,
            incarnation,
            fact: Fact::GaveUp { reason },
        });
        self.actions.push_back(Action::Finish(reason.exit_reason()));
    }

    /// Tells a child to stop in the way its specification says.
    pub(super) fn stop(&mut self, key: Key, reply: Option<RequestId>) {
        let zombie_after = self.flags.zombie_after;
        let Some(slot) = self.slots.get_mut(&key) else { return };
        match &mut slot.phase {
            Phase::Running => {
                let shutdown = slot.policy.shutdown;
                let killed = shutdown == Shutdown::Brutal;
                self.enter(key, Phase::Stopping { killed, reply });
                match shutdown {
                    Shutdown::Brutal => {
                        self.set_timer(key, zombie_after);
                        self.actions.push_back(Action::Kill { key });
                    }
                    Shutdown::Timeout(timeout) => {
                        self.set_timer(key, timeout);
                        self.actions.push_back(Action::Stop { key });
                    }
                    Shutdown::Infinity => self.actions.push_back(Action::Stop { key }),
                }
            }
            Phase::Starting(cancel) => {
                let first = cancel.is_none();
                *cancel = Some(Cancel::Stop(reply));
                if first {
                    self.set_timer(key, zombie_after);
                    self.actions.push_back(Action::CancelStart { key });
                }
            }
            Phase::Down | Phase::Stopping { .. } | Phase::Waiting { .. } | Phase::Ended(_) => {}
        }
    }

    /// Time has passed: each due timer means what its child's phase says.
    pub(super) fn due(&mut self) {
        while let Some((&timer, &key)) = self.timers.first_key_value() {
            if timer.0 > self.now {
                break;
            }
            self.clear_timer(key);
            self.timers.remove(&timer);
            let zombie_after = self.flags.zombie_after;
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            match &mut slot.phase {
                Phase::Waiting { .. } => self.ripe.push_back(key),
                Phase::Starting(cancel @ None) => {
                    *cancel = Some(Cancel::Deadline);
                    self.set_timer(key, zombie_after);
                    self.actions.push_back(Action::CancelStart { key });
                }
                Phase::Stopping {
                    killed: killed @ false, ..
                } => {
                    *killed = true;
                    self.set_timer(key, zombie_after);
                    self.actions.push_back(Action::Kill { key });
                }
                Phase::Starting(Some(_)) | Phase::Stopping { killed: true, .. } => self.abandon(key),
                Phase::Down | Phase::Running | Phase::Ended(_) => {}
            }
        }
    }

    /// Gives a child up that was killed and does not die: it is replaced as if it had ended.
    fn abandon(&mut self, key: Key) {
        self.report(key, Fact::Zombie);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.zombies += 1;
        let incarnation = slot.incarnation;
        self.actions.push_back(Action::Abandon { key, incarnation });
        match std::mem::replace(&mut slot.phase, Phase::Down) {
            Phase::Starting(Some(cancel)) => self.start_cancelled(key, cancel),
            Phase::Stopping { reply, .. } => self.stopped(key, reply, false),
            _ => {}
        }
    }

    /// A zombie of this child has ended after all, so a later incarnation may have the name again.
    pub(crate) fn zombie_ended(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.zombies = slot.zombies.saturating_sub(1);
        }
    }
}
