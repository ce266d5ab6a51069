//! Debian's nginx in front of a real gateway, by the configuration in `ops/nginx/`: who gets through, what of a client's
//! own words does, and events as they come.
//!
//! Without nginx the test says loudly that it is skipped; where `OPENCLAW_NGINX_NEEDED` is set, which the gate does, that
//! is a failure.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use openclaw::identity::authority::client::client_config;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::admin::issue;
use crate::process::block_on;
use crate::support::daemon::TestHome;
use crate::support::wait::until;

const PATIENCE: Duration = Duration::from_secs(30);
const NAME: &str = "openclaw.example";

#[expect(clippy::print_stderr, reason = "a test that was skipped says so")]
fn program() -> Option<PathBuf> {
    let places = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
    if let Some(found) = places.iter().map(PathBuf::from).find(|path| path.is_file()) {
        return Some(found);
    }
    let needed = std::env::var_os("OPENCLAW_NGINX_NEEDED").is_some();
    assert!(!needed, "nginx is needed here and is not installed");
    eprintln!("SKIPPED: nginx is not installed");
    None
}

/// An authority of the operator's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the operator's");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Certificate and key.
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("signed");
        (signed.pem(), key.serialize_pem())
    }
}

struct Nginx {
    child: Child,
    folder: PathBuf,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Nginx {
    fn start(program: &Path, folder: &Path, gateway: &str, port: u16) -> Self {
        let site = include_str!("../../ops/nginx/openclaw.conf");
        let files = folder.display();
        let site = site
            .replace("/etc/openclaw/nginx", &files.to_string())
            .replace("server 127.0.0.1:8080;", &format!("server {gateway};"))
            .replace("listen 443 ssl http2;", &format!("listen 127.0.0.1:{port} ssl http2;"));
        // A single process, so that ending it ends all of it.
        let whole = format!(
            "daemon off;\nmaster_process off;\npid {files}/pid;\nerror_log {files}/error.log info;\n\
             events {{}}\nhttp {{\naccess_log {files}/access.log;\nclient_body_temp_path {files}/body;\n\
             proxy_temp_path {files}/proxy;\nfastcgi_temp_path {files}/f;\nuwsgi_temp_path {files}/u;\n\
             scgi_temp_path {files}/s;\n{site}}}\n"
        );
        std::fs::write(folder.join("nginx.conf"), whole).expect("written");
        let child = Command::new(program)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .arg("-e")
            .arg(folder.join("error.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let nginx = Self {
            child,
            folder: folder.to_owned(),
        };
        until("nginx to listen", PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).map_err(|error| format!("{error}: {}", nginx.words()))
        });
        nginx
    }

    fn words(&self) -> String {
        std::fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }
}

fn client(bundle: &str, own: Option<&str>, to: SocketAddr) -> reqwest::Client {
    let tls = client_config(bundle, own).expect("certificates");
    let builder = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    let builder = builder.resolve(NAME, to).tls_backend_preconfigured(tls);
    builder.build().expect("a client")
}

#[test]
fn through_nginx_streams_flow_and_what_a_client_says_of_itself_does_not() {
    let Some(program) = program() else { return };
    let home = TestHome::new(
        "[gateway]\ntls.mode = \"internal\"\ntls.clients = \"known\"\nkeepalive = 100\nmaxConnectionsPerAddress = 3\n",
    );
    let daemon = home.start();
    let gateway = daemon.url.strip_prefix("https://").expect("TLS").to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let (service, _) = issue(&home, "service/nginx", "1d");
    let internal = std::fs::read_to_string(home.path().join("state/tls/internal.pem")).expect("there");
    let authority = Authority::new();
    let (server, server_key) = authority.issue(NAME, ExtendedKeyUsagePurpose::ServerAuth);
    let (alice, alice_key) = authority.issue("alice", ExtendedKeyUsagePurpose::ClientAuth);
    for (name, text) in [
        ("internal.pem", &internal),
        ("service-nginx.pem", &service),
        ("server.pem", &server),
        ("server.key", &server_key),
        ("clients.pem", &authority.pem),
    ] {
        std::fs::write(at(name), text).expect("written");
    }
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    let nginx = Nginx::start(&program, folder.path(), &gateway, port);
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let url = format!("https://{NAME}:{port}");
    let known = client(&authority.pem, Some(&(alice + &alice_key)), to);
    let ask = async |client: &reqwest::Client, url: &str, path: &str, headers: &[(&str, &str)]| {
        let mut request = client.get(format!("{url}{path}")).bearer_auth(&daemon.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| format!("{error:?}: {}", nginx.words()))?;
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.map_err(|error| error.to_string())?;
        Ok::<(u16, Value), String>((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    };
    let spoofed = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-client-identity", "CN=mallory"),
        ("forwarded", "for=1.1.1.1"),
        ("x-real-ip", "1.1.1.1"),
        ("x-forwarded-host", "mallory.example"),
    ];
    block_on(async {
        for headers in [&[][..], &spoofed[..]] {
            let (status, body) = ask(&known, &url, "/v1/status", headers).await.expect("an answer");
            let seen = json!({ "address": "127.0.0.1", "identity": "CN=alice" });
            assert_eq!((status, &body["client"]), (200, &seen), "{headers:?}: {body}");
        }
        // Without a certificate nginx itself refuses; without a key the gateway does.
        let stranger = client(&authority.pem, None, to);
        let refused = ask(&stranger, &url, "/v1/status", &[]).await;
        assert!(
            refused.as_ref().map_or(true, |(status, _)| *status == 400),
            "{refused:?}"
        );
        let keyless = known.get(format!("{url}/v1/status")).send().await.expect("an answer");
        assert_eq!(keyless.status(), 401);
        // Past nginx: nobody without a certificate, and others' words about clients are refused.
        let direct = format!("https://{gateway}");
        assert!(
            ask(&client(&internal, None, to), &direct, "/v1/status", &[])
                .await
                .is_err()
        );
        let operator = std::fs::read_to_string(home.path().join("state/tls/operator.pem")).expect("there");
        let operator = client(&internal, Some(&operator), to);
        assert_eq!(
            ask(&operator, &direct, "/v1/status", &[]).await.expect("an answer").0,
            200
        );
        for header in &spoofed {
            let (status, body) = ask(&operator, &direct, "/v1/status", &[*header])
                .await
                .expect("an answer");
            assert_eq!((status, &body["error"]["code"]), (403, &json!("OC-7017")), "{header:?}");
        }
    });
    // A stream: events and signs of life come while the run goes on, not when it has ended.
    let script = "until [ -e go ]; do sleep 0.02; done";
    let steps = json!([{ "id": "a", "skill": "exec.run", "inputs": { "argv": ["sh", "-c", script] } }]);
    let body = json!({ "task": "x", "workspace": home.workspace(), "plan": { "steps": steps } });
    block_on(async {
        let request = known
            .post(format!("{url}/v1/runs"))
            .bearer_auth(&daemon.key)
            .body(body.to_string());
        let accepted = request.send().await.expect("an answer");
        assert_eq!(accepted.status(), 202);
        let path = accepted.headers()["location"].to_str().expect("text").to_owned();
        let request = known.get(format!("{url}{path}/events")).bearer_auth(&daemon.key);
        // Nginx brings the clients of many addresses: the bound of one is none for it.
        let mut others = Vec::new();
        for number in 0..6 {
            let stream = request.try_clone().expect("no body").send().await.expect("an answer");
            assert_eq!(stream.status(), 200, "stream {number}");
            others.push(stream);
        }
        let mut stream = request.send().await.expect("an answer");
        let mut heard = String::new();
        while !heard.contains("call.intended") || heard.matches(": keepalive").count() < 3 {
            let piece = stream.chunk().await.expect("it flows").expect("it goes on");
            heard.push_str(&String::from_utf8_lossy(&piece));
        }
        assert!(!heard.contains("run.done"), "{heard}");
        std::fs::write(home.workspace().join("go"), "").expect("written");
        while let Some(piece) = stream.chunk().await.expect("it flows") {
            heard.push_str(&String::from_utf8_lossy(&piece));
        }
        assert!(heard.contains("run.done"), "{heard}");
    });
}
