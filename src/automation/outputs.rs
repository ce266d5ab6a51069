//! Whether what a schedule promises to leave behind is there. A program that ends with 0 and leaves nothing has failed.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use ignore::overrides::{Override, OverrideBuilder};
use ignore::{Match, WalkBuilder};
use regex::{Regex, RegexBuilder};

use crate::agents::handoff::compile;
use crate::domain::schedule::definition::ExpectedOutput;
use crate::domain::text::preview;
use crate::domain::time::UtcMillis;

/// Bytes of a file that is read.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Files that one pattern may match.
const FILES_MAX: usize = 1_000;
/// Entries of folders that are looked at for one pattern.
const ENTRIES_MAX: usize = 100_000;
/// Bytes of a compiled expression.
const EXPRESSION_BYTES_MAX: usize = 1 << 20;
/// A file system's clock may lag behind the process's by a tick.
const CLOCK_SLACK_MS: u64 = 20;

/// Reads a pattern of paths.
pub(super) fn pattern(text: &str) -> Result<Override, String> {
    let mut builder = OverrideBuilder::new("/");
    // With a slash in front it stands for the whole path and not for a name at any depth; `!` would turn it round.
    builder.add(&format!("/{text}")).map_err(|error| error.to_string())?;
    builder.build().map_err(|error| error.to_string())
}

/// Reads a regular expression.
pub(super) fn expression(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text)
        .multi_line(true)
        .size_limit(EXPRESSION_BYTES_MAX)
        .build();
    built.map_err(|error| error.to_string())
}

/// Looks at everything that is expected of a run that began and ended then; the first thing that is missing or wrong, in
/// one line. Blocks.
pub fn look(workspace: &Path, outputs: &[ExpectedOutput], began: UtcMillis, ended: UtcMillis) -> Result<(), String> {
    for output in outputs {
        one(workspace, output, began, ended)?;
    }
    Ok(())
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

fn one(workspace: &Path, output: &ExpectedOutput, began: UtcMillis, ended: UtcMillis) -> Result<(), String> {
    let folder = Dir::open_ambient_dir(workspace, ambient_authority())
        .map_err(|error| format!("{} cannot be opened: {error}", workspace.display()))?;
    let files = if is_pattern(&output.path) {
        matching(workspace, &output.path)?
    } else {
        vec![PathBuf::from(&*output.path)]
    };
    if files.is_empty() {
        return Err(format!("no file matches the expected output {}", output.path));
    }
    let oldest_allowed = match output.max_age_ms {
        Some(age) => UtcMillis(ended.0.saturating_sub(age)),
        None => began,
    };
    // Of several files one must be fresh: the others are what earlier slots left.
    let mut fresh = Vec::new();
    let mut newest = (UtcMillis(0), Path::new(""));
    for file in &files {
        let at = modified(&folder, file)?;
        if at.plus_ms(CLOCK_SLACK_MS) >= oldest_allowed {
            fresh.push(file);
        }
        if at >= newest.0 {
            newest = (at, file);
        }
    }
    if fresh.is_empty() {
        let (newest, file) = newest;
        let age = oldest_allowed.since(newest);
        let than = if output.max_age_ms.is_some() {
            "may be"
        } else {
            "the slot's start"
        };
        return Err(format!(
            "the expected output {} is {age} ms older than {than}",
            file.display()
        ));
    }
    fresh.into_iter().try_for_each(|file| content(&folder, file, output))
}

fn modified(folder: &Dir, file: &Path) -> Result<UtcMillis, String> {
    let missing = |reason: String| format!("the expected output {} is not there: {reason}", file.display());
    let metadata = folder.metadata(file).map_err(|error| missing(error.to_string()))?;
    if !metadata.is_file() {
        return Err(missing("it is no file".into()));
    }
    let at = metadata.modified().ok().map(cap_std::time::SystemTime::into_std);
    let at = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok(UtcMillis(at.map_or(0, |since| since.as_millis() as u64)))
}

fn content(folder: &Dir, file: &Path, output: &ExpectedOutput) -> Result<(), String> {
    let shown = file.display();
    let unreadable = |error: std::io::Error| format!("the expected output {shown} cannot be read: {error}");
    let bytes = folder.metadata(file).map_err(unreadable)?.len();
    if bytes < output.bytes_min {
        return Err(format!(
            "the expected output {shown} has {bytes} bytes, fewer than {}",
            output.bytes_min
        ));
    }
    if let Some(most) = output.bytes_max.filter(|most| bytes > *most) {
        return Err(format!(
            "the expected output {shown} has {bytes} bytes, more than {most}"
        ));
    }
    if output.matches.is_none() && output.schema.is_none() {
        return Ok(());
    }
    if bytes > FILE_BYTES_MAX {
        return Err(format!(
            "the expected output {shown} has {bytes} bytes; at most {FILE_BYTES_MAX} are read"
        ));
    }
    let text = folder.read(file).map_err(unreadable)?;
    let text = String::from_utf8_lossy(&text);
    if let Some(wanted) = &output.matches
        && !expression(wanted)?.is_match(&text)
    {
        return Err(format!(
            "the expected output {shown} does not match {}",
            preview(wanted, 80)
        ));
    }
    if let Some(schema) = &output.schema {
        let value =
            serde_json::from_str(&text).map_err(|error| format!("the expected output {shown} is no JSON: {error}"))?;
        if let Err(error) = compile(schema)?.validate(&value) {
            let place = error.instance_path().to_string();
            return Err(format!(
                "the expected output {shown} does not keep its schema at `{place}`: {}",
                preview(&error.to_string(), 160)
            ));
        }
    }
    Ok(())
}

/// The files of the workspace that a pattern matches, without following links.
fn matching(workspace: &Path, text: &str) -> Result<Vec<PathBuf>, String> {
    let pattern = pattern(text)?;
    let walk = WalkBuilder::new(workspace)
        .standard_filters(false)
        .follow_links(false)
        .build();
    let mut files = Vec::new();
    for (seen, entry) in walk.enumerate() {
        if seen >= ENTRIES_MAX {
            return Err(format!(
                "the workspace has more than {ENTRIES_MAX} entries: name a folder before the first `*`"
            ));
        }
        // What cannot be read cannot be an output.
        let Ok(entry) = entry else { continue };
        let Ok(path) = entry.path().strip_prefix(workspace) else {
            continue;
        };
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
        if is_file && matches!(pattern.matched(Path::new("/").join(path), false), Match::Whitelist(_)) {
            files.push(path.to_owned());
        }
        if files.len() > FILES_MAX {
            return Err(format!("more than {FILES_MAX} files match the expected output {text}"));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use serde_json::json;

    use super::*;

    #[test]
    fn an_output_is_there_fresh_and_sound_or_the_reason_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        std::fs::create_dir_all(root.join("out/deep")).expect("made");
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let write = |name: &str, text: &str, at: u64| {
            std::fs::write(root.join(name), text).expect("written");
            let file = std::fs::File::options()
                .write(true)
                .open(root.join(name))
                .expect("opened");
            file.set_modified(old + Duration::from_millis(at)).expect("set");
        };
        write("report.json", "{\"rows\": 3}", 500);
        write("empty", "", 500);
        write("out/deep/a.csv", "one,two", 0);
        write("out/b.csv", "three", 500);
        std::os::unix::fs::symlink("/etc/passwd", root.join("link")).expect("linked");
        let began = UtcMillis(1_000_400);
        let ended = UtcMillis(1_000_600);
        let expected = |path: &str| ExpectedOutput {
            path: path.into(),
            max_age_ms: None,
            bytes_min: 1,
            bytes_max: None,
            matches: None,
            schema: None,
        };
        let check = |output: ExpectedOutput, reason: Option<&str>| {
            let found = look(root, std::slice::from_ref(&output), began, ended);
            match (&found, reason) {
                (Ok(()), None) => {}
                (Err(found), Some(reason)) if found.contains(reason) => {}
                _ => panic!("{output:?}: {found:?}, expected {reason:?}"),
            }
        };
        check(expected("report.json"), None);
        check(expected("nothing"), Some("is not there"));
        check(expected("out"), Some("it is no file"));
        check(expected("empty"), Some("has 0 bytes, fewer than 1"));
        check(expected("link"), Some("is not there"));
        check(expected("out/*.csv"), None);
        check(expected("out/**/*.csv"), None);
        check(expected("out/deep/*.csv"), Some("older than the slot's start"));
        check(expected("*.csv"), Some("no file matches"));
        // Not the newest, and from this slot all the same.
        write("out/c.csv", "", 450);
        check(expected("out/*.csv"), Some("out/c.csv has 0 bytes"));
        write("out/c.csv", "", 0);
        check(expected("out/*.csv"), None);
        check(
            ExpectedOutput {
                max_age_ms: Some(650),
                ..expected("out/deep/*.csv")
            },
            None,
        );
        check(
            ExpectedOutput {
                max_age_ms: Some(300),
                ..expected("out/deep/a.csv")
            },
            Some("older than may be"),
        );
        check(
            ExpectedOutput {
                bytes_max: Some(4),
                ..expected("out/b.csv")
            },
            Some("more than 4"),
        );
        check(
            ExpectedOutput {
                matches: Some("^thr".into()),
                ..expected("out/b.csv")
            },
            None,
        );
        check(
            ExpectedOutput {
                matches: Some("four".into()),
                ..expected("out/b.csv")
            },
            Some("does not match four"),
        );
        let schema = |least: u64| Some(Arc::new(json!({ "properties": { "rows": { "minimum": least } } })));
        check(
            ExpectedOutput {
                schema: schema(3),
                ..expected("report.json")
            },
            None,
        );
        check(
            ExpectedOutput {
                schema: schema(4),
                ..expected("report.json")
            },
            Some("does not keep its schema at `/rows`"),
        );
        check(
            ExpectedOutput {
                schema: schema(1),
                ..expected("out/b.csv")
            },
            Some("is no JSON"),
        );
    }
}
