//! Schemathesis, which makes requests from the description of the API, against a real daemon: no answer is a fault of
//! the daemon (5xx), and every one is as it is described.
//!
//! `tests/schemathesis.sh` installs its newest version. Without it the test says loudly that it is skipped; where
//! `OPENCLAW_SCHEMATHESIS_NEEDED` is set, which the gate does after it has installed it, that is a failure.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::daemon::TestHome;

/// Checks of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

#[expect(clippy::print_stderr, reason = "a test that was skipped says so")]
fn program() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/schemathesis/bin/schemathesis");
    if path.is_file() {
        return Some(path);
    }
    let needed = std::env::var_os("OPENCLAW_SCHEMATHESIS_NEEDED").is_some();
    assert!(
        !needed,
        "schemathesis is needed here and is not installed; see tests/schemathesis.sh"
    );
    eprintln!("SKIPPED: schemathesis is not installed; run tests/schemathesis.sh");
    None
}

#[test]
fn no_request_that_the_description_allows_or_not_makes_a_fault_or_an_answer_that_is_not_described() {
    let Some(program) = program() else { return };
    // What it makes up must start no work that outlives it.
    let home = TestHome::new("[gateway]\ntimeout = 500\n[agent]\ntimeout = 1000\nmaxRetries = 0\n");
    let daemon = home.start();
    let output = Command::new(&program)
        .arg("run")
        .arg(format!("{}/openapi.json", daemon.url))
        .args(["-H", &format!("Authorization: Bearer {}", daemon.key)])
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "-n", "15"])
        .args(["--seed", "20261122", "--request-timeout", "20", "--no-color", "--continue-on-failure"])
        // A stream of events ends with its run; what is read before is checked elsewhere.
        .args(["--exclude-path", "/v1/runs/{id}/events"])
        .current_dir(home.workspace())
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let end: String = said.chars().skip(said.chars().count().saturating_sub(20_000)).collect();
    assert!(
        output.status.success(),
        "{end}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains(" generated"), "{end}");
    assert!(daemon.terminate().success(), "{}", home.words());
}
