//! The rules of `deny.toml`, in cargo-deny's format.
//!
//! A key that is not known here is an error: a rule that nobody holds is worse than none.

use toml_edit::{DocumentMut, Item, Value};

use crate::graph::Package;
use crate::licence::is_met;

/// What the dependency graph is held against.
#[derive(Debug, Default)]
pub struct Rules {
    /// Platforms whose graphs are looked at.
    pub targets: Vec<String>,
    licences: Vec<String>,
    bans: Vec<Ban>,
    registries: Vec<String>,
}

#[derive(Debug)]
struct Ban {
    name: String,
    versions: Vec<(Comparison, [u64; 3])>,
    reason: String,
}

#[derive(Debug, Clone, Copy)]
enum Comparison {
    Below,
    AtMost,
    Exactly,
    AtLeast,
    Above,
}

/// Every key that is understood, with its table.
const KEYS: &[(&str, &[&str])] = &[
    ("graph", &["targets"]),
    ("advisories", &["ignore"]),
    ("licenses", &["allow"]),
    ("bans", &["multiple-versions", "deny"]),
    (
        "sources",
        &["unknown-registry", "unknown-git", "allow-registry", "allow-git"],
    ),
];

impl Rules {
    /// Reads the file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: DocumentMut = text.parse().map_err(|error| format!("deny.toml: {error}"))?;
        for (table, item) in document.iter() {
            let known = KEYS.iter().find(|(name, _)| *name == table);
            let (_, keys) = known.ok_or_else(|| format!("deny.toml: the table [{table}] is not held here"))?;
            for (key, _) in item.as_table().into_iter().flat_map(toml_edit::Table::iter) {
                if !keys.contains(&key) {
                    return Err(format!("deny.toml: {table}.{key} is not held here"));
                }
            }
        }
        for advisory in list(&document, "advisories", "ignore")? {
            let (id, reason) = (field(&advisory, "id"), field(&advisory, "reason"));
            if id.is_none() || reason.is_none_or(|reason| reason.trim().is_empty()) {
                return Err("deny.toml: each entry of advisories.ignore has an id and a reason".into());
            }
        }
        for (key, expected) in [("unknown-registry", "deny"), ("unknown-git", "deny")] {
            if document["sources"][key].as_str() != Some(expected) {
                return Err(format!("deny.toml: sources.{key} is \"{expected}\""));
            }
        }
        if document["bans"]["multiple-versions"].as_str() != Some("allow") {
            return Err("deny.toml: bans.multiple-versions is \"allow\"; nothing else is held here".into());
        }
        if !texts(&document, "sources", "allow-git")?.is_empty() {
            return Err("deny.toml: sources.allow-git is empty; nothing else is held here".into());
        }
        let bans = list(&document, "bans", "deny")?;
        let rules = Self {
            targets: texts(&document, "graph", "targets")?,
            licences: texts(&document, "licenses", "allow")?,
            bans: bans.iter().map(ban).collect::<Result<_, _>>()?,
            registries: texts(&document, "sources", "allow-registry")?,
        };
        if rules.targets.is_empty() {
            return Err("deny.toml: graph.targets names no platform, so nothing would be looked at".into());
        }
        Ok(rules)
    }

    /// What is wrong with the graph; each finding names the package and the rule.
    pub fn findings(&self, graph: &[Package]) -> Vec<String> {
        graph.iter().flat_map(|package| self.of_package(package)).collect()
    }

    fn of_package(&self, package: &Package) -> Vec<String> {
        let Package {
            name,
            version,
            licence,
            source,
        } = package;
        let mut findings = Vec::new();
        match licence
            .as_deref()
            .map(|expression| (expression, is_met(expression, &self.licences)))
        {
            None => findings.push(format!("{name} {version} declares no licence [licenses.allow]")),
            Some((_, Ok(true))) => {}
            Some((expression, Ok(false))) => {
                findings.push(format!(
                    "{name} {version} has the licence `{expression}` [licenses.allow]"
                ));
            }
            Some((_, Err(error))) => findings.push(format!("{name} {version}: {error} [licenses.allow]")),
        }
        for ban in self.bans.iter().filter(|ban| ban.meets(name, version)) {
            findings.push(format!("{name} {version} is banned: {} [bans.deny]", ban.reason));
        }
        if let Some(source) = source {
            let registry = source.strip_prefix("registry+");
            // Without a list it is cargo's own default; what is never allowed is a source that is no registry.
            let is_allowed = |registry| self.registries.is_empty() || self.registries.iter().any(|one| one == registry);
            if !registry.is_some_and(is_allowed) {
                findings.push(format!("{name} {version} comes from {source} [sources.allow-registry]"));
            }
        }
        findings
    }
}

impl Ban {
    fn meets(&self, name: &str, version: &str) -> bool {
        // A version that cannot be read meets the ban: the doubt is the finding.
        self.name == name
            && numbers(version).is_none_or(|version| {
                self.versions.iter().all(|(comparison, bound)| match comparison {
                    Comparison::Below => version < *bound,
                    Comparison::AtMost => version <= *bound,
                    Comparison::Exactly => version == *bound,
                    Comparison::AtLeast => version >= *bound,
                    Comparison::Above => version > *bound,
                })
            })
    }
}

/// The three numbers of a version; what follows `-` or `+` is left out.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let plain = version.split(['-', '+']).next()?;
    let parts: Vec<u64> = plain.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    parts.try_into().ok()
}

/// `name`, `name@1.2.3` (exactly), or `name:<1.2.3,>=1.0.0`.
fn ban(entry: &Value) -> Result<Ban, String> {
    let wrong = |text: &str| format!("deny.toml: bans.deny: {text}");
    let package = field(entry, "crate").ok_or_else(|| wrong("an entry has no `crate`"))?;
    let reason = field(entry, "reason").ok_or_else(|| wrong(&format!("`{package}` has no reason")))?;
    let (name, requirement) = match package.split_once([':', '@']) {
        None => (package, String::new()),
        Some((name, version)) if package.contains('@') => (name, format!("={version}")),
        Some((name, requirement)) => (name, requirement.to_owned()),
    };
    let mut versions = Vec::new();
    for part in requirement.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let signs: [(&str, Comparison); 5] = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Below),
            (">", Comparison::Above),
            ("=", Comparison::Exactly),
        ];
        let read = signs.iter().find_map(|(sign, comparison)| {
            let bound = numbers(part.strip_prefix(sign)?.trim())?;
            Some((*comparison, bound))
        });
        versions.push(read.ok_or_else(|| wrong(&format!("`{package}`: `{part}` is not understood here")))?);
    }
    Ok(Ban {
        name: name.to_owned(),
        versions,
        reason: reason.to_owned(),
    })
}

fn field<'a>(entry: &'a Value, key: &str) -> Option<&'a str> {
    entry.as_inline_table()?.get(key)?.as_str()
}

fn list(document: &DocumentMut, table: &str, key: &str) -> Result<Vec<Value>, String> {
    match document.get(table).and_then(|table| table.get(key)) {
        None => Ok(Vec::new()),
        Some(Item::Value(Value::Array(values))) => Ok(values.iter().cloned().collect()),
        Some(_) => Err(format!("deny.toml: {table}.{key} is a list")),
    }
}

fn texts(document: &DocumentMut, table: &str, key: &str) -> Result<Vec<String>, String> {
    list(document, table, key)?
        .iter()
        .map(|value| value.as_str().map(str::to_owned))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("deny.toml: {table}.{key} is a list of texts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [graph]
        targets = ["x86_64-unknown-linux-gnu"]
        [advisories]
        ignore = [{ id = "RUSTSEC-2025-0141", reason = "known" }]
        [licenses]
        allow = ["MIT"]
        [bans]
        multiple-versions = "allow"
        deny = [
            { crate = "openssl", reason = "one TLS" },
            { crate = "bincode:>2.0.1", reason = "layout" },
            { crate = "old@1.0.0", reason = "broken" },
        ]
        [sources]
        unknown-registry = "deny"
        unknown-git = "deny"
        allow-registry = ["https://index"]
        allow-git = []
    "#;

    fn check(name: &str, version: &str, licence: Option<&str>, source: Option<&str>, expected: &[&str]) {
        let package = Package {
            name: name.into(),
            version: version.into(),
            licence: licence.map(Into::into),
            source: source.map(Into::into),
        };
        let rules = Rules::parse(RULES).expect("the rules are read");
        assert_eq!(rules.findings(&[package]), expected);
    }

    #[test]
    fn a_package_that_keeps_the_rules_is_no_finding() {
        check("serde", "1.0.0", Some("MIT"), Some("registry+https://index"), &[]);
        check("openclaw", "0.1.0", Some("MIT"), None, &[]);
        check("bincode", "2.0.1", Some("MIT"), None, &[]);
        check("old", "1.0.1", Some("MIT"), None, &[]);
    }

    #[test]
    fn each_broken_rule_is_a_finding_that_names_package_and_rule() {
        check(
            "x",
            "1.0.0",
            None,
            None,
            &["x 1.0.0 declares no licence [licenses.allow]"],
        );
        check(
            "x",
            "1.0.0",
            Some("GPL-3.0"),
            None,
            &["x 1.0.0 has the licence `GPL-3.0` [licenses.allow]"],
        );
        check(
            "openssl",
            "9.9.9",
            Some("MIT"),
            None,
            &["openssl 9.9.9 is banned: one TLS [bans.deny]"],
        );
        check(
            "bincode",
            "3.0.0",
            Some("MIT"),
            None,
            &["bincode 3.0.0 is banned: layout [bans.deny]"],
        );
        check(
            "old",
            "1.0.0",
            Some("MIT"),
            None,
            &["old 1.0.0 is banned: broken [bans.deny]"],
        );
        check(
            "x",
            "1.0.0",
            Some("MIT"),
            Some("git+https://host/x"),
            &["x 1.0.0 comes from git+https://host/x [sources.allow-registry]"],
        );
    }

    #[test]
    fn a_rule_that_would_not_be_held_is_an_error() {
        for (from, to) in [
            ("multiple-versions = \"allow\"", "multiple-versions = \"deny\""),
            ("allow = [\"MIT\"]", "allow = [\"MIT\"]\nconfidence-threshold = 0.9"),
            ("[graph]", "[output]\n[graph]"),
            ("bincode:>2.0.1", "bincode:^2.0.1"),
            ("reason = \"known\"", "reason = \"\""),
            ("unknown-git = \"deny\"", "unknown-git = \"warn\""),
            ("targets = [\"x86_64-unknown-linux-gnu\"]", "targets = []"),
        ] {
            let text = RULES.replacen(from, to, 1);
            assert_ne!(text, RULES, "{from}");
            assert!(Rules::parse(&text).is_err(), "{to}");
        }
    }
}
