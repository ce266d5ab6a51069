//! Finds and ends everything that a program started, also what left its group or lost its parent.
//!
//! Works because the shim is a subreaper: whatever loses its parent below it becomes its child. Linux only.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};

/// Longest time that ending the leftovers may take; a process that the kernel cannot end (stuck in a device)
/// must not hold the report back.
const SWEEP_MAX: Duration = Duration::from_secs(5);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Kills and reaps all descendants of this process; true when none is left.
#[expect(
    clippy::disallowed_methods,
    reason = "the shim is a process of one thread, with nothing else to do meanwhile"
)]
pub(super) fn end_all_descendants() -> bool {
    let started = Instant::now();
    loop {
        if started.elapsed() > SWEEP_MAX {
            return false;
        }
        match wait(WaitOptions::NOHANG) {
            Err(Errno::CHILD) => return true,
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => {
                for descendant in descendants() {
                    // It may have ended since; that is what is wanted.
                    let _ = kill_process(descendant, Signal::KILL);
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
}

fn descendants() -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if let Some(parent) = std::fs::read_to_string(entry.path().join("stat"))
            .ok()
            .and_then(|stat| parent_of(&stat))
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![getpid().as_raw_nonzero().get()];
    while let Some(parent) = open.pop() {
        // Removing makes the walk end even if pids were reused while we looked.
        for child in children.remove(&parent).unwrap_or_default() {
            found.extend(Pid::from_raw(child));
            open.push(child);
        }
    }
    found
}

/// The children of a process, of all its threads; empty where the kernel does not keep such lists.
pub(super) fn children_of(pid: i32) -> Vec<i32> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let text = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.extend(text.split_whitespace().filter_map(|number| number.parse::<i32>().ok()));
    }
    children
}

/// The fourth field of `/proc/<pid>/stat`; the second is the program's name and may hold blanks and brackets.
///
/// **Source**: proc_pid_stat(5).
fn parent_of(stat: &str) -> Option<i32> {
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_cannot_hide_its_parent_behind_its_name() {
        let check = |stat: &str, parent: Option<i32>| assert_eq!(parent_of(stat), parent, "{stat}");
        check("12 (cat) S 7 12 12 0", Some(7));
        check("12 (a) S 1 (b) R 8 12", Some(8));
        check("12 (a b) c) Z 9 1", Some(9));
        check("", None);
        check("12 (cat", None);
    }
}
