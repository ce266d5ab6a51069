//! Who has to say yes before a call is made: the policy, and what a person is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::name::{AgentName, SkillName};

/// Whether a call is made by itself, after a person's yes, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Approval {
    /// It is made.
    #[default]
    Auto,
    /// A person is asked first.
    Ask,
    /// It is not made.
    Deny,
}

impl Approval {
    /// Every policy, for tables and tests.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Ask, Self::Deny];

    /// The stable word for files and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }

    /// The policy of a word made by [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == word)
    }
}

/// Policies by pattern: a skill's name, `group.*`, or `*`.
pub type ApprovalTable = BTreeMap<Arc<str>, Approval>;

/// Whether a text is a pattern of [`ApprovalTable`].
pub fn is_pattern(text: &str) -> bool {
    let name = text.strip_suffix(".*").unwrap_or(text);
    text == "*" || SkillName::new(name).is_ok()
}

/// What the operator has laid down, over all agents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApprovalRules {
    /// For every agent, and for steps that a skill does.
    pub all: ApprovalTable,
    /// For one agent, before what holds for all.
    pub agents: BTreeMap<AgentName, ApprovalTable>,
    /// How long a question waits for its answer; then it counts as a no. Milliseconds.
    pub timeout_ms: u64,
}

impl ApprovalRules {
    /// The policy for a call. A `deny` anywhere wins; otherwise the agent's own rules go before those for all, these
    /// before the skill's own default, and the longer pattern before the shorter one.
    pub fn decide(&self, agent: Option<&AgentName>, skill: &SkillName, default: Approval) -> Approval {
        let own = agent.and_then(|agent| self.agents.get(agent));
        let found = own.map(|table| look(table, skill)).unwrap_or_default();
        let of_all = look(&self.all, skill);
        if default == Approval::Deny || found.denied || of_all.denied {
            return Approval::Deny;
        }
        found.nearest.or(of_all.nearest).unwrap_or(default)
    }
}

#[derive(Default)]
struct Found {
    nearest: Option<Approval>,
    denied: bool,
}

fn look(table: &ApprovalTable, skill: &SkillName) -> Found {
    let name = skill.as_str();
    let matching = table.iter().filter(|(pattern, _)| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => &***pattern == name,
    });
    let mut found = Found::default();
    let mut length = 0;
    for (pattern, policy) in matching {
        // An exact name is the longest of all.
        let weight = pattern.len() + usize::from(!pattern.ends_with('*')) * 1024;
        if weight >= length {
            length = weight;
            found.nearest = Some(*policy);
        }
        found.denied |= *policy == Approval::Deny;
    }
    found
}

/// What a person is asked about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Which call of the attempt.
    pub ordinal: u32,
    /// The skill.
    pub skill: SkillName,
    /// Names exactly this call with exactly what it would do; another thing has another hash.
    pub hash: Arc<str>,
    /// What would be done, as a person reads it.
    pub shown: Arc<str>,
    /// How long the answer is waited for, in milliseconds.
    pub timeout_ms: u64,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The question's hash.
    pub hash: Arc<str>,
    /// Yes or no.
    pub granted: bool,
    /// Who said so; `time-out` when nobody did.
    pub by: Arc<str>,
    /// Why, or the answer in words.
    pub reason: Arc<str>,
}

/// Who said no when nobody said anything.
pub const TIMED_OUT: &str = "time-out";

#[cfg(test)]
mod tests {
    use super::Approval::{Ask, Auto, Deny};
    use super::*;

    #[test]
    fn the_nearest_rule_counts_and_a_denial_anywhere_wins() {
        let agent = AgentName::new("coder").expect("valid");
        let table = |rules: &[(&str, Approval)]| -> ApprovalTable {
            rules
                .iter()
                .map(|(pattern, policy)| (Arc::from(*pattern), *policy))
                .collect()
        };
        let check = |all: &[(&str, Approval)], own: &[(&str, Approval)], default, expected| {
            let rules = ApprovalRules {
                all: table(all),
                agents: [(agent.clone(), table(own))].into(),
                timeout_ms: 1,
            };
            let skill = SkillName::new("fs.write").expect("valid");
            assert_eq!(rules.decide(Some(&agent), &skill, default), expected, "{all:?} {own:?}");
        };
        check(&[], &[], Auto, Auto);
        check(&[], &[], Ask, Ask);
        check(&[("fs.read", Deny)], &[("fs.writer", Deny)], Auto, Auto);
        check(&[("*", Ask)], &[], Auto, Ask);
        check(&[("*", Ask), ("fs.*", Auto)], &[], Ask, Auto);
        check(&[("fs.*", Ask), ("fs.write", Auto)], &[], Ask, Auto);
        check(&[("fs.write", Ask)], &[("*", Auto)], Ask, Auto);
        check(&[("fs.write", Auto)], &[("fs.*", Deny)], Auto, Deny);
        check(&[("*", Deny)], &[("fs.write", Auto)], Auto, Deny);
        check(&[("fs.write", Auto)], &[("fs.write", Auto)], Deny, Deny);
    }

    #[test]
    fn a_pattern_is_a_name_a_group_or_a_star() {
        let check = |text: &str, expected: bool| assert_eq!(is_pattern(text), expected, "{text}");
        for text in ["*", "fs.*", "exec.run", "mcp.git.*"] {
            check(text, true);
        }
        for text in ["", "**", "fs*", "f s", "*.run", ".*"] {
            check(text, false);
        }
    }
}
