//! `fs.patch`: replaces an exact text within a file of the workspace.
//!
//! Invariant: the probe judges by the file alone, so a patch that it would judge wrongly is refused beforehand.

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use crate::domain::effect::EffectClass;
use crate::domain::skill::{CallOutcome, SkillManifest};
use crate::skills::declare::{Declaration, arguments};
use crate::skills::preview::Preview;
use crate::skills::showing;
use crate::skills::skill::{CallEnd, CallOrder, ProbeAnswer, Skill, SkillError};
use crate::skills::stop::{Halt, Stop};
use crate::skills::thread::{on_thread, probe_on_thread};
use crate::skills::workspace::Workspace;

const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

#[derive(Deserialize)]
struct Wanted {
    path: String,
    old: String,
    new: String,
    expect_count: Option<usize>,
}

/// The skill.
pub struct FsPatch {
    manifest: SkillManifest,
}

impl FsPatch {
    /// Makes the skill.
    #[expect(
        clippy::new_without_default,
        reason = "all skills are made by `new`, with or without parts"
    )]
    pub fn new() -> Self {
        let manifest = Declaration {
            name: "fs.patch",
            description: "Replaces the exact text `old` by `new` in a file of the workspace. `old` must occur \
                          exactly `expect_count` times (default 1), so give enough lines around it to be unique. \
                          Blanks and line ends count.",
            class: EffectClass::Probe,
            timeout_ms: 20_000,
            concurrency: 16,
            properties: json!({
                "path": {"type": "string", "minLength": 1, "description": "relative to the workspace"},
                "old": {"type": "string", "minLength": 1},
                "new": {"type": "string"},
                "expect_count": {"type": "integer", "minimum": 1, "maximum": 10_000},
            }),
            required: &["path", "old", "new"],
            examples: json!([{"path": "README.md", "old": "port 8080", "new": "port 9090"}]),
        }
        .manifest();
        Self { manifest }
    }
}

impl Skill for FsPatch {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn preview(&self, order: CallOrder) -> BoxFuture<'static, Preview> {
        let wanted: Wanted = match arguments(&order) {
            Ok(wanted) => wanted,
            Err(reason) => return Preview::of(reason).at_once(),
        };
        let path = wanted.path.clone();
        showing::change_on_thread(order, path, move |before| match before {
            Some(before) => apply(before, &wanted),
            None => Err("it is not there".to_owned()),
        })
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        on_thread(&self.manifest, order, patch)
    }

    fn probe(&self, order: CallOrder) -> BoxFuture<'static, ProbeAnswer> {
        probe_on_thread(&self.manifest, order, ask)
    }
}

fn patch(order: &CallOrder, workspace: &Workspace, halt: &Halt) -> Result<CallEnd, Stop> {
    let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
    let content = read(workspace, &wanted)?;
    let patched = apply(&content, &wanted).map_err(Stop::Refused)?;
    workspace.write(&wanted.path, patched.as_bytes(), order.key, halt)?;
    Ok(done(&wanted, patched.len()).into())
}

fn ask(order: &CallOrder, workspace: &Workspace, _halt: &Halt) -> Result<ProbeAnswer, Stop> {
    let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
    let content = read(workspace, &wanted)?;
    match judge(&content, &wanted) {
        Some(true) => Ok(ProbeAnswer::Happened(done(&wanted, content.len()))),
        Some(false) => Ok(ProbeAnswer::NotHappened),
        None => Err(Stop::refused(format!(
            "`{}` has neither the old nor the new text as expected",
            wanted.path
        ))),
    }
}

fn read(workspace: &Workspace, wanted: &Wanted) -> Result<String, Stop> {
    let content = workspace.read(&wanted.path, FILE_BYTES_MAX)?;
    String::from_utf8(content).map_err(|_| Stop::refused(format!("`{}` is not UTF-8 text", wanted.path)))
}

fn done(wanted: &Wanted, bytes: usize) -> CallOutcome {
    let replaced = wanted.expect_count.unwrap_or(1);
    CallOutcome::ok(json!({"path": wanted.path, "replaced": replaced, "bytes": bytes}).to_string())
}

fn apply(content: &str, wanted: &Wanted) -> Result<String, String> {
    let Wanted { path, old, new, .. } = wanted;
    let expected = wanted.expect_count.unwrap_or(1);
    if old == new {
        return Err("`old` and `new` are the same".to_owned());
    }
    let count = content.matches(old.as_str()).count();
    if count != expected {
        let hint = match count {
            0 if !old.trim().is_empty() && content.contains(old.trim()) => {
                "; it is there with other blanks or line ends around it"
            }
            0 => "; read the file again and copy the text exactly",
            _ => "; give more lines around it, or set expect_count",
        };
        return Err(format!(
            "`old` occurs {count} times in `{path}`, expected {expected}{hint}"
        ));
    }
    let patched = content.replace(old.as_str(), new);
    // What the probe would say is asked beforehand: a patch that it would judge wrongly is not made.
    if judge(content, wanted) == Some(true) || judge(&patched, wanted) == Some(false) {
        return Err(format!(
            "in `{path}` nobody could tell afterwards whether this replacement was made, because the texts overlap; \
             give more lines around it, or use fs.write"
        ));
    }
    Ok(patched)
}

/// Whether the patch was made; none when the file does not tell.
fn judge(content: &str, wanted: &Wanted) -> Option<bool> {
    let Wanted { old, new, .. } = wanted;
    let expected = wanted.expect_count.unwrap_or(1);
    let olds = content.matches(old.as_str()).count();
    let news = if new.is_empty() {
        0
    } else {
        content.matches(new.as_str()).count()
    };
    let is_before = olds == expected && (news == 0 || !new.contains(old.as_str()));
    let is_after = news >= expected && outside(content, old, new) == 0;
    match (is_before, is_after) {
        (true, false) => Some(false),
        (false, true) => Some(true),
        _ => None,
    }
}

/// How often `old` occurs when all that is `new` is taken out first.
fn outside(content: &str, old: &str, new: &str) -> usize {
    if new.is_empty() || !new.contains(old) {
        return content.matches(old).count();
    }
    content.split(new).map(|piece| piece.matches(old).count()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(old: &str, new: &str, expect_count: usize) -> Wanted {
        Wanted {
            path: "f".to_owned(),
            old: old.to_owned(),
            new: new.to_owned(),
            expect_count: Some(expect_count),
        }
    }

    #[test]
    fn the_probe_tells_before_from_after() {
        let check = |content: &str, old: &str, new: &str, count: usize, verdict: Option<bool>| {
            assert_eq!(
                judge(content, &wanted(old, new, count)),
                verdict,
                "{content:?} {old:?} {new:?}"
            );
        };
        check("let a = 1;", "a = 1", "a = 2", 1, Some(false));
        check("let a = 2;", "a = 1", "a = 2", 1, Some(true));
        check("use a;\nfn", "use a;\n", "use a;\nuse b;\n", 1, Some(false));
        check("use a;\nuse b;\nfn", "use a;\n", "use a;\nuse b;\n", 1, Some(true));
        check("x x", "x", "y", 2, Some(false));
        check("y y", "x", "y", 2, Some(true));
        check("y", "x", "y", 2, None);
        check("", "x", "", 1, None);
        check("other", "x", "y", 1, None);
        check("abcd", "bc", "", 1, Some(false));
    }

    #[test]
    fn a_patch_that_the_probe_would_misjudge_is_refused() {
        let check = |content: &str, old: &str, new: &str, good: bool| {
            let applied = apply(content, &wanted(old, new, 1));
            assert_eq!(applied.is_ok(), good, "{content:?} {old:?} {new:?}: {applied:?}");
        };
        check("one two", "two", "three", true);
        check("one", "two", "three", false);
        check("one", "one", "one", false);
        check("aabb", "ab", "", false);
        check("\n\n\n\n", "\n\n\n", "\n\n\n\n", false);
    }

    proptest! {
        #[test]
        fn the_probe_is_never_wrong_about_an_accepted_patch(
            content in "[ab\n]{0,12}", old in "[ab\n]{1,3}", new in "[ab\n]{0,4}", count in 1usize..3,
        ) {
            let wanted = wanted(&old, &new, count);
            if let Ok(patched) = apply(&content, &wanted) {
                prop_assert_ne!(judge(&content, &wanted), Some(true), "before");
                prop_assert_ne!(judge(&patched, &wanted), Some(false), "after");
            }
        }
    }
}
