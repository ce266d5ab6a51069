//! The survey of documentation: what there is, what it says in short, and links that lead nowhere.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use unicode_segmentation::UnicodeSegmentation;

use super::pattern::pattern;
use super::session::{Flow, Session};
use super::summary;
use super::survey::{self, Content, Entry, Listing};

/// The target of a link, seen from the document that has it; none when it points out of the folder.
fn target(document: &str, link: &str) -> Option<String> {
    let link = link.split(['#', '?']).next().unwrap_or("");
    if link.is_empty() || link.contains(':') || link.starts_with('/') || link.contains(['{', '<', '%', '*', '$']) {
        return None;
    }
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn broken_links(contents: &[Content], listing: &Listing) -> Vec<Value> {
    // A listing that stops early or leaves hidden files out cannot say that something is missing.
    if listing.truncated || !listing.problems.is_empty() {
        return Vec::new();
    }
    let known: BTreeSet<&str> = listing.entries.iter().map(|entry| entry.path.as_str()).collect();
    let link = pattern!(r"\]\(([^()\s]+)\)");
    let mut broken = Vec::new();
    for content in contents {
        for found in link.captures_iter(&content.text) {
            let Some(path) = target(&content.entry.path, &found[1]) else {
                continue;
            };
            let hidden = path.split('/').any(|part| part.starts_with('.'));
            if !hidden && !known.contains(path.as_str()) && broken.len() < 10 {
                let from = summary::plain(&content.entry.path, 120);
                broken.push(json!({ "from": from, "to": summary::plain(&path, 120) }));
            }
        }
    }
    broken
}

/// Surveys the documents of a folder.
pub(super) fn run(session: &Session<'_>) -> Flow<Value> {
    let folder = session.folder();
    let listing = survey::list(session, &folder)?;
    let output = session.input_text("file").unwrap_or("");
    let mut documents: Vec<Entry> = listing
        .files()
        .filter(|file| survey::is_document(file) && file.path != output)
        .cloned()
        .collect();
    let count = documents.len();
    documents.sort_by_key(|file| {
        let depth = file.path.matches('/').count();
        (
            depth,
            !survey::is_readme(file),
            u64::MAX - file.bytes,
            file.path.clone(),
        )
    });
    let readme = documents.iter().find(|file| survey::is_readme(file));
    let readme = readme.map(|file| summary::plain(&file.path, 160));
    let contents = survey::read(session, documents, 10)?;
    let broken = broken_links(&contents, &listing);
    let mut problems = listing.problems;
    problems.extend(contents.iter().filter_map(|content| content.problem.clone()).take(5));
    let read: Vec<&Content> = contents.iter().filter(|content| content.problem.is_none()).collect();
    let mut words = 0;
    let mut rows = Vec::new();
    for content in &read {
        let own = content.text.unicode_words().count();
        words += own;
        rows.push(json!({
            "path": summary::plain(&content.entry.path, 160),
            "words": own,
            "lines": content.entry.lines.unwrap_or(content.text.lines().count() as u64),
            "headings": summary::headings(&content.text, 8),
            "summary": summary::summarise(&content.text, "", 1),
            "cut": content.cut,
        }));
    }
    let purpose = read.first().map(|content| summary::summarise(&content.text, "", 3));
    Ok(json!({
        "folder": folder,
        "documents": count,
        "files_read": rows.len(),
        "words": words,
        "readme": readme,
        "purpose": purpose.unwrap_or_default(),
        "broken_links": broken,
        "files": rows,
        "truncated": listing.truncated,
        "problems": problems,
    }))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn links_are_followed_from_their_document() {
        let check = |document: &str, link: &str, expected: Option<&str>| {
            assert_eq!(target(document, link).as_deref(), expected, "{document} {link}");
        };
        check("README.md", "docs/a.md#x", Some("docs/a.md"));
        check("docs/a.md", "../src/./x.rs", Some("src/x.rs"));
        check("README.md", "../x.md", None);
        check("README.md", "https://x.y", None);
        check("README.md", "#part", None);
    }
}
