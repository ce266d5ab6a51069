//! Names whose addresses change between two looks: in a network of its own with a resolver that answers in turn with a
//! public address, an inner one, and both at once, nothing inside is ever connected to.
//!
//! The network, its addresses and `/etc/resolv.conf` belong to a copy of this program that `unshare` makes; where that
//! cannot be had, the test says so.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openclaw::runtime::entropy::Entropy;
use openclaw::skills::builtin::http_request::HttpRequest;
use openclaw::skills::builtin::web_fetch::WebFetch;
use openclaw::skills::egress::{Egress, layer};
use openclaw::skills::network::NetworkPolicy;
use serde_json::json;
use supervisors::Supervisor;

use crate::process::block_on;
use crate::ssrf::call;

const TEST: &str = "rebinding::a_name_that_changes_its_address_between_two_looks_leads_to_nothing_inside";
const MARK: &str = "OPENCLAW_TEST_REBINDING";
/// A public address, which the network of the test has itself.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
const INNER: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Looks by each way out.
const LOOKS: usize = 12;

/// Counts who comes to this address, and says whose it is.
fn listen(at: Ipv4Addr, says: &'static str) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind((at, 80)).expect("an address");
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&visits);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut stream = stream.expect("a connection");
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).unwrap_or_default() > 0 {
                let length = says.len();
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{says}"
                )
                .ok();
            }
        }
    });
    visits
}

/// Answers each question for an IPv4 address anew, in turn; there are none of IPv6. Counts by what was answered.
///
/// **Source**: RFC 1035, section 4.1.
fn resolve() -> Arc<[AtomicUsize; 3]> {
    let socket = UdpSocket::bind((INNER, 53)).expect("the port of resolvers");
    let answered = Arc::new([const { AtomicUsize::new(0) }; 3]);
    let counted = Arc::clone(&answered);
    std::thread::spawn(move || {
        let answers: [&[Ipv4Addr]; 3] = [&[PUBLIC], &[INNER], &[PUBLIC, INNER]];
        let mut questions = 0;
        loop {
            let mut buffer = [0; 512];
            let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                return;
            };
            let name = buffer[12..length]
                .iter()
                .position(|byte| *byte == 0)
                .expect("a name's end");
            let question = &buffer[12..12 + name + 5];
            let is_ipv4 = question[name + 1..name + 3] == [0, 1];
            let turn = questions % answers.len();
            let addresses = if is_ipv4 { answers[turn] } else { &[] };
            if is_ipv4 {
                questions += 1;
                counted[turn].fetch_add(1, Ordering::SeqCst);
            }
            let mut answer = Vec::from(&buffer[..2]);
            answer.extend([0x81, 0x80, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
            answer.extend(question);
            for address in addresses {
                // The name of the question, an address, of the internet, for no time at all, four bytes.
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                answer.extend(address.octets());
            }
            socket.send_to(&answer, from).ok();
        }
    });
    answered
}

/// In the network of its own.
async fn within() {
    let (outside, inside) = (listen(PUBLIC, "public"), listen(INNER, "secret"));
    let answered = resolve();
    let policy = NetworkPolicy::default();
    let (fetch, request) = (WebFetch::new(policy.clone()), HttpRequest::new(policy.clone()));
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("egress.sock");
    let egress = Egress::new(socket.clone(), policy, Vec::new(), Entropy::system());
    let root = Supervisor::start("egress", layer(&egress).expect("a socket"))
        .await
        .expect("started");
    let pass = egress.pass(&["*".to_owned()], |_| true).expect("a pass");
    let url = "http://changes.example.com/";
    let (mut reached, mut refused) = (0, 0);
    for look in 0..LOOKS {
        let by_proxy = |head: &'static str| {
            let (socket, word) = (socket.clone(), pass.word().to_owned());
            tokio::task::spawn_blocking(move || {
                let mut stream = UnixStream::connect(socket).expect("connected");
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a bound");
                write!(stream, "{word}\n{head}").expect("written");
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).ok();
                String::from_utf8_lossy(&answer).into_owned()
            })
        };
        let said = [
            call(&fetch, json!({ "url": url })).await.1,
            call(&request, json!({ "url": url, "method": "GET" })).await.1,
            by_proxy("GET http://changes.example.com/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .await
                .expect("no panic"),
        ];
        for said in said {
            assert!(!said.contains("secret"), "look {look}: {said}");
            if said.contains("public") {
                reached += 1;
            } else {
                refused += 1;
            }
        }
    }
    root.shutdown().await;
    let answered: Vec<usize> = answered.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    assert_eq!(
        inside.load(Ordering::SeqCst),
        0,
        "somebody came inside; answered {answered:?}"
    );
    // The resolver did change its mind, and both sides of it were met.
    assert!(
        answered.iter().all(|count| *count >= LOOKS / 3),
        "answered {answered:?}"
    );
    assert!(
        reached > 0 && refused > 0,
        "reached {reached}, refused {refused}, answered {answered:?}"
    );
    assert!(outside.load(Ordering::SeqCst) >= reached, "reached {reached}");
}

#[test]
fn a_name_that_changes_its_address_between_two_looks_leads_to_nothing_inside() {
    if std::env::var_os(MARK).is_some() {
        return block_on(within());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let resolver = folder.path().join("resolv.conf");
    std::fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n").expect("written");
    let own = "mount --bind \"$1\" /etc/resolv.conf && ip link set lo up && ip addr add 93.184.216.34/32 dev lo";
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "--net",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(&resolver)
            .arg(std::env::current_exe().expect("this program"))
            .args([TEST, "--exact", "--nocapture"])
            .env(MARK, "1");
        command.output()
    };
    let can = unshare(own);
    if !can.as_ref().is_ok_and(|can| can.status.success()) {
        writeln!(
            std::io::stderr(),
            "skipped: {TEST} (no network of its own can be made here: {can:?})"
        )
        .ok();
        return;
    }
    let ended = unshare(&format!("{own} && shift && exec \"$@\"")).expect("ran");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}
