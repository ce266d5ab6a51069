//! The daemon under measurement: the real program on a home of its own, watched through `/proc`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Longest wait for a daemon to be ready or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Clock ticks per second in `/proc/<pid>/stat`; Linux promises it to programs.
const TICKS: u64 = 100;

/// A home with its program; removed when dropped.
pub struct Home {
    program: PathBuf,
    /// Its folder.
    pub folder: PathBuf,
    port: u16,
    key: String,
}

/// A process that serves.
pub struct Daemon<'home> {
    home: &'home Home,
    child: Child,
    /// From its start to its first 200 of `/readyz`.
    pub ready_in: Duration,
}

impl Home {
    /// Makes a home with agent `bench` and one model per script, all at this address.
    pub fn make(program: &Path, folder: &Path, models_at: &str, scripts: &[String]) -> io::Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        fs::create_dir_all(folder.join("work"))?;
        let made = Command::new(program)
            .args(["--home".as_ref(), folder.as_os_str(), "init".as_ref()])
            .stdout(Stdio::null())
            .status()?;
        if !made.success() {
            return Err(io::Error::other(format!("`openclaw init` ended with {made}")));
        }
        let mut config =
            format!("[gateway]\nport = {port}\n\n[agent]\nmaxConcurrentSteps = 1024\n\n[log]\nlevel = \"warn\"\n");
        for (place, script) in scripts.iter().enumerate() {
            use std::fmt::Write as _;
            write!(
                config,
                "\n[models.m{place}]\nprovider = \"openai\"\nid = \"{script}\"\nbaseUrl = \"{models_at}\"\n\
                 contextTokens = 1000000000\n"
            )
            .map_err(io::Error::other)?;
        }
        fs::write(folder.join("openclaw.toml"), config)?;
        fs::create_dir_all(folder.join("agents"))?;
        fs::write(
            folder.join("agents/bench.toml"),
            "role = \"executor\"\nmodel = \"m0\"\nprompt = \"You measure.\"\nconcurrency = 1024\nmaxTurns = 1000\n\
             skills = [\"memory.get\", \"memory.put\", \"fs.read\", \"fs.write\"]\n",
        )?;
        let key = fs::read_to_string(openclaw::daemon::config::Home::under(folder).operator_key_file())?;
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            port,
            key: key.trim().to_owned(),
        })
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start(&self) -> io::Result<Daemon<'_>> {
        let errors = fs::File::create(self.folder.join("daemon.log"))?;
        let began = Instant::now();
        let child = Command::new(&self.program)
            .args(["--home".as_ref(), self.folder.as_os_str(), "start".as_ref()])
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()?;
        let mut daemon = Daemon {
            home: self,
            child,
            ready_in: Duration::ZERO,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        while !is_ready(address) {
            if let Some(status) = daemon.child.try_wait()? {
                let log = fs::read_to_string(self.folder.join("daemon.log")).unwrap_or_default();
                return Err(io::Error::other(format!("the daemon ended with {status}: {log}")));
            }
            if began.elapsed() > PATIENCE {
                return Err(io::Error::other("the daemon does not get ready"));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        daemon.ready_in = began.elapsed();
        Ok(daemon)
    }

    /// Where the gateway listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The operator's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// From the start of a process of this program that does nothing to its end.
    pub fn bare_exec(&self) -> io::Result<Duration> {
        let began = Instant::now();
        Command::new(&self.program)
            .arg("--version")
            .stdout(Stdio::null())
            .status()?;
        Ok(began.elapsed())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn is_ready(address: SocketAddr) -> bool {
    is_ready_within(address, PATIENCE)
}

/// Whether a daemon says within this time that it is ready.
pub fn is_ready_within(address: SocketAddr, limit: Duration) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

impl Daemon<'_> {
    /// Submits a run and gives its id without waiting for it.
    pub fn submit(&self, body: &Value) -> io::Result<String> {
        let (address, key, body) = (self.home.address(), &self.home.key, body.to_string());
        let mut stream = TcpStream::connect(address)?;
        let head = format!(
            "POST /v1/runs HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let answer = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let answer: Value = serde_json::from_str(answer).map_err(io::Error::other)?;
        let id = answer["id"].as_str().map(str::to_owned);
        id.ok_or_else(|| io::Error::other(format!("a run was not accepted: {text}")))
    }

    /// Runs a script to its end and gives the run as the gateway shows it.
    pub async fn run(&self, client: &reqwest::Client, script: usize) -> Result<Value, String> {
        let workspace = self.home.folder.join("work");
        let body = json!({
            "task": "measure", "agent": "bench", "model": format!("m{script}"), "workspace": workspace,
        });
        let response = client
            .post(format!("http://127.0.0.1:{}/v1/runs?wait=110000", self.home.port))
            .header("authorization", format!("Bearer {}", self.home.key))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send();
        let text = match response.await {
            Ok(response) => response.text().await,
            Err(error) => Err(error),
        };
        let text = text.map_err(|error| format!("ask the gateway: {error}"))?;
        let run: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if run["status"] == "succeeded" {
            Ok(run)
        } else {
            Err(format!("a run did not succeed: {text}"))
        }
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    /// Memory that is resident now, in KiB.
    pub fn rss_kib(&self) -> u64 {
        rss_kib(self.child.id())
    }

    /// The most that was resident since its start, in KiB.
    pub fn rss_peak_kib(&self) -> u64 {
        status_kib(self.child.id(), "VmHWM:")
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Duration {
        cpu_of(&self.proc("stat"))
    }

    /// Ends it in order.
    pub fn stop(mut self) -> io::Result<()> {
        self.signal(Signal::TERM);
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                return Err(io::Error::other("the daemon does not end"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // It may have ended by itself.
            kill_process(pid, signal).ok();
        }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // As a crash does it; also the way of the measurements that end so on purpose.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Memory of a process that is resident now, in KiB; 0 when it is not there.
pub fn rss_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

fn status_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok())
        .unwrap_or(0)
}

/// Processor time, user and system, of a line of `/proc/.../stat`.
pub fn cpu_of(stat: &str) -> Duration {
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |place: usize| {
        fields
            .get(place)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    Duration::from_millis((ticks(11) + ticks(12)) * 1000 / TICKS)
}
