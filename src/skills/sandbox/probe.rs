//! Within the sandbox: tries what must be refused and does what must work, and says what it found.
//!
//! Runs as `openclaw __probe <what to try>`, as the program of the self-test. Refuses to know: how the sandbox is made.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sched::{CloneFlags, unshare};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket, socketpair};
use rustix::process::{Pid, Resource, Uid, geteuid, getrlimit, test_kill_process};
use rustix::thread::{SecureComputingMode, capabilities, no_new_privs, secure_computing_mode, set_thread_uid};
use serde::{Deserialize, Serialize};

/// What the probe is to try.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProbeWire {
    /// A folder outside, with a file `secret` in it.
    pub(super) outside: PathBuf,
    /// The workspace.
    pub(super) workspace: PathBuf,
    /// The folder for temporary files.
    pub(super) temp: PathBuf,
    /// A process outside of the same user.
    pub(super) stranger: i32,
    /// Whether mode and owner of files outside must be safe.
    pub(super) metadata: bool,
    /// Whether a network of its own is expected.
    pub(super) network: bool,
}

/// What one control was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FindingWire {
    /// Its name.
    pub(super) control: String,
    /// Empty when it holds; else what happened instead.
    pub(super) failure: String,
}

/// Tries everything and prints a JSON list.
pub fn probe_main() -> ExitCode {
    let order = std::env::args().nth(2).unwrap_or_default();
    let Ok(order) = serde_json::from_str::<ProbeWire>(&order) else {
        return ExitCode::FAILURE;
    };
    let findings = serde_json::to_string(&try_all(&order)).unwrap_or_default();
    match writeln!(io::stdout(), "{findings}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn try_all(order: &ProbeWire) -> Vec<FindingWire> {
    let mut findings = Vec::new();
    let mut note = |control: &str, found: Result<(), String>| {
        findings.push(FindingWire {
            control: control.to_owned(),
            failure: found.err().unwrap_or_default(),
        });
    };
    let secret = order.outside.join("secret");
    let environment = |pid: i32| PathBuf::from(format!("/proc/{pid}/environ"));
    note(
        "files of the workspace can be written and read",
        keeps(&order.workspace),
    );
    note("temporary files can be written and read", keeps(&order.temp));
    note("files outside cannot be read", refused(fs::read(&secret)));
    note(
        "folders outside cannot be listed",
        refused(fs::read_dir(&order.outside)),
    );
    note(
        "files outside cannot be written",
        refused(OpenOptions::new().append(true).open(&secret))
            .and_then(|()| refused(fs::write(order.outside.join("new"), "x"))),
    );
    if order.metadata {
        let mode = Permissions::from_mode(0o777);
        note(
            "the mode of files outside cannot be changed",
            refused(fs::set_permissions(&secret, mode)),
        );
    }
    note("passwords cannot be read", refused(fs::read("/etc/shadow")));
    note(
        "the environment of other processes cannot be read",
        refused(fs::read(environment(1))).and_then(|()| refused(fs::read(environment(order.stranger)))),
    );
    note("other processes cannot be signalled", signal(order.stranger));
    note("no socket leads out", sockets(order.network));
    note(
        "namespaces cannot be made",
        refused_by(unshare(CloneFlags::CLONE_NEWUSER).map_err(errno)),
    );
    note("mounts cannot be changed", {
        refused_by(mount_change("/", MountPropagationFlags::PRIVATE))
    });
    note("there are no privileges and no way to them", privileges());
    note(
        "system calls are filtered",
        match secure_computing_mode() {
            Ok(SecureComputingMode::Filter) => Ok(()),
            other => Err(format!("the mode is {other:?}")),
        },
    );
    note("nothing but the standard streams is open", open_files());
    note(
        "crashes write no memory to the disk",
        match getrlimit(Resource::Core).current {
            Some(0) => Ok(()),
            other => Err(format!("the limit is {other:?}")),
        },
    );
    findings
}

fn keeps(folder: &Path) -> Result<(), String> {
    let file = folder.join("openclaw-probe");
    let done = fs::write(&file, "x").and_then(|()| fs::read(&file));
    done.and_then(|_| fs::remove_file(&file))
        .map_err(|error| error.to_string())
}

/// Holds when it was refused, and not when it failed for another reason: that would prove nothing.
fn refused<T>(tried: io::Result<T>) -> Result<(), String> {
    match tried {
        Ok(_) => Err("it was possible".to_owned()),
        Err(error) => match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Ok(()),
            _ => Err(format!("it failed otherwise: {error}")),
        },
    }
}

fn refused_by<T>(tried: Result<T, Errno>) -> Result<(), String> {
    refused(tried.map_err(io::Error::from))
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}

fn signal(stranger: i32) -> Result<(), String> {
    let mut strangers = [stranger, 1].map(Pid::from_raw).into_iter().flatten();
    strangers.try_for_each(|pid| refused_by(test_kill_process(pid)))
}

fn sockets(network: bool) -> Result<(), String> {
    use AddressFamily as Family;
    let plain = SocketFlags::CLOEXEC;
    let try_one = |family: Family, kind: SocketType| {
        let made = refused_by(socket(family, kind, None));
        made.map_err(|error| format!("{family:?} {kind:?}: {error}"))
    };
    for family in [Family::UNIX, Family::NETLINK, Family::PACKET, Family::VSOCK] {
        try_one(family, SocketType::DGRAM)?;
    }
    try_one(Family::UNIX, SocketType::STREAM)?;
    if !network {
        try_one(Family::INET, SocketType::STREAM)?;
        try_one(Family::INET6, SocketType::DGRAM)?;
    }
    // A pair of datagram sockets could be turned to any socket of the file system.
    refused_by(socketpair(Family::UNIX, SocketType::DGRAM, plain, None))
        .map_err(|error| format!("pair of datagram sockets: {error}"))
}

fn privileges() -> Result<(), String> {
    let held = capabilities(None).map_err(|error| error.to_string())?;
    if !(held.effective | held.permitted | held.inheritable).is_empty() {
        return Err(format!("it has {held:?}"));
    }
    if !no_new_privs().is_ok_and(|none| none) {
        return Err("programs with the set-user-ID bit give new ones".to_owned());
    }
    let another = if geteuid().is_root() { 65534 } else { 0 };
    match set_thread_uid(Uid::from_raw(another)) {
        // In a user namespace of one user there is no other one.
        Err(Errno::INVAL) => Ok(()),
        tried => refused_by(tried),
    }
}

fn open_files() -> Result<(), String> {
    // Looking at a name needs no permission; the names of this folder are the numbers of what is open.
    let open: Vec<i32> = (3..256)
        .filter(|number| Path::new(&format!("/proc/self/fd/{number}")).exists())
        .collect();
    if open.is_empty() {
        Ok(())
    } else {
        Err(format!("open: {open:?}"))
    }
}
