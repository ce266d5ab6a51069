//! What a call touches, by its skill and arguments: the capabilities that whoever makes it must have.
//!
//! Invariants: when it cannot be told, everything of the kind is needed; a path is judged where it leads after links,
//! so that a link within the workspace opens nothing that its name does not show.

use std::path::{Component, Path};

use serde_json::Value;

use crate::domain::capability::{Capability, CapabilityKind, CapabilitySet};
use crate::domain::name::SkillName;

/// What a call of a built-in or declared skill touches.
pub(super) fn of(name: &SkillName, arguments: &Value, workspace: &Path) -> CapabilitySet {
    let text = |key: &str| arguments.get(key).and_then(Value::as_str);
    let path = |kind, key: &str| under(kind, text(key).unwrap_or("."), workspace);
    let needed = match name.as_str() {
        "fs.write" => vec![path(CapabilityKind::FsWrite, "path")],
        "fs.patch" => vec![
            path(CapabilityKind::FsRead, "path"),
            path(CapabilityKind::FsWrite, "path"),
        ],
        "fs.read" | "fs.list" | "fs.search" | "fs.glob" => vec![path(CapabilityKind::FsRead, "path")],
        family if family.starts_with("fs.") => {
            vec![
                Capability::any(CapabilityKind::FsRead),
                Capability::any(CapabilityKind::FsWrite),
            ]
        }
        "exec.run" => {
            let program = arguments.pointer("/argv/0").and_then(Value::as_str);
            vec![scoped(CapabilityKind::Exec, program)]
        }
        family if family.starts_with("exec.") || family.starts_with("code.") => {
            vec![Capability::any(CapabilityKind::Exec)]
        }
        family if family.starts_with("web.") || family.starts_with("http.") => {
            let place = text("url").and_then(place_of);
            vec![scoped(CapabilityKind::Net, place.as_deref())]
        }
        family if family.starts_with("memory.") => vec![scoped(CapabilityKind::Memory, text("scope"))],
        family if family.starts_with("git.") => {
            let mut needed = vec![
                Capability::any(CapabilityKind::FsRead),
                scoped(CapabilityKind::Exec, Some("git")),
            ];
            if family == "git.commit" {
                needed.push(Capability::any(CapabilityKind::FsWrite));
            }
            needed
        }
        // The operator's own packages are for every agent that has the skill.
        // A question to a person touches nothing.
        "skill.read" | "ask.person" => Vec::new(),
        "skill.run" => {
            let (skill, script) = (text("skill").unwrap_or_default(), text("script").unwrap_or_default());
            vec![scoped(CapabilityKind::Exec, Some(&format!("{skill}/{script}")))]
        }
        // A command that the operator declared: its name stands for the program.
        other => vec![scoped(CapabilityKind::Exec, Some(other))],
    };
    needed.into_iter().collect()
}

/// What a call of a skill touches that is not there: everything, so that nothing is allowed by mistake.
pub(super) fn of_unknown(_: &SkillName) -> CapabilitySet {
    CapabilityKind::ALL.into_iter().map(Capability::any).collect()
}

/// Everything of the kind when there is no scope, or one that cannot be told.
fn scoped(kind: CapabilityKind, scope: Option<&str>) -> Capability {
    scope
        .and_then(|scope| Capability::new(kind, scope).ok())
        .unwrap_or_else(|| Capability::any(kind))
}

/// The path that a call works on, after links.
pub(super) fn under(kind: CapabilityKind, path: &str, workspace: &Path) -> Capability {
    let led = (|| {
        let root = workspace.canonicalize().ok()?;
        let wanted = root.join(path);
        if wanted.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        // What is not there yet is made below what is.
        let mut there = wanted.as_path();
        let real = loop {
            match there.canonicalize() {
                Ok(real) => break real,
                // A link that leads nowhere may lead anywhere once something is there.
                Err(_) if there.is_symlink() => return None,
                Err(_) => there = there.parent()?,
            }
        };
        let inner = real.strip_prefix(&root).ok()?.join(wanted.strip_prefix(there).ok()?);
        inner.to_str().map(str::to_owned)
    })();
    let led = led.map(|path| if path.is_empty() { ".".to_owned() } else { path });
    scoped(kind, led.as_deref())
}

/// What whoever asks this address must be allowed.
pub(super) fn of_address(url: &reqwest::Url) -> Capability {
    scoped(CapabilityKind::Net, place_of(url.as_str()).as_deref())
}

/// `host:port` of an address.
fn place_of(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_needs_what_its_arguments_name_and_everything_when_that_cannot_be_told() {
        let folder = tempfile::tempdir().expect("folder");
        let work = folder.path().join("work");
        std::fs::create_dir_all(work.join("src/deep")).expect("folders");
        for (link, to) in [("short", "src/deep"), ("out", ".."), ("dangling", "nowhere")] {
            std::os::unix::fs::symlink(to, work.join(link)).expect("link");
        }
        let check = |skill: &str, arguments: Value, wanted: &[&str]| {
            let needs = of(&SkillName::new(skill).expect("name"), &arguments, &work);
            let shown: Vec<String> = needs.iter().map(ToString::to_string).collect();
            assert_eq!(shown, wanted, "{skill} {arguments}");
        };
        check("fs.read", json!({"path": "src/a.rs"}), &["fs.read:src/a.rs"]);
        check("fs.write", json!({"path": "new/dir/a"}), &["fs.write:new/dir/a"]);
        check("fs.read", json!({"path": "short/a"}), &["fs.read:src/deep/a"]);
        check("fs.write", json!({"path": "dangling/a"}), &["fs.write:*"]);
        check("fs.read", json!({"path": "out/secret"}), &["fs.read:*"]);
        check("fs.read", json!({"path": "src/../../x"}), &["fs.read:*"]);
        check("fs.read", json!({"path": "/etc/passwd"}), &["fs.read:*"]);
        check("fs.list", json!({}), &["fs.read:*"]);
        check("fs.move", json!({"from": "a", "to": "b"}), &["fs.read:*", "fs.write:*"]);
        check("fs.patch", json!({"path": "a"}), &["fs.read:a", "fs.write:a"]);
        check("exec.run", json!({"argv": ["cargo", "test"]}), &["exec:cargo"]);
        check("exec.run", json!({"argv": "cargo"}), &["exec:*"]);
        check("web.fetch", json!({"url": "https://Docs.rs/x"}), &["net:docs.rs:443"]);
        check("web.fetch", json!({"url": "http://[::1]:8080/"}), &["net:[::1]:8080"]);
        check("web.fetch", json!({"url": "nonsense"}), &["net:*"]);
        check(
            "memory.get",
            json!({"scope": "project", "key": "k"}),
            &["memory:project"],
        );
        check("skill.read", json!({"skill": "pdf"}), &[]);
        check(
            "skill.run",
            json!({"skill": "pdf", "script": "scripts/a.py"}),
            &["exec:pdf/scripts/a.py"],
        );
        check("deploy", json!({}), &["exec:deploy"]);
    }
}
