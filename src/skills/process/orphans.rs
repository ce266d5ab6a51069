//! Finds and ends programs whose shim is gone too: killed by a person, or by the kernel for want of memory.
//!
//! They are known by the effect key in their environment, which what they started inherits. A program that wipes
//! its environment and leaves its group escapes this net; it does not escape the shim's.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::domain::effect::EffectKey;

/// The variable that each program gets.
pub const EFFECT_KEY_VARIABLE: &str = "OPENCLAW_EFFECT_KEY";
/// Longest time that ending them may take.
const SWEEP_MAX: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(5);

/// Kills what runs under these keys, waits until it is gone, and says how many processes there were. Blocks.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel tells no one when a process that is not a child is gone; it blocks a thread of its own"
)]
pub(super) fn end_all_of(keys: &[EffectKey]) -> usize {
    let wanted: Vec<String> = keys.iter().map(|key| format!("{EFFECT_KEY_VARIABLE}={key}")).collect();
    let began = Instant::now();
    let mut ended = std::collections::BTreeSet::new();
    loop {
        let found = processes_with(&wanted);
        if found.is_empty() || began.elapsed() > SWEEP_MAX {
            return ended.len();
        }
        for pid in found {
            // It may have ended since; that is what is wanted.
            let _ = kill_process(pid, Signal::KILL);
            ended.insert(pid.as_raw_nonzero());
        }
        std::thread::sleep(PAUSE);
    }
}

/// The environment of a zombie is empty, so what is found is alive.
fn processes_with(wanted: &[String]) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // Processes of others cannot be read, and are none of ours.
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else {
            continue;
        };
        let mut variables = environment.split(|byte| *byte == 0);
        if variables.any(|variable| wanted.iter().any(|wanted| wanted.as_bytes() == variable)) {
            found.push(pid);
        }
    }
    found
}
