//! Who may start next: a pure function of wishes, limits and what is running. Event driven; nothing polls.
//!
//! **Invariants**: never more slots than a limit allows; a resource has one holder; of two wishes that could both
//! be granted, the one with the longer remaining path goes first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::id::RunId;
use crate::domain::name::{AgentName, StepId};
use crate::domain::time::UtcMillis;
use crate::runs::decision::SlotWish;

/// Names a slot or a wish.
pub type SlotKey = (RunId, StepId);

/// The limits.
#[derive(Debug, Clone, Default)]
pub struct SlotLimits {
    /// Steps at once over all runs.
    pub global: u32,
    /// Sessions at once of each agent.
    pub per_agent: BTreeMap<AgentName, u32>,
}

/// Higher goes first: rank, then the earlier deadline, then who asked first.
type Priority = (u64, Reverse<UtcMillis>, Reverse<u64>);

#[derive(Debug, Clone)]
struct Holder {
    agent: Option<AgentName>,
    resources: Vec<Arc<str>>,
}

/// All slots and wishes.
#[derive(Debug, Default)]
pub struct Dispatch {
    limits: SlotLimits,
    running: HashMap<SlotKey, Holder>,
    per_agent: HashMap<AgentName, u32>,
    held: BTreeSet<Arc<str>>,
    queue: BTreeMap<Reverse<Priority>, (SlotKey, Holder)>,
    queued: HashMap<SlotKey, Priority>,
    asked: u64,
    /// Whether nothing is granted for now.
    withheld: bool,
}

impl Dispatch {
    /// Nothing runs, nobody waits.
    pub fn new(limits: SlotLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// A step wants a slot. One that holds a slot already has it granted again: its run started anew.
    pub fn want(&mut self, run: RunId, wish: SlotWish) -> Vec<SlotKey> {
        let key = (run, wish.step);
        if self.running.contains_key(&key) {
            return vec![key];
        }
        if self.queued.contains_key(&key) {
            return Vec::new();
        }
        self.asked += 1;
        let priority = (wish.rank, Reverse(wish.deadline), Reverse(self.asked));
        let holder = Holder {
            agent: wish.agent,
            resources: wish.resources,
        };
        self.queued.insert(key.clone(), priority);
        self.queue.insert(Reverse(priority), (key, holder));
        self.grant()
    }

    /// A slot is given back, or a wish taken back.
    pub fn release(&mut self, run: RunId, step: &StepId) -> Vec<SlotKey> {
        self.drop_key(&(run, step.clone()));
        self.grant()
    }

    /// A run started anew: of its slots it keeps those of the steps that still run.
    pub fn rejoin(&mut self, run: RunId, running: &BTreeSet<StepId>) -> Vec<SlotKey> {
        let known = self.running.keys().chain(self.queued.keys());
        let stale: Vec<SlotKey> = known
            .filter(|(of, step)| {
                *of == run && (!running.contains(step) || self.queued.contains_key(&(*of, step.clone())))
            })
            .cloned()
            .collect();
        for key in stale {
            self.drop_key(&key);
        }
        self.grant()
    }

    /// Whether slots are withheld: wishes wait, and what runs keeps its slot.
    pub fn withhold(&mut self, withheld: bool) -> Vec<SlotKey> {
        self.withheld = withheld;
        self.grant()
    }

    /// Other limits. With smaller ones nothing is taken from those who run: the next slot is granted when enough of
    /// them have ended.
    pub fn limit(&mut self, limits: SlotLimits) -> Vec<SlotKey> {
        self.limits = limits;
        self.grant()
    }

    /// Slots in use.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Wishes that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Sessions of an agent.
    pub fn of_agent(&self, agent: &AgentName) -> u32 {
        self.per_agent.get(agent).copied().unwrap_or(0)
    }

    fn drop_key(&mut self, key: &SlotKey) {
        if let Some(priority) = self.queued.remove(key) {
            self.queue.remove(&Reverse(priority));
        }
        if let Some(holder) = self.running.remove(key) {
            for resource in &holder.resources {
                self.held.remove(resource);
            }
            if let Some(count) = holder.agent.as_ref().and_then(|agent| self.per_agent.get_mut(agent)) {
                *count -= 1;
            }
        }
    }

    fn fits(&self, holder: &Holder) -> bool {
        let agent_free = holder.agent.as_ref().is_none_or(|agent| {
            self.limits
                .per_agent
                .get(agent)
                .is_none_or(|limit| self.of_agent(agent) < *limit)
        });
        agent_free && holder.resources.iter().all(|resource| !self.held.contains(resource))
    }

    fn grant(&mut self) -> Vec<SlotKey> {
        let mut granted = Vec::new();
        if self.withheld {
            return granted;
        }
        let mut chosen = Vec::new();
        // A wish whose agent or resource is busy is passed over, not waited for: others may fit.
        for (priority, (key, holder)) in &self.queue {
            if self.running.len() + chosen.len() >= self.limits.global as usize {
                break;
            }
            if self.fits(holder) && !conflicts(&chosen, holder, &self.limits, &self.per_agent) {
                chosen.push((*priority, key.clone(), holder.clone()));
            }
        }
        for (priority, key, holder) in chosen {
            self.queue.remove(&priority);
            self.queued.remove(&key);
            self.held.extend(holder.resources.iter().cloned());
            if let Some(agent) = &holder.agent {
                *self.per_agent.entry(agent.clone()).or_default() += 1;
            }
            self.running.insert(key.clone(), holder);
            granted.push(key);
        }
        granted
    }
}

/// Whether a wish contradicts those chosen before it in the same round.
fn conflicts(
    chosen: &[(Reverse<Priority>, SlotKey, Holder)],
    wish: &Holder,
    limits: &SlotLimits,
    per_agent: &HashMap<AgentName, u32>,
) -> bool {
    let shares = chosen
        .iter()
        .any(|(_, _, other)| other.resources.iter().any(|one| wish.resources.contains(one)));
    let over = wish.agent.as_ref().is_some_and(|agent| {
        let Some(limit) = limits.per_agent.get(agent) else {
            return false;
        };
        let now = chosen
            .iter()
            .filter(|(_, _, other)| other.agent.as_ref() == Some(agent))
            .count() as u32;
        per_agent.get(agent).copied().unwrap_or(0) + now >= *limit
    });
    shares || over
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(number: u64) -> RunId {
        RunId::new(UtcMillis(number), 0)
    }

    fn wish(step: &str, agent: &str, resources: &[&str], rank: u64) -> SlotWish {
        SlotWish {
            step: StepId::new(step).expect("valid"),
            agent: Some(AgentName::new(agent).expect("valid")),
            resources: resources.iter().map(|text| Arc::from(*text)).collect(),
            rank,
            deadline: UtcMillis(9),
        }
    }

    fn limits(global: u32, of_a: u32) -> SlotLimits {
        SlotLimits {
            global,
            per_agent: [(AgentName::new("a").expect("valid"), of_a)].into(),
        }
    }

    fn names(granted: &[SlotKey]) -> Vec<&str> {
        granted.iter().map(|(_, step)| step.as_str()).collect()
    }

    #[test]
    fn the_longest_path_goes_first_and_a_busy_resource_is_passed_over() {
        let mut dispatch = Dispatch::new(limits(2, 9));
        assert_eq!(
            names(&dispatch.want(run(1), wish("first", "a", &["git"], 1))),
            ["first"]
        );
        assert!(dispatch.want(run(1), wish("blocked", "a", &["git"], 99)).is_empty());
        assert_eq!(names(&dispatch.want(run(1), wish("free", "a", &[], 1))), ["free"]);
        assert!(dispatch.want(run(1), wish("short", "a", &[], 2)).is_empty());
        assert!(dispatch.want(run(2), wish("long", "a", &[], 50)).is_empty());
        let free = StepId::new("free").expect("valid");
        assert_eq!(
            names(&dispatch.release(run(1), &free)),
            ["long"],
            "the longer path before the earlier wish"
        );
        let first = StepId::new("first").expect("valid");
        assert_eq!(names(&dispatch.release(run(1), &first)), ["blocked"]);
    }

    #[test]
    fn a_run_that_starts_anew_keeps_the_slots_of_its_running_steps_only() {
        let mut dispatch = Dispatch::new(limits(2, 9));
        dispatch.want(run(1), wish("kept", "a", &[], 1));
        dispatch.want(run(1), wish("left", "a", &[], 1));
        dispatch.want(run(1), wish("queued", "a", &[], 1));
        let kept = StepId::new("kept").expect("valid");
        dispatch.rejoin(run(1), &[kept].into());
        assert_eq!((dispatch.running(), dispatch.waiting()), (1, 0));
        assert_eq!(names(&dispatch.want(run(1), wish("kept", "a", &[], 1))), ["kept"]);
    }

    #[test]
    fn withheld_slots_are_granted_later_and_nobody_loses_one() {
        let mut dispatch = Dispatch::new(limits(2, 9));
        dispatch.want(run(1), wish("runs", "a", &[], 1));
        assert!(dispatch.withhold(true).is_empty());
        assert!(dispatch.want(run(1), wish("waits", "a", &[], 1)).is_empty());
        assert_eq!(names(&dispatch.want(run(1), wish("runs", "a", &[], 1))), ["runs"]);
        assert_eq!((dispatch.running(), dispatch.waiting()), (1, 1));
        assert_eq!(names(&dispatch.withhold(false)), ["waits"]);
    }

    proptest! {
        #[test]
        fn limits_hold_and_whoever_fits_is_not_kept_waiting(
            ops in prop::collection::vec((0u64..4, 0usize..5, 0usize..3, 0u64..5, any::<bool>()), 1..60),
            global in 1u32..5,
            of_a in 1u32..4,
        ) {
            let mut dispatch = Dispatch::new(limits(global, of_a));
            let mut held: BTreeMap<SlotKey, (String, Vec<Arc<str>>)> = BTreeMap::new();
            let mut wishes: BTreeMap<SlotKey, SlotWish> = BTreeMap::new();
            for (run_number, step, agent, rank, release) in ops {
                let agent = ["a", "b", "a"][agent];
                let resources: &[&str] = if step == 0 { &["r"] } else { &[] };
                let wished = wish(&format!("s{step}"), agent, resources, rank);
                let key = (run(run_number), wished.step.clone());
                let granted = if release {
                    held.remove(&key);
                    wishes.remove(&key);
                    dispatch.release(key.0, &key.1)
                } else {
                    if !held.contains_key(&key) {
                        wishes.entry(key.clone()).or_insert_with(|| wished.clone());
                    }
                    dispatch.want(key.0, wished)
                };
                for key in granted {
                    if let Some(wish) = wishes.remove(&key) {
                        held.insert(key, (wish.agent.expect("set").to_string(), wish.resources));
                    }
                }
                prop_assert!(held.len() <= global as usize);
                prop_assert!(held.values().filter(|(agent, _)| agent == "a").count() <= of_a as usize);
                let of_r = held.values().filter(|(_, resources)| !resources.is_empty()).count();
                prop_assert!(of_r <= 1);
                prop_assert_eq!((dispatch.running(), dispatch.waiting()), (held.len(), wishes.len()));
                for wish in wishes.values() {
                    let busy = held.len() >= global as usize
                        || (wish.agent.as_ref().is_some_and(|agent| agent.as_str() == "a")
                            && held.values().filter(|(agent, _)| agent == "a").count() >= of_a as usize)
                        || (!wish.resources.is_empty() && of_r >= 1);
                    prop_assert!(busy, "{:?} could have been granted", wish.step);
                }
            }
        }
    }
}
