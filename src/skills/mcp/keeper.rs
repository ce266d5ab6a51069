//! The keeper: one small process per server program, between the daemon and the program.
//!
//! `openclaw __keep` reads one order (the first line of its input), starts the program under the same confinement that
//! other programs get, and hands on what the daemon writes; the program writes to the daemon itself. Refuses to know:
//! the protocol. Invariants: when the daemon closes its pipe or dies, whatever the moment, the program is asked to end
//! (end of input, then SIGTERM), killed after the grace, and with it everything that it started; when the keeper is
//! killed, the kernel kills the program; a program that cannot be confined as ordered is not started.

use std::io::{self, BufRead, PipeWriter, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, kill_process_group, set_child_subreaper, setsid};

use crate::skills::process::bounds;
use crate::skills::process::descent::end_all_descendants;
use crate::skills::process::event::Event;
use crate::skills::process::launch::{Streams, launch, reap};
use crate::skills::process::wire::{DOCUMENT_BYTES_MAX, KeepWire, WIRE_VERSION};
use crate::skills::sandbox::stage::{NOT_STARTED_CODE, NOT_STARTED_MARK};

/// The word that makes the binary a keeper.
pub const KEEP: &str = "__keep";
/// Time that the program has after the end of its input, and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);

/// Keeps one program; ends with it.
pub fn keep_main() -> ExitCode {
    // Away from the daemon's terminal and group: an interrupt typed there is the daemon's to handle.
    let _ = setsid();
    let _ = set_child_subreaper(Some(getpid()));
    let started = read_order().and_then(|order| {
        let launched = launch(&order.start, Streams::Inherited).map_err(|error| error.to_string())?;
        Ok((launched, order.start.bounds))
    });
    let (mut launched, bounds) = match started {
        Ok(started) => started,
        Err(reason) => {
            let _ = writeln!(io::stderr(), "{NOT_STARTED_MARK}{reason}");
            return ExitCode::from(NOT_STARTED_CODE);
        }
    };
    let group = launched.group;
    // One slot for each event: no sender ever blocks.
    let (events, inbox) = sync_channel(3);
    watch_caller(events.clone());
    bounds::watch(group, bounds, events.clone());
    launched.watch(events);
    hand_on(launched.stdin.take());
    match inbox.recv() {
        Ok(Event::ProgramEnded) => {}
        // Asking it to end would give it the time to grow further.
        Ok(Event::Overran(what)) => {
            let _ = writeln!(io::stderr(), "openclaw: it had more than {what} and was ended");
        }
        _ => end(group, &inbox),
    }
    launched.kill();
    let status = reap(group);
    end_all_descendants();
    drop(launched);
    let Some(status) = status else {
        return ExitCode::FAILURE;
    };
    let signal = || 128 + status.terminating_signal().unwrap_or(0);
    ExitCode::from(status.exit_status().unwrap_or_else(signal) as u8)
}

/// The order alone: what the buffer holds beyond the line is the program's, and whoever reads on gets it.
fn read_order() -> Result<KeepWire, String> {
    let mut line = String::new();
    let mut bounded = io::stdin().lock().take(DOCUMENT_BYTES_MAX);
    let described = |error: &dyn std::fmt::Display| format!("order: {error}");
    bounded.read_line(&mut line).map_err(|error| described(&error))?;
    let order: KeepWire = serde_json::from_str(&line).map_err(|error| described(&error))?;
    if order.version != WIRE_VERSION {
        return Err(format!("order: version {} is not known", order.version));
    }
    Ok(order)
}

/// Sees the other end of the pipe closed, also while nobody reads what is still in it.
fn watch_caller(events: SyncSender<Event>) {
    thread::spawn(move || {
        let stdin = io::stdin();
        loop {
            let mut watched = [PollFd::new(&stdin, PollFlags::empty())];
            match poll(&mut watched, None) {
                Err(Errno::INTR) => {}
                Ok(_) if watched[0].revents().is_empty() => {}
                _ => break,
            }
        }
        let _ = events.send(Event::CallerLeft);
    });
}

/// Hands on the daemon's bytes until one of the two ends is closed. Then the program's input ends, which is how the
/// protocol asks a server to end.
fn hand_on(input: Option<PipeWriter>) {
    thread::spawn(move || {
        let Some(mut input) = input else { return };
        let mut buffer = vec![0; 64 * 1024];
        let mut stdin = io::stdin().lock();
        loop {
            match stdin.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(bytes) if bytes > 0 => {
                    if input.write_all(&buffer[..bytes]).is_err() {
                        break;
                    }
                }
                _ => break,
            }
        }
    });
}

fn end(group: Pid, inbox: &Receiver<Event>) {
    for ask in [None, Some(Signal::TERM)] {
        if let Some(signal) = ask {
            let _ = kill_process_group(group, signal);
        }
        match inbox.recv_timeout(GRACE) {
            Ok(Event::ProgramEnded | Event::Overran(_)) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
