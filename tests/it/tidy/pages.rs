//! Every error code has a page that helps, every page has a code, and what documents name exists.

use openclaw::domain::code::Code;

use super::source::{Finding, SourceFile, assert_found, made_up};

/// Codes without a page, pages without a code, pages without their parts, codes that the list leaves out.
pub(crate) fn of_errors(codes: &[Code], pages: &[SourceFile], list: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for code in codes {
        let path = format!("ops/errors/{}.md", code.id);
        match pages.iter().find(|page| page.path == path) {
            None => findings.push(Finding::new(&path, 0, "the code has no page")),
            Some(page) => {
                let title = format!("# {} · {}", code.id, code.kind);
                for heading in [title.as_str(), "## Likely causes", "## What to do"] {
                    if !has_part(&page.text, heading) {
                        findings.push(Finding::new(
                            &path,
                            0,
                            format!("the part `{heading}` is missing or empty"),
                        ));
                    }
                }
            }
        }
        let row = format!("| [{0}]({0}.md) | `{1}` |", code.id, code.kind);
        if !list.text.contains(&row) {
            findings.push(Finding::new(&list.path, 0, format!("no row for {}", code.id)));
        }
    }
    for page in pages.iter().filter(|page| page.path != list.path) {
        if !codes
            .iter()
            .any(|code| page.path == format!("ops/errors/{}.md", code.id))
        {
            findings.push(Finding::new(&page.path, 0, "no code has this page"));
        }
    }
    findings
}

/// Whether a heading stands there with text below it.
fn has_part(text: &str, heading: &str) -> bool {
    let mut lines = text.lines().skip_while(|line| *line != heading).skip(1);
    lines
        .find(|line| !line.trim().is_empty())
        .is_some_and(|line| !line.starts_with('#'))
}

/// Tests that a document names (`test: name`) and that no source file has.
pub(crate) fn of_tests(document: &SourceFile, sources: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in document.text.lines().enumerate() {
        let Some((_, names)) = line.split_once("Test: ") else {
            continue;
        };
        let named: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            findings.push(Finding::new(&document.path, index + 1, "no test is named"));
        }
        for name in named {
            let signature = format!("fn {name}(");
            if !sources.iter().any(|file| file.text.contains(&signature)) {
                findings.push(Finding::new(
                    &document.path,
                    index + 1,
                    format!("there is no test `{name}`"),
                ));
            }
        }
    }
    findings
}

/// Relative links of documents that lead nowhere; `exists` tells of paths from the root.
pub(crate) fn of_links(documents: &[SourceFile], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in documents {
        let folder = document.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (index, line) in document.text.lines().enumerate() {
            for part in line.split("](").skip(1) {
                let target = part.split([')', '#']).next().unwrap_or("");
                if target.is_empty() || target.contains("://") {
                    continue;
                }
                let mut path: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
                for part in target.split('/') {
                    match part {
                        ".." => drop(path.pop()),
                        "." => {}
                        part => path.push(part),
                    }
                }
                if !exists(&path.join("/")) {
                    findings.push(Finding::new(
                        &document.path,
                        index + 1,
                        format!("`{target}` does not exist"),
                    ));
                }
            }
        }
    }
    findings
}

#[test]
fn a_page_that_is_missing_needless_or_empty_is_found() {
    let codes = &openclaw::domain::code::ALL[..2];
    let whole = "# OC-1001 · invalid_request\n\nWords.\n\n## Likely causes\n- a\n\n## What to do\n1. b\n";
    let list = made_up(
        "ops/errors/README.md",
        "| [OC-1001](OC-1001.md) | `invalid_request` | x |",
    );
    let pages = [
        made_up("ops/errors/OC-1001.md", whole),
        made_up(
            "ops/errors/OC-1002.md",
            "# OC-1002 · plan_rejected\n## Likely causes\n- a\n",
        ),
        made_up("ops/errors/OC-8888.md", whole),
        list.clone(),
    ];
    assert_found(
        &of_errors(codes, &pages, &list),
        &[
            "ops/errors/OC-1002.md:0: the part `# OC-1002 · plan_rejected` is missing or empty",
            "ops/errors/OC-1002.md:0: the part `## What to do` is missing or empty",
            "ops/errors/README.md:0: no row for OC-1002",
            "ops/errors/OC-8888.md:0: no code has this page",
        ],
    );
    assert_found(
        &of_errors(&codes[..1], &[], &list),
        &["ops/errors/OC-1001.md:0: the code has no page"],
    );
}

#[test]
fn a_test_or_link_that_does_not_exist_is_found() {
    let document = made_up(
        "src/A.md",
        "1. Kept. Test: `is_kept`, `is_gone`.\n2. [b](../ops/b.md) [c](c.md#x) [d](https://d)",
    );
    let source = made_up("src/a.rs", "#[test]\nfn is_kept() {}");
    assert_found(
        &of_tests(&document, &[source]),
        &["src/A.md:1: there is no test `is_gone`"],
    );
    assert_found(
        &of_links(&[document], |path| path == "ops/b.md"),
        &["src/A.md:2: `c.md` does not exist"],
    );
}
