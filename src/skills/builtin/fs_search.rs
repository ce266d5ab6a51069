//! `fs.search`: lines of the workspace's files that match a regular expression.

use futures_util::future::BoxFuture;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::effect::EffectClass;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::skill::SkillManifest;
use crate::domain::text;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};
use crate::skills::stop::{Halt, Stop};
use crate::skills::thread::on_thread;
use crate::skills::walk::{DEPTH_MAX, Wish, walk};
use crate::skills::workspace::{Workspace, is_binary};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
/// Larger files are passed over.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Files that are named which could not be searched.
const SKIPPED_MAX: usize = 20;
/// Files that one call looks into.
const FILES_MAX: usize = 50_000;
/// Bytes of a line that are shown.
const LINE_SHOWN_BYTES: usize = 400;
/// Bytes that a compiled expression may take.
const REGEX_BYTES_MAX: usize = 1024 * 1024;
/// Room for the frame around the matches.
const FRAME_BYTES: usize = 200;

#[derive(Deserialize)]
struct Wanted {
    pattern: String,
    path: Option<String>,
    glob: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    include_ignored: bool,
}

/// The skill.
pub struct FsSearch {
    manifest: SkillManifest,
}

impl FsSearch {
    /// Makes the skill.
    #[expect(
        clippy::new_without_default,
        reason = "all skills are made by `new`, with or without parts"
    )]
    pub fn new() -> Self {
        let manifest = Declaration {
            name: "fs.search",
            description: "Finds lines that match a regular expression (syntax of the Rust regex crate, no \
                          look-around) in text files of the workspace, as JSON sorted by path and line. Skips what \
                          .gitignore names and binary files. Files over 4 MiB are not searched: `skipped` names them, \
                          and `truncated` is true.",
            class: EffectClass::Read,
            timeout_ms: 30_000,
            concurrency: 8,
            properties: json!({
                "pattern": {"type": "string", "minLength": 1, "maxLength": 4000},
                "path": {"type": "string", "description": "a folder or file, relative to the workspace; default \".\""},
                "glob": {"type": "string", "maxLength": 1000, "description": "only files that match, like *.rs"},
                "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "description": "matches; default 100"},
                "include_ignored": {"type": "boolean"},
            }),
            required: &["pattern"],
            examples: json!([{"pattern": "fn main", "glob": "*.rs"}]),
        }
        .manifest();
        Self { manifest }
    }
}

impl Skill for FsSearch {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        on_thread(&self.manifest, order, search)
    }
}

fn search(order: &CallOrder, workspace: &Workspace, halt: &Halt) -> Result<CallEnd, Stop> {
    let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
    let built = RegexBuilder::new(&wanted.pattern).size_limit(REGEX_BYTES_MAX).build();
    let pattern = built.map_err(|error| Stop::refused(format!("the pattern is not usable: {error}")))?;
    let wish = Wish {
        depth: DEPTH_MAX,
        include_ignored: wanted.include_ignored,
        glob: wanted.glob.as_deref(),
        files_only: true,
        limit: FILES_MAX,
    };
    let walked = walk(workspace, wanted.path.as_deref().unwrap_or("."), &wish, halt)?;
    let mut matches = Matches {
        found: Vec::new(),
        bytes: FRAME_BYTES,
        limit: wanted.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX),
        truncated: walked.truncated,
    };
    let mut skipped = Vec::new();
    for file in walked.found {
        halt.look()?;
        let path = file.path.to_string_lossy();
        let Ok(content) = workspace.read(&path, FILE_BYTES_MAX) else {
            // Too large, not to be read, or gone meanwhile: nobody must take it for searched.
            matches.truncated = true;
            if skipped.len() < SKIPPED_MAX && matches.bytes + path.len() < RESULT_BYTES_MAX {
                matches.bytes += path.len() + 3;
                skipped.push(path.into_owned());
            }
            continue;
        };
        if !is_binary(&content) && !matches.take_from(&path, &content, &pattern) {
            break;
        }
    }
    let mut content = json!({"matches": matches.found, "truncated": matches.truncated});
    if !skipped.is_empty() {
        content["skipped"] = skipped.into();
    }
    Ok(CallEnd::ok(content.to_string()))
}

struct Matches {
    found: Vec<Value>,
    bytes: usize,
    limit: usize,
    truncated: bool,
}

impl Matches {
    /// False when there is no room for more.
    fn take_from(&mut self, path: &str, content: &[u8], pattern: &Regex) -> bool {
        let content = String::from_utf8_lossy(content);
        for (index, line) in content.lines().enumerate() {
            let Some(place) = pattern.find(line) else { continue };
            let shown = around(line, place.start());
            let found = json!({"path": path, "line": index + 1, "text": shown});
            self.bytes += found.to_string().len() + 1;
            if self.found.len() == self.limit || self.bytes > RESULT_BYTES_MAX {
                self.truncated = true;
                return false;
            }
            self.found.push(found);
        }
        true
    }
}

/// The line, or for a long one the part that begins a little before the match.
fn around(line: &str, start: usize) -> String {
    if line.len() <= LINE_SHOWN_BYTES {
        return line.to_owned();
    }
    let from = text::border_before(line, start.saturating_sub(LINE_SHOWN_BYTES / 4));
    let before = if from > 0 { "…" } else { "" };
    format!("{before}{}", text::cut(&line[from..], LINE_SHOWN_BYTES))
}
