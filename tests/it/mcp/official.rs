//! Servers written with the official Python SDK, over stdio and Streamable HTTP, when that is installed:
//! `tests/mcp_sdk.sh` does it, or `OPENCLAW_PYTHON_MCP` names a Python that has the package `mcp`.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use openclaw::skills::mcp::config::Way;
use serde_json::json;

use super::stage::{Stage, program};
use crate::process::block_on;

const SERVER: &str = r#"
import sys

try:
    from mcp.server.mcpserver import MCPServer
except ImportError:
    from mcp.server.fastmcp import FastMCP as MCPServer

server = MCPServer("official")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def fail() -> str:
    raise ValueError("as told")


if len(sys.argv) > 1:
    # Older versions of the package take the port when the server is made.
    try:
        server.run(transport="streamable-http", port=int(sys.argv[1]))
    except TypeError:
        server.settings.port = int(sys.argv[1])
        server.run(transport="streamable-http")
else:
    server.run()
"#;

/// A Python that has the package: one that is named, the one that `tests/mcp_sdk.sh` made, or the machine's own.
fn python() -> Option<String> {
    let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/target/mcp-sdk/bin/python");
    let named = std::env::var("OPENCLAW_PYTHON_MCP").ok();
    let made = Path::new(usual).is_file().then(|| usual.to_owned());
    let python = named.or(made).unwrap_or_else(|| "python3".to_owned());
    let has_it = Command::new(&python).args(["-c", "import mcp.server"]).output();
    has_it.is_ok_and(|output| output.status.success()).then_some(python)
}

/// Says loudly that a test did not run; where the package was installed for it, that is a failure.
fn skipped(test: &str) {
    assert!(
        std::env::var_os("OPENCLAW_MCP_SDK_NEEDED").is_none(),
        "{test}: the package `mcp` was installed and is not found"
    );
    writeln!(
        std::io::stderr(),
        "skipped: {test} (no package `mcp` for Python; tests/mcp_sdk.sh installs it)"
    )
    .ok();
}

#[test]
fn a_server_of_the_official_python_sdk_is_understood() {
    let Some(python) = python() else {
        return skipped("a_server_of_the_official_python_sdk_is_understood");
    };
    block_on(async {
        let stage = Stage::start(|folder| {
            let mut server = program("official", "", "", folder);
            let path = std::env::var_os("PATH").unwrap_or_default();
            let found = openclaw::skills::process::program::resolve(&python, &path, Path::new("/"));
            let found = found.expect("it ran just now");
            server.way = Way::Program {
                // The environment and the interpreter's own libraries come with the program.
                readable: Vec::new(),
                writable: Vec::new(),
                program: found,
                argv: [python.as_str(), "-c", SERVER].map(str::to_owned).to_vec(),
                env: Vec::new(),
                folder: folder.to_owned(),
            };
            vec![server]
        })
        .await;
        stage.until(0, "ready").await;
        assert_eq!(stage.skills(), ["mcp.official.add", "mcp.official.fail"]);
        let end = stage
            .call("mcp.official.add", json!({"a": 2, "b": 3}))
            .await
            .expect("an end");
        assert_eq!((end.outcome.is_error, &*end.outcome.content), (false, "5"));
        let end = stage.call("mcp.official.fail", json!({})).await.expect("an end");
        assert!(end.outcome.is_error, "{}", end.outcome.content);
        let state = stage.shared[0].state();
        writeln!(std::io::stderr(), "the official Python SDK: {:?}", state.word()).ok();
        stage.stop().await;
    });
}

/// A server at an address; ends with the test.
struct AtAddress(std::process::Child);

impl Drop for AtAddress {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_server_of_the_official_python_sdk_is_understood_over_http_and_found_again_after_a_restart() {
    let Some(python) = python() else {
        return skipped("a_server_of_the_official_python_sdk_is_understood_over_http_and_found_again_after_a_restart");
    };
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let serve = || {
        let mut command = Command::new(&python);
        command
            .args(["-c", SERVER, &port.to_string()])
            .stdout(std::process::Stdio::null());
        AtAddress(command.stderr(std::process::Stdio::null()).spawn().expect("started"))
    };
    block_on(async {
        let stage = Stage::start(|folder| {
            let mut server = program("official", "", "", folder);
            server.way = Way::Http {
                url: format!("http://127.0.0.1:{port}/mcp"),
                bearer: None,
            };
            vec![server]
        })
        .await;
        // Nobody is there yet: it is tried again, and says how often.
        stage.until(0, "failed").await;
        let reason = stage.shared[0].state().reason().unwrap_or_default().to_owned();
        assert!(reason.contains("times in a row, again in"), "{reason}");
        for _ in 0..2 {
            let server = serve();
            stage.until(0, "ready").await;
            assert_eq!(stage.skills(), ["mcp.official.add", "mcp.official.fail"]);
            let end = stage
                .call("mcp.official.add", json!({"a": 2, "b": 3}))
                .await
                .expect("an end");
            assert_eq!((end.outcome.is_error, &*end.outcome.content), (false, "5"));
            let end = stage.call("mcp.official.fail", json!({})).await.expect("an end");
            assert!(end.outcome.is_error, "{}", end.outcome.content);
            drop(server);
            // The next call finds nobody, or the connection is seen to be closed before it.
            let lost = stage
                .call_within(
                    "mcp.official.add",
                    json!({"a": 1, "b": 1}),
                    std::time::Duration::from_secs(2),
                )
                .await;
            assert!(lost.is_err(), "{lost:?}");
        }
        stage.stop().await;
    });
}
