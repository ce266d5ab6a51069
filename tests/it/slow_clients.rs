//! Clients that are slow, silent, many or large, on every listener: each has an end, and others notice nothing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openclaw::identity::authority::client::client_config;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::process::block_on;
use crate::support::daemon::{TestDaemon, TestHome};
use crate::support::rim::{RUN_MAX, Rim};
use crate::support::wait::until;

/// Longest time in which a connection has to be gone; its own limit is far shorter.
const GONE_MAX: Duration = Duration::from_secs(30);
/// Between two bytes of a client that drips.
const DROP_EVERY: Duration = Duration::from_millis(40);
const LIMITS: &str = "[gateway]\nheadTimeout = 1500\nbodyTimeout = 1500\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

/// One listener of a daemon.
#[derive(Debug, Clone)]
struct Door {
    name: &'static str,
    address: String,
    /// Authorities and own certificate; none in clear.
    tls: Option<(String, Option<String>)>,
    word: &'static [u8],
    key: String,
    /// A path that takes a body.
    takes: &'static str,
}

/// What a slow client does.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Connects, and is silent before any handshake.
    Silent,
    /// Sends the beginning of a handshake.
    HalfHello,
    /// Sends this once there is a connection, and nothing more.
    Once(&'static [u8]),
    /// Sends a whole request and stays.
    Idle,
    /// Sends a head without end, a byte at a time.
    DripHead,
    /// Sends a head, and its body a byte at a time.
    DripBody,
    /// The same over HTTP/2, whose body never comes.
    NoBody2,
}

/// A frame of HTTP/2 for the first stream.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
    bytes.extend_from_slice(payload);
    bytes
}

fn text(first: &[u8], text: &str) -> Vec<u8> {
    let mut bytes = first.to_vec();
    bytes.push(u8::try_from(text.len()).expect("short"));
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

impl Door {
    async fn connect(&self) -> Box<dyn Wire> {
        let stream = TcpStream::connect(&self.address).await.expect("it listens");
        let Some((bundle, own)) = &self.tls else {
            return Box::new(stream);
        };
        let mut config = client_config(bundle, own.as_deref()).expect("certificates");
        config.alpn_protocols = vec![self.word.to_vec()];
        let name = ServerName::try_from("localhost").expect("a name");
        let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        Box::new(shaken.expect("a handshake"))
    }

    fn head(&self, length: usize) -> String {
        let (path, address, key) = (self.takes, &self.address, &self.key);
        format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n"
        )
    }

    fn head2(&self) -> Vec<u8> {
        let mut block = vec![0x83, 0x87];
        block.extend(text(&[0x04], self.takes));
        block.extend(text(&[0x01], &self.address));
        block.extend(
            [
                text(&[0x00], "authorization"),
                text(&[], &format!("Bearer {}", self.key)),
            ]
            .concat(),
        );
        [PREFACE, &frame(1, 0x4, &block)].concat()
    }

    /// What came until the connection was gone; fails when it stays.
    async fn gone(&self, manner: Manner) -> String {
        let mut stream: Box<dyn Wire> = match manner {
            Manner::Silent | Manner::HalfHello => {
                Box::new(TcpStream::connect(&self.address).await.expect("it listens"))
            }
            _ => self.connect().await,
        };
        let (first, drops): (Vec<u8>, bool) = match manner {
            Manner::Silent => (Vec::new(), false),
            Manner::HalfHello => (vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01], false),
            Manner::Once(bytes) => (bytes.to_vec(), false),
            Manner::Idle => (
                format!("GET /livez HTTP/1.1\r\nhost: {}\r\n\r\n", self.address).into(),
                false,
            ),
            Manner::DripHead => ((self.head(1) + "x-drip: ").into(), true),
            Manner::DripBody => ((self.head(100_000) + "\r\n").into(), true),
            Manner::NoBody2 => (self.head2(), false),
        };
        stream.write_all(&first).await.ok();
        let mut heard = Vec::new();
        let mut pace = tokio::time::interval(DROP_EVERY);
        let reading = async {
            loop {
                let mut bytes = [0; 4096];
                tokio::select! {
                    read = stream.read(&mut bytes) => match read {
                        Ok(0) | Err(_) => return,
                        Ok(count) => heard.extend_from_slice(&bytes[..count]),
                    },
                    _ = pace.tick(), if drops => {
                        stream.write_all(b"x").await.ok();
                        stream.flush().await.ok();
                    }
                }
            }
        };
        let gone = tokio::time::timeout(GONE_MAX, reading).await;
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert!(gone.is_ok(), "{} {manner:?}: still open; heard {heard:?}", self.name);
        heard
    }
}

fn read(home: &TestHome, file: &str) -> String {
    std::fs::read_to_string(home.path().join("state").join(file)).expect(file)
}

fn start(home: &TestHome) -> TestDaemon {
    let ready = home.spawn(&[]).wait_listening();
    ready.unwrap_or_else(|status| panic!("{status}\n{}", home.words()))
}

/// All doors of a daemon; the gateway's is there twice when it speaks TLS.
fn doors(home: &TestHome, daemon: &TestDaemon) -> Vec<Door> {
    let file: Value = serde_json::from_str(&read(home, "daemon.json")).expect("JSON");
    let bundle = read(home, "tls/internal.pem");
    let host = |url: &str| url.split_once("://").expect("a scheme").1.to_owned();
    let gateway = Door {
        name: "gateway",
        address: host(&daemon.url),
        tls: daemon.url.starts_with("https").then(|| (bundle.clone(), None)),
        word: b"http/1.1",
        key: daemon.key.clone(),
        takes: "/v1/runs",
    };
    let admin = Door {
        name: "admin",
        address: host(file["admin"].as_str().expect("an address")),
        tls: Some((bundle, Some(read(home, "tls/operator.pem")))),
        takes: "/admin/v1/keys",
        ..gateway.clone()
    };
    let mut doors = Vec::new();
    for (door, name) in [(&gateway, "gateway, HTTP/2"), (&admin, "admin, HTTP/2")] {
        if door.tls.is_some() {
            doors.push(Door {
                name,
                word: b"h2",
                ..door.clone()
            });
        }
    }
    doors.extend([gateway, admin]);
    doors
}

fn metrics_door(home: &TestHome, daemon: &TestDaemon) -> Door {
    let status = crate::keys::cli(home, &["status"]).1;
    let url = status["metrics"].as_str().unwrap_or_else(|| panic!("{status}"));
    let address = url.trim_start_matches("http://").trim_end_matches("/metrics");
    Door {
        name: "metrics",
        address: address.to_owned(),
        tls: None,
        word: b"",
        key: daemon.key.clone(),
        takes: "/metrics",
    }
}

async fn check(door: Door) {
    let is_two = door.word == b"h2";
    let mut manners = vec![Manner::Silent];
    if door.tls.is_some() {
        manners.extend([Manner::HalfHello, Manner::Once(b"")]);
    }
    if is_two {
        // Half a preface; a whole one; and a head without its end.
        manners.extend([
            Manner::Once(&PREFACE[..8]),
            Manner::Once(PREFACE),
            Manner::Once(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x01\0\0\0\x01\x83"),
            Manner::NoBody2,
        ]);
    } else {
        manners.extend([
            Manner::Once(b"GET /livez HT"),
            Manner::Once(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"),
            Manner::Once(&PREFACE[..8]),
            Manner::Idle,
            Manner::DripHead,
            Manner::DripBody,
        ]);
    }
    let heard = join_all(manners.iter().map(|manner| door.gone(*manner))).await;
    for (manner, heard) in manners.iter().zip(heard) {
        match manner {
            Manner::Idle => assert!(heard.starts_with("HTTP/1.1 "), "{}: {heard}", door.name),
            // The metrics take no body, and say so without waiting for it.
            Manner::DripBody if door.name == "metrics" => {
                assert!(heard.starts_with("HTTP/1.1 40"), "{}: {heard}", door.name);
            }
            Manner::DripBody => {
                let is_told = heard.starts_with("HTTP/1.1 408 ") && heard.contains("OC-7011");
                assert!(is_told, "{}: {heard}", door.name);
            }
            Manner::NoBody2 => assert!(heard.contains("OC-7011"), "{}: {heard}", door.name),
            _ => assert!(!heard.contains("200 OK"), "{} {manner:?}: {heard}", door.name),
        }
    }
}

#[test]
fn every_kind_of_silence_ends_at_its_limit_on_every_listener() {
    let clear = TestHome::new(&format!("{LIMITS}[metrics]\nport = 0\n"));
    let secure = TestHome::new(&format!("{LIMITS}tls.mode = \"internal\"\n"));
    let (clear_daemon, secure_daemon) = (clear.start(), start(&secure));
    let mut all = doors(&clear, &clear_daemon);
    all.push(metrics_door(&clear, &clear_daemon));
    all.extend(doors(&secure, &secure_daemon));
    let names: Vec<&str> = all.iter().map(|door| door.name).collect();
    let expected = [
        "admin, HTTP/2",
        "gateway",
        "admin",
        "metrics",
        "gateway, HTTP/2",
        "admin, HTTP/2",
        "gateway",
        "admin",
    ];
    assert_eq!(names, expected);
    block_on(join_all(all.into_iter().map(check)));
    let rim = Rim::of(&clear_daemon);
    assert_eq!(rim.get("/v1/runs").body["runs"], json!([]), "nothing was accepted");
}

#[test]
fn connections_over_a_bound_are_answered_503_before_anything_is_read() {
    let check = |limits: &str| {
        let home = TestHome::new(&format!("[gateway]\n{limits}"));
        let daemon = home.start();
        let rim = Rim::of(&daemon);
        let open = || {
            let mut stream = std::net::TcpStream::connect(&rim.address).expect("it listens");
            stream.set_read_timeout(Some(GONE_MAX)).expect("a time-out");
            std::io::Write::write_all(&mut stream, b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").ok();
            stream
        };
        let first_line = |stream: &mut std::net::TcpStream| {
            let mut bytes = [0; 12];
            std::io::Read::read_exact(stream, &mut bytes).map(|()| String::from_utf8_lossy(&bytes).into_owned())
        };
        // The daemon's own connections come and go, so the bound is reached at one of the next.
        let mut held = Vec::new();
        let told = until(limits, RUN_MAX, || {
            let mut stream = open();
            match first_line(&mut stream) {
                Ok(line) if line.ends_with("200") => {
                    held.push(stream);
                    Err(held.len())
                }
                Ok(line) => Ok(line),
                Err(_) => Err(held.len()),
            }
        });
        assert!(
            told.ends_with("503") && held.len() <= 4,
            "{limits}: {told} after {}",
            held.len()
        );
        held.clear();
        until("room for another", RUN_MAX, || {
            let line = first_line(&mut open());
            if line.as_ref().is_ok_and(|line| line.ends_with("200")) {
                Ok(())
            } else {
                Err(format!("{line:?}"))
            }
        });
    };
    check("maxConnections = 4\n");
    check("maxConnectionsPerAddress = 4\n");
}

#[test]
fn a_head_over_the_limit_is_refused_and_an_old_connection_takes_no_further_request() {
    let home = TestHome::new("[gateway]\nmaxHeaderBytes = 2048\nmaxConnectionAge = 1000\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let large = "x".repeat(4000);
    let stream = rim.open("GET", "/livez", &[("x-large", &large)], "");
    let mut heard = String::new();
    std::io::Read::read_to_string(&mut { stream }, &mut heard).ok();
    assert!(
        heard.starts_with("HTTP/1.1 431 ") || heard.starts_with("HTTP/1.0 431 "),
        "{heard}"
    );
    // A request a moment: one of them is told that the connection ends, or the connection has gone between two.
    let mut stream = std::net::TcpStream::connect(&rim.address).expect("it listens");
    stream.set_read_timeout(Some(GONE_MAX)).expect("a time-out");
    until("the connection to end", RUN_MAX, || {
        let request = format!("GET /livez HTTP/1.1\r\nhost: {}\r\n\r\n", rim.address);
        std::io::Write::write_all(&mut stream, request.as_bytes()).ok();
        let mut bytes = [0; 4096];
        match std::io::Read::read(&mut stream, &mut bytes) {
            Ok(0) | Err(_) => Ok(()),
            Ok(count) => {
                let heard = String::from_utf8_lossy(&bytes[..count]).into_owned();
                if heard.contains("connection: close") {
                    Ok(())
                } else {
                    Err(heard)
                }
            }
        }
    });
}

#[test]
fn at_a_stop_waiting_requests_get_their_runs_address_and_streams_are_told_where_to_resume() {
    let home = TestHome::new("");
    let mut daemon = home.start();
    let rim = Rim::of(&daemon);
    let script = "until [ -e go ]; do sleep 0.02; done";
    let steps = json!([{ "id": "a", "skill": "exec.run", "inputs": { "argv": ["sh", "-c", script] } }]);
    let body = json!({ "task": "x", "workspace": home.workspace(), "plan": { "steps": steps } });
    let waiting = rim.open("POST", "/v1/runs?wait=60000", &[], &body.to_string());
    let id = until("the run to be accepted", RUN_MAX, || {
        let runs = rim.get("/v1/runs").body;
        runs["runs"][0]["id"].as_str().map(str::to_owned).ok_or(runs)
    });
    let mut stream = rim.stream(&id, None);
    let mut last = 0;
    for event in stream.by_ref() {
        last = event.id;
        if event.kind == "call.intended" {
            break;
        }
    }
    daemon.signal(rustix::process::Signal::TERM);
    let reply = Rim::answer(waiting);
    assert_eq!((reply.status, &reply.body["id"]), (202, &json!(id)), "{}", reply.body);
    assert_eq!(reply.header("location"), Some(format!("/v1/runs/{id}").as_str()));
    let rest: Vec<String> = std::iter::from_fn(|| stream.line()).collect();
    let goodbye = rest
        .iter()
        .find_map(|line| line.split_once("resume with Last-Event-ID: "));
    let (_, resume) = goodbye.unwrap_or_else(|| panic!("{rest:?}"));
    let resume: u64 = resume.parse().expect("a number");
    assert!(resume >= last, "{rest:?}");
    assert!(
        rest.iter().any(|line| line == "retry:2000" || line == "retry: 2000"),
        "{rest:?}"
    );
    std::fs::write(home.workspace().join("go"), "").expect("written");
    assert!(daemon.wait_end(RUN_MAX).success(), "{}", home.words());
    assert!(
        !home.words().contains("connections that did not end"),
        "{}",
        home.words()
    );
}
