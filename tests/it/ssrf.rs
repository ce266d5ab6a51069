//! No request leads to an inner address: one table of addresses against every way out.
//!
//! The ways are `web.fetch`, `http.request`, `web.search` and the proxy of programs (as a proxy and as a tunnel). A
//! listener on the loopback stands for everything inside; it must not be connected to by any of them.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openclaw::domain::capability::CapabilitySet;
use openclaw::domain::id::RunId;
use openclaw::domain::name::StepId;
use openclaw::domain::time::UtcMillis;
use openclaw::runtime::entropy::Entropy;
use openclaw::skills::builtin::http_request::HttpRequest;
use openclaw::skills::builtin::web_fetch::WebFetch;
use openclaw::skills::builtin::web_search::{SearchBackend, SearchFields, WebSearch};
use openclaw::skills::egress::{Egress, layer};
use openclaw::skills::network::NetworkPolicy;
use openclaw::skills::skill::{CallOrder, Skill};
use serde_json::{Value, json};
use supervisors::Supervisor;

use crate::process::{block_on, key};
use crate::support::daemon::TestHome;
use crate::support::rim::Rim;
use crate::support::wait::until;

/// Hosts that are, or stand for, something inside, as people write them.
const INNER: &[&str] = &[
    // The loopback and its spellings.
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7F.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.1.",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "１２７.0.0.1",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "ｌｏｃａｌｈｏｓｔ",
    "0",
    "0.0.0.0",
    "0x0",
    "00.00.00.00",
    // IPv6, and IPv4 within it.
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::127.0.0.1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    // Private, and places where clouds keep their secrets.
    "10.0.0.1",
    "10.1",
    "0xa.0.0.1",
    "167772161",
    "012.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "192.168.1",
    "0xc0a80001",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.170.2",
    "169.254.42.42",
    "100.64.0.1",
    "100.100.100.200",
    "198.18.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
];

/// Whole addresses that are refused for more than their host.
const OTHER: &[&str] = &[
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "ftp://93.184.216.34/",
    "gopher://93.184.216.34/_x",
    "dict://93.184.216.34/x",
    "ldap://93.184.216.34/",
    "data:text/plain,x",
    "unix:/var/run/docker.sock",
    "http://user@93.184.216.34/",
    "http://u:p@93.184.216.34/",
    "http://93.184.216.34@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@93.184.216.34/",
    "http://127.0.0.1:{port}\\@93.184.216.34/",
    "http:\\\\127.0.0.1:{port}\\",
    "http:127.0.0.1:{port}/",
    "http:////127.0.0.1:{port}/",
    "HtTp://127.0.0.1:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://127.0.0.1\t:{port}/",
    "h\nttp://127.0.0.1:{port}/",
    "http://93.184.216.34:22/",
    "http://93.184.216.34:25/",
    "//127.0.0.1:{port}/",
    "",
    "http://",
    "http://:{port}/",
];

/// Counts who comes, and answers nothing that would not be noticed.
struct Inside {
    port: u16,
    visits: Arc<AtomicUsize>,
}

impl Inside {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&visits);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                answer(stream.expect("a connection"), "200 OK", "");
            }
        });
        Self { port, visits }
    }

    fn urls(&self) -> Vec<String> {
        let port = self.port.to_string();
        let hosts = INNER.iter().map(|host| format!("http://{host}:{port}/"));
        let others = OTHER.iter().map(|url| url.replace("{port}", &port));
        hosts.chain(others).collect()
    }

    fn nobody_came(&self, by: &str) {
        assert_eq!(self.visits.load(Ordering::SeqCst), 0, "somebody came by {by}");
    }
}

fn answer(mut stream: TcpStream, status: &str, headers: &str) {
    let mut buffer = [0; 4096];
    if stream.read(&mut buffer).unwrap_or_default() == 0 {
        return;
    }
    let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 6\r\nConnection: close\r\n\r\nsecret");
    stream.write_all(text.as_bytes()).ok();
}

/// A server that leads every visitor to the place that its path names.
fn leader() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut buffer = [0; 8192];
            let count = stream.read(&mut buffer).unwrap_or_default();
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let target = text.split_whitespace().nth(1).unwrap_or_default();
            let target: String = target.strip_prefix("/?").unwrap_or_default().to_owned();
            let target = url_decoded(&target);
            let head =
                format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).ok();
        }
    });
    port
}

fn url_decoded(text: &str) -> String {
    let bytes: Vec<u8> = (0..text.len() / 2)
        .filter_map(|at| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok())
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        write!(all, "{byte:02x}").expect("a text grows");
        all
    })
}

/// Makes a call: whether it is an error, and what came of it.
pub async fn call(skill: &dyn Skill, arguments: Value) -> (bool, String) {
    call_as(skill, arguments, None, false).await
}

/// The same for somebody who may touch this, and with or without a person's word for the call.
async fn call_as(skill: &dyn Skill, arguments: Value, granted: Option<&[&str]>, agreed: bool) -> (bool, String) {
    let granted = granted.map(|list| CapabilitySet::parse(list.iter().copied()).expect("capabilities"));
    let order = CallOrder {
        key: key(),
        run: RunId::new(UtcMillis(1), 1),
        step: StepId::new("s").expect("id"),
        arguments,
        workspace: Path::new("/").into(),
        granted: granted.map(Arc::new),
        agreed,
        deadline: Duration::from_secs(20),
    };
    let end = skill
        .call(order)
        .await
        .expect("a refusal is no failure of the machinery")
        .outcome;
    (end.is_error, end.content.to_string())
}

/// A server that keeps what it is sent.
fn listening() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut buffer = [0; 8192];
            let count = stream.read(&mut buffer).unwrap_or_default();
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            kept.lock().expect("whole").push(text);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nother")
                .ok();
        }
    });
    (port, heard)
}

#[test]
fn a_redirect_leads_nowhere_that_its_caller_may_not_go_and_takes_nothing_along() {
    block_on(async {
        let leader = leader();
        let (port, heard) = listening();
        let places = [format!("127.0.0.1:{leader}"), format!("127.0.0.1:{port}")];
        let policy = NetworkPolicy::parse(places.iter().map(String::as_str)).expect("a policy");
        let (fetch, request) = (WebFetch::new(policy.clone()), HttpRequest::new(policy));
        let [first, second] = places.map(|place| format!("net:{place}"));
        let led = format!(
            "http://127.0.0.1:{leader}/?{}",
            encoded(&format!("http://127.0.0.1:{port}/x"))
        );
        let headers = json!({ "x-own": "kept-1" });
        let whole = json!({ "url": led, "method": "GET", "body": "kept-2", "headers": headers });
        let skills: [(&dyn Skill, Value); 2] = [(&fetch, json!({ "url": led })), (&request, whole)];
        for (skill, arguments) in skills {
            let check = async |granted: Option<&[&str]>, agreed: bool, wanted: &str| {
                let (is_error, said) = call_as(skill, arguments.clone(), granted, agreed).await;
                let requests: Vec<String> = heard.lock().expect("whole").drain(..).collect();
                assert!(said.contains(wanted), "{granted:?} {agreed}: {said}");
                assert_eq!(requests.len(), usize::from(!is_error), "{granted:?} {agreed}: {said}");
                assert!(
                    !requests.concat().contains("kept-"),
                    "what was meant for another: {requests:?}"
                );
            };
            check(None, false, "other").await;
            check(Some(&[&first, &second]), false, "other").await;
            check(Some(&["net"]), false, "other").await;
            check(Some(&[&first]), false, "OC-5022").await;
            check(None, true, "a person agreed to the first address alone").await;
        }
    });
}

#[test]
fn a_request_that_a_person_agreed_to_goes_to_the_address_that_was_shown_and_no_further() {
    let leader = leader();
    let (port, heard) = listening();
    let home = TestHome::new(&format!(
        "[agent]\napprovals = {{ \"http.request\" = \"ask\" }}\n[skills.network]\nallow = [\"127.0.0.1:{leader}\", \"127.0.0.1:{port}\"]\n"
    ));
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let led = format!(
        "http://127.0.0.1:{leader}/?{}",
        encoded(&format!("http://127.0.0.1:{port}/x"))
    );
    let id = rim.submit_plan(
        &home.workspace(),
        &json!([{ "id": "r", "skill": "http.request", "inputs": { "url": led }, "retries": 0 }]),
    );
    let hash = until("the question", Duration::from_secs(30), || {
        let run = rim.run(&id);
        run["waiting"][0]["hash"].as_str().map(str::to_owned).ok_or(run)
    });
    let reply = rim.post(
        &format!("/v1/runs/{id}/approve"),
        &json!({ "hash": hash, "granted": true }),
    );
    assert_eq!(reply.status, 200, "{}", reply.body);
    let run = rim.ended(&id);
    assert!(
        run.to_string().contains("a person agreed to the first address alone"),
        "{run}"
    );
    assert_eq!(*heard.lock().expect("whole"), Vec::<String>::new());
}

#[test]
fn no_skill_reaches_what_is_inside_however_it_is_written_or_led_there() {
    block_on(async {
        let inside = Inside::new();
        let leader = leader();
        // The one place that the operator opens leads everywhere.
        let policy = NetworkPolicy::parse([&*format!("127.0.0.1:{leader}")]).expect("a policy");
        let (fetch, request) = (WebFetch::new(policy.clone()), HttpRequest::new(policy.clone()));
        let refused = async |way: &str, skill: &dyn Skill, arguments: Value, of: &str| {
            let (is_error, said) = call(skill, arguments).await;
            assert!(is_error && !said.contains("secret"), "{way} of {of:?}: {said}");
            inside.nobody_came(&format!("{way} of {of:?}"));
        };
        for url in inside.urls() {
            refused("web.fetch", &fetch, json!({ "url": url }), &url).await;
            for method in ["GET", "POST"] {
                let arguments = json!({ "url": url, "method": method });
                refused("http.request", &request, arguments, &url).await;
            }
            let backend = SearchBackend {
                url: url.clone(),
                fields: SearchFields::searxng(),
            };
            let search = WebSearch::new(policy.clone(), Some(backend));
            refused("web.search", &search, json!({ "query": "x" }), &url).await;
            // A header cannot hold the end of a line, and an empty target leads back.
            if url.contains(['\n', '\t']) || url.is_empty() || url.starts_with("//") || !url.is_ascii() {
                continue;
            }
            let led = format!("http://127.0.0.1:{leader}/?{}", encoded(&url));
            refused("a redirect of web.fetch", &fetch, json!({ "url": led }), &url).await;
            let arguments = json!({ "url": led, "method": "GET" });
            refused("a redirect of http.request", &request, arguments, &url).await;
        }
    });
}

/// A refusal, or that a name leads nowhere; the listener inside would have answered 200.
fn is_refused(answer: &str) -> bool {
    let heads = ["HTTP/1.1 403", "HTTP/1.1 400", "HTTP/1.1 502"];
    answer.is_empty() || heads.iter().any(|head| answer.starts_with(head))
}

#[test]
fn the_proxy_of_programs_reaches_nothing_inside_even_when_a_pass_names_it() {
    block_on(async {
        let inside = Inside::new();
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("egress.sock");
        let egress = Egress::new(socket.clone(), NetworkPolicy::default(), Vec::new(), Entropy::system());
        let root = Supervisor::start("egress", layer(&egress).expect("a socket"))
            .await
            .expect("started");
        // The widest pass that there is: what stands before the inside is the judgement of addresses alone.
        let pass = egress.pass(&["*".to_owned()], |_| true).expect("a pass");
        let ask = async |request: String| {
            let (socket, word) = (socket.clone(), pass.word().to_owned());
            let asked = tokio::task::spawn_blocking(move || {
                let mut stream = UnixStream::connect(socket).expect("connected");
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a bound");
                write!(stream, "{word}\n{request}").expect("written");
                let mut answer = Vec::new();
                // What was written and not read makes the end a reset.
                stream.read_to_end(&mut answer).ok();
                String::from_utf8_lossy(&answer).into_owned()
            });
            asked.await.expect("no panic")
        };
        for url in inside.urls() {
            // A host outside is not the proxy's to refuse: here it is named.
            let is_outside = url.contains("93.184.216.34") && !url.contains("127.0.0.1");
            if is_outside || url.contains(['\n', '\t', ' ']) {
                continue;
            }
            let answer = ask(format!(
                "GET {url} HTTP/1.1\r\nHost: 93.184.216.34\r\nConnection: close\r\n\r\n"
            ))
            .await;
            let is_refused = is_refused(&answer);
            assert!(is_refused, "GET {url}: {answer}");
            inside.nobody_came(&url);
        }
        for host in INNER {
            let target = format!("{host}:{}", inside.port);
            let answer = ask(format!(
                "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"
            ))
            .await;
            let is_refused = is_refused(&answer);
            assert!(is_refused, "CONNECT {target}: {answer}");
            inside.nobody_came(&target);
        }
        root.shutdown().await;
    });
}

#[test]
fn proxy_variables_of_the_daemon_lead_no_request_astray() {
    const TEST: &str = "ssrf::proxy_variables_of_the_daemon_lead_no_request_astray";
    const MARK: &str = "OPENCLAW_TEST_PROXIED";
    if let Some(port) = std::env::var_os(MARK) {
        // In the copy of this program whose environment names a proxy.
        let port = port.into_string().expect("text");
        block_on(async {
            let policy = NetworkPolicy::parse([&*format!("127.0.0.1:{port}")]).expect("a policy");
            let (fetch, request) = (WebFetch::new(policy.clone()), HttpRequest::new(policy));
            let url = format!("http://127.0.0.1:{port}/");
            let (is_error, said) = call(&fetch, json!({ "url": url })).await;
            assert!(!is_error && said.contains("secret"), "{said}");
            let (is_error, said) = call(&request, json!({ "url": url, "method": "GET" })).await;
            assert!(!is_error && said.contains("secret"), "{said}");
        });
        return;
    }
    let (there, proxy) = (Inside::new(), Inside::new());
    let mut again = std::process::Command::new(std::env::current_exe().expect("this program"));
    again
        .args([TEST, "--exact", "--nocapture"])
        .env(MARK, there.port.to_string());
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ] {
        again.env(name, format!("http://127.0.0.1:{}", proxy.port));
    }
    let ended = again
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .expect("ran");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert_eq!(there.visits.load(Ordering::SeqCst), 2);
    proxy.nobody_came("a proxy of the environment");
}
