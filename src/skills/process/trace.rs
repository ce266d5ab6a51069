//! Traces: what is known of a program before it has an end, so that a call of which nobody knows whether it happened is
//! shown to a person with evidence.
//!
//! Refuses to know: what the evidence is used for. Invariants: a trace is there before its program can have done much,
//! and whole or not at all; it is never taken for a report; a process is ended by it only when its number and its start
//! are those of the trace.
//!
//! **Shape**: `<spool>/<effect key>.trace`, one JSON document each, versioned. It is not synced: it has to outlive the
//! process and not the machine.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::domain::text;
use crate::domain::time::UtcMillis;
use crate::runtime::clock::rfc3339;

use super::wire::{EndedWire, OrderWire, ReportWire, WIRE_VERSION};

/// Bytes of a trace that are read.
const TRACE_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of the arguments that are kept.
const ARGV_BYTES_MAX: usize = 16 * 1024;
/// Bytes of each output that are shown.
const OUTPUT_BYTES_MAX: usize = 4 * 1024;

/// What is known of one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TraceWire {
    version: u32,
    /// Its number, and that of its group.
    pid: i32,
    /// When the kernel says that it started, in its own ticks: no other process of this boot has number and start.
    start_ticks: Option<u64>,
    /// Milliseconds since 1970.
    began_ms: u64,
    argv: Vec<String>,
    cwd: PathBuf,
    /// How it was seen to end, when it was stopped from outside.
    stopped: Option<StoppedWire>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoppedWire {
    at_ms: u64,
    stdout: String,
    stderr: String,
}

/// Where the trace of the call lies whose report is at this path.
pub(super) fn path_beside(report: &Path) -> PathBuf {
    report.with_extension("trace")
}

/// Notes that a program was started. A trace that cannot be written costs evidence and nothing else.
pub(super) fn began(order: &OrderWire, program: Pid) {
    let Some(report) = &order.spool else { return };
    let pid = program.as_raw_nonzero().get();
    let mut bytes = 0;
    let argv = order.start.argv.iter().take_while(|word| {
        bytes += word.len();
        bytes <= ARGV_BYTES_MAX
    });
    let trace = TraceWire {
        version: WIRE_VERSION,
        pid,
        start_ticks: start_ticks(pid),
        began_ms: now_ms(),
        argv: argv.cloned().collect(),
        cwd: order.start.cwd.clone(),
        stopped: None,
    };
    write(&path_beside(report), &trace);
}

/// Notes how far a program came that was stopped because the daemon went.
pub(super) fn stopped(order: &OrderWire, end: &ReportWire) {
    let Some(report) = order
        .spool
        .as_ref()
        .filter(|_| matches!(end.ended, EndedWire::Interrupted))
    else {
        return;
    };
    let path = path_beside(report);
    if let Some(mut trace) = read(&path) {
        trace.stopped = Some(StoppedWire {
            at_ms: now_ms(),
            stdout: text::cut_middle(&end.stdout, OUTPUT_BYTES_MAX),
            stderr: text::cut_middle(&end.stderr, OUTPUT_BYTES_MAX),
        });
        write(&path, &trace);
    }
}

/// What a trace says, for a person.
pub(super) fn evidence(path: &Path) -> Option<String> {
    let trace = read(path)?;
    let mut said = format!(
        "pid {} started {}\nargv {}\nin {}",
        trace.pid,
        rfc3339(UtcMillis(trace.began_ms)),
        serde_json::to_string(&trace.argv).unwrap_or_default(),
        trace.cwd.display()
    );
    match trace.stopped {
        None => said.push_str("\nnobody saw it end"),
        Some(stopped) => {
            let _ = write!(said, "\nstopped {}", rfc3339(UtcMillis(stopped.at_ms)));
            for (name, output) in [("output", &stopped.stdout), ("error output", &stopped.stderr)] {
                if output.is_empty() {
                    let _ = write!(said, "\n{name} so far: none");
                } else {
                    let _ = write!(said, "\n{name} so far: {}", output.trim_end());
                }
            }
        }
    }
    Some(said)
}

/// Ends the program of a trace with its group when it is still the same one; says whether it was.
pub(super) fn end_survivor(path: &Path) -> bool {
    let Some(trace) = read(path).filter(|trace| trace.stopped.is_none()) else {
        return false;
    };
    let Some(pid) = Pid::from_raw(trace.pid) else {
        return false;
    };
    let is_same = trace.start_ticks.is_some() && start_ticks(trace.pid) == trace.start_ticks;
    is_same && kill_process_group(pid, Signal::KILL).is_ok()
}

/// Forgets a trace; a missing one is no error.
pub(super) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

fn read(path: &Path) -> Option<TraceWire> {
    if fs::metadata(path).ok()?.len() > TRACE_BYTES_MAX {
        return None;
    }
    let trace: TraceWire = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    (trace.version == WIRE_VERSION).then_some(trace)
}

fn write(path: &Path, trace: &TraceWire) {
    let temporary = path.with_extension(format!("trace-{}", std::process::id()));
    let written = serde_json::to_vec(trace)
        .map_err(std::io::Error::from)
        .and_then(|text| fs::write(&temporary, text))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        remove(&temporary);
    }
}

/// Field 22 of `/proc/PID/stat`. The name in field 2 may hold anything, so what follows its last bracket is counted.
fn start_ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shim is a process of its own, without a clock handed in"
)]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::super::wire::{BoundsWire, RenderingWire, StartWire};
    use super::*;
    use crate::skills::sandbox::policy::LimitsWire;

    fn order(report: &Path) -> OrderWire {
        OrderWire {
            version: WIRE_VERSION,
            name: "oc-x".to_owned(),
            start: StartWire {
                program: "/bin/sleep".into(),
                argv: vec!["sleep".to_owned(), "a \"b\"".to_owned()],
                cwd: "/w".into(),
                env: Vec::new(),
                limits: LimitsWire::default(),
                bounds: BoundsWire::default(),
                cgroup: None,
                policy: None,
                egress: None,
            },
            stdin: String::new(),
            timeout_ms: 1,
            grace_ms: 1,
            output_bytes_max: 10,
            spool: Some(report.to_owned()),
            unless_spooled: true,
            rendering: RenderingWire::Stdout,
        }
    }

    #[test]
    fn a_trace_is_evidence_and_ends_only_the_very_process_that_it_names() {
        let folder = tempfile::tempdir().expect("folder");
        let report = folder.path().join("key.json");
        let trace = path_beside(&report);
        let mut sleeper = std::process::Command::new("sleep")
            .arg("60")
            .process_group(0)
            .spawn()
            .expect("started");
        let order = order(&report);
        began(&order, Pid::from_child(&sleeper));
        let said = evidence(&trace).expect("written");
        let wanted = format!("pid {} started ", sleeper.id());
        assert!(said.starts_with(&wanted), "{said}");
        assert!(
            said.contains("argv [\"sleep\",\"a \\\"b\\\"\"]\nin /w\nnobody saw it end"),
            "{said}"
        );
        // Another process of this number is left alone.
        let known = read(&trace).expect("readable");
        write(
            &trace,
            &TraceWire {
                start_ticks: known.start_ticks.map(|ticks| ticks + 1),
                ..known.clone()
            },
        );
        assert!(!end_survivor(&trace));
        assert!(sleeper.try_wait().expect("looked").is_none(), "it lives");
        write(&trace, &known);
        assert!(end_survivor(&trace));
        assert!(!sleeper.wait().expect("ended").success());
        assert!(!end_survivor(&trace), "it is gone");
        let mut end = ReportWire::of_shim_error(String::new());
        end.stdout = "half".to_owned();
        stopped(&order, &end);
        let said = evidence(&trace).expect("written");
        assert!(
            said.contains("\nstopped ") && said.ends_with("output so far: half\nerror output so far: none"),
            "{said}"
        );
        fs::write(&trace, "{\"version\":1").expect("written");
        assert_eq!((evidence(&trace), end_survivor(&trace)), (None, false));
        remove(&trace);
        assert_eq!(evidence(&trace), None);
    }
}
