//! The survey of code: functions, types, tests, comments and unfinished places in the files that matter most.

use regex::Regex;
use serde_json::{Value, json};

use super::pattern::pattern;
use super::session::{Flow, Session};
use super::survey::{self, Content, Entry};

/// Names of files that a reader opens first.
const ENTRY_POINTS: &[&str] = &[
    "main.rs",
    "lib.rs",
    "main.py",
    "__main__.py",
    "app.py",
    "index.js",
    "index.ts",
    "main.go",
    "main.c",
    "main.cpp",
    "server.js",
    "app.js",
    "app.ts",
];

fn functions() -> &'static Regex {
    pattern!(
        r"(?m)^\s*(?:(?:pub(?:\([a-z]+\))?|export|default|async|const|static|unsafe|private|public|protected|override|fun)\s+)*(?:fn|def|func|function|fun)\s+[\w(]"
    )
}

fn kinds() -> &'static Regex {
    pattern!(
        r"(?m)^\s*(?:(?:pub(?:\([a-z]+\))?|export|default|abstract|final|public|private|data)\s+)*(?:struct|enum|trait|class|interface|type|union)\s+\w"
    )
}

fn tests() -> &'static Regex {
    pattern!(r"(?m)^\s*(?:#\[(?:tokio::)?test|(?:async )?def test_|func Test\w|(?:it|test)\(|@Test\b)")
}

fn risky() -> &'static Regex {
    pattern!(r"\.unwrap\(\)|\bunsafe\s*\{|\beval\(|\bpanic!\(|except:\s*$|shell=True|\bsystem\(")
}

fn measure(content: &Content) -> Value {
    let text = content.text.as_str();
    let lines = text.lines().count() as u64;
    let comments = text
        .lines()
        .filter(|line| {
            let line = line.trim_start();
            line.starts_with("//") || (line.starts_with('#') && !line.starts_with("#[")) || line.starts_with("/*")
        })
        .count();
    let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    json!({
        "path": super::summary::plain(&content.entry.path, 160),
        "language": survey::language(&content.entry),
        "lines": content.entry.lines.unwrap_or(lines),
        "functions": functions().find_iter(text).count(),
        "types": kinds().find_iter(text).count(),
        "tests": tests().find_iter(text).count(),
        "risky": risky().find_iter(text).count(),
        "comment_lines": comments,
        "longest_line": longest,
        "cut": content.cut,
    })
}

fn sum(files: &[Value], member: &str) -> u64 {
    files.iter().filter_map(|file| file[member].as_u64()).sum()
}

/// Surveys the code of a folder.
pub(super) fn run(session: &Session<'_>) -> Flow<Value> {
    let folder = session.folder();
    let listing = survey::list(session, &folder)?;
    let mut code: Vec<Entry> = listing.files().filter(|file| survey::is_code(file)).cloned().collect();
    let count = code.len();
    code.sort_by_key(|file| {
        let first = ENTRY_POINTS.contains(&file.name());
        let weight = file.lines.unwrap_or(file.bytes / 32);
        (
            !first,
            survey::is_test(&file.path),
            u64::MAX - weight,
            file.path.clone(),
        )
    });
    let entry_points: Vec<String> = code
        .iter()
        .filter(|file| ENTRY_POINTS.contains(&file.name()))
        .take(8)
        .map(|file| super::summary::plain(&file.path, 160))
        .collect();
    let contents = survey::read(session, code, 16)?;
    let markers = survey::markers(session, &folder)?;
    let mut problems = listing.problems;
    problems.extend(contents.iter().filter_map(|content| content.problem.clone()).take(5));
    let files: Vec<Value> = contents
        .iter()
        .filter(|content| content.problem.is_none())
        .map(measure)
        .collect();
    Ok(json!({
        "folder": folder,
        "code_files": count,
        "files_read": files.len(),
        "lines_read": sum(&files, "lines"),
        "functions": sum(&files, "functions"),
        "types": sum(&files, "types"),
        "tests": sum(&files, "tests"),
        "risky": sum(&files, "risky"),
        "comment_lines": sum(&files, "comment_lines"),
        "entry_points": entry_points,
        "markers": markers,
        "files": files,
        "truncated": listing.truncated,
        "problems": problems,
    }))
}
