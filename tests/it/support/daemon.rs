//! The real binary on a home of its own: started, asked, killed, started again.
//!
//! A [`TestHome`] outlives its daemons, so that a test can kill one and start the next on what it left. What a daemon
//! says goes into a file of the home; when a test fails, the folder is kept and its path and the end of that file
//! are printed. A [`TestDaemon`] that is dropped is killed.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::contract;
use super::wait::until;

/// Longest time from the start of the process until it is ready; generous, because machines that test are busy.
const READY_MAX: Duration = Duration::from_secs(30);
/// Longest time of an orderly end.
const END_MAX: Duration = Duration::from_secs(40);
/// Longest time of one request.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Bytes of the daemon's words that a failed test prints.
const WORDS_BYTES_MAX: usize = 6000;

/// A home in a temporary folder, with a workspace beside it.
pub struct TestHome {
    folder: Option<tempfile::TempDir>,
    path: PathBuf,
    program: PathBuf,
}

impl TestHome {
    /// A home with this text as its `openclaw.toml`. The port is not taken from it: each daemon gets a free one.
    pub fn new(config: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("openclaw-it-")
            .tempdir()
            .expect("a folder");
        let path = folder.path().to_owned();
        let home = Self {
            folder: Some(folder),
            path,
            program: env!("CARGO_BIN_EXE_openclaw").into(),
        };
        std::fs::create_dir_all(home.path()).expect("home");
        std::fs::create_dir_all(home.workspace()).expect("workspace");
        std::fs::write(home.path().join("openclaw.toml"), config).expect("configuration");
        home
    }

    /// Gives this home a name of the program for itself: by `/proc/PID/exe` every process is found that runs it, also
    /// those that have neither arguments nor variables of their own.
    #[must_use]
    pub fn with_own_program(mut self) -> Self {
        let own = self.path.join("openclaw");
        if std::fs::hard_link(&self.program, &own).is_err() {
            // Another file system.
            std::fs::copy(&self.program, &own).expect("a copy of the program");
        }
        self.program = own;
        self
    }

    /// The file that its daemons run.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What `--home` is given.
    pub fn path(&self) -> PathBuf {
        self.path.join("home")
    }

    /// A folder for runs to work in.
    pub fn workspace(&self) -> PathBuf {
        self.path.join("workspace")
    }

    /// Lays a small Rust project into the workspace.
    pub fn write_project(&self) {
        let folder = self.workspace();
        std::fs::create_dir_all(folder.join("src")).expect("a folder");
        std::fs::create_dir_all(folder.join("docs")).expect("a folder");
        let write = |path: &str, text: &str| std::fs::write(folder.join(path), text).expect("written");
        write(
            "README.md",
            "# Demo\n\nA small project that greets. See [the plan](docs/plan.md).\n",
        );
        write("docs/plan.md", "# Plan\n\n- greet\n- part\n");
        write(
            "src/main.rs",
            "fn main() {\n    // A greeting for the world.\n    println!(\"hello\");\n}\n",
        );
        write(
            "Cargo.toml",
            "[package]\nname = \"demo\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        );
    }

    /// A folder for what effects leave, outside of what runs may touch.
    pub fn ledger_folder(&self) -> PathBuf {
        self.path.join("ledger")
    }

    /// The store's file, to be opened when no daemon runs.
    pub fn store_file(&self) -> PathBuf {
        self.path().join("state/openclaw.redb")
    }

    /// Where the daemons of this home say what they have to say.
    pub fn words_file(&self) -> PathBuf {
        self.path.join("daemon.stderr")
    }

    /// The end of what the daemons said.
    pub fn words(&self) -> String {
        let text = std::fs::read(self.words_file()).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(WORDS_BYTES_MAX)..]).into_owned()
    }

    /// The operator's key, which the first start makes.
    pub fn operator_key(&self) -> String {
        let text = std::fs::read_to_string(self.path().join("state/operator.key")).expect("the operator's key");
        text.trim().to_owned()
    }

    /// A command of the program on this home, for the CLI.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--home").arg(self.path());
        // Nothing of the developer's own surroundings decides a test.
        command
            .env_remove("OPENCLAW_HOME")
            .env_remove("OPENCLAW_URL")
            .env_remove("OPENCLAW_KEY");
        command
    }

    /// Starts a daemon and waits until it is ready.
    pub fn start(&self) -> TestDaemon {
        self.start_with(&[])
    }

    /// Starts a daemon with these variables and waits until it is ready.
    pub fn start_with(&self, variables: &[(&str, &str)]) -> TestDaemon {
        let mut process = self.spawn(variables);
        let waited = process.wait_ready();
        waited.unwrap_or_else(|status| panic!("the daemon ended before it was ready: {status}\n{}", self.words()))
    }

    /// Starts a daemon that may be killed before it is ready.
    pub fn spawn(&self, variables: &[(&str, &str)]) -> Starting {
        let open = || -> std::io::Result<File> { OpenOptions::new().create(true).append(true).open(self.words_file()) };
        let mut command = self.command();
        command
            .args(["start", "--port", "0"])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(open().expect("words"))
            .stderr(open().expect("words"));
        Starting {
            process: Some(Process(command.spawn().expect("the binary starts"))),
            began: Instant::now(),
            home: self.path(),
        }
    }
}

impl Drop for TestHome {
    #[expect(clippy::print_stderr, reason = "a failed test says where to look")]
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!(
                "kept: {}\nthe daemon's last words:\n{}",
                folder.keep().display(),
                self.words()
            );
        }
    }
}

/// A child that does not outlive the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, and been reaped, long ago.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A daemon that is not ready yet.
pub struct Starting {
    process: Option<Process>,
    began: Instant,
    home: PathBuf,
}

impl Starting {
    fn process(&mut self) -> &mut Child {
        &mut self.process.as_mut().expect("held until it is ready").0
    }

    /// Waits until it is ready: it answers, the store commits, and the runs of an earlier life have been taken up.
    /// When it ends before that, says how. Call once.
    pub fn wait_ready(&mut self) -> Result<TestDaemon, ExitStatus> {
        self.wait(is_ready)
    }

    /// Waits until it answers at all; asks for nothing that would be written.
    pub fn wait_listening(&mut self) -> Result<TestDaemon, ExitStatus> {
        self.wait(|_| true)
    }

    fn wait(&mut self, is_enough: impl Fn(&str) -> bool) -> Result<TestDaemon, ExitStatus> {
        let began = self.began;
        let home = self.home.clone();
        let url = until("the daemon to be ready", READY_MAX, || {
            if let Some(status) = self.process().try_wait().expect("its own child") {
                return Ok(Err(status));
            }
            let file = std::fs::read_to_string(home.join("state/daemon.json")).unwrap_or_default();
            let file: Value = serde_json::from_str(&file).unwrap_or_default();
            // The file of an earlier daemon stays after a crash.
            if file["pid"] != self.process().id() {
                return Err(format!("daemon.json: {file}"));
            }
            let url = file["gateway"].as_str().expect("an address").to_owned();
            if is_enough(&url) {
                Ok(Ok(url))
            } else {
                Err(format!("{url} is not ready"))
            }
        })?;
        let key = std::fs::read_to_string(home.join("state/operator.key")).expect("the operator's key");
        Ok(TestDaemon {
            process: self.process.take().expect("held until it is ready"),
            url,
            key: key.trim().to_owned(),
            ready_after: began.elapsed(),
        })
    }
}

/// Asks without a client library: connections are refused until the daemon listens.
fn is_ready(url: &str) -> bool {
    use std::io::{Read, Write};
    // Over TLS this asks nothing: the file that names the address is written when everything is up.
    if url.starts_with("https://") {
        return true;
    }
    let address = url.trim_start_matches("http://");
    let Ok(mut stream) = std::net::TcpStream::connect(address) else {
        return false;
    };
    stream.set_read_timeout(Some(ANSWER_MAX)).ok();
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// A daemon that serves.
pub struct TestDaemon {
    process: Process,
    /// Where its gateway is, with `http://`.
    pub url: String,
    /// The operator's key.
    pub key: String,
    /// How long the start took.
    pub ready_after: Duration,
}

impl TestDaemon {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends a signal without waiting.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a child's number");
        // It may have ended by itself; whoever waits for it sees how.
        kill_process(pid, signal).ok();
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.process.0.wait().expect("its own child")
    }

    /// SIGTERM, and waits for the orderly end.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_end(END_MAX)
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.0.try_wait().expect("its own child")
    }

    /// Waits until the process has ended.
    pub fn wait_end(&mut self, within: Duration) -> ExitStatus {
        until("the daemon to end", within, || self.ended().ok_or("it runs"))
    }

    /// A client of its own; connections are not shared between daemons.
    pub fn client(&self) -> Client {
        // Another test of this program may have installed it.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Client {
            http,
            url: self.url.clone(),
            key: self.key.clone(),
        }
    }
}

/// Asks one daemon.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// Status and JSON body; an error is a connection that broke, as with a daemon that was killed.
pub type Answer = Result<(u16, Value), reqwest::Error>;

impl Client {
    /// A request to this path, with the key.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.key)
            .timeout(ANSWER_MAX)
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        let got = answer(self.request(reqwest::Method::GET, path)).await;
        got.inspect(|(status, body)| contract::check("GET", path, *status, body))
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, body, &[]).await
    }

    /// POST with a JSON body and further headers.
    pub async fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = self
            .request(reqwest::Method::POST, path)
            .header("content-type", "application/json")
            .body(body.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let got = answer(request).await;
        got.inspect(|(status, body)| contract::check("POST", path, *status, body))
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let body = response.bytes().await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

#[test]
fn a_daemon_is_started_asked_killed_and_started_again_on_the_same_home() {
    let home = TestHome::new("[log]\nlevel = \"warn\"\n");
    let status = |daemon: &TestDaemon| {
        let client = daemon.client();
        let asked = super::super::process::block_on(async move { client.get("/v1/status").await });
        asked.expect("answered")
    };
    let first = home.start();
    let (code, body) = status(&first);
    assert_eq!((code, &body["ready"]), (200, &Value::Bool(true)), "{body}");
    let killed = first.kill();
    assert!(!killed.success(), "{killed}");
    let second = home.start();
    let (_, again) = status(&second);
    assert_ne!(again["boot"], body["boot"]);
    let ended = second.terminate();
    assert!(ended.success(), "{ended}\n{}", home.words());
    assert!(!Path::new(&home.path().join("state/daemon.json")).exists());
}
