//! The gateway over TLS: HTTP/2 where both can, whose certificate is shown to whom, and new ones without a dropped
//! connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openclaw::identity::authority::client::client_config;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::admin::issue;
use crate::keys::cli;
use crate::process::block_on;
use crate::support::daemon::{TestDaemon, TestHome};
use crate::support::wait::until_async;

const PATIENCE: Duration = Duration::from_secs(30);

fn read(home: &TestHome, file: &str) -> String {
    std::fs::read_to_string(home.path().join("state/tls").join(file)).expect(file)
}

fn address(daemon: &TestDaemon) -> String {
    daemon.url.strip_prefix("https://").expect("TLS").to_owned()
}

async fn connect(to: &str, name: &str, bundle: &str, own: Option<&str>) -> Result<TlsStream<TcpStream>, String> {
    let config = client_config(bundle, own).map_err(|error| error.to_string())?;
    let stream = TcpStream::connect(to).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    shaken.map_err(|error| error.to_string())
}

/// The certificate that is shown, as its bytes.
fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let (_, session) = stream.get_ref();
    session.peer_certificates().expect("shown")[0].to_vec()
}

/// A round of checks finds every listener well, however it speaks.
fn listeners_are_well(home: &TestHome) {
    let (_, health) = cli(home, &["health"]);
    for name in ["gateway", "admin"] {
        assert_eq!(health["checks"][name]["good"], true, "{name}: {health}");
    }
}

/// Asks on a connection that stays open; none when it is gone.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str, key: Option<&str>) -> Option<u16> {
    ask_as(stream, "localhost", path, key).await
}

/// The same under another name.
async fn ask_as(stream: &mut TlsStream<TcpStream>, host: &str, path: &str, key: Option<&str>) -> Option<u16> {
    let key = key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{key}\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut bytes = vec![0; 64 * 1024];
    let count = tokio::time::timeout(PATIENCE, stream.read(&mut bytes))
        .await
        .expect("an answer or the end");
    let text = String::from_utf8_lossy(&bytes[..count.ok()?]).into_owned();
    text.split(' ').nth(1)?.parse().ok()
}

#[test]
fn the_gateway_speaks_http_2_where_both_can_and_commands_find_it_over_tls() {
    let home = TestHome::new("[gateway]\ntls.mode = \"internal\"\n");
    let daemon = home.start();
    let (exit, status) = cli(&home, &["status"]);
    assert_eq!(exit, 0, "{status}");
    listeners_are_well(&home);
    let bundle = read(&home, "internal.pem");
    let check = |words: &[&[u8]], expected: reqwest::Version| {
        let mut tls = client_config(&bundle, None).expect("certificates");
        tls.alpn_protocols = words.iter().map(|word| word.to_vec()).collect();
        let client = reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls);
        let client = client.build().expect("a client");
        block_on(async {
            // More at once than one answer: they share the connection of HTTP/2.
            let asked = (0..20).map(|_| {
                client
                    .get(format!("{}/v1/runs", daemon.url))
                    .bearer_auth(&daemon.key)
                    .send()
            });
            for answer in futures_util::future::join_all(asked).await {
                let answer = answer.expect("an answer");
                assert_eq!((answer.version(), answer.status().as_u16()), (expected, 200));
                assert!(answer.text().await.expect("a body").starts_with('{'));
            }
        });
    };
    check(&[b"h2", b"http/1.1"], reqwest::Version::HTTP_2);
    check(&[b"http/1.1"], reqwest::Version::HTTP_11);
    check(&[], reqwest::Version::HTTP_11);
    let (exit, checks) = cli(&home, &["security", "check"]);
    let all = checks["checks"]
        .as_array()
        .unwrap_or_else(|| panic!("{exit}: {checks}"));
    let gateway: Vec<_> = all.iter().filter(|check| check["listener"] == "gateway").collect();
    assert!(
        gateway.len() > 5 && gateway.iter().all(|check| check["state"] == "good"),
        "{checks}"
    );

    // A new certificate: open connections go on, the next handshake shows it.
    block_on(async {
        let mut open = connect(&address(&daemon), "localhost", &bundle, None)
            .await
            .expect("connects");
        assert_eq!(cli(&home, &["tls", "renew"]).0, 0);
        let next = connect(&address(&daemon), "localhost", &bundle, None)
            .await
            .expect("connects");
        assert_ne!(shown(&next), shown(&open));
        assert_eq!(ask(&mut open, "/livez", None).await, Some(200));
    });
}

/// An authority of the operator's own, which signs for one name.
struct OperatorsAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl OperatorsAuthority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn write(&self, folder: &Path) {
        let params = CertificateParams::new(vec!["gate.example".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("signed");
        std::fs::write(folder.join("gate.key"), key.serialize_pem()).expect("written");
        std::fs::write(folder.join("gate.pem"), signed.pem()).expect("written");
    }
}

#[test]
fn a_gateway_answers_to_every_name_of_its_certificate_and_no_other() {
    let config =
        "[gateway]\nbind = \"0.0.0.0\"\ntls.mode = \"internal\"\ntls.names = [\"gw.example\", \"192.0.2.2\"]\n";
    let home = TestHome::new(config);
    let daemon = home.start();
    let port = address(&daemon).rsplit_once(':').expect("a port").1.to_owned();
    let to = format!("127.0.0.1:{port}");
    let bundle = read(&home, "internal.pem");
    block_on(async {
        for name in ["gw.example", "192.0.2.2"] {
            let mut stream = connect(&to, name, &bundle, None).await.expect(name);
            let host = format!("{name}:{port}");
            let answered = ask_as(&mut stream, &host, "/v1/runs", Some(&daemon.key)).await;
            assert_eq!(answered, Some(200), "{name}");
            // Its port on this machine, and a name that it was not given.
            assert_eq!(ask_as(&mut stream, "127.0.0.1", "/livez", None).await, Some(200));
            assert_eq!(ask_as(&mut stream, "other.example", "/livez", None).await, Some(403));
        }
    });
}

#[test]
fn new_files_are_shown_from_the_next_connection_on_and_bad_ones_change_nothing() {
    let config = "[gateway]\ntls.mode = \"files\"\ntls.certificate = \"gate.pem\"\ntls.key = \"gate.key\"\n";
    let home = TestHome::new(config);
    let (exit, error) = cli(&home, &["start"]);
    assert!(exit != 0 && error.to_string().contains("OC-7012"), "{error}");
    let authority = OperatorsAuthority::new();
    authority.write(&home.path());
    let daemon = home.start();
    let to = address(&daemon);
    block_on(async {
        let see = async || connect(&to, "gate.example", &authority.pem, None).await;
        let mut open = see().await.expect("connects");
        let first = shown(&open);
        // Commands of this machine know the internal authority; strangers see the operator's own.
        assert_eq!(cli(&home, &["status"]).0, 0);
        listeners_are_well(&home);
        let internal = read(&home, "internal.pem");
        assert!(connect(&to, "localhost", &internal, None).await.is_ok());
        assert!(connect(&to, "gate.example", &internal, None).await.is_err());
        for (host, expected) in [
            ("gate.example", 200),
            ("GATE.example:8443", 200),
            ("gates.example", 403),
        ] {
            assert_eq!(ask_as(&mut open, host, "/livez", None).await, Some(expected), "{host}");
        }

        std::fs::write(home.path().join("gate.pem"), "nonsense").expect("written");
        until_async("the daemon to say so", PATIENCE, async || {
            let seen = see().await.map(|stream| shown(&stream)).expect("connects");
            assert_eq!(seen, first, "the old one stays");
            let words = home.words();
            if words.contains("old certificate") {
                Ok(())
            } else {
                Err(words)
            }
        })
        .await;
        authority.write(&home.path());
        until_async("the new certificate", PATIENCE, async || {
            let seen = see().await.map(|stream| shown(&stream)).expect("connects");
            if seen == first { Err("the first") } else { Ok(()) }
        })
        .await;
        assert_eq!(ask(&mut open, "/livez", None).await, Some(200), "nothing was dropped");
    });
}

#[test]
fn where_clients_must_be_known_a_certificate_comes_before_the_key_and_its_end_ends_the_connection() {
    let home = TestHome::new("[gateway]\ntls.mode = \"internal\"\ntls.clients = \"known\"\n");
    let daemon = home.start();
    assert_eq!(cli(&home, &["status"]).0, 0, "commands show the operator's certificate");
    listeners_are_well(&home);
    let (own, serial) = issue(&home, "service/nginx", "1d");
    let bundle = read(&home, "internal.pem");
    let to = address(&daemon);
    block_on(async {
        // The refusal comes with the first read.
        if let Ok(mut stream) = connect(&to, "localhost", &bundle, None).await {
            assert_eq!(ask(&mut stream, "/livez", None).await, None, "no certificate");
        }
        let mut stream = connect(&to, "localhost", &bundle, Some(&own)).await.expect("connects");
        assert_eq!(
            ask(&mut stream, "/v1/runs", None).await,
            Some(401),
            "a certificate alone"
        );
        assert_eq!(ask(&mut stream, "/v1/runs", Some(&daemon.key)).await, Some(200));
        assert_eq!(cli(&home, &["tls", "revoke", &serial]).0, 0);
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "the connection ends with its certificate");
    });
}

#[test]
fn an_address_that_others_can_reach_needs_tls() {
    let check = |config: &str, expected: bool| {
        let home = TestHome::new(&format!("[gateway]\n{config}"));
        let (exit, value) = cli(&home, &["config", "validate"]);
        assert_eq!(exit == 0, expected, "{config}: {value}");
    };
    check("bind = \"0.0.0.0\"\n", false);
    check("bind = \"::\"\n", false);
    check("bind = \"10.1.2.3\"\n", false);
    check("bind = \"0.0.0.0\"\ntls.mode = \"internal\"\n", true);
    check("bind = \"0.0.0.0\"\ntls.mode = \"proxy\"\n", true);
    check("tls.mode = \"files\"\n", false);
    check("tls.clients = \"known\"\n", false);
    check("trustedProxies = [\"0.0.0.0/0\"]\n", false);
    check("trustedProxies = [\"10.0.0.0/8\"]\n", true);
}
