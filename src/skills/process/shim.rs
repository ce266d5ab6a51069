//! The shim: a small process between the daemon and a program.
//!
//! A copy of the launcher. It reads an order from its connection to the daemon, runs the program in a group of its own,
//! and gives one report; then it waits a while for the next order, because a copy costs more than many programs do.
//! Refuses to know: tokio, actors, who asks. Invariants: one program at a time; whatever the end (its own, a time-out,
//! the daemon's death), nothing that the program started is alive when the shim reports; a report is durable in the
//! spool before it is given, unless there is no room for it; nothing is started when the daemon has left before the shim
//! bears the name by which its next life finds it; memory does not grow with the output; a shim of which anything is
//! left over from a program takes no other one.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitStatus, getpid, kill_process_group, set_child_subreaper, setsid};

use super::capture::Capture;
use super::descent::end_all_descendants;
use super::event::Event;
use super::launch::{Streams, launch, reap};
use super::spool::{SpoolError, read_report, write_report};
use super::trace;
use super::watch::{Watch, Watched, has_left, now, poll_on, timespec};
use super::wire::{DOCUMENT_BYTES_MAX, EndedWire, OrderWire, ReportWire, WIRE_VERSION};
use crate::domain::fault::in_one_line;
use crate::skills::sandbox::stage::{NOT_STARTED_CODE, NOT_STARTED_MARK};
use crate::storage::error::is_full;

/// Longest wait for the rest of the output after everything that could write it has been killed.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// Longest wait for a daemon that does not read its report.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Longest wait for another order.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// Its name between two orders: nobody waits for the end of a call that is over.
const IDLE_NAME: &str = "openclaw-shim";

/// Carries out the orders of its connection one after the other, until the daemon leaves or has none for a while.
pub(super) fn attend(caller: UnixStream) -> ExitCode {
    // Away from the launcher's group: what is sent to one is not meant for the other.
    let _ = setsid();
    loop {
        let Done { report, is_clean } = match carry_out(&caller) {
            Ok(done) => done,
            Err(reason) => {
                answer(&caller, &ReportWire::of_shim_error(reason));
                return ExitCode::FAILURE;
            }
        };
        let goes_on = is_clean && take_name(IDLE_NAME).is_ok();
        answer(&caller, &report);
        if !goes_on || !another_comes(&caller) {
            return ExitCode::SUCCESS;
        }
    }
}

/// How an order was carried out.
struct Done {
    report: ReportWire,
    /// Whether nothing is left of it in this process or below it.
    is_clean: bool,
}

/// Waits for the next order; false when the daemon has left or has none.
fn another_comes(caller: &UnixStream) -> bool {
    let mut watched = [poll_on(caller.as_fd(), PollFlags::IN | PollFlags::RDHUP)];
    let until = now() + IDLE_MAX;
    loop {
        match poll(&mut watched, Some(&timespec(until.saturating_duration_since(now())))) {
            Err(Errno::INTR) => {}
            Ok(_) => return watched[0].revents() == PollFlags::IN,
            Err(_) => return false,
        }
    }
}

/// Tells a daemon that there is no shim for it. Its order has not been read, so nothing was started.
pub(super) fn refuse(caller: UnixStream, reason: String) {
    answer(&caller, &ReportWire::of_shim_error(reason));
}

fn answer(caller: &UnixStream, report: &ReportWire) {
    if has_left(caller) {
        // Nobody reads it; the spool has it.
        return;
    }
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    let _ = caller.set_write_timeout(Some(ANSWER_MAX));
    let mut caller = caller;
    // When the daemon goes meanwhile the spool has it.
    let _ = caller.write_all(&line);
}

fn carry_out(caller: &UnixStream) -> Result<Done, String> {
    let order = read_order(caller)?;
    take_name(&order.name).map_err(|error| format!("its name: {error}"))?;
    if has_left(caller) {
        return Ok(left_over(report(&order, EndedWire::Interrupted, None)));
    }
    if let Some(spool) = order.spool.as_deref().filter(|_| order.unless_spooled)
        && let Some(mut report) = read_report(spool).map_err(|error| in_one_line(&error))?
    {
        report.from_spool = true;
        return Ok(Done { report, is_clean: true });
    }
    set_child_subreaper(Some(getpid())).map_err(|error| format!("subreaper: {error}"))?;
    let done = run(&order, caller);
    let report = &done.report;
    trace::stopped(&order, report);
    let is_known = !matches!(report.ended, EndedWire::Interrupted);
    if let Some(spool) = order.spool.as_deref().filter(|_| is_known) {
        match write_report(spool, report) {
            // On a full disk the daemon still hears it. Should it end before it has committed what it heard, the call
            // is unknown, as if nothing had been heard.
            Err(SpoolError::Write { source, .. }) if is_full(&source) => {}
            written => written.map_err(|error| in_one_line(&error))?,
        }
    }
    Ok(done)
}

/// An order after which no other one is taken.
fn left_over(report: ReportWire) -> Done {
    let is_clean = false;
    Done { report, is_clean }
}

/// From here on it is found by this name, whoever looks for it.
fn take_name(name: &str) -> io::Result<()> {
    let name = std::ffi::CString::new(name)?;
    Ok(rustix::thread::set_name(&name)?)
}

fn read_order(caller: &UnixStream) -> Result<OrderWire, String> {
    let mut line = String::new();
    // The daemon writes nothing more, so the buffer holds nothing beyond the line.
    let mut bounded = BufReader::with_capacity(64 * 1024, caller).take(DOCUMENT_BYTES_MAX);
    bounded
        .read_line(&mut line)
        .map_err(|error| format!("order: {error}"))?;
    let order: OrderWire = serde_json::from_str(&line).map_err(|error| format!("order: {error}"))?;
    if order.version != WIRE_VERSION {
        return Err(format!("order: version {} is not known", order.version));
    }
    Ok(order)
}

fn run(order: &OrderWire, caller: &UnixStream) -> Done {
    let started = now();
    let not_started = |error: io::Error| {
        let reason = error.to_string();
        left_over(report(order, EndedWire::NotStarted { reason }, None))
    };
    let mut launched = match launch(&order.start, Streams::Pipes) {
        Ok(launched) => launched,
        Err(error) => return not_started(error),
    };
    let group = launched.group;
    trace::began(order, group);
    let Some((stdin, outputs)) = launched.streams.take() else {
        launched.kill();
        reap(group);
        return not_started(io::Error::other("its pipes are missing"));
    };
    let watched = Watched {
        caller,
        outputs,
        input: (stdin, order.stdin.as_bytes()),
        output_bytes_max: order.output_bytes_max,
        bounds: order.start.bounds,
    };
    let mut watch = match Watch::new(group, watched) {
        Ok(watch) => watch,
        Err(error) => {
            // It may have come to something in the meantime, so this is not "not started".
            tell_of(&error);
            launched.kill();
            reap(group);
            end_all_descendants();
            return left_over(report(order, EndedWire::Interrupted, None));
        }
    };
    let ended = wait_for_end(
        &mut watch,
        order,
        group,
        started + Duration::from_millis(order.timeout_ms),
    );
    launched.kill();
    let status = reap(group);
    let all_ended = end_all_descendants();
    watch.drain(now() + DRAIN_MAX);

    let outputs = watch.outputs();
    let ended = ended.unwrap_or_else(|| match own_end(status, outputs.1) {
        // Whoever comes after a killed daemon ends what it finds: that says nothing about the program's own end.
        EndedWire::Signaled { .. } if has_left(caller) => EndedWire::Interrupted,
        own => own,
    });
    // A program with a way to the network has left a thread here, and a copy is made from one thread only.
    let is_clean = all_ended && order.start.egress.is_none();
    let report = report(order, ended, Some(outputs));
    Done { report, is_clean }
}

fn tell_of(error: &io::Error) {
    let _ = writeln!(
        io::stderr(),
        "openclaw: a program could not be watched and was ended: {error}"
    );
}

/// Waits for the program's end, and brings it about when the time or the caller says so; none means that the program
/// ended by itself.
fn wait_for_end(watch: &mut Watch<'_>, order: &OrderWire, group: Pid, until: std::time::Instant) -> Option<EndedWire> {
    let stopped = match watch.next(until) {
        Some(Event::ProgramEnded) => return None,
        Some(Event::CallerLeft) => EndedWire::Interrupted,
        // Asking it to end would give it the time to grow further.
        Some(Event::Overran(what)) => return Some(EndedWire::Overran { what }),
        None => EndedWire::TimedOut {
            limit_ms: order.timeout_ms,
        },
    };
    let _ = kill_process_group(group, Signal::TERM);
    let grace = now() + Duration::from_millis(order.grace_ms);
    while let Some(event) = watch.next(grace) {
        if matches!(event, Event::ProgramEnded) {
            break;
        }
    }
    Some(stopped)
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
