//! Servers within the sandbox: what a server's program can touch, and what becomes of one that cannot be confined.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use openclaw::domain::capability::{Capability, CapabilityKind};
use openclaw::domain::code;
use openclaw::runtime::entropy::Entropy;
use openclaw::skills::egress::{Egress, layer};
use openclaw::skills::mcp::config::{McpServer, Way};
use openclaw::skills::network::NetworkPolicy;
use openclaw::skills::process::runner::ProcessRunner;
use openclaw::skills::sandbox::policy::SandboxSettings;
use serde_json::{Value, json};
use supervisors::Supervisor;

use super::stage::{LONG, Stage, program};
use crate::process::block_on;
use crate::sandbox::ground::as_each_user;
use crate::support::wait::until_async;

const HANDSHAKE: &str = "2025-11-25";

fn runner(settings: SandboxSettings) -> Arc<ProcessRunner> {
    ProcessRunner::with(env!("CARGO_BIN_EXE_openclaw").into(), None, settings)
}

/// A server of the network that says "here" to everybody.
fn place() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).unwrap_or_default() == 0 {
                continue;
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhere")
                .ok();
        }
    });
    port
}

/// A server with a folder of its own within the stage's.
fn apart(name: &str, folder: &Path, network: &[String]) -> McpServer {
    let own = folder.join(name);
    std::fs::create_dir(&own).expect("made");
    let mut server = program(name, HANDSHAKE, "", &own);
    let place = |place: &String| Capability::new(CapabilityKind::Net, place).expect("a place");
    server.network = network.iter().map(place).collect();
    server
}

async fn tried(stage: &Stage, server: &str, what: &[Value]) -> Vec<Value> {
    let arguments = json!({ "how": "reach", "try": what });
    let end = stage.call(&format!("mcp.{server}.act"), arguments).await;
    let end = end.expect("an end").outcome;
    assert!(!end.is_error, "{}", end.content);
    serde_json::from_str(&end.content).expect("JSON")
}

#[test]
fn a_server_touches_its_folder_and_what_the_operator_names_and_nothing_else() {
    as_each_user(
        "mcp::confined::a_server_touches_its_folder_and_what_the_operator_names_and_nothing_else",
        || block_on(touches()),
    );
}

async fn touches() {
    let (named, unnamed) = (place(), place());
    let address = format!("127.0.0.1:{named}");
    let runner = runner(SandboxSettings::default());
    let outside = tempfile::tempdir().expect("a folder");
    let policy = NetworkPolicy::parse([&*address, &format!("127.0.0.1:{unnamed}")]).expect("a policy");
    let socket = outside.path().join("egress.sock");
    let egress = Egress::new(socket.clone(), policy, Vec::new(), Entropy::system());
    let proxy = Supervisor::start("egress", layer(&egress).expect("a socket")).await;
    let proxy = proxy.expect("started");
    runner.open_egress(egress);
    let bare = outside.path().join("bare.sock");
    let _listener = UnixListener::bind(&bare).expect("a socket");
    std::fs::write(outside.path().join("secret"), "secret").expect("written");
    std::fs::create_dir(outside.path().join("opened")).expect("made");
    let opened = outside.path().join("opened");
    let stage = Stage::start_with(runner, |folder| {
        let mut far = apart("far", folder, std::slice::from_ref(&address));
        if let Way::Program { writable, .. } = &mut far.way {
            writable.push(opened.clone());
        }
        vec![apart("near", folder, &[]), far]
    })
    .await;
    for server in [0, 1] {
        stage.until(server, "ready").await;
    }
    let own = |server: &str| stage.folder().join(server).join("file");
    let ours = std::process::id();
    let check = async |server: &str, word: &str, target: Value, wanted: Value| {
        let found = tried(&stage, server, &[json!([word, target])]).await;
        assert_eq!(found, [wanted], "{server} {word} {target}");
    };
    let (refused, no_place) = (json!("refused"), json!("ConnectionRefusedError"));
    for server in ["near", "far"] {
        check(server, "write", json!(own(server)), json!("done")).await;
        check(server, "read", json!(own(server)), json!("done")).await;
        for (word, target) in [
            ("read", json!(outside.path().join("secret"))),
            ("write", json!(outside.path().join("secret"))),
            ("write", json!(stage.folder().join("beside"))),
            ("list", json!(stage.folder())),
            ("read", json!("/etc/passwd")),
            ("read", json!(format!("/proc/{ours}/environ"))),
            ("list", json!("/proc")),
            ("signal", json!(ours)),
            ("signal", json!(1)),
            ("unix", json!(bare)),
            ("unix", json!(socket)),
        ] {
            check(server, word, target, refused.clone()).await;
        }
    }
    check("near", "write", json!(own("far")), refused.clone()).await;
    check("near", "write", json!(opened.join("x")), refused.clone()).await;
    check("far", "write", json!(opened.join("x")), json!("done")).await;
    // Without a named host there is no socket at all; with one there is the proxy alone.
    check("near", "tcp", json!(named), refused).await;
    check("far", "tcp", json!(named), no_place).await;
    let url = |port: u16| json!(format!("http://127.0.0.1:{port}/"));
    check("near", "get", url(named), json!("URLError")).await;
    check("far", "get", url(named), json!("done")).await;
    check("far", "get", url(unnamed), json!(403)).await;
    stage.stop().await;
    proxy.shutdown().await;
}

#[test]
fn a_server_that_cannot_be_confined_is_not_started_and_says_why() {
    block_on(async {
        let check = async |runner: Arc<ProcessRunner>, network: &[String], wanted: &str| {
            let stage = Stage::start_with(runner, |folder| vec![apart("s", folder, network)]).await;
            until_async("the reason", LONG, async || {
                let state = stage.shared[0].state();
                let reason = state.reason().unwrap_or_default();
                if reason.contains(wanted) && reason.contains(code::SANDBOX_REFUSED.id) {
                    return Ok(());
                }
                Err(format!("{} {reason}", state.word()))
            })
            .await;
            assert_eq!(stage.lines("s/starts"), Vec::<String>::new(), "it was started");
            stage.stop().await;
        };
        // What stands in for the sandbox does not even answer.
        let broken = ProcessRunner::with("/bin/false".into(), None, SandboxSettings::default());
        check(broken, &[], "cannot be confined").await;
        // There is no proxy.
        let host = ["example.com:443".to_owned()];
        check(runner(SandboxSettings::default()), &host, "needs the network").await;
    });
}

#[test]
fn a_server_that_grows_without_end_is_ended_with_a_reason_and_started_again() {
    block_on(async {
        let settings = SandboxSettings {
            memory_bytes_max: 128 << 20,
            ..SandboxSettings::default()
        };
        let stage = Stage::start_with(runner(settings), |folder| vec![apart("s", folder, &[])]).await;
        stage.until(0, "ready").await;
        let end = stage.call("mcp.s.act", json!({"how": "grow"})).await;
        assert!(end.is_err(), "a call of class once that was cut off: {end:?}");
        until_async("its next life", LONG, async || match stage.lines("s/starts").len() {
            2.. => Ok(()),
            lives => Err((lives, stage.shared[0].state().word())),
        })
        .await;
        assert!(
            stage.shared[0].last_words().contains("more than 128 MiB of memory"),
            "{}",
            stage.shared[0].last_words()
        );
        stage.until(0, "ready").await;
        stage.stop().await;
    });
}
