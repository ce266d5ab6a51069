//! `fs.list`: what is in a folder of the workspace.

use std::io::Read;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::effect::EffectClass;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::skill::SkillManifest;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};
use crate::skills::stop::{Halt, Stop};
use crate::skills::thread::on_thread;
use crate::skills::walk::{DEPTH_MAX, Found, Wish, walk};
use crate::skills::workspace::{Workspace, is_binary};

const LIMIT_DEFAULT: usize = 500;
const LIMIT_MAX: usize = 2000;
/// Files up to this size have their lines counted.
const COUNTED_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes that one call reads to count lines.
const COUNTED_TOTAL_MAX: u64 = 64 * 1024 * 1024;
/// Room for the frame around the entries.
const FRAME_BYTES: usize = 8 * 1024;

#[derive(Deserialize)]
struct Wanted {
    path: Option<String>,
    depth: Option<usize>,
    glob: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    include_ignored: bool,
}

/// The skill.
pub struct FsList {
    manifest: SkillManifest,
}

impl FsList {
    /// Makes the skill.
    #[expect(
        clippy::new_without_default,
        reason = "all skills are made by `new`, with or without parts"
    )]
    pub fn new() -> Self {
        let manifest = Declaration {
            name: "fs.list",
            description: "Lists files and folders of the workspace below `path` as JSON, sorted by path, with sizes \
                          and line counts. Skips what .gitignore names, .git, target and node_modules unless \
                          `include_ignored` is true. `glob` (like *.rs or src/**/*.md) shows matching files only.",
            class: EffectClass::Read,
            timeout_ms: 20_000,
            concurrency: 16,
            properties: json!({
                "path": {"type": "string", "description": "a folder, relative to the workspace; default \".\""},
                "depth": {"type": "integer", "minimum": 1, "maximum": DEPTH_MAX, "description": "levels; default all"},
                "glob": {"type": "string", "maxLength": 1000},
                "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "description": "entries; default 500"},
                "include_ignored": {"type": "boolean"},
            }),
            required: &[],
            examples: json!([{"path": "src", "depth": 2}, {"glob": "*.md"}]),
        }
        .manifest();
        Self { manifest }
    }
}

impl Skill for FsList {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        on_thread(&self.manifest, order, list)
    }
}

fn list(order: &CallOrder, workspace: &Workspace, halt: &Halt) -> Result<CallEnd, Stop> {
    let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
    let path = wanted.path.as_deref().unwrap_or(".");
    let wish = Wish {
        depth: wanted.depth.unwrap_or(DEPTH_MAX),
        include_ignored: wanted.include_ignored,
        glob: wanted.glob.as_deref(),
        files_only: false,
        limit: wanted.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX),
    };
    let walked = walk(workspace, path, &wish, halt)?;
    let (mut entries, mut bytes, mut counted) = (Vec::new(), FRAME_BYTES, 0);
    let mut truncated = walked.truncated;
    for found in walked.found {
        halt.look()?;
        let entry = describe(workspace, &found, &mut counted);
        bytes += entry.to_string().len() + 1;
        if bytes > RESULT_BYTES_MAX {
            truncated = true;
            break;
        }
        entries.push(entry);
    }
    let content = json!({"path": path, "entries": entries, "truncated": truncated});
    Ok(CallEnd::ok(content.to_string()))
}

fn describe(workspace: &Workspace, found: &Found, counted: &mut u64) -> Value {
    let path = found.path.to_string_lossy();
    if found.is_dir {
        return json!({"path": path, "kind": "dir"});
    }
    let mut entry = json!({"path": path, "kind": "file", "bytes": found.bytes});
    *counted += found.bytes.min(COUNTED_BYTES_MAX);
    if found.bytes <= COUNTED_BYTES_MAX
        && *counted <= COUNTED_TOTAL_MAX
        && let Some(lines) = count_lines(workspace, &path)
    {
        entry["lines"] = json!(lines);
    }
    entry
}

/// None for binary files and for those that cannot be read.
fn count_lines(workspace: &Workspace, path: &str) -> Option<usize> {
    let (file, _) = workspace.open_file(path).ok()?;
    let mut content = Vec::new();
    file.take(COUNTED_BYTES_MAX).read_to_end(&mut content).ok()?;
    if is_binary(&content) {
        return None;
    }
    let ends = content.split(|byte| *byte == b'\n').count() - 1;
    let has_open_line = content.last().is_some_and(|byte| *byte != b'\n');
    Some(ends + usize::from(has_open_line))
}
