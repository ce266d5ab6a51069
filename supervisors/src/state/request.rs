//! What others may ask of a supervisor, and what it answers.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{Action, Core, Key, Mode, Phase, Plan, RequestId};
use crate::{
    ApiError, AutoShutdown, ChildId, ChildPolicy, Flags, Restart, SpecError,
    decision::{check_child, check_flags, check_specs},
};

/// A child to be put into the table.
#[derive(Debug)]
pub(crate) struct NewChild<P> {
    pub(crate) id: ChildId,
    pub(crate) policy: Arc<ChildPolicy>,
    /// The number of the last incarnation that an address of this child has seen.
    pub(crate) incarnation: u64,
    pub(crate) payload: P,
}

/// A request that changes something.
#[derive(Debug)]
pub(crate) enum Request<P> {
    Start(NewChild<P>),
    Terminate(ChildId),
    Restart(ChildId),
    Delete(ChildId),
    /// New flags and, for a static supervisor, new specifications.
    Update {
        flags: Option<Flags>,
        specs: Option<Vec<NewChild<P>>>,
    },
    /// A new template for a dynamic supervisor.
    Template {
        policy: Arc<ChildPolicy>,
        max_children: usize,
    },
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The child runs.
    Started(Key),
    /// The child had nothing to do.
    Ignored,
    /// Done.
    Done,
    /// Start: the child already runs.
    AlreadyStarted(Key),
    Refused(ApiError),
}

impl<P> Core<P> {
    /// Takes a request: answers it, begins what it asks for, or keeps it until its turn.
    pub(super) fn request(&mut self, id: RequestId, request: Request<P>) {
        match self.plan {
            Plan::Idle if self.finishing => self.reply(id, Answer::Refused(ApiError::Down)),
            Plan::Idle if self.deferred.is_empty() && self.ripe.is_empty() => self.serve(id, request),
            Plan::Shutdown { .. } | Plan::ShutdownAll { .. } | Plan::Unwind { .. } | Plan::Over => {
                self.reply(id, Answer::Refused(ApiError::Down));
            }
            _ => self.deferred.push_back((id, request)),
        }
    }

    /// Gives the requests that waited for a child in transition their turn.
    pub(super) fn serve_waiting(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(&key)
            && !slot.waiting.is_empty()
        {
            let waiting = std::mem::take(&mut slot.waiting);
            self.deferred.extend(waiting);
        }
    }

    /// Serves a request while no plan is under way.
    pub(super) fn serve(&mut self, id: RequestId, request: Request<P>) {
        let subject = match &request {
            Request::Start(child) => Some(&child.id),
            Request::Terminate(child) | Request::Restart(child) | Request::Delete(child) => Some(child),
            Request::Update { .. } | Request::Template { .. } => None,
        };
        let key = subject.and_then(|child| self.by_id.get(child).copied());
        if let Some(slot) = key.and_then(|key| self.slots.get_mut(&key))
            && slot.in_transition()
        {
            slot.waiting.push((id, request));
            return;
        }
        let answer = match request {
            Request::Start(child) => self.serve_start(id, child, key),
            Request::Terminate(child) => self.serve_terminate(id, child, key),
            Request::Restart(child) => self.serve_restart(id, child, key),
            Request::Delete(child) => Some(self.serve_delete(child, key)),
            Request::Update { flags, specs } => Some(self.update(flags, specs)),
            Request::Template { policy, max_children } => Some(self.replace_template(policy, max_children)),
        };
        if let Some(answer) = answer {
            self.reply(id, answer);
        }
    }

    fn serve_start(&mut self, id: RequestId, mut child: NewChild<P>, key: Option<Key>) -> Option<Answer> {
        if let Some((key, slot)) = key.and_then(|key| self.slots.get(&key).map(|slot| (key, slot))) {
            return Some(match slot.phase {
                Phase::Running => Answer::AlreadyStarted(key),
                _ => Answer::Refused(ApiError::AlreadyPresent(slot.id.clone())),
            });
        }
        if let Mode::Dynamic { max_children, template } = &self.mode {
            if self.slots.len() >= *max_children {
                return Some(Answer::Refused(ApiError::TooManyChildren(*max_children)));
            }
            child.policy = Arc::clone(template);
        }
        if let Err(error) = check_child(self.auto_shutdown(), &child.id, &child.policy) {
            return Some(Answer::Refused(error.into()));
        }
        let key = self.add(child);
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.starter = Some((id, true));
        }
        self.start(key, false);
        None
    }

    fn serve_terminate(&mut self, id: RequestId, child: ChildId, key: Option<Key>) -> Option<Answer> {
        let Some((key, slot)) = key.and_then(|key| self.slots.get(&key).map(|slot| (key, slot))) else {
            return Some(Answer::Refused(ApiError::NotFound(child)));
        };
        if slot.phase == Phase::Running {
            self.stop(key, Some(id));
            return None;
        }
        let temporary = slot.policy.restart == Restart::Temporary;
        self.enter(key, Phase::Down);
        if temporary || self.is_dynamic() {
            self.remove(key);
        }
        Some(Answer::Done)
    }

    fn serve_restart(&mut self, id: RequestId, child: ChildId, key: Option<Key>) -> Option<Answer> {
        if self.is_dynamic() {
            return Some(Answer::Refused(ApiError::NotForDynamic));
        }
        let Some((key, slot)) = key.and_then(|key| self.slots.get_mut(&key).map(|slot| (key, slot))) else {
            return Some(Answer::Refused(ApiError::NotFound(child)));
        };
        match slot.phase {
            Phase::Down => {
                slot.starter = Some((id, false));
                self.start(key, false);
                None
            }
            Phase::Waiting { .. } => Some(Answer::Refused(ApiError::Restarting(child))),
            _ => Some(Answer::Refused(ApiError::Running(child))),
        }
    }

    fn serve_delete(&mut self, child: ChildId, key: Option<Key>) -> Answer {
        if self.is_dynamic() {
            return Answer::Refused(ApiError::NotForDynamic);
        }
        let Some((key, slot)) = key.and_then(|key| self.slots.get(&key).map(|slot| (key, slot))) else {
            return Answer::Refused(ApiError::NotFound(child));
        };
        match slot.phase {
            Phase::Down => {
                self.remove(key);
                Answer::Done
            }
            Phase::Waiting { .. } => Answer::Refused(ApiError::Restarting(child)),
            _ => Answer::Refused(ApiError::Running(child)),
        }
    }

    /// Replaces flags and specifications, or changes nothing: changed specifications apply to the next start, new ones
    /// are added without being started, those that are missing are kept, at the end of the order.
    fn update(&mut self, flags: Option<Flags>, specs: Option<Vec<NewChild<P>>>) -> Answer {
        match self.check_update(flags.as_ref(), specs.as_deref()) {
            Ok(()) => {}
            Err(error) => return Answer::Refused(error.into()),
        }
        if let Some(flags) = flags {
            self.flags = flags;
        }
        let Some(specs) = specs else { return Answer::Done };
        let old: Vec<Key> = self.order.values().copied().collect();
        let mut keys = Vec::with_capacity(specs.len());
        for spec in specs {
            keys.push(match self.by_id.get(&spec.id).copied() {
                None => self.add(spec),
                Some(key) => {
                    if let Some(slot) = self.slots.get_mut(&key) {
                        slot.policy = spec.policy;
                        self.actions.push_back(Action::Respec {
                            key,
                            payload: spec.payload,
                        });
                    }
                    key
                }
            });
        }
        let listed: HashSet<Key> = keys.iter().copied().collect();
        keys.extend(old.into_iter().filter(|key| !listed.contains(key)));
        self.order = BTreeMap::new();
        for key in keys {
            // Ranks only grow, so that they can be reused as keys of children added later.
            let rank = self.next_key;
            self.next_key += 1;
            self.order.insert(rank, key);
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.rank = rank;
            }
        }
        Answer::Done
    }

    fn check_update(&self, flags: Option<&Flags>, specs: Option<&[NewChild<P>]>) -> Result<(), SpecError> {
        let flags = flags.unwrap_or(&self.flags);
        if self.is_dynamic() {
            check_flags(flags)?;
            let plain = flags.auto_shutdown == AutoShutdown::Never;
            return match (plain, specs) {
                (false, _) => Err(SpecError::DynamicAutoShutdown),
                (true, Some(_)) => Err(SpecError::DynamicSpecs),
                (true, None) => Ok(()),
            };
        }
        let listed = specs.unwrap_or_default();
        check_specs(flags, listed.iter().map(|child| (&child.id, &*child.policy)))
    }

    fn replace_template(&mut self, policy: Arc<ChildPolicy>, new_max_children: usize) -> Answer {
        let Mode::Dynamic { max_children, template } = &mut self.mode else {
            return Answer::Refused(SpecError::DynamicSpecs.into());
        };
        if policy.significant {
            return Answer::Refused(SpecError::DynamicAutoShutdown.into());
        }
        *max_children = new_max_children;
        *template = Arc::clone(&policy);
        for slot in self.slots.values_mut() {
            slot.policy = Arc::clone(&policy);
        }
        Answer::Done
    }
}
