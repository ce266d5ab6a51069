//! What all surveys of a folder share: its listing, what kinds of files there are, and reading the important ones.
//!
//! Refuses to know: what is made of the figures. Invariant: at most [`READS_MAX`] files are read by one survey.

use serde_json::{Value, json};

use super::session::{Flow, Outcome, Session, call};

/// Files that one survey reads.
pub(super) const READS_MAX: usize = 24;
/// Entries that one listing asks for; about what fits into one result.
const ENTRIES_MAX: u64 = 900;
/// Bytes of a file that is still read.
const FILE_BYTES_MAX: u64 = 512 * 1024;

/// Folders that hold what others made.
const GENERATED: &[&str] = &[
    ".git",
    "target",
    "node_modules",
    "__pycache__",
    ".venv",
    "venv",
    "dist",
    ".next",
    ".cache",
    ".tox",
    ".idea",
];

/// One file or folder.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Path within the workspace.
    pub(super) path: String,
    /// Whether it is a folder.
    pub(super) folder: bool,
    /// Size.
    pub(super) bytes: u64,
    /// Lines, when the listing says.
    pub(super) lines: Option<u64>,
}

impl Entry {
    /// The last part of the path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// What comes after the last dot, in lower case.
    pub(super) fn extension(&self) -> String {
        match self.name().rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => extension.to_lowercase(),
            _ => String::new(),
        }
    }
}

/// A folder's content as far as it was seen.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Files and folders, by path, each once.
    pub(super) entries: Vec<Entry>,
    /// Whether more is there.
    pub(super) truncated: bool,
    /// What could not be listed, in words.
    pub(super) problems: Vec<String>,
}

impl Listing {
    /// The files.
    pub(super) fn files(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.folder)
    }

    /// Adds what one listing gave; false when it says that there is more.
    pub(super) fn add(&mut self, outcome: &Outcome, root: &str) -> bool {
        if outcome.failed {
            self.problems.push(format!(
                "{root} could not be listed: {}",
                super::summary::plain(&outcome.text, 200)
            ));
            return true;
        }
        let (items, whole) = outcome.items("entries");
        for item in &items {
            let Some(path) = item["path"].as_str() else { continue };
            let path = path.trim_start_matches("./").trim_end_matches('/');
            if path.is_empty() || path == "." || path.split('/').any(|part| GENERATED.contains(&part)) {
                continue;
            }
            self.entries.push(Entry {
                path: path.to_owned(),
                folder: item["kind"] == "dir",
                bytes: item["bytes"].as_u64().unwrap_or(0),
                lines: item["lines"].as_u64(),
            });
        }
        whole
    }
}

/// Lists a folder; a big one is listed once more by its top folders, all at once.
pub(super) fn list(session: &Session<'_>, folder: &str) -> Flow<Listing> {
    let mut listing = Listing::default();
    let all = session.one(call(
        "fs.list",
        json!({ "path": folder, "depth": 12, "limit": ENTRIES_MAX }),
    ))?;
    let whole = listing.add(&all, folder);
    if !whole {
        listing.truncated = true;
        let top = session.one(call(
            "fs.list",
            json!({ "path": folder, "depth": 1, "limit": ENTRIES_MAX }),
        ))?;
        let mut shallow = Listing::default();
        let top_whole = shallow.add(&top, folder);
        let folders: Vec<String> = shallow
            .entries
            .iter()
            .filter(|entry| entry.folder)
            .take(12)
            .map(|entry| entry.path.clone())
            .collect();
        let enough = folders.len() == shallow.entries.iter().filter(|entry| entry.folder).count();
        let wanted = folders
            .iter()
            .map(|path| call("fs.list", json!({ "path": path, "depth": 12, "limit": ENTRIES_MAX })));
        let outcomes = session.all(wanted.collect())?;
        let mut all_whole = top_whole && enough;
        for (path, outcome) in folders.iter().zip(&outcomes) {
            all_whole &= listing.add(outcome, path) && !outcome.failed;
        }
        listing.entries.append(&mut shallow.entries);
        listing.truncated = !all_whole;
    }
    listing.entries.sort_by(|a, b| a.path.cmp(&b.path));
    listing.entries.dedup_by(|a, b| a.path == b.path);
    Ok(listing)
}

/// One file that was read.
pub(super) struct Content {
    /// Which.
    pub(super) entry: Entry,
    /// Its text; empty when it could not be read.
    pub(super) text: String,
    /// Whether the end is missing.
    pub(super) cut: bool,
    /// Why it could not be read.
    pub(super) problem: Option<String>,
}

/// Reads the first of these files, all at once as far as one turn allows.
pub(super) fn read(session: &Session<'_>, files: Vec<Entry>, count_max: usize) -> Flow<Vec<Content>> {
    let small = files.into_iter().filter(|file| file.bytes <= FILE_BYTES_MAX);
    let chosen: Vec<Entry> = small.take(count_max.min(READS_MAX)).collect();
    let wanted = chosen.iter().map(|file| call("fs.read", json!({ "path": file.path })));
    let outcomes = session.all(wanted.collect())?;
    let read = chosen.into_iter().zip(outcomes).map(|(entry, outcome)| {
        let (text, cut) = outcome.file_text();
        let unread = outcome.failed || outcome.is_binary();
        Content {
            problem: unread.then(|| format!("{}: {}", entry.path, super::summary::plain(&outcome.text, 160))),
            text: if unread { String::new() } else { text.to_owned() },
            cut,
            entry,
        }
    });
    Ok(read.collect())
}

/// The kinds of files by extension: name, whether it is code, extensions.
const LANGUAGES: &[(&str, bool, &[&str])] = &[
    ("Rust", true, &["rs"]),
    ("Python", true, &["py", "pyi"]),
    ("JavaScript", true, &["js", "mjs", "cjs", "jsx"]),
    ("TypeScript", true, &["ts", "tsx"]),
    ("Go", true, &["go"]),
    ("C", true, &["c", "h"]),
    ("C++", true, &["cc", "cpp", "cxx", "hpp", "hh"]),
    ("C#", true, &["cs"]),
    ("Java", true, &["java"]),
    ("Kotlin", true, &["kt", "kts"]),
    ("Swift", true, &["swift"]),
    ("Ruby", true, &["rb"]),
    ("PHP", true, &["php"]),
    ("Erlang", true, &["erl", "hrl"]),
    ("Elixir", true, &["ex", "exs"]),
    ("Haskell", true, &["hs"]),
    ("Scala", true, &["scala"]),
    ("Lua", true, &["lua"]),
    ("Zig", true, &["zig"]),
    ("Shell", true, &["sh", "bash", "zsh"]),
    ("SQL", true, &["sql"]),
    ("HTML", true, &["html", "htm"]),
    ("CSS", true, &["css", "scss"]),
    ("Markdown", false, &["md", "markdown"]),
    ("reStructuredText", false, &["rst"]),
    ("AsciiDoc", false, &["adoc"]),
    ("Text", false, &["txt"]),
    ("TOML", false, &["toml"]),
    ("YAML", false, &["yml", "yaml"]),
    ("JSON", false, &["json", "jsonl"]),
    ("XML", false, &["xml"]),
    ("CSV", false, &["csv", "tsv"]),
];

/// The kind of a file, by its extension alone.
pub(super) fn language(entry: &Entry) -> &'static str {
    let extension = entry.extension();
    LANGUAGES
        .iter()
        .find(|(_, _, extensions)| extensions.contains(&extension.as_str()))
        .map_or("other", |(name, _, _)| name)
}

/// Whether a file is code.
pub(super) fn is_code(entry: &Entry) -> bool {
    let name = language(entry);
    LANGUAGES.iter().any(|(known, code, _)| *known == name && *code)
}

/// Whether a file is a document for people.
pub(super) fn is_document(entry: &Entry) -> bool {
    matches!(language(entry), "Markdown" | "reStructuredText" | "AsciiDoc" | "Text") || is_readme(entry)
}

/// Whether a file introduces its folder.
pub(super) fn is_readme(entry: &Entry) -> bool {
    entry.name().to_lowercase().starts_with("readme")
}

/// Whether a path belongs to tests.
pub(super) fn is_test(path: &str) -> bool {
    let lower = path.to_lowercase();
    let mut folders = lower.split('/').collect::<Vec<_>>();
    let name = folders.pop().unwrap_or("");
    folders
        .iter()
        .any(|part| matches!(*part, "test" | "tests" | "spec" | "specs" | "__tests__"))
        || name.starts_with("test_")
        || ["_test.", ".test.", ".spec.", "_spec.", "tests."]
            .iter()
            .any(|mark| name.contains(mark))
}

/// The places of unfinished work, by search.
pub(super) fn markers(session: &Session<'_>, folder: &str) -> Flow<Value> {
    // Written so that a search for these marks does not find this line.
    let pattern = r"\b(TO[D]O|FIX[M]E|HAC[K]|XX[X])\b";
    let outcome = session.one(call(
        "fs.search",
        json!({ "pattern": pattern, "path": folder, "limit": 200 }),
    ))?;
    if outcome.failed {
        return Ok(json!({ "count": null, "places": [], "problem": super::summary::plain(&outcome.text, 160) }));
    }
    let (matches, whole) = outcome.items("matches");
    let places: Vec<Value> = matches
        .iter()
        .filter(|found| {
            let path = found["path"].as_str().unwrap_or("");
            !path.split('/').any(|part| GENERATED.contains(&part))
        })
        .map(|found| {
            json!({
                "path": found["path"].as_str().unwrap_or("").trim_start_matches("./"),
                "line": found["line"].as_u64().unwrap_or(0),
                "text": super::summary::plain(found["text"].as_str().unwrap_or(""), 120),
            })
        })
        .collect();
    let count = places.len();
    let shown: Vec<Value> = places.into_iter().take(12).collect();
    Ok(json!({ "count": count, "all": whole, "places": shown }))
}
