//! The shim: one small process per program, between the daemon and the program.
//!
//! It reads one order, runs the program in a group of its own, and gives one report. Refuses to know: tokio,
//! actors, who asks. Invariants: whatever the end (its own, a time-out, the daemon's death), nothing that the
//! program started is alive when the shim reports; a report is durable in the spool before it is given; memory
//! does not grow with the output.

use std::io::{self, BufRead, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpid, kill_process_group, set_child_subreaper,
    setsid, waitid, waitpid,
};

use super::bounds;
use super::capture::Capture;
use super::descent::end_all_descendants;
use super::event::Event;
use super::relay;
use super::spool::{read_report, write_report};
use super::wire::{DOCUMENT_BYTES_MAX, EndedWire, OrderWire, ReportWire, WIRE_VERSION};
use crate::domain::fault::in_one_line;
use crate::skills::sandbox::cgroup::Cgroup;
use crate::skills::sandbox::policy::PolicyWire;
use crate::skills::sandbox::stage::{self, NOT_STARTED_CODE, NOT_STARTED_MARK};
use crate::skills::sandbox::temp::TempFolder;

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
    let is_known = !matches!(report.ended, EndedWire::Interrupted);
    if let Some(spool) = order.spool.as_deref().filter(|_| is_known) {
        write_report(spool, &report).map_err(|error| in_one_line(&error))?;
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
    let not_started = |error: io::Error| {
        let reason = format!("{} in {}: {error}", order.program.display(), order.cwd.display());
        report(order, EndedWire::NotStarted { reason }, None)
    };
    // Removed when everything that could write to it is gone.
    let _temp = match order.policy.as_ref().map(TempFolder::make).transpose() {
        Ok(temp) => temp,
        Err(error) => return not_started(error),
    };
    let handover = order.policy.as_ref().and_then(|policy| policy.handover.as_deref());
    if let (Some(handover), Some(egress)) = (handover, &order.egress)
        && let Err(error) = relay::serve(handover, egress.clone())
    {
        return not_started(error);
    }
    let group = order.cgroup.as_ref();
    let group = group.map(|(home, name)| home.make(name, order.limits.processes, order.bounds.memory_bytes));
    let cgroup = match group.transpose() {
        Ok(cgroup) => cgroup,
        Err(error) => return not_started(error),
    };
    let mut child = match start(order, cgroup.as_ref().map(Cgroup::folder)) {
        Ok(child) => child,
        Err(error) => return not_started(error),
    };
    let group = Pid::from_child(&child);
    // One slot for each event that can come: no sender ever blocks.
    let (events, inbox) = sync_channel(5);
    let mut watch = Watch { inbox, open_outputs: 2 };
    let stdout = follow(child.stdout.take(), order.output_bytes_max, events.clone());
    let stderr = follow(child.stderr.take(), order.output_bytes_max, events.clone());
    feed(&mut child, order.stdin.clone());
    watch_caller(events.clone());
    bounds::watch(group, order.bounds, events.clone());
    watch_program(group, events);

    let ended = watch.wait(order, group, started);
    // The program is a zombie still, so its group's number cannot have been given to anybody else.
    if let Some(cgroup) = &cgroup {
        cgroup.end_all();
    }
    let _ = kill_process_group(group, Signal::KILL);
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

fn start(order: &OrderWire, cgroup: Option<&Path>) -> io::Result<Child> {
    let policy = order.policy.clone().map(|policy| PolicyWire {
        cgroup: cgroup.map(Path::to_owned),
        ..policy
    });
    // The running binary itself, also when its file has been replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("openclaw")
        .args(stage::arguments(std::process::id(), order.limits, policy.as_ref()))
        .arg(&order.program)
        .args(&order.argv)
        .current_dir(&order.cwd)
        .env_clear()
        .envs(order.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command.spawn()
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

fn watch_program(program: Pid, events: SyncSender<Event>) {
    thread::spawn(move || {
        // Looks without reaping: the number stays taken until the group has been killed.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(program), look), Err(Errno::INTR)) {}
        let _ = events.send(Event::ProgramEnded);
    });
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
