//! `fs.read`: the text of a file of the workspace, whole or by lines.

use std::io::{BufRead, BufReader, Read};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use crate::domain::effect::EffectClass;
use crate::domain::limits::RESULT_BYTES_MAX;
use crate::domain::skill::SkillManifest;
use crate::domain::text;
use crate::skills::declare::{Declaration, arguments};
use crate::skills::skill::{CallEnd, CallOrder, Skill, SkillError};
use crate::skills::stop::{Halt, Stop};
use crate::skills::thread::on_thread;
use crate::skills::workspace::{Workspace, explain, is_binary};

/// Bytes of a file that is read at all.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of one line that are looked at; the rest of it is passed over.
const LINE_BYTES_MAX: usize = RESULT_BYTES_MAX;
/// Room for the line that says where to go on.
const MARK_BYTES: usize = 200;

#[derive(Deserialize)]
struct Wanted {
    path: String,
    offset: Option<usize>,
    limit: Option<usize>,
}

/// The skill.
pub struct FsRead {
    manifest: SkillManifest,
}

impl FsRead {
    /// Makes the skill.
    #[expect(
        clippy::new_without_default,
        reason = "all skills are made by `new`, with or without parts"
    )]
    pub fn new() -> Self {
        let manifest = Declaration {
            name: "fs.read",
            description: "Reads a text file of the workspace exactly as it is. `offset` is the first line (from 1), \
                          `limit` the number of lines. When lines are left, the last line of the answer, in square \
                          brackets, says where to go on.",
            class: EffectClass::Read,
            timeout_ms: 20_000,
            concurrency: 16,
            properties: json!({
                "path": {"type": "string", "minLength": 1, "description": "relative to the workspace"},
                "offset": {"type": "integer", "minimum": 1},
                "limit": {"type": "integer", "minimum": 1},
            }),
            required: &["path"],
            examples: json!([{"path": "README.md"}, {"path": "src/main.rs", "offset": 1, "limit": 50}]),
        }
        .manifest();
        Self { manifest }
    }
}

impl Skill for FsRead {
    fn manifest(&self) -> &SkillManifest {
        &self.manifest
    }

    fn call(&self, order: CallOrder) -> BoxFuture<'static, Result<CallEnd, SkillError>> {
        on_thread(&self.manifest, order, read)
    }
}

fn read(order: &CallOrder, workspace: &Workspace, halt: &Halt) -> Result<CallEnd, Stop> {
    let wanted: Wanted = arguments(order).map_err(Stop::Refused)?;
    let (file, bytes) = workspace.open_file(&wanted.path)?;
    if bytes > FILE_BYTES_MAX {
        let text = format!("`{}` has {bytes} bytes, at most {FILE_BYTES_MAX} are read", wanted.path);
        return Err(Stop::Refused(text));
    }
    let mut reader = BufReader::with_capacity(64 * 1024, file.take(FILE_BYTES_MAX));
    let first = reader
        .fill_buf()
        .map_err(|error| explain(error, "read", &wanted.path))?;
    if is_binary(first) {
        return Ok(CallEnd::ok(format!("binary file, {bytes} bytes")));
    }
    let offset = wanted.offset.unwrap_or(1).max(1);
    let limit = wanted.limit.unwrap_or(usize::MAX);
    let room = RESULT_BYTES_MAX - MARK_BYTES;
    let (mut content, mut line, mut number) = (String::new(), Vec::new(), 0);
    loop {
        if number % 1024 == 0 {
            halt.look()?;
        }
        if next_line(&mut reader, &mut line).map_err(|error| explain(error, "read", &wanted.path))? == 0 {
            break;
        }
        number += 1;
        if number < offset {
            continue;
        }
        let shown = number - offset;
        let text = String::from_utf8_lossy(&line);
        if shown >= limit || (content.len() + text.len() > room && shown > 0) {
            let last = number - 1;
            return Ok(CallEnd::ok(format!(
                "{content}[lines {offset} to {last}; go on with offset {number}]"
            )));
        }
        content.push_str(&text::cut(&text, room));
    }
    if offset > 1 && offset > number {
        let text = format!("`{}` has {number} lines; there is no line {offset}", wanted.path);
        return Err(Stop::Refused(text));
    }
    Ok(CallEnd::ok(content))
}

/// Reads one line with its end; keeps at most [`LINE_BYTES_MAX`] of it. Says how many bytes went by.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<usize> {
    line.clear();
    let mut passed = 0;
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(passed);
        }
        let end = piece.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(piece.len(), |end| end + 1);
        let kept = taken.min((LINE_BYTES_MAX + 1).saturating_sub(line.len()));
        line.extend_from_slice(&piece[..kept]);
        passed += taken;
        reader.consume(taken);
        if end.is_some() {
            return Ok(passed);
        }
    }
}
