//! The launcher: one small process that makes a shim of itself for each program, without starting a binary anew.
//!
//! `openclaw __launch` is started by the daemon once. Its standard input is a socket; each message on it carries the
//! daemon's end of one shim's connection, and the launcher forks: the copy lets go of the socket and becomes the shim.
//! Refuses to know: orders, programs, reports. Invariants: it has one thread, or it does not fork; its death touches no
//! shim that has begun; when the daemon closes its end or dies, it ends; what a killed shim leaves behind becomes its
//! child, and is ended.
//!
//! `ops/decisions/0021-launcher.md` says why a fork is sound here and nowhere else in the product.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IoSliceMut, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use fork::{Fork, fork};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal as Kill, WaitOptions, getpid, kill_process, set_child_subreaper, setsid, wait};

use super::descent::children_of;
use super::launch::demand_one_thread;
use super::shim;
use crate::skills::sandbox;

/// The word that makes the binary a launcher.
pub(super) const LAUNCH: &str = "__launch";

/// Launches until the daemon goes; in each copy of itself it is the shim that comes back from here.
pub fn launch_main() -> ExitCode {
    match launch_all() {
        Ok(None) => ExitCode::SUCCESS,
        // The copy: nothing of the launcher is left in it but its memory.
        Ok(Some(caller)) => shim::attend(caller),
        Err(reason) => {
            let _ = writeln!(io::stderr(), "openclaw: the launcher of programs: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Serves the daemon. Comes back with nothing when it has gone, and in a copy with the copy's connection.
fn launch_all() -> Result<Option<UnixStream>, String> {
    let described = |what: &'static str| move |error: Errno| format!("{what}: {error}");
    // Away from the daemon's terminal and group: an interrupt typed there is the daemon's to handle.
    let _ = setsid();
    let _ = rustix::thread::set_name(c"openclaw-launch");
    // Copies do not inherit it. Where it is refused, what a killed shim leaves is found by other ways alone.
    let _ = set_child_subreaper(Some(getpid()));
    let daemon = take_stdin().map_err(|error| format!("its socket: {error}"))?;
    let mut ended = SigSet::empty();
    ended.add(Signal::SIGCHLD);
    ended.thread_block().map_err(|error| format!("signals: {error}"))?;
    let children = SignalFd::with_flags(&ended, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|error| format!("signals: {error}"))?;
    // What is the same for every program is made once; each copy has it.
    sandbox::prepare_filters();
    demand_one_thread().map_err(|error| error.to_string())?;
    let mut shims = BTreeSet::new();
    loop {
        let mut watched = [
            PollFd::new(&daemon, PollFlags::IN),
            PollFd::new(&children, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Err(Errno::INTR) => continue,
            other => other.map(drop).map_err(described("waiting"))?,
        }
        let (asked, some_ended) = (!watched[0].revents().is_empty(), !watched[1].revents().is_empty());
        if some_ended {
            while matches!(children.read_signal(), Ok(Some(_))) {}
            // How they ended they have told the daemon themselves.
            while let Ok(Some((ended, _))) = wait(WaitOptions::NOHANG) {
                shims.remove(&ended.as_raw_nonzero().get());
            }
            end_strangers(&shims);
        }
        if !asked {
            continue;
        }
        let caller = match take_caller(&daemon) {
            Ok(Taken::Caller(caller)) => caller,
            Ok(Taken::Nothing) => continue,
            Ok(Taken::DaemonLeft) => return Ok(None),
            Err(error) => return Err(described("an order")(error)),
        };
        match fork() {
            Ok(Fork::Child) => {
                // The program must be able to see its children end, and so must the shim.
                ended.thread_unblock().map_err(|error| format!("signals: {error}"))?;
                return Ok(Some(caller));
            }
            Ok(Fork::Parent(shim)) => {
                shims.insert(shim);
            }
            // Too many processes, or no memory for one more.
            Err(error) => shim::refuse(caller, format!("a process for it: {error}")),
        }
    }
}

/// Kills the children that are no shims: a shim was killed, and what its program had started has come here. The end of
/// each brings its own children here in turn, and another look.
fn end_strangers(shims: &BTreeSet<i32>) {
    let children = children_of(getpid().as_raw_nonzero().get());
    for stranger in children.into_iter().filter(|child| !shims.contains(child)) {
        if let Some(stranger) = Pid::from_raw(stranger) {
            // Not reaped yet, so its number is nobody else's.
            let _ = kill_process(stranger, Kill::KILL);
        }
    }
}

/// The standard input, in whose place comes nothing: copies must not hold the socket.
fn take_stdin() -> io::Result<OwnedFd> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket)
}

enum Taken {
    Caller(UnixStream),
    /// A message without a connection.
    Nothing,
    DaemonLeft,
}

fn take_caller(daemon: &OwnedFd) -> Result<Taken, Errno> {
    let mut byte = [0; 1];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut byte)];
    let received = loop {
        match recvmsg(daemon, &mut into, &mut with, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            // The daemon was killed with messages of ours unread; there are none, but it means the same.
            Err(Errno::CONNRESET) => return Ok(Taken::DaemonLeft),
            other => break other?,
        }
    };
    for message in with.drain() {
        if let RecvAncillaryMessage::ScmRights(mut sockets) = message
            && let Some(socket) = sockets.next()
        {
            return Ok(Taken::Caller(UnixStream::from(socket)));
        }
    }
    Ok(if received.bytes == 0 {
        Taken::DaemonLeft
    } else {
        Taken::Nothing
    })
}
