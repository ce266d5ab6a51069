//! Programs and the network: nothing but the proxy, and through it nothing but what is named.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use openclaw::domain::capability::CapabilitySet;
use openclaw::runtime::entropy::Entropy;
use openclaw::skills::egress::secret::EgressSecret;
use openclaw::skills::egress::{Egress, layer};
use openclaw::skills::network::NetworkPolicy;
use openclaw::skills::process::end::Ended;
use openclaw::skills::process::runner::ProgramOrder;
use serde_json::{Value, json};
use supervisors::Supervisor;

use super::ground::{Ground, as_each_user};
use crate::process::block_on;

/// Answers every request with its own text, or leads elsewhere; says its port.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(count) if count > 0 => request.extend_from_slice(&buffer[..count]),
                        _ => return,
                    }
                }
                let text = String::from_utf8_lossy(&request).to_lowercase();
                let elsewhere = if text.starts_with("get /elsewhere") {
                    "Location: http://169.254.169.254/latest\r\n"
                } else {
                    ""
                };
                let status = if elsewhere.is_empty() { "200 OK" } else { "302 Found" };
                let length = text.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\n{elsewhere}Content-Length: {length}\r\nConnection: close\r\n\r\n{text}"
                );
                stream.write_all(answer.as_bytes()).ok();
            });
        }
    });
    port
}

const ASK: &str = r#"
import errno, http.client, json, os, socket, sys, urllib.request, urllib.error

OPEN, HIDDEN, CLOSED = sys.argv[1:4]
found = {}


def ask(name, url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            found[name] = [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as error:
        found[name] = [error.code, error.read().decode()]
    except OSError as error:
        found[name] = [0, str(error)]


def tunnel(name, host, port):
    try:
        proxy = http.client.HTTPConnection("127.0.0.1", 3128, timeout=20)
        proxy.set_tunnel(host, int(port))
        proxy.request("GET", "/tunnel")
        found[name] = [200, proxy.getresponse().read().decode()]
    except OSError as error:
        found[name] = [0, str(error)]


def direct(name, host, port):
    try:
        socket.create_connection((host, int(port)), timeout=5)
        found[name] = [200, ""]
    except OSError as error:
        found[name] = [0, errno.errorcode.get(error.errno, str(error))]


ask("open", "http://127.0.0.1:%s/x" % OPEN, Authorization="mine", Accept="a/b")
ask("with body", "http://127.0.0.1:%s/x" % OPEN)
ask("unnamed port", "http://127.0.0.1:%s/" % CLOSED)
ask("unnamed host", "http://example.com/")
ask("another spelling", "http://2130706433:%s/spelled" % OPEN)
ask("a name for it", "http://localhost:%s/" % OPEN)
ask("named and inner", "http://127.0.0.1:%s/" % HIDDEN)
ask("redirect", "http://127.0.0.1:%s/elsewhere" % OPEN)
tunnel("tunnel", "127.0.0.1", OPEN)
tunnel("tunnel to an unnamed port", "127.0.0.1", CLOSED)
tunnel("tunnel to a named and inner one", "127.0.0.1", HIDDEN)
direct("past the proxy", "127.0.0.1", OPEN)
direct("to the outside", "93.184.216.34", 80)
direct("to the outside by IPv6", "2606:2800:220:1::1", 80)
for name, family, kind in [("UNIX", socket.AF_UNIX, socket.SOCK_STREAM), ("netlink", 16, socket.SOCK_RAW), ("datagrams of the file system", socket.AF_UNIX, socket.SOCK_DGRAM)]:
    try:
        socket.socket(family, kind)
        found[name] = [200, ""]
    except OSError as error:
        found[name] = [0, errno.errorcode[error.errno]]
json.dump(found, sys.stdout)
"#;

#[test]
fn a_program_reaches_what_is_named_and_nothing_else() {
    as_each_user(
        "sandbox::egress::a_program_reaches_what_is_named_and_nothing_else",
        || {
            let (open, hidden, closed) = (server(), server(), server());
            let ground = Ground::new();
            let address = |port: u16| format!("127.0.0.1:{port}");
            let mut order = ground.order(
                &[
                    "/usr/bin/python3",
                    "-",
                    &open.to_string(),
                    &hidden.to_string(),
                    &closed.to_string(),
                ],
                ASK,
            );
            order.confinement.network = vec![address(open), address(hidden)];
            let said = serve(&ground, &[&address(open), &address(closed)], open, order);
            let check = |name: &str, status: u16, says: &str| {
                let found = &said[name];
                let text = found[1].as_str().unwrap_or_default();
                assert_eq!(
                    (&found[0], text.contains(says)),
                    (&json!(status), true),
                    "{name}: {found}"
                );
            };
            check("open", 200, "get /x http/1.1");
            check("open", 200, "accept: a/b");
            check("open", 200, "authorization: bearer s3cret");
            check("with body", 200, "authorization: bearer s3cret");
            check("unnamed port", 403, "not among the hosts");
            check("unnamed host", 403, "not among the hosts");
            check("another spelling", 200, "get /spelled");
            check("a name for it", 403, "not among the hosts");
            check("named and inner", 403, "loopback");
            check("redirect", 403, "169.254.169.254:80 is not among the hosts");
            check("tunnel", 200, "get /tunnel http/1.1");
            check("tunnel to an unnamed port", 0, "403");
            check("tunnel to a named and inner one", 0, "403");
            check("past the proxy", 0, "ECONNREFUSED");
            check("to the outside", 0, "ENETUNREACH");
            check("to the outside by IPv6", 0, "E");
            check("UNIX", 0, "EPERM");
            check("netlink", 0, "EPERM");
            check("datagrams of the file system", 0, "EPERM");
            let tunnelled = said["tunnel"][1].as_str().unwrap_or_default();
            assert!(!tunnelled.contains("s3cret"), "{tunnelled}");
            let opened = said["open"][1].as_str().unwrap_or_default();
            assert!(!opened.contains("mine"), "{opened}");
        },
    );
}

/// Runs the order beside a proxy that has a secret for one port; gives the program's JSON.
fn serve(ground: &Ground, opened: &[&str], secret_port: u16, order: ProgramOrder) -> Value {
    let policy = NetworkPolicy::parse(opened.iter().copied()).expect("a policy");
    let secret = EgressSecret::new(
        "s",
        &format!("http://127.0.0.1:{secret_port}"),
        "authorization",
        "s3cret",
    );
    let socket = ground.outside.join("egress.sock");
    let egress = Egress::new(
        socket.clone(),
        policy,
        vec![secret.expect("a secret")],
        Entropy::system(),
    );
    ground.runner.open_egress(egress.clone());
    block_on(async {
        let root = Supervisor::start("egress", layer(&egress).expect("a socket"))
            .await
            .expect("started");
        let end = ground.runner.run(order).await.expect("the machinery works");
        assert_eq!(end.ended, Ended::Exited { code: 0 }, "{}\n{}", end.stdout, end.stderr);
        // Without a pass, or with one that was given back, nobody is served.
        let void = egress
            .pass(&["127.0.0.1:1".to_owned()], |_| true)
            .expect("a pass")
            .word()
            .to_owned();
        for word in ["", "x", &void] {
            let (socket, word) = (socket.clone(), word.to_owned());
            let answered = tokio::task::spawn_blocking(move || {
                let mut stream = UnixStream::connect(socket).expect("connected");
                write!(stream, "{word}\nGET http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n\r\n").expect("written");
                let mut answer = Vec::new();
                // What was written and not read makes the end a reset.
                stream.read_to_end(&mut answer).ok();
                answer
            });
            assert_eq!(answered.await.expect("no panic"), Vec::<u8>::new());
        }
        root.shutdown().await;
        serde_json::from_str(&end.stdout).expect("JSON")
    })
}

#[test]
fn a_secret_goes_only_to_whoever_may_use_it() {
    const ASK_ONE: &str = "import json, sys, urllib.request; \
         json.dump(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode(), sys.stdout)";
    let check = |granted: Option<&[&str]>, wanted: bool| {
        let (open, ground) = (server(), Ground::new());
        let url = format!("http://127.0.0.1:{open}/");
        let mut order = ground.order(&["/usr/bin/python3", "-c", ASK_ONE, &url], "");
        order.confinement.network = vec![format!("127.0.0.1:{open}")];
        let granted = granted.map(|list| CapabilitySet::parse(list.iter().copied()).expect("capabilities"));
        order.confinement.granted = granted.clone().map(Arc::new);
        let said = serve(&ground, &[&format!("127.0.0.1:{open}")], open, order).to_string();
        assert!(said.contains("get / http/1.1"), "{granted:?}: {said}");
        assert_eq!(said.contains("s3cret"), wanted, "{granted:?}: {said}");
    };
    check(None, true);
    check(Some(&["net:127.0.0.1:*", "secret:s"]), true);
    check(Some(&["net", "secret:another"]), false);
    check(Some(&["net"]), false);
}

#[test]
fn a_program_without_a_named_host_has_no_socket_and_no_variables_of_a_proxy() {
    let ground = Ground::new();
    let end = ground.shell("env | grep -i proxy; true");
    assert_eq!((end.ended, &*end.stdout), (Ended::Exited { code: 0 }, ""));
    // With hosts but without a proxy it is not started.
    let mut order = ground.order(&["/bin/sh", "-c", "echo x > made"], "");
    order.confinement.network = vec!["example.com:443".to_owned()];
    let end = ground.run(order);
    assert!(matches!(end.ended, Ended::NotStarted { .. }), "{end:?}");
    assert!(!ground.work.join("made").exists());
}
