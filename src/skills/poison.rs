//! Calls that crash their worker: counted by run, skill and arguments, so that the same call is known again.
//!
//! Invariants: a call that has crashed [`CRASHES_MAX`] times is dead: its run never has it made again; what is kept is
//! bounded. Refuses to know: the journal, which keeps the dead over the end of the process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::domain::id::RunId;
use crate::domain::json::canonical;
use crate::domain::name::SkillName;

/// Crashes after which a call is not made any more.
pub const CRASHES_MAX: u32 = 2;
/// Calls that are remembered; the oldest is forgotten first.
const REMEMBERED_MAX: usize = 4096;

/// Names a call by its skill and arguments: the same for every attempt to make it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallName(pub Arc<str>);

impl CallName {
    /// The name of this call.
    pub fn of(skill: &SkillName, arguments: &Value) -> Self {
        let call = canonical(&json!([skill.as_str(), arguments]));
        Self(blake3::hash(call.as_bytes()).to_hex().as_str().into())
    }
}

#[derive(Debug, Clone)]
struct Crashed {
    times: u32,
    text: Arc<str>,
}

#[derive(Debug, Default)]
struct Table {
    calls: HashMap<(RunId, CallName), Crashed>,
    order: VecDeque<(RunId, CallName)>,
}

/// What has crashed; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Poison(Arc<Mutex<Table>>);

impl Poison {
    /// Counts one more crash and says how many there are.
    pub fn crashed(&self, run: RunId, call: &CallName, text: &str) -> u32 {
        self.note(run, call, text, |times| times + 1)
    }

    /// Takes over what a journal says: the call is dead.
    pub fn bury(&self, run: RunId, call: &CallName, text: &str) {
        self.note(run, call, text, |times| times.max(CRASHES_MAX));
    }

    /// What the worker said last, when the call is dead.
    pub fn of_dead(&self, run: RunId, call: &CallName) -> Option<Arc<str>> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let crashed = table.calls.get(&(run, call.clone()))?;
        (crashed.times >= CRASHES_MAX).then(|| crashed.text.clone())
    }

    fn note(&self, run: RunId, call: &CallName, text: &str, count: impl FnOnce(u32) -> u32) -> u32 {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (run, call.clone());
        if !table.calls.contains_key(&key) {
            table.order.push_back(key.clone());
            if table.order.len() > REMEMBERED_MAX
                && let Some(oldest) = table.order.pop_front()
            {
                table.calls.remove(&oldest);
            }
        }
        let known = table.calls.entry(key).or_insert_with(|| Crashed {
            times: 0,
            text: "".into(),
        });
        known.times = count(known.times);
        known.text = text.into();
        known.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::UtcMillis;

    #[test]
    fn a_call_is_dead_after_two_crashes_in_its_own_run_and_what_is_kept_is_bounded() {
        let poison = Poison::default();
        let (run, other) = (RunId::new(UtcMillis(1), 1), RunId::new(UtcMillis(1), 2));
        let skill = SkillName::new("fs.read").expect("valid");
        let call = CallName::of(&skill, &json!({"b": 1, "a": 2}));
        assert_eq!(call, CallName::of(&skill, &json!({"a": 2, "b": 1})), "order is nothing");
        assert_ne!(call, CallName::of(&skill, &json!({"a": 2})));
        assert_eq!(poison.crashed(run, &call, "one"), 1);
        assert_eq!(poison.of_dead(run, &call), None);
        assert_eq!(poison.crashed(run, &call, "two"), 2);
        assert_eq!(poison.of_dead(run, &call).as_deref(), Some("two"));
        assert_eq!(poison.of_dead(other, &call), None);
        poison.bury(other, &call, "as the journal says");
        assert!(poison.of_dead(other, &call).is_some());
        for number in 0..REMEMBERED_MAX {
            poison.crashed(run, &CallName::of(&skill, &json!({ "n": number })), "x");
        }
        assert_eq!(poison.of_dead(run, &call), None, "the oldest goes first");
    }
}
