//! `openclaw security check`: tries the program's own listeners from outside, as a stranger would.
//!
//! Real sockets, no look into the daemon: what is said to be closed is knocked at. Certificates that must not open
//! anything are asked for, tried and taken back. The exit code is the worst: 2 for a check that could not be made comes
//! before 1 for a finding.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use reqwest::{Method, Url};
use serde_json::{Value, json};

use crate::cli::arguments::SecurityCommand;
use crate::cli::client::{Client, Request};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::found::State;
use crate::cli::output::{Output, one_line};
use crate::daemon::config::DaemonFile;
use crate::gateway::{admin, openapi};
use crate::identity::authority::client::{Credentials, client_config, old_client_config};
use crate::runtime::tls::http_client;

/// Time for one try.
const TRY: Duration = Duration::from_secs(5);
/// A name that is nobody's here.
const STRANGER: &str = "stranger.example";

/// One check.
#[derive(Debug)]
struct Check {
    listener: &'static str,
    what: String,
    state: State,
    /// What was seen, where it is not what should be.
    seen: String,
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn put(&mut self, listener: &'static str, what: impl Into<String>, result: Result<(), String>) {
        let state = if result.is_ok() { State::Good } else { State::Finding };
        self.0.push(Check {
            listener,
            what: what.into(),
            state,
            seen: result.err().unwrap_or_default(),
        });
    }

    fn unchecked(&mut self, listener: &'static str, what: impl Into<String>, why: impl Into<String>) {
        self.0.push(Check {
            listener,
            what: what.into(),
            state: State::Unchecked,
            seen: why.into(),
        });
    }
}

/// What an answer was, or that there was none.
type Tried = Result<u16, String>;

/// Runs all checks.
pub async fn run(context: &mut Context, SecurityCommand::Check: SecurityCommand) -> Result<Exit, CliError> {
    // Says at once when there is no daemon.
    let status = context.client()?.send(&Request::get("/v1/status")).await?;
    let mut checks = Checks::default();
    let gateway = context.target()?.url;
    gateway_checks(&mut checks, context, &gateway).await;
    match status["metrics"].as_str() {
        Some(url) => metrics_checks(&mut checks, url).await,
        None => checks.unchecked("metrics", "whether it answers to strangers", "metrics are not served"),
    }
    let operators = DaemonFile::read(&context.home)?.and_then(|file| file.admin);
    match operators {
        Some(url) => admin_checks(&mut checks, context, &url).await?,
        None => checks.unchecked(
            "admin",
            "who gets in",
            "the address of the operators' listener is not known",
        ),
    }
    Ok(tell(context, &checks.0))
}

/// A client for one try.
fn client(with: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> Option<reqwest::Client> {
    http_client(|builder| with(builder.timeout(TRY))).ok()
}

fn plain_client() -> Option<reqwest::Client> {
    client(|builder| builder)
}

async fn tried(client: &reqwest::Client, method: Method, url: &str, headers: &[(&str, &str)]) -> Tried {
    let mut request = client.request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match request.send().await {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(error) => Err(error.to_string()),
    }
}

fn is(expected: u16, tried: Tried) -> Result<(), String> {
    match tried {
        Ok(status) if status == expected => Ok(()),
        Ok(status) => Err(format!("it answers {status} instead of {expected}")),
        Err(error) => Err(format!("no answer: {error}")),
    }
}

fn is_refused(tried: Tried) -> Result<(), String> {
    match tried {
        Ok(status) => Err(format!("it answers {status}")),
        Err(_) => Ok(()),
    }
}

/// The operations of a description that ask for a key.
fn guarded(document: &Value) -> Vec<(Method, String)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let is_guarded = operation["security"].as_array().is_some_and(|ways| !ways.is_empty());
            if let (Ok(method), true) = (Method::from_bytes(method.to_ascii_uppercase().as_bytes()), is_guarded) {
                let parts = path
                    .split('/')
                    .map(|part| if part.starts_with('{') { "x" } else { part });
                found.push((method, parts.collect::<Vec<_>>().join("/")));
            }
        }
    }
    found
}

/// Every operation of a description without a key, and with one that is none.
async fn without_a_key(checks: &mut Checks, listener: &'static str, client: &reqwest::Client, url: &str, all: &Value) {
    let operations = guarded(all);
    for (what, headers) in [
        ("without a key", Vec::new()),
        ("with a made-up key", vec![("authorization", "Bearer ocl_x_y")]),
        ("with an empty key", vec![("authorization", "Bearer ")]),
        ("with the word undefined", vec![("authorization", "Bearer undefined")]),
    ] {
        let mut open = Vec::new();
        for (method, path) in &operations {
            let tried = tried(client, method.clone(), &format!("{url}{path}"), &headers).await;
            // Whoever fails often may be told to wait before anything is looked at.
            if tried == Ok(429) {
                continue;
            }
            if let Err(seen) = is(401, tried) {
                open.push(format!("{method} {path}: {seen}"));
            }
        }
        let result = if open.is_empty() { Ok(()) } else { Err(open.join("; ")) };
        checks.put(
            listener,
            format!("{} operations refuse requests {what}", operations.len()),
            result,
        );
    }
}

async fn foreign_names(checks: &mut Checks, listener: &'static str, client: &reqwest::Client, url: &str) {
    let stranger = format!("https://{STRANGER}");
    for (name, value) in [
        ("host", STRANGER),
        ("origin", stranger.as_str()),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let tried = tried(client, Method::GET, url, &[(name, value)]).await;
        checks.put(listener, format!("refuses {name}: {value}"), is(403, tried));
    }
}

/// The address by which this machine would go out: no packet is sent to learn it.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address for documentation: it is nobody's.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

/// Whether other machines could connect to the port of this address.
async fn not_from_outside(checks: &mut Checks, listener: &'static str, url: &str) {
    let what = "other machines cannot connect";
    let port = Url::parse(url).ok().and_then(|url| url.port_or_known_default());
    match (outward(), port) {
        (Some(own), Some(port)) => {
            let connecting = tokio::net::TcpStream::connect(SocketAddr::new(own, port));
            let result = match tokio::time::timeout(TRY, connecting).await {
                Ok(Ok(_)) => Err(format!("{own}:{port} accepts connections")),
                _ => Ok(()),
            };
            checks.put(listener, what, result);
        }
        // Where there is no way out, there is no way in.
        (None, _) => checks.put(listener, what, Ok(())),
        (_, None) => checks.unchecked(listener, what, "its port is not known"),
    }
}

/// The operator's certificates: authorities and own; none where they cannot be read.
fn certificates(context: &Context) -> Option<(String, String)> {
    let Credentials { bundle, own } = Credentials::read(&context.home.tls_dir()).ok()?;
    Some((bundle, own.ok().flatten()?))
}

async fn gateway_checks(checks: &mut Checks, context: &Context, url: &str) {
    const NAME: &str = "gateway";
    let made = if url.starts_with("https://") {
        let tls = certificates(context).and_then(|(bundle, own)| client_config(&bundle, Some(&own)).ok());
        tls.and_then(|tls| client(|builder| builder.tls_backend_preconfigured(tls.clone())))
    } else {
        plain_client()
    };
    let Some(client) = made else {
        return checks.unchecked(NAME, "who gets in", "no client can be made");
    };
    if let (true, Some(clear)) = (url.starts_with("https://"), plain_client()) {
        let clear = tried(
            &clear,
            Method::GET,
            &format!("{}/livez", url.replace("https://", "http://")),
            &[],
        )
        .await;
        checks.put(NAME, "refuses requests without TLS", is_refused(clear));
    }
    without_a_key(checks, NAME, &client, url, &openapi::document()).await;
    foreign_names(checks, NAME, &client, &format!("{url}/livez")).await;
    let forged = [("x-forwarded-for", "127.0.0.1"), ("x-client-identity", "CN=operator")];
    for (name, value) in forged {
        let tried = tried(&client, Method::GET, &format!("{url}/livez"), &[(name, value)]).await;
        // Where this machine itself is named as a proxy, its words count.
        if tried == Ok(200) {
            checks.unchecked(
                NAME,
                format!("refuses {name} from strangers"),
                "this machine is a trusted proxy",
            );
        } else {
            checks.put(NAME, format!("refuses {name} from strangers"), is(403, tried));
        }
    }
    let mut open = Vec::new();
    for (method, path) in guarded(&admin::openapi::document()) {
        if let Err(seen) = is(404, tried(&client, method.clone(), &format!("{url}{path}"), &[]).await) {
            open.push(format!("{method} {path}: {seen}"));
        }
    }
    let result = if open.is_empty() { Ok(()) } else { Err(open.join("; ")) };
    checks.put(NAME, "has no route of operators", result);
    not_from_outside(checks, NAME, url).await;
}

async fn metrics_checks(checks: &mut Checks, url: &str) {
    const NAME: &str = "metrics";
    let Some(client) = plain_client() else {
        return checks.unchecked(NAME, "who gets in", "no client can be made");
    };
    let tried = tried(&client, Method::GET, url, &[("host", STRANGER)]).await;
    checks.put(NAME, format!("refuses host: {STRANGER}"), is(403, tried));
    not_from_outside(checks, NAME, url).await;
}

/// A certificate that was given out for a try: the text of both, and its serial number.
async fn issued(operators: &Client, identity: &str, life_s: u64) -> Result<(String, String), CliError> {
    let body = json!({ "identity": identity, "life": life_s });
    let value = operators.send(&Request::post("/admin/v1/tls/issue", &body)).await?;
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Ok((text("certificate") + &text("key"), text("serial")))
}

async fn admin_checks(checks: &mut Checks, context: &Context, url: &str) -> Result<(), CliError> {
    const NAME: &str = "admin";
    let Some((bundle, own)) = certificates(context) else {
        checks.unchecked(NAME, "who gets in", "the operator's certificate cannot be read");
        return Ok(());
    };
    let path = format!("{url}/openapi.json");
    let with = |own: Option<&str>| {
        let tls = client_config(&bundle, own).ok()?;
        client(|builder| builder.tls_backend_preconfigured(tls.clone()))
    };
    let Some(good) = with(Some(&own)) else {
        checks.unchecked(NAME, "who gets in", "the operator's certificate cannot be used");
        return Ok(());
    };
    checks.put(
        NAME,
        "lets the operator's certificate in",
        is(200, tried(&good, Method::GET, &path, &[]).await),
    );
    without_a_key(checks, NAME, &good, url, &admin::openapi::document()).await;
    foreign_names(checks, NAME, &good, &path).await;

    let operators = context.admin()?;
    let (short, _) = issued(&operators, "admin/security-check-expired", 1).await?;
    let (service, service_serial) = issued(&operators, "service/security-check", 300).await?;
    let (taken, taken_serial) = issued(&operators, "admin/security-check-revoked", 300).await?;
    let body = json!({ "serial": taken_serial });
    operators.send(&Request::post("/admin/v1/tls/revoke", &body)).await?;
    let stranger = of_a_stranger();
    for (what, own) in [
        ("no certificate", None),
        ("a service's certificate", Some(service.as_str())),
        ("a revoked certificate", Some(taken.as_str())),
        ("a certificate of another authority", stranger.as_deref()),
        ("an expired certificate", Some(short.as_str())),
    ] {
        if own == Some(short.as_str()) {
            // It lasts a second; so long has it to wait at most.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        match with(own) {
            Some(client) => {
                let tried = tried(&client, Method::GET, &path, &[]).await;
                checks.put(NAME, format!("refuses {what}"), is_refused(tried));
            }
            None => checks.unchecked(NAME, format!("refuses {what}"), "no client can be made"),
        }
    }
    let body = json!({ "serial": service_serial });
    operators.send(&Request::post("/admin/v1/tls/revoke", &body)).await?;
    let old = old_client_config(&bundle, &own).ok();
    match old.and_then(|tls| client(|builder| builder.tls_backend_preconfigured(tls.clone()))) {
        Some(old) => {
            let tried = tried(&old, Method::GET, &path, &[]).await;
            checks.put(NAME, "refuses TLS 1.2", is_refused(tried));
        }
        None => checks.unchecked(NAME, "refuses TLS 1.2", "no client can be made"),
    }
    if let Some(clear) = plain_client() {
        let tried = tried(&clear, Method::GET, &path.replace("https://", "http://"), &[]).await;
        checks.put(NAME, "refuses requests without TLS", is_refused(tried));
    }
    not_from_outside(checks, NAME, url).await;
    Ok(())
}

/// An operator's certificate of an authority that was made for this try alone.
fn of_a_stranger() -> Option<String> {
    use crate::identity::authority::issue::{SigningAuthority, Wanted};
    use crate::identity::authority::name::Identity;
    let now = crate::runtime::clock::Clock::system().now();
    let wanted = Wanted {
        identity: Identity::operator(),
        life_ms: 300_000,
        dns: Vec::new(),
    };
    let stranger = SigningAuthority::make(1, now).ok()?;
    let issued = stranger
        .issue(&wanted, now, &crate::runtime::entropy::Entropy::system())
        .ok()?;
    Some(issued.pem + &issued.key_pem)
}

fn tell(context: &mut Context, checks: &[Check]) -> Exit {
    let exit = State::exit_of(checks.iter().map(|check| check.state));
    let each = checks.iter().map(|check| {
        json!({ "listener": check.listener, "what": check.what, "state": check.state.as_str(), "seen": check.seen })
    });
    let value = json!({ "checks": each.collect::<Vec<_>>() });
    context.output.result(&value, |output| show(output, checks));
    exit
}

fn show(output: &Output, checks: &[Check]) -> String {
    let mut shown = String::new();
    for check in checks {
        let state = output.status(check.state.as_str());
        let _ = writeln!(shown, "{:<8} {state}  {}", check.listener, check.what);
        if !check.seen.is_empty() {
            let _ = writeln!(shown, "         {}", one_line(&check.seen, 600));
        }
    }
    shown
}
