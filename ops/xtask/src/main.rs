//! The repository's own gate. `cargo xtask check` is what a change has to pass.
//!
//! | command | does |
//! |---|---|
//! | `check` | `lint`, then `test` |
//! | `lint` | format, clippy, licences and bans, the documentation |
//! | `licences` | holds the dependency graph against `deny.toml` |
//! | `test` | all tests of the workspace |

mod graph;
mod licence;
mod rules;

use std::path::Path;
use std::process::{Command, ExitCode};

use graph::{Package, packages};
use rules::Rules;

const USAGE: &str = "usage: cargo xtask check|lint|licences|test";

fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let root = root.expect("this crate lies two folders below the root");
    let result = match word.as_str() {
        "check" => lint(root).and_then(|()| test(root)),
        "lint" => lint(root),
        "licences" => licences(root),
        "test" => test(root),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            say(&format!("error: {message}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "it talks to a person at a terminal")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn lint(root: &Path) -> Result<(), String> {
    cargo(root, &["fmt", "--all", "--check"], &[])?;
    cargo(
        root,
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        &[],
    )?;
    licences(root)?;
    cargo(
        root,
        &["doc", "--workspace", "--no-deps", "--quiet"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )
}

fn test(root: &Path) -> Result<(), String> {
    cargo(root, &["test", "--workspace"], &[])
}

/// The cargo that started this program, or the one on the path.
fn cargo_program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Takes away what cargo says of this package to the programs that it runs. The build scripts of some crates read it and
/// would be run again, with all that depends on them, whenever cargo is started with and without this program in turn.
fn outside_of_this_package(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if name
            .to_str()
            .is_some_and(|name| of_package.iter().any(|prefix| name.starts_with(prefix)))
        {
            command.env_remove(name);
        }
    }
    command
}

fn cargo(root: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Result<(), String> {
    let line = format!("cargo {}", arguments.join(" "));
    say(&format!("== {line}"));
    let status = outside_of_this_package(&mut Command::new(cargo_program()))
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(root)
        .status()
        .map_err(|error| format!("start `{line}`: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{line}` ended with {status}"))
    }
}

/// The graph as cargo resolves it for one target.
fn graph_of(root: &Path, target: &str) -> Result<Vec<Package>, String> {
    let output = Command::new(cargo_program())
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            target,
        ])
        .current_dir(root)
        .output()
        .map_err(|error| format!("start `cargo metadata`: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`cargo metadata --locked` failed: {}", text.trim_end()));
    }
    let value = serde_json::from_slice(&output.stdout).map_err(|error| format!("read cargo's metadata: {error}"))?;
    packages(&value)
}

fn licences(root: &Path) -> Result<(), String> {
    say("== licences, bans and sources (deny.toml)");
    let text = std::fs::read_to_string(root.join("deny.toml")).map_err(|error| format!("read deny.toml: {error}"))?;
    let rules = Rules::parse(&text)?;
    let mut findings = Vec::new();
    let mut seen = 0;
    for target in &rules.targets {
        let graph = graph_of(root, target)?;
        seen = seen.max(graph.len());
        findings.extend(rules.findings(&graph));
    }
    findings.sort();
    findings.dedup();
    if findings.is_empty() {
        say(&format!("{seen} packages keep the rules"));
        return Ok(());
    }
    for finding in &findings {
        say(&format!("deny.toml: {finding}"));
    }
    Err(format!("{} findings in the dependency graph", findings.len()))
}
