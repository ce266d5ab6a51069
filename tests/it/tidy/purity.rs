//! What must be decided without the world is decided without it, and what one layer alone may know stays there.

use super::paths::{Reference, module, references, test_modules};
use super::source::{Finding, SourceFile, assert_found, made_up};

/// What a pure file never names. A seeded `fastrand::Rng` that is handed in is a value; asking for a fresh one is not.
const WORLD: &[&[&str]] = &[
    &["tokio"],
    &["ractor"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["Instant"],
    &["SystemTime"],
    &["rand"],
    &["getrandom"],
    &["redb"],
    &["reqwest"],
    &["fastrand", "Rng", "new"],
];

/// Crates that one place alone may know.
const KEPT: &[(&str, &[&str])] = &[
    ("redb", &["src/storage/"]),
    ("bincode", &["src/storage/"]),
    ("rustls", &["src/runtime/tls.rs", "src/identity/authority/"]),
];

fn is_pure(path: &str) -> bool {
    // A module that has grown into a folder stays what it was.
    const NAMES: [&str; 3] = ["state", "decision", "reducer"];
    let parts = path.trim_end_matches(".rs").split('/');
    path.starts_with("src/domain/") || parts.into_iter().any(|part| NAMES.contains(&part))
}

/// The world in pure files.
pub(crate) fn impure(files: &[SourceFile]) -> Vec<Finding> {
    let for_tests: Vec<Vec<String>> = files.iter().flat_map(test_modules).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| is_pure(&file.path)) {
        if for_tests.iter().any(|test| module(&file.path).starts_with(test)) {
            continue;
        }
        for Reference {
            line,
            path,
            is_own,
            is_test,
            ..
        } in references(file)
        {
            let is_domain = file.path.starts_with("src/domain/");
            let is_unseeded =
                path.first().is_some_and(|word| word == "fastrand") && path.get(1).is_some_and(|word| word != "Rng");
            let is_world = WORLD
                .iter()
                .any(|world| path.len() >= world.len() && path.iter().zip(*world).all(|(a, b)| a == b));
            let is_serde = is_domain && path.first().is_some_and(|word| word == "serde");
            if !is_own && !is_test && (is_world || is_unseeded || is_serde) {
                findings.push(Finding::new(
                    &file.path,
                    line,
                    format!("a pure file names `{}`", path.join("::")),
                ));
            }
        }
    }
    findings
}

/// Crates outside the place that keeps them. Tests may look at the disk as it is.
pub(crate) fn leaked(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        for Reference {
            line,
            path,
            is_own,
            is_test,
            ..
        } in references(file)
        {
            let first = path.first().map_or("", String::as_str);
            let kept = KEPT
                .iter()
                .find(|(name, places)| *name == first && !places.iter().any(|place| file.path.starts_with(place)));
            if let (Some((name, places)), false, false) = (kept, is_own, is_test) {
                let places = places.join(" and ");
                findings.push(Finding::new(
                    &file.path,
                    line,
                    format!("`{name}` is for {places} alone"),
                ));
            }
        }
    }
    findings
}

#[test]
fn the_world_in_a_pure_file_is_found() {
    let text = "use std::time::{Duration, Instant};\nuse std::{fs, fmt};\nfn f(random: &mut fastrand::Rng) {\n\
                fastrand::u64(..);\ntokio::spawn(x);\n}\n#[cfg(test)] mod tests { use std::fs; }\nuse serde::Serialize;";
    let files = [
        made_up("src/runs/state.rs", text),
        made_up("src/domain/run.rs", "use serde::Serialize;"),
        made_up("src/runs/actor.rs", text),
        made_up("src/runs/decision/turn.rs", "use tokio::sync::watch;"),
    ];
    assert_found(
        &impure(&files),
        &[
            "src/runs/state.rs:1: a pure file names `std::time::Instant`",
            "src/runs/state.rs:2: a pure file names `std::fs`",
            "src/runs/state.rs:4: a pure file names `fastrand::u64`",
            "src/runs/state.rs:5: a pure file names `tokio::spawn`",
            "src/domain/run.rs:1: a pure file names `serde::Serialize`",
            "src/runs/decision/turn.rs:1: a pure file names `tokio::sync::watch`",
        ],
    );
}

#[test]
fn a_crate_outside_its_place_is_found() {
    let files = [
        made_up("src/storage/store.rs", "use redb::Database;"),
        made_up("src/runs/actor.rs", "use redb::Database;\nfn f() { bincode::encode() }"),
        made_up("src/main.rs", "fn f() { rustls::x() }"),
    ];
    assert_found(
        &leaked(&files),
        &[
            "src/runs/actor.rs:1: `redb` is for src/storage/ alone",
            "src/runs/actor.rs:2: `bincode` is for src/storage/ alone",
            "src/main.rs:1: `rustls` is for src/runtime/tls.rs and src/identity/authority/ alone",
        ],
    );
}
