//! The shim: one small process per program, between the daemon and the program.
//!
//! It reads one order, runs the program in a group of its own, and gives one report. Refuses to know: tokio,
//! actors, who asks. Invariants: whatever the end (its own, a time-out, the daemon's death), nothing that the
//! program started is alive when the shim reports; a report is durable in the spool before it is given,
//! unless there is no room for it; memory does not grow with the output.

use std::io::{self, BufRead, Read, Write};
use std::process::{Child, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, set_child_subreaper, setsid, waitpid,
};

use super::bounds;
use super::capture::Capture;
use super::descent::end_all_descendants;
use super::event::Event;
use super::launch::launch;
use super::spool::{SpoolError, read_report, write_report};
use super::trace;
use super::wire::{DOCUMENT_BYTES_MAX, EndedWire, OrderWire, ReportWire, WIRE_VERSION};
use crate::domain::fault::in_one_line;
use crate::skills::sandbox::stage::{NOT_STARTED_CODE, NOT_STARTED_MARK};
use crate::storage::error::is_full;

/// Longest wait for the rest of the output after everything that could write it has been killed.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Reads one order from the standard input, carries it out and reports on the standard output.
pub fn shim_main() -> ExitCode {
    let report = match carry_out() {
        Ok(report) => report,
        Err(reason) => ReportWire::of_shim_error(reason),
    };
    let failed = report.shim_error.is_some();
    let mut line = serde_json::to_vec(&report).unwrap_or_default();
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    // When the daemon is gone nobody reads this; the spool has it.
    let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn carry_out() -> Result<ReportWire, String> {
    let order = read_order()?;
    // Away from the daemon's terminal and group: an interrupt typed there is the daemon's to handle.
    let _ = setsid();
    if let Some(spool) = order.spool.as_deref().filter(|_| order.unless_spooled)
        && let Some(mut report) = read_report(spool).map_err(|error| in_one_line(&error))?
    {
        report.from_spool = true;
        return Ok(report);
    }
    set_child_subreaper(Some(getpid())).map_err(|error| format!("subreaper: {error}"))?;
    let report = run(&order);
    trace::stopped(&order, &report);
    let is_known = !matches!(report.ended, EndedWire::Interrupted);
    if let Some(spool) = order.spool.as_deref().filter(|_| is_known) {
        match write_report(spool, &report) {
            // On a full disk the daemon still hears it. Should it end before it has committed what it heard, the call
            // is unknown, as if nothing had been heard.
            Err(SpoolError::Write { source, .. }) if is_full(&source) => {}
            written => written.map_err(|error| in_one_line(&error))?,
        }
    }
    Ok(report)
}

fn read_order() -> Result<OrderWire, String> {
    let mut line = String::new();
    // The lock is given back at the end of the line, for the thread that waits for the end of the pipe. What the
    // buffer holds beyond the line is nothing: the daemon writes nothing more.
    let mut bounded = io::stdin().lock().take(DOCUMENT_BYTES_MAX);
    bounded
        .read_line(&mut line)
        .map_err(|error| format!("order: {error}"))?;
    let order: OrderWire = serde_json::from_str(&line).map_err(|error| format!("order: {error}"))?;
    if order.version != WIRE_VERSION {
        return Err(format!("order: version {} is not known", order.version));
    }
    Ok(order)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shim is a process of its own, without a clock handed in"
)]
fn run(order: &OrderWire) -> ReportWire {
    let started = Instant::now();
    let mut launched = match launch(&order.start, Stdio::piped) {
        Ok(launched) => launched,
        Err(error) => {
            let reason = error.to_string();
            return report(order, EndedWire::NotStarted { reason }, None);
        }
    };
    let group = launched.group;
    trace::began(order, group);
    // One slot for each event that can come: no sender ever blocks.
    let (events, inbox) = sync_channel(5);
    let mut watch = Watch { inbox, open_outputs: 2 };
    let child = &mut launched.child;
    let stdout = follow(child.stdout.take(), order.output_bytes_max, events.clone());
    let stderr = follow(child.stderr.take(), order.output_bytes_max, events.clone());
    feed(child, order.stdin.clone());
    watch_caller(events.clone());
    bounds::watch(group, order.start.bounds, events.clone());
    launched.watch(events);

    let ended = watch.wait(order, group, started);
    launched.kill();
    let status = reap(group);
    end_all_descendants();
    watch.drain();

    let outputs = (lock(&stdout), lock(&stderr));
    let ended = ended.unwrap_or_else(|| match own_end(status, &outputs.1) {
        // Whoever comes after a killed daemon ends what it finds: that says nothing about the program's own end.
        EndedWire::Signaled { .. } if caller_has_left() => EndedWire::Interrupted,
        own => own,
    });
    report(order, ended, Some((&outputs.0, &outputs.1)))
}

/// The receiving end of all that can happen to a program.
struct Watch {
    inbox: Receiver<Event>,
    open_outputs: u8,
}

impl Watch {
    fn next(&mut self, within: Duration) -> Result<Event, RecvTimeoutError> {
        let event = self.inbox.recv_timeout(within)?;
        if matches!(event, Event::OutputEnded) {
            self.open_outputs -= 1;
        }
        Ok(event)
    }

    /// Waits for the program's end, and brings it about when the time or the caller says so; none means that the
    /// program ended by itself.
    fn wait(&mut self, order: &OrderWire, group: Pid, started: Instant) -> Option<EndedWire> {
        let limit = Duration::from_millis(order.timeout_ms);
        let stopped = loop {
            match self.next(limit.saturating_sub(started.elapsed())) {
                Ok(Event::ProgramEnded) => return None,
                Ok(Event::OutputEnded) => {}
                Ok(Event::CallerLeft) | Err(RecvTimeoutError::Disconnected) => break EndedWire::Interrupted,
                // Asking it to end would give it the time to grow further.
                Ok(Event::Overran(what)) => return Some(EndedWire::Overran { what }),
                Err(RecvTimeoutError::Timeout) => {
                    let limit_ms = order.timeout_ms;
                    break EndedWire::TimedOut { limit_ms };
                }
            }
        };
        let _ = kill_process_group(group, Signal::TERM);
        #[expect(
            clippy::disallowed_methods,
            reason = "the shim is a process of its own, without a clock handed in"
        )]
        let asked = Instant::now();
        let grace = Duration::from_millis(order.grace_ms);
        while let Ok(event) = self.next(grace.saturating_sub(asked.elapsed())) {
            if matches!(event, Event::ProgramEnded) {
                break;
            }
        }
        Some(stopped)
    }

    /// Waits until both outputs are at their end; the kill has closed them unless the kernel could not.
    fn drain(&mut self) {
        #[expect(
            clippy::disallowed_methods,
            reason = "the shim is a process of its own, without a clock handed in"
        )]
        let began = Instant::now();
        while self.open_outputs > 0 && self.next(DRAIN_MAX.saturating_sub(began.elapsed())).is_ok() {}
    }
}

fn follow(
    stream: Option<impl Read + Send + 'static>,
    bytes_max: usize,
    events: SyncSender<Event>,
) -> Arc<Mutex<Capture>> {
    let capture = Arc::new(Mutex::new(Capture::new(bytes_max)));
    let kept = Arc::clone(&capture);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        if let Some(mut stream) = stream {
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => lock(&kept).push(&buffer[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        }
        let _ = events.send(Event::OutputEnded);
    });
    capture
}

fn feed(child: &mut Child, input: String) {
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input is no fault; the pipe closes with the thread.
        thread::spawn(move || {
            let _ = stdin.write_all(input.as_bytes());
        });
    }
}

fn watch_caller(events: SyncSender<Event>) {
    thread::spawn(move || {
        let mut buffer = [0; 256];
        let mut stdin = io::stdin().lock();
        loop {
            match stdin.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) if count > 0 => {}
                _ => break,
            }
        }
        let _ = events.send(Event::CallerLeft);
    });
}

/// Whether the other end of the pipe is closed, also before anybody has read that.
fn caller_has_left() -> bool {
    let stdin = io::stdin();
    let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut watched, Some(&at_once)).is_ok() && watched[0].revents().contains(PollFlags::HUP)
}

fn reap(program: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(Some(program), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Ok(found) => return found.map(|(_, status)| status),
            Err(_) => return None,
        }
    }
}

fn own_end(status: Option<WaitStatus>, stderr: &Capture) -> EndedWire {
    let Some(status) = status else {
        return EndedWire::Interrupted;
    };
    if let Some(signal) = status.terminating_signal() {
        return EndedWire::Signaled { signal };
    }
    let code = status.exit_status().unwrap_or(-1);
    if code == i32::from(NOT_STARTED_CODE)
        && let Some(reason) = stderr.text().strip_prefix(NOT_STARTED_MARK)
    {
        let reason = reason.trim_end().to_owned();
        return EndedWire::NotStarted { reason };
    }
    EndedWire::Exited { code }
}

fn report(order: &OrderWire, ended: EndedWire, outputs: Option<(&Capture, &Capture)>) -> ReportWire {
    let text = |capture: &Capture| capture.text();
    ReportWire {
        version: WIRE_VERSION,
        shim_error: None,
        ended,
        stdout: outputs.map(|(stdout, _)| text(stdout)).unwrap_or_default(),
        stderr: outputs.map(|(_, stderr)| text(stderr)).unwrap_or_default(),
        truncated: outputs.is_some_and(|(stdout, stderr)| stdout.truncated() || stderr.truncated()),
        from_spool: false,
        rendering: order.rendering,
    }
}

fn lock(capture: &Mutex<Capture>) -> std::sync::MutexGuard<'_, Capture> {
    // A poisoned capture still holds what was read.
    capture.lock().unwrap_or_else(PoisonError::into_inner)
}
