//! Watches what a program and all that it starts take together: memory and processes.
//!
//! The kernel's own limits hold for each process alone, and those that hold for a group need a cgroup that not every
//! system gives away. So the shim looks every few milliseconds; what grows faster than that is stopped a look later.

use std::fs;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::descent::children_of;
use super::event::Event;
use super::wire::BoundsWire;

/// Between two looks at first, when a bomb goes off.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
/// Between two looks later: a look at one idle process takes 0.05 ms.
const PAUSE_LATER: Duration = Duration::from_millis(50);
/// Looks at the first pace.
const FIRST_LOOKS: u32 = 50;
/// What the kernel counts memory in. Wrong only where a kernel has larger pages, and then on the safe side.
const PAGE_BYTES: u64 = 4096;

/// When to look at a program, and the looks. The first is not at once: most programs have ended before it.
pub(super) struct Looks {
    program: Pid,
    bounds: BoundsWire,
    due: Instant,
    made: u32,
}

impl Looks {
    /// Looks from now on; none where there are no bounds.
    pub(super) fn new(program: Pid, bounds: BoundsWire, now: Instant) -> Option<Self> {
        (bounds != BoundsWire::default()).then(|| Self {
            program,
            bounds,
            due: now + PAUSE_FIRST,
            made: 0,
        })
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Looks when it is time to, and says what there is too much of.
    pub(super) fn look_when_due(&mut self, now: Instant) -> Option<String> {
        if now < self.due {
            return None;
        }
        self.made = self.made.saturating_add(1);
        self.due = now + pause_after(self.made);
        look(self.program, self.bounds)
    }
}

fn pause_after(looks: u32) -> Duration {
    if looks < FIRST_LOOKS { PAUSE_FIRST } else { PAUSE_LATER }
}

/// Starts the watch as a thread; it ends with the process.
pub(in crate::skills) fn watch(program: Pid, bounds: BoundsWire, events: SyncSender<Event>) {
    if bounds == BoundsWire::default() {
        return;
    }
    thread::spawn(move || {
        let mut looks = 0u32;
        loop {
            if let Some(what) = look(program, bounds) {
                let _ = events.send(Event::Overran(what));
                return;
            }
            looks = looks.saturating_add(1);
            #[expect(
                clippy::disallowed_methods,
                reason = "a thread of its own, with nothing else to do meanwhile"
            )]
            thread::sleep(pause_after(looks));
        }
    });
}

/// What there is too much of.
fn look(program: Pid, bounds: BoundsWire) -> Option<String> {
    let mut open = vec![program.as_raw_nonzero().get()];
    // What lost its parent is the shim's child now.
    open.extend(children_of(rustix::process::getpid().as_raw_nonzero().get()));
    open.sort_unstable();
    open.dedup();
    let (mut tasks, mut pages) = (0u64, 0u64);
    let mut all = Vec::new();
    while let Some(pid) = open.pop() {
        all.push(pid);
        tasks += 1;
        let folder = format!("/proc/{pid}/task");
        // Every thread beyond the first, which stands for the process.
        tasks += fs::read_dir(folder).map_or(0, |threads| threads.count().saturating_sub(1) as u64);
        let resident = fs::read_to_string(format!("/proc/{pid}/statm"));
        pages += resident
            .ok()
            .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok())
            .unwrap_or_default();
        if bounds.processes > 0 && tasks > bounds.processes {
            return Some(format!("{} processes and threads", bounds.processes));
        }
        open.extend(children_of(pid));
    }
    let too_much = bounds.memory_bytes > 0
        && pages * PAGE_BYTES > bounds.memory_bytes
        && all.iter().map(|pid| proportional_bytes(*pid)).sum::<u64>() > bounds.memory_bytes;
    too_much.then(|| format!("{} MiB of memory", bounds.memory_bytes >> 20))
}

/// The memory of a process with its part of what it shares: after a fork both sides look twice as large as they are.
/// Dear, so it is asked only when the cheap sum is over the limit.
fn proportional_bytes(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
