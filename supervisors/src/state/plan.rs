//! Operations over several children, one step at a time: start of the tree, group restart, shutdown.

use super::{Action, Answer, Cancel, Core, Key, Phase, Plan, Slot};
use crate::{ApiError, Restart};

impl<P> Core<P> {
    /// Takes the plan as far as it can go without waiting, then judges and answers what had to wait for it.
    pub(super) fn advance(&mut self) {
        self.judge_apart();
        loop {
            match &self.plan {
                Plan::Idle => {
                    if self.finishing || !self.serve_next() {
                        return;
                    }
                }
                Plan::Over | Plan::ShutdownAll { left: 1.. } => return,
                Plan::ShutdownAll { left: 0 } => self.plan = Plan::Over,
                Plan::Init { cursor, at } => match self.start_from(*cursor, *at) {
                    Step::Wait => return,
                    Step::At(rank, at) => self.plan = Plan::Init { cursor: rank, at },
                    Step::Done => {
                        self.plan = Plan::Idle;
                        self.actions.push_back(Action::Ready);
                    }
                },
                Plan::GroupStart { cursor, at } => match self.start_from(*cursor, *at) {
                    Step::Wait => return,
                    Step::At(rank, at) => self.plan = Plan::GroupStart { cursor: rank, at },
                    Step::Done => self.plan = Plan::Idle,
                },
                Plan::GroupStop {
                    from,
                    cursor,
                    trigger,
                    delay,
                } => {
                    let (from, cursor, trigger, delay) = (*from, *cursor, *trigger, *delay);
                    match self.stop_from(from, cursor) {
                        Step::Wait => return,
                        Step::At(rank, _) => {
                            self.plan = Plan::GroupStop {
                                from,
                                cursor: rank,
                                trigger,
                                delay,
                            }
                        }
                        Step::Done if delay.is_zero() => self.plan = Plan::GroupStart { cursor: from, at: None },
                        Step::Done => {
                            self.plan = Plan::Idle;
                            self.enter(trigger, Phase::Waiting { charged: true });
                            self.set_timer(trigger, delay);
                        }
                    }
                }
                Plan::Unwind { cursor, .. } => match self.stop_from(0, *cursor) {
                    Step::Wait => return,
                    Step::At(rank, _) => {
                        if let Plan::Unwind { cursor, .. } = &mut self.plan {
                            *cursor = rank;
                        }
                    }
                    Step::Done => {
                        self.refuse_waiting();
                        if let Plan::Unwind { error, .. } = std::mem::replace(&mut self.plan, Plan::Over) {
                            self.actions.push_back(Action::StartFailed(error));
                        }
                    }
                },
                Plan::Shutdown { cursor } => match self.stop_from(0, *cursor) {
                    Step::Wait => return,
                    Step::At(rank, _) => self.plan = Plan::Shutdown { cursor: rank },
                    Step::Done => self.plan = Plan::Over,
                },
            }
        }
    }

    /// Who stands apart waits for no group restart: a long one is no reason for it to stay down.
    fn judge_apart(&mut self) {
        while !self.finishing && matches!(self.plan, Plan::Idle | Plan::GroupStop { .. } | Plan::GroupStart { .. }) {
            let is_apart = |key: &Key| self.slot(*key).is_some_and(|slot| slot.policy.apart);
            let Some(at) = self.ripe.iter().position(is_apart) else {
                return;
            };
            if let Some(key) = self.ripe.remove(at) {
                self.judge(key);
            }
        }
    }

    /// With no plan under way: judges the next child that waits for it, else answers the next request that waited.
    fn serve_next(&mut self) -> bool {
        if let Some(key) = self.ripe.pop_front() {
            self.judge(key);
            return true;
        }
        if let Some((id, request)) = self.deferred.pop_front() {
            self.serve(id, request);
            return true;
        }
        false
    }

    /// Starts the next child at or after `cursor` that is down, once the child it started before is through.
    fn start_from(&mut self, cursor: u64, at: Option<Key>) -> Step {
        if at.and_then(|key| self.slot(key)).is_some_and(Slot::in_transition) {
            return Step::Wait;
        }
        let next = self.order.range(cursor..).next().map(|(rank, key)| (*rank, *key));
        let Some((rank, key)) = next else { return Step::Done };
        let initial = matches!(self.plan, Plan::Init { .. });
        // A child that is up, or ended again meanwhile, is passed: it is judged when the plan is done.
        let is_for = |slot: &Slot<P>| slot.phase == Phase::Down && (initial || !slot.policy.apart);
        if self.slot(key).is_some_and(is_for) {
            self.start(key, !initial);
        }
        Step::At(rank + 1, Some(key))
    }

    /// Stops the last child between `from` and `cursor` that is not down.
    fn stop_from(&mut self, from: u64, cursor: u64) -> Step {
        if from > cursor {
            return Step::Done;
        }
        let next = self
            .order
            .range(from..=cursor)
            .next_back()
            .map(|(rank, key)| (*rank, *key));
        let Some((rank, key)) = next else { return Step::Done };
        let is_apart = self.slot(key).is_some_and(|slot| slot.policy.apart);
        let passes_by = is_apart && matches!(self.plan, Plan::GroupStop { .. });
        match self.slots.get(&key).map(|slot| &slot.phase) {
            _ if passes_by && rank == 0 => Step::Done,
            _ if passes_by => Step::At(rank - 1, None),
            Some(Phase::Running | Phase::Starting(None | Some(Cancel::Deadline))) => {
                self.stop(key, None);
                Step::Wait
            }
            Some(Phase::Stopping { .. } | Phase::Starting(Some(Cancel::Stop(_)))) => Step::Wait,
            Some(Phase::Waiting { .. } | Phase::Ended(_)) => {
                self.enter(key, Phase::Down);
                self.drop_bystander(key);
                Step::At(rank, None)
            }
            Some(Phase::Down) | None => {
                if rank == 0 {
                    return Step::Done;
                }
                self.drop_bystander(key);
                Step::At(rank - 1, None)
            }
        }
    }

    /// A temporary child that ended in a group restart is gone for good.
    fn drop_bystander(&mut self, key: Key) {
        let temporary = self
            .slots
            .get(&key)
            .is_some_and(|slot| slot.policy.restart == Restart::Temporary);
        if temporary && matches!(self.plan, Plan::GroupStop { .. }) {
            self.remove(key);
        }
    }

    /// Nobody is kept waiting for something that will not happen.
    fn refuse_waiting(&mut self) {
        let mut refused: Vec<_> = self.deferred.drain(..).map(|(id, _)| id).collect();
        for slot in self.slots.values_mut() {
            refused.extend(slot.waiting.drain(..).map(|(id, _)| id));
        }
        for id in refused {
            self.reply(id, Answer::Refused(ApiError::Down));
        }
    }

    /// Begins to stop everything; what was under way goes over into it.
    pub(super) fn shut_down(&mut self) {
        self.finishing = true;
        self.ripe.clear();
        self.refuse_waiting();
        if self.is_dynamic() {
            let keys: Vec<Key> = self.order.values().copied().collect();
            let mut left = 0;
            for key in keys {
                match self.slots.get(&key).map(|slot| &slot.phase) {
                    Some(Phase::Down) | None => {}
                    Some(Phase::Waiting { .. } | Phase::Ended(_)) => self.enter(key, Phase::Down),
                    Some(Phase::Running | Phase::Starting(_) | Phase::Stopping { .. }) => {
                        left += 1;
                        self.stop(key, None);
                    }
                }
            }
            self.plan = Plan::ShutdownAll { left };
        } else {
            self.plan = Plan::Shutdown { cursor: u64::MAX };
        }
    }
}

/// What a step of a plan came to.
enum Step {
    /// A child is in transition.
    Wait,
    /// Go on from this rank, after this child.
    At(u64, Option<Key>),
    /// Nothing left to do.
    Done,
}
