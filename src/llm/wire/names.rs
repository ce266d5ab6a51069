//! Names of skills as providers allow them (letters, digits, `_`, `-`, at most 64), and back.
//!
//! Invariants: two skills of one request never share a wire name; a wire name of an offered skill comes back as that
//! skill; a name that the model made up comes back as some text, which then names no known skill.

use std::collections::BTreeMap;

use crate::domain::skill::SkillManifest;

/// What providers allow at most.
const CHARS_MAX: usize = 64;
const DOT: &str = "__dot__";
const UNDERSCORES: &str = "__us__";

/// The wire name by the rule alone: a dot becomes `__dot__`, and two underscores `__us__`, so that it reads back.
pub fn encode(name: &str) -> String {
    let mut wire = String::with_capacity(name.len() + 8);
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            wire.push_str(UNDERSCORES);
            rest = after;
            continue;
        }
        match first {
            '.' => wire.push_str(DOT),
            c if c.is_ascii_alphanumeric() || c == '_' || c == '-' => wire.push(c),
            _ => wire.push('_'),
        }
        rest = &rest[first.len_utf8()..];
    }
    wire
}

/// The name of a wire name by the rule alone.
pub fn decode(wire: &str) -> String {
    let mut name = String::with_capacity(wire.len());
    let mut rest = wire;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix(DOT) {
            name.push('.');
            rest = after;
        } else if let Some(after) = rest.strip_prefix(UNDERSCORES) {
            name.push_str("__");
            rest = after;
        } else {
            name.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    name
}

/// The names of one request.
#[derive(Debug, Default)]
pub struct Names {
    /// Wire names that the rule alone does not give, because they would be too long.
    short: BTreeMap<String, String>,
}

impl Names {
    /// The names of these skills.
    pub fn of(skills: &[SkillManifest]) -> Self {
        let mut short = BTreeMap::new();
        for (index, skill) in skills.iter().enumerate() {
            let wire = encode(skill.name.as_str());
            if wire.len() > CHARS_MAX {
                // Three underscores and a number cannot come out of the rule at the end of a name.
                let ending = format!("___{index}");
                let wire = format!("{}{ending}", &wire[..CHARS_MAX - ending.len()]);
                short.insert(skill.name.as_str().to_owned(), wire);
            }
        }
        Self { short }
    }

    /// The wire name of a skill. A name that no skill has, from a history, is made harmless.
    pub fn to_wire(&self, name: &str) -> String {
        if let Some(wire) = self.short.get(name) {
            return wire.clone();
        }
        let mut wire = encode(name);
        wire.truncate(CHARS_MAX);
        if wire.is_empty() { "unnamed".to_owned() } else { wire }
    }

    /// The skill of a wire name.
    pub fn from_wire(&self, wire: &str) -> String {
        let short = self.short.iter().find(|(_, known)| *known == wire);
        short.map_or_else(|| decode(wire), |(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::effect::EffectClass;
    use crate::domain::name::SkillName;

    fn manifest(name: &str) -> SkillManifest {
        SkillManifest {
            name: SkillName::new(name).expect("valid"),
            description: "".into(),
            input_schema: Arc::new(serde_json::json!({})),
            class: EffectClass::Read,
            timeout_ms: 1,
            output_bytes_max: 1,
            concurrency: 1,
            approval: crate::domain::approval::Approval::Auto,
            resources: Arc::new([]),
            undo: None,
            examples: Arc::new([]),
        }
    }

    proptest! {
        #[test]
        fn every_skill_comes_back(names in prop::collection::btree_set("[a-z0-9][a-z_.-]{0,63}|[a-z](__|dot|us|\\.|_){0,12}", 1..6)) {
            let names: Vec<String> = names.into_iter().filter(|name| name.len() <= 64).collect();
            let skills: Vec<SkillManifest> = names.iter().map(|name| manifest(name)).collect();
            let table = Names::of(&skills);
            let wires: std::collections::BTreeSet<String> = names.iter().map(|name| table.to_wire(name)).collect();
            prop_assert_eq!(wires.len(), names.len());
            for name in &names {
                let wire = table.to_wire(name);
                prop_assert!(wire.len() <= 64);
                prop_assert!(wire.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
                prop_assert_eq!(&table.from_wire(&wire), name);
            }
        }
    }

    #[test]
    fn a_made_up_name_is_harmless() {
        let table = Names::of(&[]);
        let check = |name: &str, expected: &str| assert_eq!(table.to_wire(name), expected);
        check("fs.read", "fs__dot__read");
        check("", "unnamed");
        check("rm -rf 😀", "rm_-rf__");
        assert_eq!(table.to_wire(&"x".repeat(300)).len(), 64);
    }
}
