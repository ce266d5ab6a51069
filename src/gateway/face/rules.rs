//! Rules that came as items of a conversation, in the roles of the system and of the developer.
//!
//! An agent is told them as a part of its system text, and a conversation that goes on takes them along, as it does not
//! take `instructions`. They are kept with what an exchange repeats, which says of a response alone what its client
//! said; nothing shows them there.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::exchange::Exchange;

/// Under which name they are kept.
pub const KEPT_AS: &str = "rules";

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Who it says that it is of.
    pub role: Arc<str>,
    /// What it says.
    pub text: Arc<str>,
    /// Before which message of the conversation it stands.
    pub at: usize,
}

/// As they are kept.
pub fn write(rules: &[Rule]) -> Value {
    let rules = rules
        .iter()
        .map(|rule| json!({ "role": &*rule.role, "text": &*rule.text, "at": rule.at }));
    rules.collect()
}

/// Those of an exchange, with those of the conversation that it goes on from.
pub fn of(exchange: &Exchange) -> Vec<Rule> {
    let kept = exchange.repeated[KEPT_AS].as_array().map_or(&[][..], Vec::as_slice);
    let rule = |rule: &Value| {
        Some(Rule {
            role: rule["role"].as_str()?.into(),
            text: rule["text"].as_str()?.into(),
            at: usize::try_from(rule["at"].as_u64()?).ok()?,
        })
    };
    kept.iter().filter_map(rule).collect()
}

/// Earlier rules with those of a request that goes on behind so many messages. One that is said again stands where it
/// was said last.
pub fn joined(earlier: Vec<Rule>, own: Vec<Rule>, behind: usize) -> Vec<Rule> {
    let said: HashSet<(&str, &str)> = own.iter().map(|rule| (&*rule.role, &*rule.text)).collect();
    let earlier = earlier.into_iter();
    let mut rules: Vec<Rule> = earlier
        .filter(|rule| !said.contains(&(&*rule.role, &*rule.text)))
        .collect();
    rules.extend(own.into_iter().map(|rule| Rule {
        at: rule.at + behind,
        ..rule
    }));
    rules
}

/// The system text that an agent is told: earlier rules, the request's instructions, its own rules.
pub fn system(rules: &[Rule], own_from: usize, instructions: &str) -> String {
    let (earlier, own): (Vec<&Rule>, Vec<&Rule>) = rules.iter().partition(|rule| rule.at < own_from);
    let texts = earlier.iter().map(|rule| &*rule.text);
    let texts = texts
        .chain([instructions])
        .chain(own.iter().map(|rule| &*rule.text))
        .filter(|text| !text.is_empty());
    texts.collect::<Vec<&str>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str, at: usize) -> Rule {
        Rule {
            role: "developer".into(),
            text: text.into(),
            at,
        }
    }

    #[test]
    fn rules_go_on_with_their_conversation_and_each_is_said_once() {
        let first = joined(Vec::new(), vec![rule("French", 0), rule("short", 1)], 0);
        assert_eq!(system(&first, 0, "now"), "now\n\nFrench\n\nshort");
        // Behind one message of the user and its answer.
        let second = joined(first, vec![rule("short", 0), rule("polite", 1)], 2);
        assert_eq!(second, [rule("French", 0), rule("short", 2), rule("polite", 3)]);
        assert_eq!(system(&second, 2, "then"), "French\n\nthen\n\nshort\n\npolite");
        assert_eq!(system(&[], 0, ""), "");
    }
}
