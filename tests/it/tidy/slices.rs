//! Leaf slices never import each other: one dialect, skill, route or command can be read, changed or removed alone.

use super::paths::{module, references, test_modules};
use super::source::{Finding, SourceFile, assert_found, made_up};

/// The folders of slices, each with the members that are no slices but what all of them share, or their list.
const SLICES: &[(&[&str], &[&str])] = &[
    (&["llm", "dialect"], &["failure", "gathered", "kind", "serve"]),
    (&["skills", "builtin"], &[]),
    (&["gateway", "route"], &["router"]),
    (&["cli", "command"], &[]),
];

/// Edges between slices.
pub(crate) fn findings(files: &[SourceFile]) -> Vec<Finding> {
    let for_tests: Vec<Vec<String>> = files.iter().flat_map(test_modules).collect();
    let mut findings = Vec::new();
    for (folder, shared) in SLICES {
        for file in files {
            let own = module(&file.path);
            let Some(slice) = inside(&own, folder) else { continue };
            if shared.contains(&slice) || for_tests.iter().any(|test| own.starts_with(test)) {
                continue;
            }
            for reference in references(file)
                .iter()
                .filter(|reference| reference.is_own && !reference.is_test)
            {
                match inside(&reference.path, folder) {
                    Some(other) if other != slice && !shared.contains(&other) => {
                        let what = format!("the slice `{slice}` imports the slice `{other}`");
                        findings.push(Finding::new(&file.path, reference.line, what));
                    }
                    _ => {}
                }
            }
        }
    }
    findings
}

fn inside<'a>(path: &'a [String], folder: &[&str]) -> Option<&'a str> {
    let (start, rest) = path.split_at_checked(folder.len())?;
    (start == folder).then(|| rest.first().map(String::as_str)).flatten()
}

#[test]
fn a_slice_that_imports_another_is_found() {
    let files = [
        made_up("src/cli/command/mod.rs", "pub mod run;\npub mod runs;"),
        made_up(
            "src/cli/command/run.rs",
            "use super::runs::table;\nuse crate::cli::output::Output;",
        ),
        made_up("src/gateway/route/router.rs", "use super::{runs, agents};"),
    ];
    assert_found(
        &findings(&files),
        &["src/cli/command/run.rs:1: the slice `run` imports the slice `runs`"],
    );
}
