//! What a service manager does: holds the gateway's socket, starts the daemon, starts it again when it has ended.

use std::fs::OpenOptions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Pause before a start, as `RestartSec=` of the unit.
const RESTART_AFTER: Duration = Duration::from_millis(100);
/// Pause between two looks at the process and at what it has done.
const LOOK: Duration = Duration::from_millis(2);
/// Longest orderly end.
const END_MAX: Duration = Duration::from_secs(60);
/// Hands the socket of the standard input over as a service manager does.
const HAND_OVER: &str = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 </dev/null"#;
/// Where Debian puts the library that shows a program another time.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// An end of the daemon and what came after it.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// How it ended.
    pub how: String,
    /// From its end to the next answer of `/readyz`.
    pub ready: Option<Duration>,
    /// From its end to the next effect of a step; none when nothing was under way.
    pub resumed: Option<Duration>,
}

/// Where everything of a daemon under attack is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The program.
    pub program: PathBuf,
    /// Its home.
    pub home: PathBuf,
    /// The file that grows with each effect.
    pub attempts: PathBuf,
    /// Whether it is shown another time where that can be done; reading the clock costs it a little more then.
    pub moves_clock: bool,
}

/// Keeps a daemon alive until it is told to end it.
pub struct Keeper {
    kept: Arc<Kept>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// What the thread that keeps it and everybody else know.
struct Kept {
    place: Place,
    address: SocketAddr,
    pid: AtomicU32,
    is_ending: AtomicBool,
    recoveries: Mutex<Vec<Recovery>>,
}

impl Keeper {
    /// Starts the daemon on a socket that outlives it.
    ///
    /// # Errors
    /// When it cannot be started at all.
    pub fn start(place: Place, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let kept = Arc::new(Kept {
            place,
            address,
            pid: AtomicU32::default(),
            is_ending: AtomicBool::default(),
            recoveries: Mutex::default(),
        });
        let mut child = kept.spawn(&listener)?;
        let thread = {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || kept.keep(&mut child, &listener))
        };
        Ok(Self {
            kept,
            thread: Some(thread),
        })
    }

    /// Where the gateway is.
    pub fn address(&self) -> SocketAddr {
        self.kept.address
    }

    /// The process that runs now, or ran last.
    pub fn pid(&self) -> u32 {
        self.kept.pid()
    }

    /// Every end so far that was followed by a start.
    pub fn seen(&self) -> Vec<Recovery> {
        self.kept.recoveries().clone()
    }

    /// Ends the daemon in order.
    ///
    /// # Errors
    /// When it does not end, or could not be started again meanwhile.
    pub fn end(mut self) -> io::Result<()> {
        self.kept.is_ending.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        while !thread.is_finished() {
            if began.elapsed() > END_MAX {
                return Err(io::Error::other("the daemon does not end"));
            }
            self.kept.signal(Signal::TERM);
            std::thread::sleep(Duration::from_millis(50));
        }
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the keeper panicked")))
    }
}

impl Kept {
    fn spawn(&self, listener: &TcpListener) -> io::Result<Child> {
        let words = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.place.home.join("daemon.log"))?;
        let mut command = Command::new("sh");
        command
            .args(["-c", HAND_OVER, "sh"])
            .args([self.place.program.as_os_str(), "--home".as_ref()])
            .args([self.place.home.as_os_str(), "start".as_ref()])
            // As the unit does.
            .env("MALLOC_ARENA_MAX", "1")
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone()?)))
            .stdout(words.try_clone()?)
            .stderr(words);
        if self.place.moves_clock && Path::new(FAKETIME).is_file() {
            command
                .env("LD_PRELOAD", FAKETIME)
                .env("FAKETIME_TIMESTAMP_FILE", self.place.home.join("faketime"))
                .env("FAKETIME_CACHE_DURATION", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let child = command.spawn()?;
        self.pid.store(child.id(), Ordering::Relaxed);
        Ok(child)
    }

    fn keep(&self, child: &mut Child, listener: &TcpListener) -> io::Result<()> {
        loop {
            let status = wait(child)?;
            let ended = Instant::now();
            if self.is_ending.load(Ordering::Relaxed) {
                return Ok(());
            }
            let before = length(&self.place.attempts);
            std::thread::sleep(RESTART_AFTER);
            *child = self.spawn(listener)?;
            let mut recovery = Recovery {
                how: status,
                ready: None,
                resumed: None,
            };
            while (recovery.ready.is_none() || recovery.resumed.is_none()) && ended.elapsed() < Duration::from_secs(20)
            {
                if recovery.resumed.is_none() && length(&self.place.attempts) > before {
                    recovery.resumed = Some(ended.elapsed());
                }
                if recovery.ready.is_none() && self.is_ready() {
                    recovery.ready = Some(ended.elapsed());
                }
                if child.try_wait()?.is_some() {
                    break;
                }
                std::thread::sleep(LOOK);
            }
            self.recoveries().push(recovery);
        }
    }

    fn is_ready(&self) -> bool {
        crate::daemon::is_ready_within(self.address, Duration::from_millis(100))
    }

    fn recoveries(&self) -> std::sync::MutexGuard<'_, Vec<Recovery>> {
        self.recoveries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid().cast_signed()) {
            // It may have ended by itself.
            kill_process(pid, signal).ok();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.kept.is_ending.store(true, Ordering::Relaxed);
            self.kept.signal(Signal::KILL);
        }
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn wait(child: &mut Child) -> io::Result<String> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.to_string());
        }
        std::thread::sleep(LOOK);
    }
}
