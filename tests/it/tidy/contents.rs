//! `mod.rs` and `lib.rs` are tables of contents: documentation, `mod`, `pub use`, attributes; no code.

use super::source::{Finding, Keep, SourceFile, assert_found, code, made_up};

/// Anything else in a table of contents.
pub(crate) fn findings(files: &[SourceFile]) -> Vec<Finding> {
    let is_contents = |file: &&SourceFile| file.path.ends_with("/mod.rs") || file.path.ends_with("src/lib.rs");
    files.iter().filter(is_contents).flat_map(of_file).collect()
}

fn of_file(file: &SourceFile) -> Vec<Finding> {
    let text = without_attributes(&code(&file.text, Keep::Code));
    let mut findings = Vec::new();
    let mut line = 1;
    for statement in text.split(';') {
        let words: Vec<&str> = statement.split_whitespace().collect();
        let lead = statement.len() - statement.trim_start().len();
        let at = line + statement[..lead].matches('\n').count();
        line += statement.matches('\n').count();
        let is_allowed = match words.as_slice() {
            [] | ["mod", _] => true,
            [first, second, ..] if first.starts_with("pub") => {
                *second == "use" || (*second == "mod" && words.len() == 3)
            }
            _ => false,
        };
        if !is_allowed {
            let what = format!(
                "`{}` is not contents",
                words.iter().take(4).copied().collect::<Vec<_>>().join(" ")
            );
            findings.push(Finding::new(&file.path, at, what));
        }
    }
    findings
}

fn without_attributes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '#' if depth == 0 && matches!(characters.peek(), Some('[' | '!')) => {
                characters.next_if_eq(&'!');
            }
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '\n' => out.push('\n'),
            _ if depth == 0 => out.push(character),
            _ => {}
        }
    }
    out
}

#[test]
fn code_in_a_table_of_contents_is_found() {
    let good = "//! Words; more.\n#![doc = include_str!(\"A.md\")]\npub mod a;\n#[cfg(test)]\nmod b;\npub(crate) mod c;\n\
                pub use a::{\n    X,\n    Y,\n};\n";
    assert_found(&findings(&[made_up("src/llm/mod.rs", good)]), &[]);
    let bad = format!("{good}\nuse a::X;\n\nfn f() {{ }}\n");
    assert_found(
        &findings(&[made_up("src/llm/mod.rs", &bad), made_up("src/llm/a.rs", "fn f() {}")]),
        &[
            "src/llm/mod.rs:12: `use a::X` is not contents",
            "src/llm/mod.rs:14: `fn f() { }` is not contents",
        ],
    );
}
