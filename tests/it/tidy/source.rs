//! Files as texts, and what is code in them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file.
    pub(crate) path: String,
    /// The line, from 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) what: String,
}

impl Finding {
    /// A finding.
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below the given folders of the root that end so; build output is left out.
pub(crate) fn files(folders: &[&str], ending: &str) -> Vec<SourceFile> {
    let mut found = Vec::new();
    for folder in folders {
        walk(&root().join(folder), ending, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// One file of the root.
pub(crate) fn file(path: &str) -> SourceFile {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("read {path}: {error}"));
    SourceFile {
        path: path.to_owned(),
        text,
    }
}

fn walk(folder: &Path, ending: &str, found: &mut Vec<SourceFile>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("list {}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry is read").path();
        if path.is_dir() {
            if !path.ends_with("target") {
                walk(&path, ending, found);
            }
        } else if path.to_string_lossy().ends_with(ending) {
            let relative = path.strip_prefix(root()).expect("it was found below the root");
            found.push(file(&relative.to_string_lossy()));
        }
    }
}

/// Which parts of a text to blank out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Code alone: comments and the insides of literals become blanks.
    Code,
    /// Code and comments.
    Comments,
}

/// The text with literals (and comments) blanked; lines stay where they are.
pub(crate) fn code(text: &str, keep: Keep) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let at_is = |at: usize, expected: char| characters.get(at) == Some(&expected);
    while at < characters.len() {
        let here = characters[at];
        let follows_word = at > 0 && (characters[at - 1].is_alphanumeric() || characters[at - 1] == '_');
        let end = if here == '/' && (at_is(at + 1, '/') || at_is(at + 1, '*')) {
            let end = end_of_comment(&characters, at);
            if keep == Keep::Comments {
                out.extend(&characters[at..end]);
            } else {
                blank(&characters[at..end], &mut out);
            }
            at = end;
            continue;
        } else if here == '"' {
            end_of_text(&characters, at + 1)
        } else if here == 'r' && !follows_word || here == 'r' && at > 0 && characters[at - 1] == 'b' {
            end_of_raw(&characters, at)
        } else if here == '\'' {
            end_of_character(&characters, at)
        } else {
            at
        };
        if end > at {
            blank(&characters[at..end], &mut out);
            at = end;
        } else {
            out.push(here);
            at += 1;
        }
    }
    out
}

fn blank(characters: &[char], out: &mut String) {
    out.extend(
        characters
            .iter()
            .map(|character| if *character == '\n' { '\n' } else { ' ' }),
    );
}

fn end_of_comment(characters: &[char], start: usize) -> usize {
    let mut at = start + 2;
    if characters[start + 1] == '/' {
        while at < characters.len() && characters[at] != '\n' {
            at += 1;
        }
        return at;
    }
    let mut depth = 1;
    while at < characters.len() && depth > 0 {
        match (characters[at], characters.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    at.min(characters.len())
}

fn end_of_text(characters: &[char], mut at: usize) -> usize {
    while at < characters.len() {
        match characters[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    characters.len()
}

/// The end of `r"…"` or `r#"…"#`; `start` when it is none.
fn end_of_raw(characters: &[char], start: usize) -> usize {
    let hashes = characters[start + 1..]
        .iter()
        .take_while(|character| **character == '#')
        .count();
    let mut at = start + 1 + hashes;
    if characters.get(at) != Some(&'"') {
        return start;
    }
    at += 1;
    while at < characters.len() {
        let closes = characters[at] == '"'
            && characters[at + 1..]
                .iter()
                .take(hashes)
                .filter(|character| **character == '#')
                .count()
                == hashes;
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    characters.len()
}

/// The end of a character literal; `start` when it is a lifetime.
fn end_of_character(characters: &[char], start: usize) -> usize {
    match (characters.get(start + 1), characters.get(start + 2)) {
        (Some('\\'), _) => {
            let close = characters[start + 3..].iter().position(|character| *character == '\'');
            close.map_or(start, |offset| start + 3 + offset + 1)
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start,
    }
}

/// Fails with every finding, one on a line.
#[track_caller]
pub(crate) fn assert_none(rule: &str, mut findings: Vec<Finding>) {
    findings.sort();
    findings.dedup();
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{rule}:\n{}", lines.join("\n"));
}

/// Holds the lines and texts of findings in one file against those expected.
#[track_caller]
pub(crate) fn assert_found(findings: &[Finding], expected: &[&str]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(lines, expected);
}

/// A file made up for a case.
pub(crate) fn made_up(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "a /* b /* c */ d */ \"e\\\" f\" // g\nr#\"h \" i\"# 'j' '\\'' &'k l br\"m\" bar";
    let code = code(text, Keep::Code);
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(words, ["a", "&'k", "l", "b", "bar"]);
    assert_eq!(code.lines().count(), text.lines().count());
}
