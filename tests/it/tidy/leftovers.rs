//! What must not stay in the repository.

use super::source::{Finding, Keep, SourceFile, assert_found, code, made_up};

/// Marks of unfinished work, in code and comments.
pub(crate) fn unfinished(files: &[SourceFile]) -> Vec<Finding> {
    const MARKS: &[&str] = &["FIXME", "TODO", "XXX", "todo!", "unimplemented!", "dbg!"];
    let mut findings = Vec::new();
    for file in files {
        for (index, line) in code(&file.text, Keep::Comments).lines().enumerate() {
            for mark in MARKS.iter().filter(|mark| has_word(line, mark)) {
                findings.push(Finding::new(&file.path, index + 1, format!("`{mark}` is left")));
            }
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let is_part = |character: Option<char>| character.is_some_and(|it| it.is_alphanumeric() || it == '_');
        !is_part(line[..at].chars().next_back()) && !is_part(line[at + word.len()..].chars().next())
    })
}

/// Profiles in which a panic would end the process instead of restarting the actor.
pub(crate) fn aborting(manifests: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in manifests {
        for (index, line) in file.text.lines().enumerate() {
            let plain: String = line.split('#').next().unwrap_or("").split_whitespace().collect();
            if plain.contains("panic=\"abort\"") || plain.contains("panic='abort'") || plain.contains("panic=abort") {
                findings.push(Finding::new(&file.path, index + 1, "a panic must unwind"));
            }
        }
    }
    findings
}

/// Names at the top of the repository that are neither the fixed ones nor files that cargo's tools need there.
pub(crate) fn misplaced(names: &[String]) -> Vec<Finding> {
    const ALLOWED: &[&str] = &[
        "Cargo.toml",
        "src",
        "supervisors",
        "bench",
        "tests",
        "ops",
        "README.md",
        "Cargo.lock",
        "clippy.toml",
        "deny.toml",
        "rustfmt.toml",
        "CHANGELOG.md",
        "LICENSE",
        "NOTICE",
        "target",
        // Written by `quickstart` into the folder that it is started in, and ignored by git.
        "REVIEW.md",
    ];
    names
        .iter()
        .filter(|name| !name.starts_with('.') && !ALLOWED.contains(&name.as_str()))
        .map(|name| Finding::new(name, 0, "does not belong to the top level"))
        .collect()
}

#[test]
fn marks_of_unfinished_work_are_found() {
    let file = made_up(
        "src/a.rs",
        "let a = \"FIXME\";\n// FIXME: later\ntodo!();\nlet todo = my_dbg!(1);\ndbg!(a);",
    );
    assert_found(
        &unfinished(&[file]),
        &[
            "src/a.rs:2: `FIXME` is left",
            "src/a.rs:3: `todo!` is left",
            "src/a.rs:5: `dbg!` is left",
        ],
    );
}

#[test]
fn a_profile_that_aborts_is_found() {
    let file = made_up(
        "Cargo.toml",
        "[profile.release]\npanic = \"unwind\"\n# panic = \"abort\"\n[profile.x]\npanic=\"abort\"",
    );
    assert_found(&aborting(&[file]), &["Cargo.toml:5: a panic must unwind"]);
}

#[test]
fn a_misplaced_name_is_found() {
    let names = ["src", ".ci", "utils"].map(str::to_owned);
    assert_found(&misplaced(&names), &["utils:0: does not belong to the top level"]);
}
