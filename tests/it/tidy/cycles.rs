//! No cycles of imports between the files of one folder (a folder within it counts as one file).
//!
//! Tests may look at anything, so what only a test build sees is left out.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::{module, references, test_modules};
use super::source::{Finding, SourceFile, assert_found, made_up};

type Path = Vec<String>;
/// For each folder and each of its members: the members that it imports, and where.
type Edges = BTreeMap<Path, BTreeMap<String, BTreeMap<String, (String, usize)>>>;

/// The cycles, each once, with one place for each of its edges.
pub(crate) fn findings(files: &[SourceFile]) -> Vec<Finding> {
    edges(files)
        .iter()
        .flat_map(|(folder, members)| of_folder(folder, members))
        .collect()
}

/// What `mod.rs` hands on, under the name by which others reach it.
fn handed_on(files: &[SourceFile]) -> BTreeMap<Path, Path> {
    let mut names = BTreeMap::new();
    for file in files
        .iter()
        .filter(|file| file.path.ends_with("/mod.rs") || file.path.ends_with("/lib.rs"))
    {
        let folder = module(&file.path);
        for reference in references(file).into_iter().filter(|reference| reference.is_public_use) {
            let mut target = if reference.is_own { Vec::new() } else { folder.clone() };
            target.extend(reference.path.iter().cloned());
            if let Some(last) = reference.path.last() {
                let mut name = folder.clone();
                name.push(last.clone());
                names.insert(name, target);
            }
        }
    }
    names
}

fn edges(files: &[SourceFile]) -> Edges {
    let modules: BTreeSet<Path> = files.iter().map(|file| module(&file.path)).collect();
    let for_tests: Vec<Path> = files.iter().flat_map(test_modules).collect();
    let names = handed_on(files);
    let mut edges = Edges::new();
    for file in files {
        let own = module(&file.path);
        let is_contents = file.path.ends_with("/mod.rs") || file.path.ends_with("/lib.rs");
        if is_contents || for_tests.iter().any(|test| own.starts_with(test)) {
            continue;
        }
        for reference in references(file)
            .iter()
            .filter(|reference| reference.is_own && !reference.is_test)
        {
            let mut target = reference.path.clone();
            for length in 1..=reference.path.len() {
                if let Some(real) = names.get(&reference.path[..length]) {
                    target = [real, &reference.path[length..]].concat();
                    break;
                }
            }
            let shared = own.iter().zip(&target).take_while(|(a, b)| a == b).count();
            let (Some(from), Some(to)) = (own.get(shared), target.get(shared)) else {
                continue;
            };
            // A name that is no module is an item of the folder's own file.
            let is_module = modules.iter().any(|module| module.starts_with(&target[..=shared]));
            // Edges between the layers themselves are held against their order.
            if is_module && shared > 0 {
                edges
                    .entry(own[..shared].to_vec())
                    .or_default()
                    .entry(from.clone())
                    .or_default()
                    .entry(to.clone())
                    .or_insert_with(|| (file.path.clone(), reference.line));
            }
        }
    }
    edges
}

fn of_folder(folder: &[String], members: &BTreeMap<String, BTreeMap<String, (String, usize)>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut reported = BTreeSet::new();
    for start in members.keys() {
        let Some(cycle) = cycle_through(start, members) else {
            continue;
        };
        let mut key = cycle.clone();
        key.sort();
        if !reported.insert(key) {
            continue;
        }
        let places: Vec<String> = cycle
            .iter()
            .zip(cycle.iter().cycle().skip(1))
            .map(|(from, to)| {
                let (path, line) = &members[from][to];
                format!("{from} -> {to} ({path}:{line})")
            })
            .collect();
        let what = format!("a cycle in `{}`: {}", folder.join("::"), places.join(", "));
        let (path, line) = &members[&cycle[0]][&cycle[1 % cycle.len()]];
        findings.push(Finding::new(path, *line, what));
    }
    findings
}

/// The shortest way from `start` back to it.
fn cycle_through(start: &str, members: &BTreeMap<String, BTreeMap<String, (String, usize)>>) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut next = Vec::new();
        for way in ways {
            let last = way.last().expect("a way has a start");
            for to in members.get(last).into_iter().flat_map(BTreeMap::keys) {
                if to == start {
                    return Some(way);
                }
                if seen.insert(to.clone()) {
                    let mut longer = way.clone();
                    longer.push(to.clone());
                    next.push(longer);
                }
            }
        }
        ways = next;
    }
    None
}

#[test]
fn a_cycle_is_found_also_over_folders_and_names_that_are_handed_on() {
    let files = [
        made_up(
            "src/llm/mod.rs",
            "pub mod a;\npub mod b;\npub mod c;\npub use a::Thing;",
        ),
        made_up("src/llm/a.rs", "use super::b::deep::f;"),
        made_up("src/llm/b/mod.rs", "pub mod deep;"),
        made_up(
            "src/llm/b/deep.rs",
            "use crate::llm::Thing;\n#[cfg(test)] mod tests { use crate::llm::c::x; }",
        ),
        made_up("src/llm/c.rs", "use super::b::deep::f;"),
    ];
    assert_found(
        &findings(&files),
        &["src/llm/a.rs:1: a cycle in `llm`: a -> b (src/llm/a.rs:1), b -> a (src/llm/b/deep.rs:1)"],
    );
}
