//! A server written with the official Python SDK, when that is installed: `OPENCLAW_PYTHON_MCP` names a Python that has
//! the package `mcp`; else `python3` is tried.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use openclaw::skills::mcp::config::Way;
use serde_json::json;

use super::stage::{Stage, program};
use crate::process::block_on;

const SERVER: &str = r#"
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


server.run()
"#;

#[test]
fn a_server_of_the_official_python_sdk_is_understood() {
    let python = std::env::var("OPENCLAW_PYTHON_MCP").unwrap_or_else(|_| "python3".to_owned());
    let has_it = Command::new(&python).args(["-c", "import mcp.server"]).output();
    if !has_it.is_ok_and(|output| output.status.success()) {
        let said = "skipped: a_server_of_the_official_python_sdk_is_understood (no package `mcp` for Python)";
        writeln!(std::io::stderr(), "{said}").ok();
        return;
    }
    block_on(async {
        let stage = Stage::start(|folder| {
            let mut server = program("official", "", "", folder);
            let path = std::env::var_os("PATH").unwrap_or_default();
            let found = openclaw::skills::process::program::resolve(&python, &path, Path::new("/"));
            let found = found.expect("it ran just now");
            // An environment of its own has its packages beside the folder of its programs.
            let packages = found.ancestors().nth(2).map(Path::to_owned);
            server.way = Way::Program {
                readable: packages.into_iter().collect(),
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
