//! In the shim: carries connections out of a program's own network to the daemon's proxy, and nothing else.
//!
//! Refuses to know: HTTP, hosts. The proxy decides by the pass that it is told first. Invariant: at most
//! [`CONNECTIONS_MAX`] connections at once; more are closed.

use std::io::{self, IoSliceMut, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::wire::EgressWire;

/// Connections of one program at once.
const CONNECTIONS_MAX: usize = 64;

/// A place at which the listener is waited for that the program's side hands over.
pub(super) struct Relay {
    door: UnixListener,
    path: PathBuf,
    egress: EgressWire,
}

impl Relay {
    /// Makes the place; before the program is started, which finds it there.
    pub(super) fn bind(handover: &Path, egress: EgressWire) -> io::Result<Self> {
        Ok(Self {
            door: UnixListener::bind(handover)?,
            path: handover.to_owned(),
            egress,
        })
    }

    /// Waits for the listener and serves it until the process ends, on a thread of its own.
    pub(super) fn serve(self) {
        thread::spawn(move || {
            let taken = self.door.accept().and_then(|(stream, _)| take_listener(&stream));
            // One listener is handed over, before the program begins.
            let _ = std::fs::remove_file(&self.path);
            if let Ok(listener) = taken {
                relay(&listener, self.egress);
            }
        });
    }
}

fn take_listener(stream: &UnixStream) -> io::Result<TcpListener> {
    let mut byte = [0; 1];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut with,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in with.drain() {
        if let RecvAncillaryMessage::ScmRights(mut sockets) = message
            && let Some(socket) = sockets.next()
        {
            return Ok(TcpListener::from(socket));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn relay(listener: &TcpListener, egress: EgressWire) {
    let egress = Arc::new(egress);
    let open = Arc::new(AtomicUsize::new(0));
    for inner in listener.incoming() {
        let Ok(inner) = inner else { continue };
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (egress, open) = (Arc::clone(&egress), Arc::clone(&open));
        thread::spawn(move || {
            // A connection that breaks is the two ends' to notice.
            let _ = carry(inner, &egress);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn carry(inner: TcpStream, egress: &EgressWire) -> io::Result<()> {
    let mut outer = UnixStream::connect(&egress.socket)?;
    outer.write_all(format!("{}\n", egress.pass).as_bytes())?;
    let (mut from_inner, mut to_outer) = (inner.try_clone()?, outer.try_clone()?);
    let up = thread::spawn(move || {
        let _ = io::copy(&mut from_inner, &mut to_outer);
        let _ = to_outer.shutdown(Shutdown::Write);
    });
    let mut to_inner = inner;
    let _ = io::copy(&mut outer, &mut to_inner);
    let _ = to_inner.shutdown(Shutdown::Write);
    // A panic of the other direction has closed its end, and that is all that matters here.
    let _ = up.join();
    Ok(())
}
