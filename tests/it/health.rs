//! Checks, incidents and alerts of the real program, with a real receiver of webhooks and a real conversation with a
//! mail server, over a `kill -9`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::daemon::TestHome;
use crate::support::rim::Rim;
use crate::support::wait::until;

/// Longest time from a fault until people know of it.
const TOLD_MAX: Duration = Duration::from_secs(60);
/// The key of the webhook, before base 64.
const KEY: &[u8] = b"a key of the test's own, 32 byte";

/// A webhook that came.
#[derive(Debug, Clone)]
struct Came {
    id: String,
    timestamp: String,
    signature: String,
    body: String,
}

/// Takes webhooks. While it holds, it reads them and does not answer.
struct Receiver {
    url: String,
    came: Arc<Mutex<Vec<Came>>>,
    holds: Arc<AtomicBool>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let (came, holds) = (Arc::<Mutex<Vec<Came>>>::default(), Arc::new(AtomicBool::new(true)));
        let (for_thread, held) = (came.clone(), holds.clone());
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let Some(request) = read_request(&stream) else { continue };
                for_thread.lock().expect("unpoisoned").push(request);
                if held.load(Ordering::Acquire) {
                    open.push(stream);
                } else {
                    let answer = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                    stream.write_all(answer.as_bytes()).ok();
                }
            }
        });
        Self { url, came, holds }
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().expect("unpoisoned").clone()
    }
}

fn read_request(stream: &TcpStream) -> Option<Came> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(stream);
    let mut headers = std::collections::BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.trim().split_once(": ") {
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let mut header = |name: &str| headers.remove(name);
    Some(Came {
        id: header("webhook-id")?,
        timestamp: header("webhook-timestamp")?,
        signature: header("webhook-signature")?,
        body: String::from_utf8(body).ok()?,
    })
}

/// A mail server that takes every mail, and the mails that it took.
fn mail_server() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = listener.local_addr().expect("an address").to_string();
    let mails = Arc::<Mutex<Vec<String>>>::default();
    let taken = mails.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            stream.set_read_timeout(Some(Duration::from_secs(10))).ok();
            if let Some(mail) = converse(&stream) {
                taken.lock().expect("unpoisoned").push(mail);
            }
        }
    });
    (address, mails)
}

/// One conversation of RFC 5321.
fn converse(mut stream: &TcpStream) -> Option<String> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut mail = None;
    stream.write_all(b"220 test ESMTP\r\n").ok()?;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return mail;
        }
        let verb = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "DATA" => {
                stream.write_all(b"354 go on\r\n").ok()?;
                let mut text = String::new();
                loop {
                    let mut line = String::new();
                    lines.read_line(&mut line).ok()?;
                    if line == ".\r\n" {
                        break;
                    }
                    text.push_str(&line);
                }
                mail = Some(text);
                stream.write_all(b"250 taken\r\n").ok()?;
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").ok();
                return mail;
            }
            _ => stream.write_all(b"250 ok\r\n").ok()?,
        }
    }
}

fn signature(came: &Came) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, KEY);
    let text = format!("{}.{}.{}", came.id, came.timestamp, came.body);
    format!("v1,{}", STANDARD.encode(ring::hmac::sign(&key, text.as_bytes())))
}

fn claw(home: &TestHome, line: &[&str], exit: i32) -> Value {
    let mut command: Command = home.command();
    let output = command.arg("--json").args(line).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(exit), "{line:?} {text} {output:?}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line:?}: {error}: {text}"))
}

#[test]
fn a_fault_is_told_over_every_channel_once_also_over_a_kill_and_its_end_too() {
    let receiver = Receiver::start();
    let (mail, mails) = mail_server();
    // Nobody listens there until the fault is over.
    let door = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let told = folder.path().join("told.json");
    let config = format!(
        "[health]\ninterval = 5\nfailures = 1\ngroupWait = 0\n\
         [health.checks.door]\ntcp = \"{door}\"\ntimeout = 2000\n\
         [health.alerts.hook]\nurl = \"{}\"\nsecret = \"${{HOOK_SECRET}}\"\n\
         [health.alerts.post]\nsmtp = \"smtp://{mail}\"\nfrom = \"claw@example.org\"\nto = [\"ops@example.org\"]\n\
         [health.alerts.script]\ncommand = [\"sh\", \"-c\", \"cat > {}\"]\n",
        receiver.url,
        told.display()
    );
    let secret = format!("whsec_{}", STANDARD.encode(KEY));
    let variables = [("HOOK_SECRET", secret.as_str())];
    let home = TestHome::new(&config);
    let daemon = home.start_with(&variables);
    until("the webhook to be on its way", TOLD_MAX, || {
        let came = receiver.came();
        if came.is_empty() { Err(came) } else { Ok(()) }
    });
    let first = receiver.came().remove(0);
    assert_eq!(first.signature, signature(&first), "the receiver can tell who sent it");
    let body: Value = serde_json::from_str(&first.body).expect("JSON");
    assert_eq!(body["type"], "incidents.open", "{body}");
    assert!(first.body.contains("the check `door` fails"), "{body}");
    until("the mail and the command", TOLD_MAX, || {
        let mails = mails.lock().expect("unpoisoned").len();
        let script = std::fs::read_to_string(&told).unwrap_or_default();
        if mails > 0 && script.contains("door") {
            Ok(())
        } else {
            Err((mails, script))
        }
    });
    let mail = mails.lock().expect("unpoisoned")[0].clone();
    assert!(
        mail.contains("Message-ID: <alr_") && mail.contains("the check `door` fails"),
        "{mail}"
    );

    // Nobody has answered the webhook: the intent is on disk, the delivery is not known.
    daemon.kill();
    receiver.holds.store(false, Ordering::Release);
    let daemon = home.start_with(&variables);
    until("the webhook to come again", TOLD_MAX, || {
        let came = receiver.came();
        if came.len() > 1 { Ok(()) } else { Err(came) }
    });
    let again = receiver.came()[1].clone();
    assert_eq!(
        (&again.id, &again.body),
        (&first.id, &first.body),
        "the same message under the same id"
    );

    let rim = Rim::of(&daemon);
    let open = claw(&home, &["incident", "list", "--open"], 0);
    let incident = open["incidents"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|one| one["of"] == "check:door");
    let incident = incident.unwrap_or_else(|| panic!("{open}"));
    let id = incident["id"].as_str().expect("an id").to_owned();
    let health = claw(&home, &["health"], 1);
    assert_eq!(health["checks"]["door"]["good"], false, "{health}");
    for name in [
        "gateway",
        "admin",
        "store",
        "schedules",
        "memory",
        "models",
        "mcp",
        "disk",
        "certificates",
        "audit",
        "clock",
        "alerts",
    ] {
        assert_eq!(health["checks"][name]["good"], true, "{name}: {health}");
    }
    assert_eq!(rim.get("/healthz").status, 503);
    claw(&home, &["incident", "ack", &id], 0);
    assert!(claw(&home, &["incident", "show", &id], 0)["acknowledged"]["by"].is_string());

    let opened = TcpListener::bind(door).expect("the port is free still");
    until("the end to be told", TOLD_MAX, || {
        let came = receiver.came();
        let ended = came.iter().any(|came| came.body.contains("incidents.ended"));
        if ended { Ok(()) } else { Err(came) }
    });
    drop(opened);
    let mut ids: Vec<String> = receiver.came().iter().map(|came| came.id.clone()).collect();
    ids.dedup();
    assert_eq!(
        ids.len(),
        2,
        "one message of its beginning, one of its end: {:?}",
        receiver.came()
    );
    assert_eq!(claw(&home, &["incident", "show", &id], 0)["open"], false);
    assert!(daemon.terminate().success());
}

#[test]
fn a_channel_without_its_secret_and_one_that_refuses_everything_are_told_over_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = folder.path().join("told.json");
    let config = format!(
        "[health]\ninterval = 5\nfailures = 1\ngroupWait = 0\n\
         [health.checks.never]\ncommand = [\"false\"]\n\
         [health.alerts.hook]\nurl = \"http://127.0.0.1:1/\"\nsecret = \"${{OPENCLAW_TEST_NO_SUCH_SECRET}}\"\n\
         [health.alerts.dead]\ncommand = [\"false\"]\n\
         [health.alerts.script]\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n",
        told.display()
    );
    let home = TestHome::new(&config);
    let daemon = home.start();
    let alerts = || claw(&home, &["health"], 1)["checks"]["alerts"].clone();
    until("the channel without a secret to be told", TOLD_MAX, || {
        let script = std::fs::read_to_string(&told).unwrap_or_default();
        let is_told = script.contains("`hook` cannot be used");
        if is_told { Ok(()) } else { Err((alerts(), script)) }
    });
    until("the channel that refuses everything to be seen", TOLD_MAX, || {
        let found = alerts();
        let seen = found["seen"].as_str().unwrap_or_default();
        let is_seen = found["good"] == false && seen.contains("`dead` takes nothing") && !seen.contains("`script`");
        if is_seen { Ok(()) } else { Err(found) }
    });
    assert!(daemon.terminate().success());
}
