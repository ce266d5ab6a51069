//! The keeper: one small process per server program, between the daemon and the program.
//!
//! `openclaw __keep <program> <name> [arguments…]` starts the program in a group of its own and hands on what the
//! daemon writes; the program writes to the daemon itself. Refuses to know: the protocol. Invariants: when the daemon
//! closes its pipe or dies, whatever the moment, the program is asked to end (end of input, then SIGTERM), killed after
//! the grace, and with it everything that it started; when the keeper is killed, the kernel kills the program.
//!
//! The program is started through `openclaw __serve`, which ties its life to the keeper's and becomes it. That last
//! step is where confinement belongs.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, getppid, kill_process,
    kill_process_group, set_child_subreaper, set_parent_process_death_signal, setrlimit, setsid, wait, waitid,
};

use crate::skills::process::orphans::{EFFECT_KEY_VARIABLE, SHIM_KEY_VARIABLE};

/// The word that makes the binary a keeper.
pub const KEEP: &str = "__keep";
/// The word that makes the binary the last step before the program.
pub const SERVE: &str = "__serve";
/// Time that the program has after the end of its input, and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);
/// Longest time for ending what the program left behind.
const SWEEP_MAX: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);
/// The exit code of a program that could not be started, as shells have it.
const NOT_STARTED_CODE: u8 = 127;

enum Event {
    CallerLeft,
    ProgramEnded,
}

/// Keeps one program; ends with it.
pub fn keep_main() -> ExitCode {
    // Away from the daemon's terminal and group: an interrupt typed there is the daemon's to handle.
    let _ = setsid();
    let _ = set_child_subreaper(Some(getpid()));
    let mut program = match start() {
        Ok(program) => program,
        Err(error) => {
            let _ = writeln!(io::stderr(), "openclaw-not-started: {error}");
            return ExitCode::from(NOT_STARTED_CODE);
        }
    };
    let group = Pid::from_child(&program);
    // One slot for each event: no sender ever blocks.
    let (events, inbox) = sync_channel(2);
    let input = program.stdin.take();
    watch_caller(events.clone());
    watch_program(group, events);
    hand_on(input);
    if matches!(inbox.recv(), Ok(Event::CallerLeft) | Err(_)) {
        end(group, &inbox);
    }
    // The program is a zombie still, so its group's number cannot have been given to anybody else.
    let _ = kill_process_group(group, Signal::KILL);
    let status = program.wait();
    end_the_rest();
    match status {
        Ok(status) => {
            let signal = status.signal().unwrap_or(0);
            ExitCode::from(status.code().map_or_else(|| (128 + signal) as u8, |code| code as u8))
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Becomes the program; comes back only when that is impossible.
pub fn serve_main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(2);
    let became = (|| -> Result<std::convert::Infallible, String> {
        let mut next = || arguments.next().ok_or("an argument is missing");
        let keeper = next()?;
        let (program, name) = (next()?, next()?);
        let keeper = keeper
            .to_str()
            .and_then(|text| text.parse().ok())
            .and_then(Pid::from_raw);
        let keeper = keeper.ok_or("the keeper's pid is no pid")?;
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("death signal: {error}"))?;
        // The keeper may have died before the line above: then no signal will ever come.
        if getppid() != Some(keeper) {
            return Err("the keeper has gone".to_owned());
        }
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Core, none).map_err(|error| format!("limit of core files: {error}"))?;
        Err(Command::new(program).arg0(name).args(arguments).exec().to_string())
    })();
    let Err(reason) = became;
    let _ = writeln!(io::stderr(), "openclaw-not-started: {reason}");
    ExitCode::from(NOT_STARTED_CODE)
}

fn start() -> io::Result<Child> {
    let mut arguments = std::env::args_os().skip(2);
    let missing = || io::Error::new(io::ErrorKind::InvalidInput, "the program is missing");
    let (program, name) = (
        arguments.next().ok_or_else(missing)?,
        arguments.next().ok_or_else(missing)?,
    );
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("openclaw")
        .arg(SERVE)
        .arg(std::process::id().to_string())
        .arg(program)
        .arg(name)
        .args(arguments)
        .stdin(Stdio::piped())
        // Output and errors are the daemon's pipes themselves.
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .process_group(0);
    // The keeper is found by one name and the program, with all that it starts, by the other.
    if let Some(key) = std::env::var_os(SHIM_KEY_VARIABLE) {
        command.env_remove(SHIM_KEY_VARIABLE).env(EFFECT_KEY_VARIABLE, key);
    }
    let program = command.spawn()?;
    Ok(program)
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

fn watch_program(program: Pid, events: SyncSender<Event>) {
    thread::spawn(move || {
        // Looks without reaping: the number stays taken until the group has been killed.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(program), look), Err(Errno::INTR)) {}
        let _ = events.send(Event::ProgramEnded);
    });
}

/// Hands on the daemon's bytes until one of the two ends is closed. Then the program's input ends, which is how the
/// protocol asks a server to end.
fn hand_on(input: Option<std::process::ChildStdin>) {
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
            Ok(Event::ProgramEnded) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Event::CallerLeft) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Kills and reaps what the program left behind: this process is a subreaper, so whatever loses its parent below it
/// becomes its child.
#[expect(
    clippy::disallowed_methods,
    reason = "the keeper is a process of its own, without a clock handed in, and has nothing else to do"
)]
fn end_the_rest() {
    let began = Instant::now();
    loop {
        match wait(WaitOptions::NOHANG) {
            Err(Errno::CHILD) => return,
            Ok(Some(_)) | Err(Errno::INTR) => continue,
            Ok(None) | Err(_) => {}
        }
        if began.elapsed() > SWEEP_MAX {
            return;
        }
        for child in children() {
            // It may have ended since; that is what is wanted.
            let _ = kill_process(child, Signal::KILL);
        }
        thread::sleep(PAUSE);
    }
}

/// The children of this process. The parent is the second field after the program's name, which may hold anything.
fn children() -> Vec<Pid> {
    let own = getpid().as_raw_nonzero().get();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if parent == Some(own) {
            found.extend(Pid::from_raw(pid));
        }
    }
    found
}
