//! The survey of a project's health: how it is built, tested, licensed, released; and what should not be there.

use serde_json::{Value, json};

use super::session::{Flow, Session, call};
use super::summary;
use super::survey::{self, Content, Entry};

const BUILD: &[&str] = &[
    "cargo.toml",
    "package.json",
    "pyproject.toml",
    "setup.py",
    "go.mod",
    "makefile",
    "cmakelists.txt",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "mix.exs",
    "rebar.config",
    "gemfile",
    "composer.json",
    "meson.build",
    "build.zig",
    "dockerfile",
    "requirements.txt",
    "justfile",
];
const LOCKS: &[&str] = &[
    "cargo.lock",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "uv.lock",
    "go.sum",
    "mix.lock",
    "gemfile.lock",
    "composer.lock",
];

fn paths<'e>(entries: impl Iterator<Item = &'e Entry>, count: usize) -> Vec<String> {
    entries
        .take(count)
        .map(|entry| summary::plain(&entry.path, 160))
        .collect()
}

fn is_ci(path: &str) -> bool {
    path.starts_with(".github/workflows/")
        || path.starts_with(".ci/")
        || path.starts_with(".circleci/")
        || path.starts_with(".gitlab-ci")
        || path.ends_with("Jenkinsfile")
        || path.starts_with(".travis")
        || path.starts_with("azure-pipelines")
}

fn looks_secret(entry: &Entry) -> bool {
    let name = entry.name().to_lowercase();
    name == ".env" || name.starts_with("id_rsa") || name.starts_with("id_ed25519") || entry.extension() == "key"
}

/// The name, version and number of direct dependencies that a manifest states.
fn manifest(content: &Content) -> Value {
    let path = summary::plain(&content.entry.path, 160);
    if content.entry.name() == "package.json" {
        let parsed: Value = serde_json::from_str(&content.text).unwrap_or(Value::Null);
        let count = |member: &str| parsed[member].as_object().map_or(0, serde_json::Map::len);
        return json!({
            "path": path,
            "name": parsed["name"].as_str().map(|text| summary::plain(text, 80)),
            "version": parsed["version"].as_str().map(|text| summary::plain(text, 40)),
            "dependencies": count("dependencies") + count("devDependencies"),
        });
    }
    let mut section = "";
    let mut name = None;
    let mut version = None;
    let mut dependencies = 0;
    for line in content.text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        } else if let Some((key, value)) = line.split_once('=') {
            let value = value.trim().trim_matches('"');
            match (section, key.trim()) {
                ("package" | "project" | "workspace.package", "name") => name = Some(summary::plain(value, 80)),
                ("package" | "project" | "workspace.package", "version") => version = Some(summary::plain(value, 40)),
                (other, _) if other.ends_with("dependencies") && !line.starts_with('#') => dependencies += 1,
                _ => {}
            }
        } else if content.entry.name() == "go.mod" {
            if let Some(module) = line.strip_prefix("module ") {
                name = Some(summary::plain(module, 80));
            }
            dependencies += usize::from(line.contains(" v") && !line.starts_with("//"));
        }
    }
    json!({ "path": path, "name": name, "version": version, "dependencies": dependencies })
}

/// Surveys a project's health.
pub(super) fn run(session: &Session<'_>) -> Flow<Value> {
    let folder = session.folder();
    let mut listing = survey::list(session, &folder)?;
    if folder == "." && !listing.entries.iter().any(|entry| entry.path.starts_with('.')) {
        // The listing leaves hidden files out, or there are none: only asking tells whether CI is there.
        let hidden = [".github/workflows", ".ci", ".circleci"];
        let wanted = hidden.map(|path| call("fs.list", json!({ "path": path, "depth": 1, "limit": 20 })));
        for (path, outcome) in hidden.iter().zip(session.all(wanted.to_vec())?) {
            if !outcome.failed {
                listing.add(&outcome, path);
            }
        }
    }
    let named = |words: &'static [&str]| {
        let files = listing.files();
        files.filter(move |file| words.contains(&file.name().to_lowercase().as_str()))
    };
    let starting = |words: &'static [&str]| {
        let files = listing.files();
        files.filter(move |file| {
            let name = file.name().to_lowercase();
            words.iter().any(|word| name.starts_with(word))
        })
    };
    let mut manifests: Vec<Entry> = named(&["cargo.toml", "package.json", "pyproject.toml", "go.mod"])
        .cloned()
        .collect();
    manifests.sort_by_key(|file| (file.path.matches('/').count(), file.path.clone()));
    let contents = survey::read(session, manifests, 6)?;
    let tests: Vec<&Entry> = listing.files().filter(|file| survey::is_test(&file.path)).collect();
    let ci: Vec<&Entry> = listing.files().filter(|file| is_ci(&file.path)).collect();
    let build = paths(named(BUILD), 12);
    let licence = paths(starting(&["license", "licence", "copying", "unlicense"]), 6);
    let changelog = paths(starting(&["changelog", "changes", "history", "news"]), 4);
    let guides = paths(
        starting(&["contributing", "security", "code_of_conduct", "architecture"]),
        6,
    );
    let locks = paths(named(LOCKS), 6);

    let top = if folder == "." {
        0
    } else {
        folder.matches('/').count() + 1
    };
    let has_readme = listing
        .files()
        .any(|file| survey::is_readme(file) && file.path.matches('/').count() == top);

    let mut missing = Vec::new();
    let wants = [
        (build.is_empty(), "a build file"),
        (tests.is_empty(), "test files"),
        (ci.is_empty(), "a CI definition"),
        (licence.is_empty(), "a licence file"),
        (changelog.is_empty(), "a changelog"),
        (!has_readme, "a README"),
    ];
    missing.extend(wants.into_iter().filter(|(gone, _)| *gone).map(|(_, what)| what));
    let mut warnings: Vec<String> = Vec::new();
    for file in listing.files() {
        let path = summary::plain(&file.path, 120);
        if looks_secret(file) {
            warnings.push(format!("{path} looks like it holds a secret"));
        }
        if file.bytes > 1024 * 1024 {
            warnings.push(format!("{path} has {} bytes", file.bytes));
        }
    }
    let warning_count = warnings.len();
    warnings.truncate(10);
    let mut problems = listing.problems.clone();
    problems.extend(contents.iter().filter_map(|content| content.problem.clone()).take(5));
    let manifests: Vec<Value> = contents
        .iter()
        .filter(|content| content.problem.is_none())
        .map(manifest)
        .collect();
    Ok(json!({
        "folder": folder,
        "build": build,
        "tests": { "files": tests.len(), "places": paths(tests.into_iter(), 6) },
        "ci": paths(ci.into_iter(), 6),
        "licence": licence,
        "changelog": changelog,
        "guides": guides,
        "lock_files": locks,
        "manifests": manifests,
        "missing": missing,
        "warnings": warnings,
        "warning_count": warning_count,
        "truncated": listing.truncated,
        "problems": problems,
    }))
}
