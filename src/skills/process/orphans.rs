//! Finds and ends programs whose shim is gone too: killed by a person, or by the kernel for want of memory.
//!
//! They are known by the effect key in their environment, which what they started inherits, and where the system has
//! control groups by the group of their call, which nothing of them can leave. Without groups a program that wipes its
//! environment and leaves its group of processes escapes this net; it does not escape the shim's, nor the launcher's,
//! whose child it becomes when the shim is killed. A shim is a copy, with the environment of what it is a copy of; it is
//! known by its name. A keeper is known by its environment.
//!
//! A shim of the daemon that was killed may itself still be there, on its way to start the program or to write its
//! report. It is waited for, because until it is gone its call may yet happen; it is killed only when it hangs.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::domain::effect::EffectKey;
use crate::skills::sandbox::cgroup::{CgroupHome, Closed};

/// The variable that each program gets.
pub const EFFECT_KEY_VARIABLE: &str = "OPENCLAW_EFFECT_KEY";
/// The variable that each keeper gets; its program does not inherit it.
pub const SHIM_KEY_VARIABLE: &str = "OPENCLAW_SHIM_OF";
/// Longest time that ending them may take.
const SWEEP_MAX: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(5);

/// Kills what runs under these keys, waits until it and its shims are gone, and says how many processes were killed.
/// Blocks.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel tells no one when a process that is not a child is gone; it blocks a thread of its own"
)]
pub(super) fn end_all_of(keys: &[EffectKey], home: Option<&CgroupHome>) -> usize {
    let named = |variable: &str| -> Vec<String> { keys.iter().map(|key| format!("{variable}={key}")).collect() };
    let (programs, keepers) = (named(EFFECT_KEY_VARIABLE), named(SHIM_KEY_VARIABLE));
    let names: Vec<String> = keys.iter().copied().map(shim_name).collect();
    let calls: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let began = Instant::now();
    let mut ended = std::collections::BTreeSet::new();
    loop {
        let late = began.elapsed() > SWEEP_MAX;
        // Shims first: one that is gone by then has no program that the second look could miss.
        let mut waited_for = processes_named(&names);
        waited_for.extend(processes_with(&keepers));
        let mut found = processes_with(&programs);
        // A shim or keeper that is there ends its group itself.
        let mut groups_are_left = false;
        if waited_for.is_empty() || late {
            for group in home.iter().flat_map(|home| home.groups_of(&calls)) {
                if let Closed::Holds(within) = group.close() {
                    groups_are_left = true;
                    found.extend(within.into_iter().filter_map(Pid::from_raw));
                }
            }
        }
        let is_done = found.is_empty() && waited_for.is_empty() && !groups_are_left;
        if is_done || began.elapsed() > SWEEP_MAX * 2 {
            return ended.len();
        }
        if late {
            found.extend(waited_for);
        }
        for pid in found {
            // It may have ended since; that is what is wanted.
            let _ = kill_process(pid, Signal::KILL);
            ended.insert(pid.as_raw_nonzero());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Kills what daemons left in groups of calls that no shim or keeper takes care of, and says how many calls those were.
/// Calls that are under way, of whichever daemon, are not touched. Blocks.
pub(super) fn end_abandoned(home: &CgroupHome) -> usize {
    let left = home.groups_of_the_gone().into_iter();
    let keys = left.filter_map(|(key, _)| key.parse().ok().map(EffectKey));
    let is_cared_for = |key: &EffectKey| {
        let keeper = format!("{SHIM_KEY_VARIABLE}={key}");
        !processes_named(&[shim_name(*key)]).is_empty() || !processes_with(&[keeper]).is_empty()
    };
    let abandoned: Vec<EffectKey> = keys.filter(|key| !is_cared_for(key)).collect();
    if !abandoned.is_empty() {
        end_all_of(&abandoned, Some(home));
    }
    abandoned.len()
}

/// The name of the shim of this call, as long as the kernel keeps one: 62 bits of the key, which are all that vary in
/// that half of it.
pub fn shim_name(key: EffectKey) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rest = key.0.as_u64_pair().1 & (u64::MAX >> 2);
    let mut name = String::from("oc-");
    for _ in 0..12 {
        name.push(char::from(DIGITS[(rest % 36) as usize]));
        rest /= 36;
    }
    name
}

/// The environment of a zombie is empty, so what is found is alive.
fn processes_with(wanted: &[String]) -> Vec<Pid> {
    processes_where(|folder| {
        // Processes of others cannot be read, and are none of ours.
        let environment = std::fs::read(folder.join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| wanted.iter().any(|wanted| wanted.as_bytes() == variable))
    })
}

/// Those that are no zombies, which keep their names.
///
/// **Source**: proc_pid_stat(5): number, name in brackets, state.
fn processes_named(wanted: &[String]) -> Vec<Pid> {
    processes_where(|folder| {
        let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
        let named = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
        named.is_some_and(|(name, after)| {
            wanted.iter().any(|wanted| wanted == name) && !after.trim_start().starts_with(['Z', 'X'])
        })
    })
}

fn processes_where(is_wanted: impl Fn(&Path) -> bool) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
        Some((pid, entry.path()))
    });
    numbered
        .filter_map(|(pid, folder)| is_wanted(&folder).then_some(pid))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_shims_fit_the_kernel_and_differ_with_the_keys() {
        let name = |number: u128| shim_name(EffectKey(uuid::Uuid::from_u128(number)));
        assert_eq!(name(0), "oc-000000000000");
        assert_eq!(name(1), "oc-100000000000");
        let most = name(u128::MAX);
        assert_eq!(most.len(), 15, "{most}");
        assert_ne!(most, name(u128::MAX - 1));
        assert_ne!(most, name(u128::MAX - (1 << 61)), "the highest bit that varies");
    }
}
