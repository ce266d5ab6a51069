//! Every rule against the repository as it is.

use openclaw::domain::code::ALL;

use super::source::{SourceFile, assert_none, file, files, root};
use super::{contents, cycles, layers, leftovers, pages, purity, routes, slices};

fn src() -> Vec<SourceFile> {
    files(&["src"], ".rs")
}

fn all_rust() -> Vec<SourceFile> {
    files(&["src", "supervisors", "bench", "tests", "ops"], ".rs")
}

#[test]
fn imports_point_left_only() {
    let crate_root = ["src/main.rs", "src/lib.rs"];
    let mut files = src();
    files.retain(|file| !crate_root.contains(&file.path.as_str()));
    assert!(files.len() > 100, "the source files are found");
    assert_none("the order of layers is broken", layers::findings(&files));
}

#[test]
fn files_of_a_folder_do_not_import_each_other_in_circles() {
    assert_none("imports go in circles", cycles::findings(&src()));
    assert_none(
        "imports go in circles",
        cycles::findings(&files(&["supervisors/src"], ".rs")),
    );
}

#[test]
fn leaf_slices_do_not_import_each_other() {
    assert_none("slices know each other", slices::findings(&src()));
}

#[test]
fn mod_files_are_tables_of_contents() {
    assert_none("code in a table of contents", contents::findings(&src()));
    assert_none(
        "code in a table of contents",
        contents::findings(&files(&["supervisors/src"], ".rs")),
    );
}

#[test]
fn pure_files_know_nothing_of_the_world() {
    assert_none("a pure file is not pure", purity::impure(&src()));
    assert_none(
        "a pure file is not pure",
        purity::impure(&files(&["supervisors/src"], ".rs")),
    );
}

#[test]
fn redb_bincode_and_the_tls_provider_stay_in_their_places() {
    assert_none("a crate is used outside its place", purity::leaked(&src()));
}

#[test]
fn no_mark_of_unfinished_work_is_left() {
    assert_none("unfinished work", leftovers::unfinished(&all_rust()));
}

#[test]
fn a_panic_unwinds_in_every_profile() {
    let mut manifests = vec![file("Cargo.toml"), file(".cargo/config.toml")];
    manifests.extend(files(&["supervisors", "bench", "ops"], "Cargo.toml"));
    assert_none("a profile aborts", leftovers::aborting(&manifests));
}

#[test]
fn the_top_level_is_fixed() {
    let entries = std::fs::read_dir(root()).expect("the root is listed");
    let names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry is read")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_none("the top level", leftovers::misplaced(&names));
}

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() {
    let list = file("ops/errors/README.md");
    assert_none(
        "pages of errors",
        pages::of_errors(ALL, &files(&["ops/errors"], ".md"), &list),
    );
}

#[test]
fn the_description_of_the_api_lists_exactly_the_routes() {
    let router = file("src/gateway/route/router.rs");
    assert_none(
        "openapi.json",
        routes::findings(&router, &file("src/gateway/openapi.json")),
    );
    let router = file("src/gateway/admin/router.rs");
    assert_none(
        "admin/openapi.json",
        routes::findings(&router, &file("src/gateway/admin/openapi.json")),
    );
}

#[test]
fn the_architecture_is_part_of_the_documentation_and_names_tests_that_exist() {
    assert!(
        file("src/lib.rs")
            .text
            .contains("#![doc = include_str!(\"ARCHITECTURE.md\")]")
    );
    let document = file("src/ARCHITECTURE.md");
    assert!(document.text.contains("Test: "), "the invariants name their tests");
    assert_none("invariants", pages::of_tests(&document, &all_rust()));
}

#[test]
fn the_table_of_incidents_names_tests_that_exist() {
    let table = file("tests/it/incidents.rs");
    assert!(table.text.matches("Test: ").count() >= 14, "a row for each incident");
    assert_none("incidents", pages::of_tests(&table, &all_rust()));
}

#[test]
fn links_of_documents_lead_somewhere() {
    let mut documents = vec![file("README.md"), file("CHANGELOG.md"), file("src/ARCHITECTURE.md")];
    documents.extend(files(&["ops"], ".md"));
    assert_none("links", pages::of_links(&documents, |path| root().join(path).exists()));
}

#[test]
fn the_gate_ends_with_the_test_command_of_the_readme() {
    let gate = file(".ci/run").text;
    let last = gate.lines().last().unwrap_or_default();
    let command = last.strip_prefix("exec ").expect("the last line becomes the test run");
    let readme = file("README.md").text;
    assert!(
        readme.lines().any(|line| line == command),
        "`{command}` is not in the README"
    );
}
