//! The daemon's end of the launcher: starts it when there is none, and hands connections over to it.
//!
//! Refuses to know: orders. Invariants: a connection was handed over or there is an error; a launcher that has died is
//! reaped, and another one takes its place with the next connection; it goes with the last holder of this.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::time::timeout;

use super::launcher::LAUNCH;

/// Launchers that are tried for one connection.
const TRIES: u32 = 3;
/// Longest wait for a launcher that has more to do than fits into its socket.
const ROOM_MAX: Duration = Duration::from_secs(5);

/// Says why no shim could be asked for.
#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    /// It cannot be started.
    #[error("failed to start the launcher of programs {program}")]
    Start {
        /// Its program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It took nothing for too long.
    #[error("failed to hand a program to its launcher within {limit_ms} ms")]
    Busy {
        /// The limit.
        limit_ms: u64,
    },
    /// Each one that was started has died.
    #[error("failed to hand a program to any of {tries} launchers")]
    Dying {
        /// How many.
        tries: u32,
        /// What the last one's socket said.
        #[source]
        source: io::Error,
    },
}

/// Where shims come from.
#[derive(Debug)]
pub(super) struct LauncherHandle {
    /// The binary that answers to `__launch`.
    program: PathBuf,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    socket: Arc<UnixStream>,
}

impl LauncherHandle {
    pub(super) fn new(program: PathBuf) -> Self {
        Self {
            program,
            running: Mutex::default(),
        }
    }

    /// Has a shim made at the other end of this connection. What it is told before is not lost.
    pub(super) async fn hand_over(&self, connection: &OwnedFd) -> Result<(), LauncherError> {
        let mut last = io::Error::from(io::ErrorKind::BrokenPipe);
        let mut tries = 0;
        while tries < TRIES {
            let socket = self.socket()?;
            match send(&socket, connection) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => wait_for_room(&socket).await?,
                Err(Errno::INTR) => {}
                Err(error) => {
                    last = error.into();
                    tries += 1;
                    self.put_away(&socket);
                }
            }
        }
        Err(LauncherError::Dying { tries, source: last })
    }

    /// Completes when the launcher that runs now, or the one that is started for this, is gone.
    pub(super) async fn ended(&self) -> Result<(), LauncherError> {
        let socket = self.socket()?;
        let start = |source| self.start_error(source);
        let watched = watched(&socket).map_err(start)?;
        // It says nothing, so what can be read is its end.
        watched.readable().await.map_err(start)?;
        self.put_away(&socket);
        Ok(())
    }

    fn socket(&self) -> Result<Arc<UnixStream>, LauncherError> {
        let mut running = self.lock();
        let is_alive = running
            .as_mut()
            .is_some_and(|running| matches!(running.child.try_wait(), Ok(None)));
        if !is_alive {
            let started = self.start().map_err(|source| self.start_error(source))?;
            *running = Some(started);
        }
        let socket = running.as_ref().map(|running| Arc::clone(&running.socket));
        socket.ok_or_else(|| self.start_error(io::ErrorKind::NotFound.into()))
    }

    fn start(&self) -> io::Result<Running> {
        let (socket, its) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let mut command = Command::new(&self.program);
        command
            .arg0("openclaw")
            .arg(LAUNCH)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::null())
            // What goes wrong within it belongs into the daemon's own log.
            .stderr(Stdio::inherit());
        Ok(Running {
            child: command.spawn()?,
            socket: Arc::new(socket),
        })
    }

    /// Reaps the launcher of this socket, if nobody has done so.
    fn put_away(&self, socket: &Arc<UnixStream>) {
        let mut running = self.lock();
        if running.as_ref().is_some_and(|known| Arc::ptr_eq(&known.socket, socket)) {
            *running = None;
        }
    }

    fn start_error(&self, source: io::Error) -> LauncherError {
        LauncherError::Start {
            program: self.program.display().to_string(),
            source,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its shims do not depend on it, so a kill costs nothing and is over at once.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(socket: &UnixStream, connection: &OwnedFd) -> Result<(), Errno> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let connections = [connection.as_fd()];
    if !with.push(SendAncillaryMessage::ScmRights(&connections)) {
        return Err(Errno::NOBUFS);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(b"s")], &mut with, flags).map(drop)
}

/// The same socket, as one that this runtime waits for.
fn watched(socket: &UnixStream) -> io::Result<tokio::net::UnixStream> {
    tokio::net::UnixStream::from_std(socket.try_clone()?)
}

async fn wait_for_room(socket: &UnixStream) -> Result<(), LauncherError> {
    let limit_ms = ROOM_MAX.as_millis() as u64;
    let waiting = async { watched(socket)?.writable().await };
    match timeout(ROOM_MAX, waiting).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(LauncherError::Busy { limit_ms }),
    }
}
