//! Imports point left only in the order of the layers, and the members of one group never import each other.

use openclaw::daemon::layers::{ORDER, place};

use super::paths::{module, references};
use super::source::{Finding, SourceFile, assert_found, made_up};

/// Wrong edges between layers. Files outside a layer (the crate's root) are not looked at.
pub(crate) fn findings(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let path = module(&file.path);
        let Some(layer) = path.first() else { continue };
        let Some(own) = place(layer) else {
            findings.push(Finding::new(
                &file.path,
                0,
                format!("`{layer}` has no place in the order of layers"),
            ));
            continue;
        };
        for reference in references(file).iter().filter(|reference| reference.is_own) {
            let Some(other) = reference.path.first().filter(|other| *other != layer) else {
                continue;
            };
            let what = match place(other) {
                None => format!("`{other}` has no place in the order of layers"),
                Some(place) if place > own => format!("`{layer}` imports `{other}`, which stands to its right"),
                Some(place) if place == own => format!("`{layer}` imports `{other}`, which stands beside it"),
                Some(_) => continue,
            };
            findings.push(Finding::new(&file.path, reference.line, what));
        }
    }
    findings
}

#[test]
fn an_import_to_the_right_or_aside_is_found() {
    let files = [
        made_up(
            "src/storage/a.rs",
            "use crate::domain::id;\nuse crate::{\n  domain::x,\n  runtime::bus,\n};",
        ),
        made_up("src/llm/b.rs", "fn f() { super::super::skills::g() }"),
        made_up("src/utils/c.rs", ""),
    ];
    assert_found(
        &findings(&files),
        &[
            "src/storage/a.rs:4: `storage` imports `runtime`, which stands to its right",
            "src/llm/b.rs:1: `llm` imports `skills`, which stands beside it",
            "src/utils/c.rs:0: `utils` has no place in the order of layers",
        ],
    );
    assert_eq!(ORDER.first(), Some(&["domain"].as_slice()));
}
