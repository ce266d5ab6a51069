//! `fs.glob`: the files of the workspace whose path matches a pattern.

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use crate::domain::effect::EffectClass;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::skill::SkillManifest;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};
use crate::skills::stop::{Halt, Stop};
use crate::skills::thread::on_thread;
use crate::skills::walk::{DEPTH_MAX, Wish, walk};
use crate::skills::workspace::Workspace;

const LIMIT_DEFAULT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;

#[derive(Deserialize)]
struct Wanted {
    pattern: String,
    path: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    include_ignored: bool,
}

/// The skill.
pub struct FsGlob {
    manifest: SkillManifest,
}

impl FsGlob {
    /// Makes the skill.
    #[expect(
        clippy::new_without_default,
        reason = "all skills are made by `new`, with or without parts"
    )]
    pub fn new() -> Self {
        let manifest = Declaration {
            name: "fs.glob",
            description: "Finds files of the workspace by a pattern such as *.rs or src/**/test_*.py; a pattern \
                          without a slash matches at any depth. Files that .gitignore names are left out unless asked \
                          for. The answer is JSON with paths, sorted.",
            class: EffectClass::Read,
            timeout_ms: 20_000,
            concurrency: 16,
            properties: json!({
                "pattern": {"type": "string", "minLength": 1, "maxLength": 1000},
                "path": {"type": "string", "description": "a folder, relative to the workspace; default all of it"},
                "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "description": "default 1000"},
                "include_ignored": {"type": "boolean"},
            }),
            required: &["pattern"],
            examples: json!([{"pattern": "*.md"}, {"pattern": "src/**/*.rs", "limit": 50}]),
        }
        .manifest();
        Self { manifest }
    }
}

impl Skill for FsGlob {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        on_thread(&self.manifest, order, find)
    }
}

fn find(order: &CallOrder, workspace: &Workspace, halt: &Halt) -> Result<CallEnd, Stop> {
    let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
    let wish = Wish {
        depth: DEPTH_MAX,
        include_ignored: wanted.include_ignored,
        glob: Some(&wanted.pattern),
        files_only: true,
        limit: wanted.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX),
    };
    let walked = walk(workspace, wanted.path.as_deref().unwrap_or("."), &wish, halt)?;
    let (mut files, mut bytes, mut truncated) = (Vec::new(), 64, walked.truncated);
    for found in walked.found {
        let path = found.path.to_string_lossy().into_owned();
        bytes += path.len() + 8;
        if bytes > RESULT_BYTES_MAX {
            truncated = true;
            break;
        }
        files.push(path);
    }
    Ok(CallEnd::ok(json!({"files": files, "truncated": truncated}).to_string()))
}
