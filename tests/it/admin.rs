//! The operators' listener from outside: who gets in, and who has to go.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use openclaw::identity::authority::client::client_config;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use reqwest::Method;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::keys::cli;
use crate::process::block_on;
use crate::support::daemon::TestHome;
use crate::support::rim::Rim;
use crate::support::wait::{until, until_async};

const PATIENCE: Duration = Duration::from_secs(30);

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The operator, with what the daemon of a home has made for it.
pub struct Operator {
    /// Where the operators' listener is.
    pub url: String,
    bundle: String,
    own: Option<String>,
    key: Option<String>,
}

impl Operator {
    /// Of a home whose daemon runs.
    pub fn of(home: &TestHome) -> Self {
        let file: Value = serde_json::from_str(&read(&home.path().join("state/daemon.json"))).expect("JSON");
        let folder = home.path().join("state/tls");
        Self {
            url: file["admin"].as_str().expect("an address").to_owned(),
            bundle: read(&folder.join("internal.pem")),
            own: Some(read(&folder.join("operator.pem"))),
            key: Some(home.operator_key()),
        }
    }

    fn with(&self, own: Option<String>) -> Self {
        Self {
            url: self.url.clone(),
            bundle: self.bundle.clone(),
            own,
            key: self.key.clone(),
        }
    }

    fn client(&self) -> reqwest::Client {
        let tls = client_config(&self.bundle, self.own.as_deref()).expect("certificates");
        let builder = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        builder.tls_backend_preconfigured(tls).build().expect("a client")
    }

    async fn ask(
        &self,
        client: &reqwest::Client,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(u16, Value), String> {
        let mut request = client.request(Method::GET, format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| format!("{error:?}"))?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client().post(format!("{}{path}", self.url)).json(body);
        let key = self.key.as_deref().unwrap_or_default();
        let answer = request.bearer_auth(key).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<(u16, String), String> {
        let (status, body) = block_on(self.ask(&self.client(), path, headers))?;
        Ok((status, body["error"]["code"].as_str().unwrap_or("").to_owned()))
    }
}

/// A certificate with its key in one text, and its serial number.
pub fn issue(home: &TestHome, identity: &str, life: &str) -> (String, String) {
    let file = home.workspace().join(identity.replace('/', "-"));
    let output = file.to_str().expect("UTF-8");
    let (exit, value) = cli(home, &["tls", "issue", identity, "--life", life, "--output", output]);
    assert_eq!(exit, 0, "{value}");
    (
        read(&file),
        value["serial"].as_str().expect("a serial number").to_owned(),
    )
}

/// A certificate that says it is the operator's, of an authority that says it is the internal one.
fn forged() -> String {
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::default();
    authority
        .distinguished_name
        .push(DnType::CommonName, "OpenClaw internal authority 1");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    let uri = "spiffe://openclaw.internal/admin/operator".try_into().expect("ASCII");
    params.subject_alt_names.push(SanType::URI(uri));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let signed = params.signed_by(&key, &Issuer::new(authority, authority_key));
    format!("{}{}", signed.expect("signed").pem(), key.serialize_pem())
}

#[test]
fn only_a_good_certificate_of_an_operator_and_a_key_together_open_anything() {
    let home = TestHome::new("");
    let daemon = home.start();
    let operator = Operator::of(&home);
    let (short, _) = issue(&home, "admin/short", "1s");
    let (service, _) = issue(&home, "service/nginx", "1h");
    let (node, _) = issue(&home, "node/far", "1h");
    let (alice, _) = issue(&home, "admin/alice", "1h");
    let (bob, serial) = issue(&home, "admin/bob", "1h");
    let check = |what: &str, own: Option<&str>, expected: Option<(u16, &str)>| {
        let got = operator.with(own.map(str::to_owned)).get("/admin/v1/tree", &[]);
        let got = got.as_ref().ok().map(|(status, code)| (*status, code.as_str()));
        assert_eq!(got, expected, "{what}");
    };
    check("the operator", operator.own.as_deref(), Some((200, "")));
    check("another operator", Some(&alice), Some((200, "")));
    check("bob", Some(&bob), Some((200, "")));
    check("no certificate", None, None);
    check("another authority's", Some(&forged()), None);
    check("a service's", Some(&service), None);
    check("a node's", Some(&node), None);
    assert_eq!(cli(&home, &["tls", "revoke", &serial]).0, 0);
    check("a revoked one", Some(&bob), None);
    until("the short certificate to end", PATIENCE, || {
        match operator.with(Some(short.clone())).get("/admin/v1/tree", &[]) {
            Ok(answered) => Err(answered),
            Err(_) => Ok(()),
        }
    });
    let keyless = Operator {
        key: None,
        ..operator.with(operator.own.clone())
    };
    let got = keyless.get("/admin/v1/tree", &[]).expect("an answer");
    assert_eq!(got, (401, "OC-2001".into()), "a certificate alone");
    let check = |name: &str, value: &str, expected: (u16, &str)| {
        let got = operator.get("/admin/v1/keys", &[(name, value)]).expect("an answer");
        assert_eq!((got.0, got.1.as_str()), expected, "{name}: {value}");
    };
    let own = operator.url.trim_start_matches("https://");
    check("host", own, (200, ""));
    check("host", "rebound.example", (403, "OC-2004"));
    check("origin", "https://evil.example", (403, "OC-2009"));
    check("origin", "null", (403, "OC-2009"));
    check("origin", "http://localhost:3000", (403, "OC-2009"));
    check("origin", &operator.url, (200, ""));
    check("sec-fetch-site", "cross-site", (403, "OC-2009"));
    check("sec-fetch-site", "same-site", (403, "OC-2009"));
    check("sec-fetch-site", "same-origin", (200, ""));
    // Without TLS there is nobody.
    let plain = operator.url.replace("https://", "http://");
    let client = operator.client();
    let plain = block_on(async { client.get(plain).send().await.map(|answer| answer.status()) });
    assert!(plain.is_err(), "{plain:?}");
    drop(daemon);
}

/// Asks for a change, and leaves when the answer takes longer than this.
pub fn ask_and_leave(operator: &Operator, path: &str, patience: Duration) {
    block_on(async {
        let mut stream = connect(operator).await;
        let host = operator.url.trim_start_matches("https://");
        let key = operator.key.as_deref().unwrap_or_default();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        tokio::time::timeout(patience, stream.read_u8()).await.ok();
    });
}

async fn connect(operator: &Operator) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut tls = client_config(&operator.bundle, operator.own.as_deref()).expect("certificates");
    // What is written by hand is HTTP/1.1.
    tls.alpn_protocols.clear();
    let stream = TcpStream::connect(operator.url.trim_start_matches("https://"))
        .await
        .expect("connects");
    let name = ServerName::try_from("localhost").expect("a name");
    let shaken = TlsConnector::from(Arc::new(tls)).connect(name, stream).await;
    shaken.expect("a handshake")
}

#[test]
fn an_open_connection_ends_with_its_certificate_and_silence_ends_at_its_limit() {
    let home = TestHome::new("[gateway]\nheadTimeout = 1000\n");
    let _daemon = home.start();
    let operator = Operator::of(&home);
    let (alice, serial) = issue(&home, "admin/alice", "1h");
    let alice = operator.with(Some(alice));
    block_on(async {
        let mut stream = connect(&alice).await;
        // Half a request: it waits for the rest, so nothing but the certificate ends it within its limit.
        stream.write_all(b"GET /openapi.json HTTP/1.1\r\n").await.expect("sent");
        let revoking = tokio::task::spawn_blocking({
            let home = home.path();
            move || {
                let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_openclaw"));
                command.arg("--home").arg(home).args(["tls", "revoke", &serial]);
                command.output().expect("the command runs").status.success()
            }
        });
        assert!(revoking.await.expect("it ends"));
        let began = Instant::now();
        let mut rest = Vec::new();
        // An end without a farewell is an end too.
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .expect("it ends")
            .ok();
        assert!(
            rest.is_empty(),
            "nothing was answered: {}",
            String::from_utf8_lossy(&rest)
        );
        assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());

        let mut silent = connect(&operator).await;
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest))
            .await
            .expect("it ends")
            .ok();
        let address = operator.url.trim_start_matches("https://");
        let mut mute = TcpStream::connect(address).await.expect("connects");
        tokio::time::timeout(PATIENCE, mute.read_to_end(&mut rest))
            .await
            .expect("it ends")
            .ok();
    });
}

#[test]
fn an_operator_who_revokes_their_own_certificate_gets_another() {
    let home = TestHome::new("");
    let _daemon = home.start();
    let own = || {
        let (exit, view) = cli(&home, &["tls", "show"]);
        assert_eq!(exit, 0, "{view}");
        let all = view["certificates"].as_array().expect("certificates").clone();
        let good = |one: &&Value| one["identity"] == "admin/operator" && one["revoked_at"].is_null();
        let good: Vec<&Value> = all.iter().filter(good).collect();
        assert_eq!(good.len(), 1, "{view}");
        good[0]["serial"].as_str().expect("a serial number").to_owned()
    };
    let before = Operator::of(&home);
    for _ in 0..3 {
        let serial = own();
        let (exit, value) = cli(&home, &["tls", "revoke", &serial]);
        assert_eq!(
            (exit, &value["revoked"]),
            (0, &json!(serial)),
            "the answer arrives: {value}"
        );
        assert_ne!(own(), serial);
    }
    assert!(
        before.get("/admin/v1/tree", &[]).is_err(),
        "the first one opens nothing"
    );
    assert_eq!(cli(&home, &["stop"]).0, 0);
}

#[test]
fn certificates_and_the_authority_are_swapped_under_load_without_a_dropped_request() {
    let home = TestHome::new("");
    let _daemon = home.start();
    let over = AtomicBool::new(false);
    let (fresh, kept) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let more = |counter: &AtomicUsize| {
        let wanted = counter.load(Ordering::Relaxed) + 5;
        until("requests to go on", PATIENCE, || {
            let seen = counter.load(Ordering::Relaxed);
            if seen >= wanted { Ok(()) } else { Err(seen) }
        });
    };
    std::thread::scope(|scope| {
        // New connections, each with what lies in the folder at that moment.
        let connecting = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let got = Operator::of(&home).get("/admin/v1/tls/show", &[]);
                assert!(matches!(got, Ok((200, _))), "{got:?}");
                fresh.fetch_add(1, Ordering::Relaxed);
            }
        });
        // One connection that is kept while the daemon's own certificate changes.
        let keeping = scope.spawn(|| {
            let operator = Operator::of(&home);
            let client = operator.client();
            block_on(async {
                while kept.load(Ordering::Relaxed) < 1_000_000 {
                    let got = operator.ask(&client, "/admin/v1/tls", &[]).await;
                    assert!(matches!(got, Ok((200, _))), "{got:?}");
                    kept.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        for _ in 0..3 {
            more(&fresh);
            more(&kept);
            assert_eq!(cli(&home, &["tls", "renew"]).0, 0);
        }
        more(&kept);
        kept.store(1_000_000, Ordering::Relaxed);
        keeping.join().expect("no kept request was dropped");
        for step in ["trust", "issue", "drop"] {
            more(&fresh);
            let (exit, value) = cli(&home, &["tls", "rotate", step]);
            assert_eq!(exit, 0, "{step}: {value}");
        }
        more(&fresh);
        over.store(true, Ordering::Relaxed);
        connecting.join().expect("no new connection was dropped");
    });
    let (_, view) = cli(&home, &["tls", "show"]);
    assert_eq!((&view["trusted"], &view["issuing"]), (&json!([2]), &json!(2)), "{view}");
}

#[test]
fn an_actor_is_killed_and_restarted_by_path_and_the_audit_log_says_by_whom() {
    let home = TestHome::new("");
    let _daemon = home.start();
    let operator = Operator::of(&home);
    let client = operator.client();
    let post = async |path: &str| {
        let request = client
            .post(format!("{}{path}", operator.url))
            .bearer_auth(home.operator_key());
        request.send().await.expect("an answer").status().as_u16()
    };
    let incarnation = async || {
        let (_, tree) = operator.ask(&client, "/admin/v1/tree", &[]).await.expect("an answer");
        let children = |node: &Value| node["children"].as_array().cloned().unwrap_or_default();
        let all: Vec<Value> = children(&tree).iter().flat_map(children).collect();
        let found = all.iter().find(|node| node["path"] == "root/identity/renewal");
        found.and_then(|node| node["incarnation"].as_u64()).unwrap_or(0)
    };
    block_on(async {
        for (how, expected) in [("kill", 2), ("restart", 3)] {
            assert_eq!(
                post(&format!("/admin/v1/actors/root%2Fidentity%2Frenewal/{how}")).await,
                200
            );
            until_async("the next incarnation", PATIENCE, async || {
                let seen = incarnation().await;
                if seen == expected { Ok(()) } else { Err(seen) }
            })
            .await;
        }
        assert_eq!(post("/admin/v1/actors/root%2Fnobody/kill").await, 404);
    });
    let (_, log) = cli(&home, &["audit", "--limit", "2"]);
    let rows = log["rows"].as_array().expect("rows");
    let told: Vec<&str> = rows.iter().filter_map(|row| row["action"].as_str()).collect();
    assert_eq!(told, ["actor.restarted", "actor.killed"], "{log}");
    assert!(
        rows[0]["actor"]
            .as_str()
            .is_some_and(|actor| actor.ends_with("(operator)")),
        "{log}"
    );
}

#[test]
fn an_open_address_without_chosen_networks_is_refused_at_the_start() {
    let check = |config: &str, expected: bool| {
        let home = TestHome::new(&format!("[admin]\nport = 0\n{config}"));
        let (exit, value) = cli(&home, &["config", "validate"]);
        assert_eq!(exit == 0, expected, "{config}: {value}");
    };
    check("bind = \"127.0.0.1\"\n", true);
    check("bind = \"0.0.0.0\"\n", false);
    check("bind = \"::\"\n", false);
    check("bind = \"0.0.0.0\"\nallow = [\"0.0.0.0/0\"]\n", false);
    check("bind = \"0.0.0.0\"\nallow = [\"10.0.0.0/8\", \"::/0\"]\n", false);
    check("bind = \"0.0.0.0\"\nallow = [\"0.0.0.0/1\", \"128.0.0.0/1\"]\n", false);
    check("bind = \"0.0.0.0\"\nallow = [\"10.0.0.0/8\"]\n", true);
    check("allow = [\"everybody\"]\n", false);
    let home = TestHome::new("[admin]\nport = 0\nbind = \"0.0.0.0\"\n");
    let (exit, value) = cli(&home, &["start"]);
    assert_eq!((exit, value["error"]["code"].as_str()), (2, Some("OC-6002")), "{value}");
}

#[test]
fn an_address_that_is_not_on_the_allow_list_is_turned_away_before_anything_is_read() {
    let home = TestHome::new("[admin]\nallow = [\"10.9.8.0/24\"]\n");
    let _daemon = home.start();
    let got = Operator::of(&home).get("/admin/v1/tree", &[]);
    assert!(got.is_err(), "{got:?}");
    until("the daemon to say so", PATIENCE, || {
        let words = home.words();
        if words.contains("admin.allow") {
            Ok(())
        } else {
            Err(words)
        }
    });
}

#[test]
fn an_edit_of_the_configuration_is_in_the_audit_log_whoever_made_it() {
    let home = TestHome::new("[gateway]\n# kept\ntimeout = 60000\n");
    let daemon = home.start();
    let (exit, value) = cli(&home, &["config", "set", "gateway.timeout", "70000"]);
    assert_eq!((exit, value["old"].as_str()), (0, Some("60000")), "{value}");
    assert!(cli(&home, &["config", "set", "gateway.timeout", "soon"]).0 != 0);
    let text = read(&home.path().join("openclaw.toml"));
    assert!(text.contains("# kept\n") && text.contains("timeout = 70000"), "{text}");
    let rows = |action: &str| -> Vec<(String, String)> {
        let (_, log) = cli(&home, &["audit", "--limit", "100"]);
        let rows = log["rows"].as_array().expect("rows").iter().rev();
        let rows = rows.filter(|row| row["action"] == action);
        let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_owned();
        rows.map(|row| (text(row, "object"), text(row, "detail"))).collect()
    };
    assert_eq!(rows("config.set"), [("gateway.timeout".to_owned(), "70000".to_owned())]);
    let read_at_start = rows("config.read");
    assert_eq!(read_at_start.len(), 1, "{read_at_start:?}");
    assert!(daemon.terminate().success());
    // By hand, while nobody looks.
    std::fs::write(home.path().join("openclaw.toml"), text + "# by hand\n").expect("written");
    std::fs::create_dir_all(home.path().join("agents")).expect("a folder");
    std::fs::write(home.path().join("agents/alma.toml"), "role = \"coder\"\n").expect("written");
    let _daemon = home.start();
    let found = rows("config.read");
    let found: Vec<&str> = found[1..].iter().map(|(file, _)| file.as_str()).collect();
    assert_eq!(found, ["agents/alma.toml", "openclaw.toml"]);
}

#[test]
fn a_part_is_suspended_and_resumed_from_the_command_line() {
    let home = TestHome::new("");
    let _daemon = home.start();
    let check = |word: &str, path: &str, expected: (i32, &str)| {
        let (exit, said) = cli(&home, &["actor", word, path]);
        let found = said["done"].as_str().or(said["error"]["code"].as_str()).unwrap_or("");
        assert_eq!((exit, found), expected, "{word} {path}: {said}");
    };
    check("suspend", "root/health/checker", (0, "actor.suspended"));
    check("kill", "root/health/checker", (3, "OC-2015"));
    check("resume", "root/health/checker", (0, "actor.resumed"));
    check("resume", "root/health/checker", (4, "OC-7020"));
    check("suspend", "root/storage", (4, "OC-7020"));
    check("restart", "root/health/checker", (0, "actor.restarted"));
    check("kill", "root/nothing/here", (3, "OC-2015"));
}

#[test]
fn a_part_is_suspended_until_it_is_resumed_and_one_that_is_needed_or_one_of_a_crowd_is_not() {
    let home = TestHome::new("");
    let daemon = home.start();
    let operator = Operator::of(&home);
    let client = operator.client();
    let workspace = home.workspace().display().to_string();
    let beat = [
        "cron",
        "add",
        "beat",
        "@every 1h",
        "--workspace",
        &workspace,
        "--",
        "true",
    ];
    assert_eq!(cli(&home, &beat).0, 0);
    let post = async |path: &str, word: &str| {
        let url = format!("{}/admin/v1/actors/{}/{word}", operator.url, path.replace('/', "%2F"));
        let sent = client
            .post(url)
            .bearer_auth(home.operator_key())
            .send()
            .await
            .expect("an answer");
        let status = sent.status().as_u16();
        let bytes = sent.bytes().await.expect("a body");
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        (status, body["error"]["code"].as_str().unwrap_or("").to_owned())
    };
    let runs = async |path: &str| {
        let (_, tree) = operator.ask(&client, "/admin/v1/tree", &[]).await.expect("an answer");
        let mut all = vec![tree];
        let mut at = 0;
        while let Some(node) = all.get(at).cloned() {
            all.extend(node["children"].as_array().cloned().unwrap_or_default());
            at += 1;
        }
        let found = all.iter().find(|node| node["path"] == path).cloned();
        found.unwrap_or_default()["state"].clone()
    };
    let good = (200, String::new());
    let refused = (409, "OC-7020".to_owned());
    block_on(async {
        let checker = "root/health/checker";
        assert_eq!(runs(checker).await, "running");
        assert_eq!(post(checker, "suspend").await, good);
        assert_eq!(runs(checker).await, "down");
        assert_eq!(
            post(checker, "kill").await,
            (404, "OC-2015".to_owned()),
            "it has no actor"
        );
        assert_eq!(post(checker, "resume").await, good);
        assert_eq!(runs(checker).await, "running");
        assert_eq!(post(checker, "resume").await, refused, "it runs");
        // A whole branch, with what is below it.
        assert_eq!(post("root/automation", "suspend").await, good);
        assert_eq!(post("root/automation", "resume").await, good);
        until_async("the schedule's actor", PATIENCE, async || {
            let state = runs("root/automation/schedules/beat").await;
            if state == "running" { Ok(()) } else { Err(state) }
        })
        .await;
        for path in [
            "root",
            "root/storage",
            "root/storage/guard",
            "root/gateway",
            "root/gateway/admin",
            "root/automation/schedules/beat",
        ] {
            assert_eq!(post(path, "suspend").await, refused, "{path}");
        }
        assert_eq!(runs("root/automation/schedules/beat").await, "running");
        assert_eq!(post("root/nobody", "suspend").await, (404, "OC-2015".to_owned()));
    });
    let (_, log) = cli(&home, &["audit", "--limit", "100"]);
    assert!(log.to_string().contains("actor.suspended"), "{log}");
    assert!(daemon.terminate().success());
}

#[test]
fn a_drained_daemon_takes_no_new_runs_and_a_log_level_is_changed_while_it_runs() {
    let home = TestHome::new("[log]\nlevel = \"warn\"\n");
    let daemon = home.start();
    let operator = Operator::of(&home);
    let client = operator.client();
    let put = async |path: &str, body: Value| {
        let request = client.request(Method::PUT, format!("{}{path}", operator.url));
        let key = operator.key.as_deref().expect("a key");
        let sent = request
            .bearer_auth(key)
            .body(body.to_string())
            .send()
            .await
            .expect("an answer");
        let status = sent.status().as_u16();
        let bytes = sent.bytes().await.expect("a body");
        (status, serde_json::from_slice::<Value>(&bytes).unwrap_or_default())
    };
    let submit = || {
        let body = json!({ "task": "x", "agent": "executor", "workspace": home.workspace() });
        let client = daemon.client();
        block_on(async move { client.post("/v1/runs", &body).await })
            .expect("an answer")
            .0
    };
    assert_eq!(submit(), 202);
    let (exit, value) = cli(&home, &["drain"]);
    assert_eq!((exit, &value["draining"]), (0, &json!(true)), "{value}");
    assert_eq!(submit(), 503);
    let ready = || {
        let client = daemon.client();
        block_on(async move { client.get("/readyz").await })
            .expect("an answer")
            .0
    };
    assert_eq!(ready(), 503);
    assert_eq!(cli(&home, &["drain", "--off"]).0, 0);
    assert_eq!((submit(), ready()), (202, 200));

    assert!(!home.words().contains(" INFO "), "{}", home.words());
    let (status, level) = block_on(put("/admin/v1/log-level", json!({ "level": "debug" })));
    assert_eq!((status, &level["level"]), (200, &json!("debug")), "{level}");
    let (status, error) = block_on(put("/admin/v1/log-level", json!({ "level": "loud" })));
    assert_eq!((status, &error["error"]["code"]), (400, &json!("OC-1001")), "{error}");
    assert!(daemon.terminate().success());
    // All of it: what the last level tells is more than a failure prints.
    assert!(read(&home.words_file()).contains(" INFO stopping"), "{}", home.words());
    drop(client);
}

#[test]
fn a_stall_is_taken_in_a_home_for_tests_alone_and_holds_up_one_actor() {
    let stall = async |home: &TestHome, body: Value| Operator::of(home).post("/admin/v1/chaos/stall", &body).await;
    let path = "root/automation/schedules/tick";
    let order = json!({ "path": path, "seconds": 600 });
    let home = TestHome::new("");
    let daemon = home.start();
    let (status, body) = block_on(stall(&home, order.clone()));
    assert_eq!((status, &body["error"]["code"]), (403, &json!("OC-8011")), "{body}");
    daemon.terminate();

    let home = TestHome::new("[admin]\nchaos = true\n");
    let daemon = home.start();
    let added = home
        .command()
        .args(["cron", "add", "tick", "@every 1s", "--", "true"])
        .output();
    assert!(added.expect("runs").status.success());
    let (status, body) = block_on(stall(&home, json!({ "path": "root/nobody", "seconds": 1 })));
    assert_eq!(status, 404, "{body}");
    let (status, body) = block_on(stall(&home, json!({ "path": path, "seconds": 0 })));
    assert_eq!(status, 400, "{body}");
    let slots = || {
        let ended = home
            .command()
            .args(["cron", "slots", "tick", "--json"])
            .output()
            .expect("runs");
        let value: Value = serde_json::from_slice(&ended.stdout).unwrap_or_default();
        value["slots"].as_array().map_or(0, Vec::len)
    };
    until("slots to run", PATIENCE, || {
        let found = slots();
        (found >= 2).then_some(()).ok_or(found)
    });
    let (status, body) = block_on(stall(&home, order));
    assert_eq!((status, &body["done"]), (200, &json!("actor.stalled")), "{body}");
    // It is quiet for longer than three of its slots take, and everybody else answers.
    let mut quiet = (slots(), Instant::now());
    until("the schedule to be quiet", PATIENCE, || {
        let found = slots();
        if found != quiet.0 {
            quiet = (found, Instant::now());
        }
        (quiet.1.elapsed() > Duration::from_millis(3_500))
            .then_some(())
            .ok_or(found)
    });
    let answer = block_on(daemon.client().get("/v1/runs")).expect("answered");
    assert_eq!(answer.0, 200);
    // A kill ends it at once, and the next incarnation goes on.
    kill_actor(&home, "root/automation/schedules/tick");
    until("slots to run again", PATIENCE, || {
        let found = slots();
        (found > quiet.0).then_some(()).ok_or(found)
    });
    daemon.terminate();
}

/// Ends an actor as a crash would.
fn kill_actor(home: &TestHome, path: &str) {
    let path = format!("/admin/v1/actors/{}/kill", path.replace('/', "%2F"));
    let (status, body) = block_on(Operator::of(home).post(&path, &json!({})));
    assert_eq!(status, 200, "{body}");
}

#[test]
fn a_call_whose_workers_are_killed_is_made_again_or_unknown_and_never_called_failed() {
    let home = TestHome::new("");
    let folder = home.ledger_folder();
    std::fs::create_dir_all(&folder).expect("a folder");
    let command = |class: &str| {
        let script = format!("echo begun >> \"$0/{class}\"; while [ ! -e \"$0/gate\" ]; do sleep 0.02; done");
        format!(
            "[skills.commands.wait-{class}]\nclass = \"{class}\"\nargv = {}\n",
            json!(["sh", "-c", script, folder])
        )
    };
    let config = [
        format!("[skills]\nwritePaths = {}\n", json!([folder])),
        command("idempotent"),
        command("once"),
    ];
    let file = home.path().join("openclaw.toml");
    std::fs::write(file, config.concat()).expect("configuration");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let begun = |class: &str| {
        let text = std::fs::read_to_string(folder.join(class)).unwrap_or_default();
        text.lines().count()
    };
    let submit = |class: &str| {
        let step = json!({ "id": "a", "skill": format!("wait-{class}"), "inputs": {}, "retries": 0 });
        let id = rim.submit_plan(&home.workspace(), &json!([step]));
        until("the program to have begun", PATIENCE, || {
            (begun(class) == 1).then_some(()).ok_or(begun(class))
        });
        id
    };
    let (again, unknown) = (submit("idempotent"), submit("once"));
    kill_actor(&home, "root/skills/calls");
    until("the call to be made again", PATIENCE, || {
        (begun("idempotent") == 2).then_some(()).ok_or(begun("idempotent"))
    });
    std::fs::write(folder.join("gate"), "").expect("opened");
    let run = rim.ended(&again);
    assert_eq!(run["status"], "succeeded", "{run}");
    let run = rim.ended(&unknown);
    assert_eq!((&run["status"], begun("once")), (&json!("unknown"), 1), "{run}");
    daemon.terminate();
}
