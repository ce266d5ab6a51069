//! `git.status`, `git.diff`, `git.log` and `git.commit`: the repository of the workspace, by the git program.
//!
//! Invariants: nothing that a repository names is run: no hook, filter, pager, editor, signer, external diff or helper,
//! and nothing of a submodule is looked into; no configuration of the machine is read and no remote is asked. What a
//! repository configures is listed first and held against a list of what is only data (`skills/git_config.rs`). A
//! commit carries its effect key in a trailer, by which its probe finds it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::effect::{EffectClass, EffectKey};
use crate::domain::skill::{CallOutcome, SkillManifest};
use crate::domain::text::preview;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::git_config;
use crate::skills::preview::Preview;
use crate::skills::process::end::{Ended, ProgramEnd, Rendering};
use crate::skills::program_call::{Program, Programs};
use crate::skills::skill::{CallEnd, CallOrder, ProbeAnswer, Skill, SkillError};
use crate::skills::stop::Stop;

const LIMIT: Duration = Duration::from_secs(60);
/// The trailer of a commit that names its effect.
const TRAILER: &str = "Openclaw-Effect-Key";
/// What may not be decided by files of the repository or the machine. These win over what a repository says.
const SAFE: [&str; 14] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.editor=false",
    "core.askPass=",
    "core.sshCommand=false",
    "protocol.allow=never",
    "commit.gpgSign=false",
    "log.showSignature=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "status.submoduleSummary=false",
    "diff.ignoreSubmodules=all",
    // A folder that only looks like a repository is none.
    "safe.bareRepository=explicit",
];
/// The same by variables, which win over both; and what git is not to ask or to wait for.
const VARIABLES: [(&str, &str); 14] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    // A path is a path and no pattern or magic word.
    ("GIT_LITERAL_PATHSPECS", "1"),
    // Whatever a repository allows: a missing object is not fetched.
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_EDITOR", "false"),
    ("GIT_SEQUENCE_EDITOR", "false"),
    ("GIT_PAGER", "cat"),
    ("GIT_ASKPASS", "false"),
    ("GIT_SSH_COMMAND", "false"),
    // Counts only where the repository names nobody.
    ("EMAIL", "openclaw@localhost"),
];
/// Says with its end whether the index has a submodule: 0 with its entry, 1 without one.
const FIND_SUBMODULE: &str = "entries=$(git ls-files --stage | grep -a -m 1 '^160000 ') && printf %s \"$entries\"";

/// Puts a commit of these paths, or of everything, together in an index and a folder of objects of its own, as `git add`
/// and `git commit` would; says the name of its tree, then its changes.
const SHOW_COMMIT: &str = r#"set -e
whole=$(git rev-parse --path-format=absolute --git-path index)
GIT_ALTERNATE_OBJECT_DIRECTORIES=$(git rev-parse --path-format=absolute --git-path objects)
GIT_OBJECT_DIRECTORY=$TMPDIR/objects
GIT_INDEX_FILE=$TMPDIR/index
export GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_OBJECT_DIRECTORY GIT_INDEX_FILE
mkdir "$GIT_OBJECT_DIRECTORY"
if [ $# -gt 0 ]; then
    if git rev-parse --quiet --verify 'HEAD^{commit}' >/dev/null; then git read-tree HEAD; fi
else
    if [ -e "$whole" ]; then cat "$whole" >"$GIT_INDEX_FILE"; fi
    set -- .
fi
git add --all -- "$@"
git write-tree
git diff --cached --no-color --no-ext-diff --no-textconv --ignore-submodules=all
"#;

/// What a commit would hold.
struct Change {
    /// The name of all its content.
    tree: String,
    /// What differs from the last commit.
    diff: String,
    is_whole: bool,
}

impl Change {
    fn shown_below(&self, head: &str) -> Preview {
        let diff = if self.diff.is_empty() {
            "nothing has changed"
        } else {
            self.diff.trim_end()
        };
        let shown = Preview::of(format!("{head}\n\n{diff}")).resting_on(&*self.tree);
        if self.is_whole { shown } else { shown.incomplete() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Status,
    Diff,
    Log,
    Commit,
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    staged: bool,
    limit: Option<u32>,
    message: Option<String>,
}

/// One of the skills.
pub struct Git {
    manifest: SkillManifest,
    action: Action,
    programs: Programs,
}

impl Git {
    /// All four.
    pub(in crate::skills) fn all(programs: &Programs) -> Vec<Self> {
        let paths = json!({
            "type": "array", "maxItems": 200, "items": {"type": "string", "minLength": 1},
            "description": "relative to the workspace; default all",
        });
        let make = |action, name, description, properties: Value, required, examples| {
            let declaration = Declaration {
                name,
                description,
                class: if action == Action::Commit {
                    EffectClass::Probe
                } else {
                    EffectClass::Read
                },
                timeout_ms: LIMIT.as_millis() as u64,
                // Two commits at once would find each other's lock.
                concurrency: if action == Action::Commit { 1 } else { 8 },
                properties,
                required,
                examples,
            };
            Self {
                manifest: declaration.manifest(),
                action,
                programs: programs.clone(),
            }
        };
        vec![
            make(
                Action::Status,
                "git.status",
                "Shows branch and changed files of the workspace's git repository, in git's short form.",
                json!({ "paths": paths }),
                &[],
                json!([{}]),
            ),
            make(
                Action::Diff,
                "git.diff",
                "Shows what has changed in the workspace since the last commit, or what is staged, as a unified diff.",
                json!({ "paths": paths, "staged": {"type": "boolean"} }),
                &[],
                json!([{}, {"paths": ["src"], "staged": true}]),
            ),
            make(
                Action::Log,
                "git.log",
                "Lists commits of the workspace's repository, the newest first: hash, date, author, subject.",
                json!({
                    "paths": paths,
                    "limit": {"type": "integer", "minimum": 1, "maximum": 500, "description": "default 20"},
                }),
                &[],
                json!([{"limit": 5}]),
            ),
            make(
                Action::Commit,
                "git.commit",
                "Commits changes of the workspace: all of them, new files included, or those of some paths. Hooks are \
                 not run and nothing is sent anywhere.",
                json!({ "message": {"type": "string", "minLength": 1, "maxLength": 10_000}, "paths": paths }),
                &["message"],
                json!([{"message": "docs: say what the limits are", "paths": ["README.md"]}]),
            ),
        ]
    }

    /// Runs a program with what holds for git whatever a repository says.
    async fn program(
        programs: &Programs,
        order: &CallOrder,
        argv: Vec<String>,
        spooled: bool,
    ) -> Result<ProgramEnd, Stop> {
        Self::program_with(programs, order, argv, spooled, Vec::new()).await
    }

    /// The same with further variables.
    async fn program_with(
        programs: &Programs,
        order: &CallOrder,
        argv: Vec<String>,
        spooled: bool,
        further: Vec<(String, String)>,
    ) -> Result<ProgramEnd, Stop> {
        let variables = VARIABLES
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let program = Program {
            argv,
            env: variables.chain(further).collect(),
            stdin: String::new(),
            limit: LIMIT,
            spooled,
            rendering: Rendering::Stdout,
        };
        programs.run(order, program).await
    }

    /// Runs git with these words, in a repository that was looked at.
    async fn git(
        programs: &Programs,
        order: &CallOrder,
        words: Vec<String>,
        spooled: bool,
    ) -> Result<ProgramEnd, Stop> {
        let safe = SAFE.iter().flat_map(|setting| ["-c", setting]);
        let argv = ["git"].into_iter().chain(safe).map(str::to_owned).chain(words);
        Self::program(programs, order, argv.collect(), spooled).await
    }

    /// Refuses a repository that configures anything but data. It is asked of git itself, which then reads the same
    /// files by the same rules; to list them runs nothing.
    async fn look(programs: &Programs, order: &CallOrder) -> Result<(), Stop> {
        let words = owned(&["git", "config", "--list", "--name-only", "--includes", "-z"]);
        let listed = Self::program(programs, order, words, false).await?;
        if listed.ended != (Ended::Exited { code: 0 }) || listed.truncated {
            let said = listed.outcome(Rendering::Stdout).content;
            return Err(Stop::refused(format!(
                "the configuration of the repository cannot be read, so git is not run: {}",
                preview(&said, 400)
            )));
        }
        let names = listed.stdout.split('\0').filter(|name| !name.is_empty());
        let found: Vec<String> = names
            .filter(|name| !git_config::is_data(name))
            .map(|name| preview(name, 120))
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        Err(Stop::refused(format!(
            "git is not run here: the repository's own configuration sets {}, which can name a program or another place; \
             a person removes it with `git config --unset KEY`, or runs git with exec.run [{}]",
            found.join(", "),
            code::GIT_CONFIGURATION_REFUSED.id
        )))
    }

    /// Refuses a commit in a repository with submodules: to find their changes git would run by their configuration.
    async fn look_for_submodules(programs: &Programs, order: &CallOrder) -> Result<(), Stop> {
        let listed = Self::program(programs, order, owned(&["sh", "-c", FIND_SUBMODULE]), false).await?;
        match listed.ended {
            Ended::Exited { code: 1 } => Ok(()),
            Ended::Exited { code: 0 } => Err(Stop::refused(format!(
                "nothing was committed: the repository has a submodule ({}), and git would look into it by its own \
                 configuration; commit with exec.run where that is allowed [{}]",
                preview(listed.stdout.trim_end(), 200),
                code::GIT_CONFIGURATION_REFUSED.id
            ))),
            _ => Err(Stop::refused(format!(
                "nothing was committed: the files of the repository cannot be listed: {}",
                preview(&listed.outcome(Rendering::Stdout).content, 400)
            ))),
        }
    }

    /// What a commit of these paths would hold as things are. It is put together beside the repository, whose index and
    /// objects stay as they are.
    async fn would_commit(programs: &Programs, order: &CallOrder, paths: &[String]) -> Result<Change, Stop> {
        Self::look(programs, order).await?;
        Self::look_for_submodules(programs, order).await?;
        let mut argv = owned(&["sh", "-c", SHOW_COMMIT, "git.commit"]);
        argv.extend(paths.iter().cloned());
        let shown = Self::program_with(programs, order, argv, false, safe_by_variables()).await?;
        let described = |reason: &str| Stop::refused(format!("what would be committed cannot be shown: {reason}"));
        if shown.ended != (Ended::Exited { code: 0 }) {
            return Err(described(&preview(&shown.outcome(Rendering::Stdout).content, 400)));
        }
        let (tree, diff) = shown
            .stdout
            .split_once('\n')
            .ok_or_else(|| described("git said nothing"))?;
        Ok(Change {
            tree: tree.to_owned(),
            diff: diff.to_owned(),
            is_whole: !shown.truncated,
        })
    }

    /// Whether the repository has no commit yet.
    async fn is_unborn(programs: &Programs, order: &CallOrder) -> Result<bool, Stop> {
        let words = owned(&["symbolic-ref", "--quiet", "HEAD"]);
        let branch = Self::git(programs, order, words, false).await?;
        let words = owned(&["rev-parse", "--quiet", "--verify", "HEAD^{commit}"]);
        let commit = Self::git(programs, order, words, false).await?;
        let good = Ended::Exited { code: 0 };
        Ok(branch.ended == good && commit.ended != good)
    }

    async fn act(action: Action, programs: &Programs, order: &CallOrder) -> Result<CallOutcome, Stop> {
        let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
        if wanted.paths.iter().any(|path| path.contains('\0')) {
            return Err(Stop::refused("a path holds a NUL"));
        }
        Self::look(programs, order).await?;
        let diff = ["diff", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all"];
        let mut command = match action {
            Action::Status => owned(&["status", "--short", "--branch", "--ignore-submodules=all"]),
            Action::Diff => {
                let since = if wanted.staged { "--cached" } else { "HEAD" };
                if !wanted.staged && Self::is_unborn(programs, order).await? {
                    let said = "the repository has no commit yet, so there is nothing to compare with; git.status lists \
                                its files, and `staged` shows what is staged";
                    return Ok(CallOutcome::ok(said));
                }
                owned(&[&diff[..], &[since]].concat())
            }
            Action::Log => {
                let limit = format!("--max-count={}", wanted.limit.unwrap_or(20));
                let format = "--format=%h %ad %an: %s";
                owned(&["log", &limit, "--no-show-signature", "--date=iso-strict", format])
            }
            Action::Commit => {
                Self::look_for_submodules(programs, order).await?;
                let mut add = owned(&["add", "--all", "--"]);
                let all = [".".to_owned()];
                let paths: &[String] = if wanted.paths.is_empty() { &all } else { &wanted.paths };
                add.extend(paths.iter().cloned());
                let added = Self::git(programs, order, add, false).await?;
                if added.ended != (Ended::Exited { code: 0 }) {
                    return Ok(added.outcome(Rendering::Stdout));
                }
                let message = with_trailer(wanted.message.as_deref().unwrap_or_default(), order.key);
                owned(&[
                    "commit",
                    "--no-verify",
                    "--no-gpg-sign",
                    "--cleanup=whitespace",
                    "--message",
                    &message,
                ])
            }
        };
        if !wanted.paths.is_empty() {
            command.push("--".to_owned());
            command.extend(wanted.paths.iter().cloned());
        }
        let end = Self::git(programs, order, command, action == Action::Commit).await?;
        Ok(end.outcome(Rendering::Stdout))
    }
}

/// [`SAFE`] for a program that runs git more than once.
fn safe_by_variables() -> Vec<(String, String)> {
    let mut variables = vec![("GIT_CONFIG_COUNT".to_owned(), SAFE.len().to_string())];
    for (place, setting) in SAFE.iter().enumerate() {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        variables.push((format!("GIT_CONFIG_KEY_{place}"), name.to_owned()));
        variables.push((format!("GIT_CONFIG_VALUE_{place}"), value.to_owned()));
    }
    variables
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The message with the effect's key as its last trailer. Git's own `--trailer` is configurable and may run a program.
fn with_trailer(message: &str, key: EffectKey) -> String {
    let message = message.trim_end();
    let is_trailer = |line: &str| {
        let name = line.split_once(": ").map(|(name, _)| name);
        name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
    };
    let has_trailers = message
        .rsplit_once("\n\n")
        .is_some_and(|(_, last)| last.lines().all(is_trailer));
    let gap = if has_trailers { "\n" } else { "\n\n" };
    format!("{message}{gap}{TRAILER}: {key}\n")
}

impl Skill for Git {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn preview(&self, order: CallOrder) -> BoxFuture<'static, Preview> {
        let (action, programs, skill) = (self.action, self.programs.clone(), self.manifest.name.clone());
        Box::pin(async move {
            let wanted: Wanted = match arguments(&order) {
                Ok(wanted) => wanted,
                Err(reason) => return Preview::of(reason),
            };
            let paths = if wanted.paths.is_empty() {
                "all changes".to_owned()
            } else {
                wanted.paths.join(", ")
            };
            let message = wanted.message.map(|text| format!(":\n{text}")).unwrap_or_default();
            let head = format!("{skill} of {paths}{message}");
            if action != Action::Commit {
                return Preview::of(head);
            }
            match Self::would_commit(&programs, &order, &wanted.paths).await {
                Ok(change) => change.shown_below(&head),
                Err(Stop::Refused(reason)) => Preview::of(format!("{head}\n\n{reason}")),
                Err(stop) => Preview::of(format!("{head}\n\nits changes cannot be shown: {stop:?}")).incomplete(),
            }
        })
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        let (action, programs) = (self.action, self.programs.clone());
        Box::pin(async move {
            match Self::act(action, &programs, &order).await {
                Ok(outcome) => Ok(outcome.into()),
                Err(Stop::Refused(text)) => Ok(CallEnd::refused(text)),
                Err(Stop::Failed(error)) => Err(error),
                Err(Stop::Unwanted) => Err(SkillError::TimedOut { limit_ms: 0 }),
            }
        })
    }

    fn probe(&self, order: CallOrder) -> BoxFuture<'static, ProbeAnswer> {
        let programs = self.programs.clone();
        Box::pin(async move {
            let trailer = format!("--grep={TRAILER}: {}", order.key);
            let words = [
                "log",
                "--all",
                "--fixed-strings",
                &trailer,
                "--max-count=1",
                "--format=%H",
            ];
            let asked = async {
                Self::look(&programs, &order).await?;
                Self::git(&programs, &order, owned(&words), false).await
            };
            match asked.await {
                Ok(end) if end.ended != (Ended::Exited { code: 0 }) => {
                    ProbeAnswer::Unknown(end.outcome(Rendering::Stdout).content.to_string())
                }
                Ok(end) if end.stdout.trim().is_empty() => ProbeAnswer::NotHappened,
                Ok(end) => ProbeAnswer::Happened(CallOutcome::ok(format!("committed as {}", end.stdout.trim()))),
                Err(Stop::Refused(reason)) => ProbeAnswer::Unknown(reason),
                Err(stop) => ProbeAnswer::Unknown(format!("git could not be asked: {stop:?}")),
            }
        })
    }

    fn ends_when_cancelled(&self) -> bool {
        true
    }

    fn settled(&self, key: EffectKey) -> BoxFuture<'static, ()> {
        let runner = self.programs.runner.clone();
        Box::pin(async move { runner.settled(key).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_joins_the_trailers_that_a_message_has() {
        let key = EffectKey(uuid::Uuid::from_u128(7));
        let check = |message: &str, expected: &str| {
            let expected = format!("{expected}{TRAILER}: {key}\n");
            assert_eq!(with_trailer(message, key), expected, "{message:?}");
        };
        check("add: one", "add: one\n\n");
        check("add: one\n\nbody\n\n", "add: one\n\nbody\n\n");
        check(
            "add: one\n\nSigned-off-by: a <a@b>",
            "add: one\n\nSigned-off-by: a <a@b>\n",
        );
        check(
            "add: one\n\nNote: this\nis prose",
            "add: one\n\nNote: this\nis prose\n\n",
        );
    }
}
