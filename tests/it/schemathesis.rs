//! Schemathesis, which makes requests from the description of the API, against a real daemon: no answer is a fault of
//! the daemon (5xx), and every one is as it is described.
//!
//! `tests/schemathesis.sh` installs its newest version. Without it the test says loudly that it is skipped; where
//! `OPENCLAW_SCHEMATHESIS_NEEDED` is set, which the gate does after it has installed it, that is a failure.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::admin::Operator;
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

/// Makes requests from the description at this address until there are none left, each with the key.
fn try_all(program: &PathBuf, home: &TestHome, (url, key): (&str, &str), more: &[&str]) {
    let output = Command::new(program)
        .arg("run")
        .arg(format!("{url}/openapi.json"))
        .args(["-H", &format!("Authorization: Bearer {key}")])
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "-n", "15"])
        .args([
            "--seed",
            "20261122",
            "--request-timeout",
            "20",
            "--no-color",
            "--continue-on-failure",
        ])
        .args(more)
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
}

#[test]
fn no_request_that_the_description_allows_or_not_makes_a_fault_or_an_answer_that_is_not_described() {
    let Some(program) = program() else { return };
    // What it makes up must start no work that outlives it.
    let home = TestHome::new("[gateway]\ntimeout = 500\n[agent]\ntimeout = 1000\nmaxRetries = 0\n");
    let daemon = home.start();
    // A stream of events ends with its run; what is read before is checked elsewhere.
    let more = ["--exclude-path", "/v1/runs/{id}/events"];
    try_all(&program, &home, (&daemon.url, &daemon.key), &more);
    assert!(daemon.terminate().success(), "{}", home.words());
}

#[test]
fn no_request_to_the_operators_listener_makes_a_fault_or_an_answer_that_is_not_described() {
    let Some(program) = program() else { return };
    let home = TestHome::new("");
    let daemon = home.start();
    let tls = home.path().join("state/tls");
    let (own, bundle) = (tls.join("operator.pem"), tls.join("internal.pem"));
    let more = [
        "--request-cert",
        own.to_str().expect("UTF-8"),
        "--tls-verify",
        bundle.to_str().expect("UTF-8"),
        // What ends the daemon, or makes the certificate or the key of whoever asks worth nothing: numbers that one
        // answer tells are tried with another operation.
        "--exclude-path",
        "/admin/v1/stop",
        "--exclude-path-regex",
        "^/admin/v1/(tls/(rotate|revoke)|keys/[^/]+/(rotate|revoke))$",
    ];
    let url = Operator::of(&home).url;
    try_all(&program, &home, (&url, &daemon.key), &more);
    assert!(daemon.terminate().success(), "{}", home.words());
}
