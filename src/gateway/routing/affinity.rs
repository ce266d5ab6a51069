//! Which agent a session has, so that its later requests go to the same one.
//!
//! Kept in memory and bounded: a session that is forgotten, also by a restart, is decided anew by the same rules.

use std::collections::HashMap;

use crate::domain::name::AgentName;

/// Whose session, under which name: a hash, so that what clients send takes no more room than that.
pub type Session = [u8; 32];

/// Agents by session, at most so many.
#[derive(Debug)]
pub struct Affinity {
    half_max: usize,
    newer: HashMap<Session, AgentName>,
    older: HashMap<Session, AgentName>,
}

impl Affinity {
    /// Knows at most so many sessions; those that were not used for the longest go first.
    pub fn new(sessions_max: usize) -> Self {
        Self {
            half_max: (sessions_max / 2).max(1),
            newer: HashMap::new(),
            older: HashMap::new(),
        }
    }

    /// The agent of a session.
    pub fn of(&mut self, session: &Session) -> Option<AgentName> {
        if let Some(agent) = self.newer.get(session) {
            return Some(agent.clone());
        }
        let agent = self.older.remove(session)?;
        self.keep(*session, agent.clone());
        Some(agent)
    }

    /// Gives a session its agent.
    pub fn keep(&mut self, session: Session, agent: AgentName) {
        if self.newer.len() >= self.half_max && !self.newer.contains_key(&session) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(session, agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_is_used_keeps_its_agent_and_the_table_its_bound() {
        let session = |number: u64| *blake3::hash(&number.to_le_bytes()).as_bytes();
        let agent = |text: &str| AgentName::new(text).expect("a name");
        let mut affinity = Affinity::new(1000);
        affinity.keep(session(u64::MAX), agent("coder"));
        for number in 0..100_000 {
            affinity.keep(session(number), agent("planner"));
            if number % 100 == 0 {
                assert_eq!(affinity.of(&session(u64::MAX)), Some(agent("coder")), "{number}");
            }
            assert!(affinity.newer.len() + affinity.older.len() <= 1001, "{number}");
        }
        assert_eq!(affinity.of(&session(0)), None);
    }
}
