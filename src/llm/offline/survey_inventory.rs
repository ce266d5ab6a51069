//! The inventory: how many files, how big, in which languages, where.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::session::{Flow, Session};
use super::survey::{self, Entry};

/// Figures of one group of files.
#[derive(Default, Clone)]
struct Group {
    files: u64,
    bytes: u64,
    lines: u64,
}

impl Group {
    fn add(&mut self, file: &Entry) {
        self.files += 1;
        self.bytes += file.bytes;
        self.lines += file.lines.unwrap_or(0);
    }
}

fn rows(groups: BTreeMap<String, Group>, name: &str, count: usize) -> Vec<Value> {
    let mut groups: Vec<(String, Group)> = groups.into_iter().collect();
    groups.sort_by(|a, b| {
        (b.1.lines, b.1.bytes)
            .cmp(&(a.1.lines, a.1.bytes))
            .then_with(|| a.0.cmp(&b.0))
    });
    let rows = groups.into_iter().take(count);
    rows.map(|(group, sum)| json!({ name: group, "files": sum.files, "lines": sum.lines, "bytes": sum.bytes }))
        .collect()
}

/// Measures a folder.
pub(super) fn run(session: &Session<'_>) -> Flow<Value> {
    let folder = session.folder();
    let listing = survey::list(session, &folder)?;
    let mut total = Group::default();
    let mut languages: BTreeMap<String, Group> = BTreeMap::new();
    let mut places: BTreeMap<String, Group> = BTreeMap::new();
    let mut uncounted = 0u64;
    let mut empty = 0u64;
    let mut depth = 0usize;
    for file in listing.files() {
        total.add(file);
        languages
            .entry(survey::language(file).to_owned())
            .or_default()
            .add(file);
        let within = if folder == "." {
            file.path.as_str()
        } else {
            file.path.strip_prefix(&format!("{folder}/")).unwrap_or(&file.path)
        };
        let top = within.split_once('/').map_or(".", |(top, _)| top);
        places.entry(super::summary::plain(top, 80)).or_default().add(file);
        uncounted += u64::from(file.lines.is_none() && file.bytes > 0);
        empty += u64::from(file.bytes == 0);
        depth = depth.max(within.matches('/').count() + 1);
    }
    let mut largest: Vec<&Entry> = listing.files().collect();
    largest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    let largest = largest.iter().take(8).map(
        |file| json!({ "path": super::summary::plain(&file.path, 160), "bytes": file.bytes, "lines": file.lines }),
    );
    let listed = listing.problems.is_empty() || !listing.entries.is_empty();
    Ok(json!({
        "folder": folder,
        "listed": listed,
        "files": total.files,
        "folders": listing.entries.len() as u64 - total.files,
        "bytes": total.bytes,
        "lines": total.lines,
        "languages": rows(languages, "language", 10),
        "places": rows(places, "folder", 10),
        "largest": largest.collect::<Vec<_>>(),
        "files_without_line_count": uncounted,
        "empty_files": empty,
        "depth": depth,
        "truncated": listing.truncated,
        "problems": listing.problems,
    }))
}
