//! Who a program is: without capabilities, without a way to new ones, without what was open before it.
//!
//! A daemon that runs as root starts programs as the owner of their workspace; as root itself only when root owns
//! it, and then without a single capability. `ops/decisions/0012-sandbox.md` says why and what it costs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
    set_thread_gid, set_thread_groups, set_thread_uid,
};

/// More than any kernel has.
const CAPABILITIES_MAX: u32 = 64;
/// Standard input, output and error.
const KEPT: std::ops::RangeInclusive<i32> = 0..=2;

/// Closes everything that is open but the three standard streams. What was not marked to be closed would be the
/// program's: a socket that the service manager handed to the daemon, a file of whoever started it.
pub(super) fn close_inherited() -> Result<(), String> {
    let described = |error: std::io::Error| format!("open files: {error}");
    let open = std::fs::read_dir("/proc/self/fd").map_err(described)?;
    let numbers: Vec<i32> = open
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers.into_iter().filter(|number| !KEPT.contains(number)) {
        // The folder that was read is among them and closed already.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}

/// The owner that a program of this workspace gets, when this process may choose: it is root and the owner is not.
pub(crate) fn owner_instead_of_root(workspace: &Path) -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let owner = workspace.metadata().ok()?;
    (owner.uid() != 0).then(|| (owner.uid(), owner.gid()))
}

/// Gives up user, groups and every capability, for good. `owner` is the user to become; needs the capabilities to do so.
pub(super) fn drop_all(owner: Option<(u32, u32)>) -> Result<(), String> {
    let described = |what: &str, error: rustix::io::Errno| format!("privileges: {what}: {error}");
    let held = capabilities(None).map_err(|error| described("capabilities", error))?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for number in 0..CAPABILITIES_MAX {
            let one = CapabilitySet::from_bits_retain(1 << number);
            match remove_capability_from_bounding_set(one) {
                // Past the last one of this kernel.
                Err(rustix::io::Errno::INVAL) => break,
                other => other.map_err(|error| described("bounding set", error))?,
            }
        }
        let bits = CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
        set_capabilities_secure_bits(bits).map_err(|error| described("secure bits", error))?;
    }
    if geteuid().is_root() && held.effective.contains(CapabilitySet::SETGID) {
        // A user namespace with one user refuses this and has no groups to drop.
        match set_thread_groups(&[]) {
            Err(error) if owner.is_some() => return Err(described("groups", error)),
            _ => {}
        }
    }
    if let Some((uid, gid)) = owner {
        set_thread_gid(Gid::from_raw(gid)).map_err(|error| described("group", error))?;
        set_thread_uid(Uid::from_raw(uid)).map_err(|error| described("user", error))?;
    }
    // A kernel without ambient capabilities has none to clear.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets).map_err(|error| described("capabilities", error))
}

/// From here on no program that is started gains anything by its file.
pub(super) fn gain_nothing() -> Result<(), String> {
    set_no_new_privs(true).map_err(|error| format!("privileges: no new ones: {error}"))
}
