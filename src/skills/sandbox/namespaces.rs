//! Mounts of its own, in which everything but the program's folders is read-only; and, when it has a network, one of
//! its own in which only the daemon's proxy is to be found.
//!
//! The mounts close what Landlock leaves open: mode, owner and times of files outside. Needs a process of one thread.

use std::ffi::OsString;
use std::io::IoSlice;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind_recursive, mount_change, mount_remount};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv,
    sendmsg, sendto, socket_with,
};
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};

use super::policy::PolicyWire;

/// Where the proxy is found in a network of its own.
pub const PROXY_PORT: u16 = 3128;

/// Leaves the mounts and, when the policy says so, the network of the system. True when the user is alone in a user
/// namespace afterwards.
pub(super) fn enter(policy: &PolicyWire) -> Result<bool, String> {
    let described = |what: &str, error: &dyn std::fmt::Display| format!("namespaces: {what}: {error}");
    let folder = std::env::current_dir().map_err(|error| described("working folder", &error))?;
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let held = capabilities(None).map_err(|error| described("capabilities", &error))?;
    let is_free = held.effective.contains(CapabilitySet::SYS_ADMIN);
    let mut wanted = CloneFlags::CLONE_NEWNS;
    wanted.set(CloneFlags::CLONE_NEWUSER, !is_free);
    wanted.set(CloneFlags::CLONE_NEWNET, policy.handover.is_some());
    unshare(wanted).map_err(|error| described("unshare", &error))?;
    if !is_free {
        let maps = [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("{uid} {uid} 1")),
            ("gid_map", format!("{gid} {gid} 1")),
        ];
        for (file, text) in maps {
            std::fs::write(Path::new("/proc/self").join(file), text).map_err(|error| described(file, &error))?;
        }
    }
    make_read_only(policy)?;
    // The old working folder lies in the mount that is read-only now.
    std::env::set_current_dir(&folder).map_err(|error| described("working folder", &error))?;
    if let Some(handover) = &policy.handover {
        hand_over_listener(handover)?;
    }
    Ok(!is_free)
}

fn make_read_only(policy: &PolicyWire) -> Result<(), String> {
    let described = |path: &Path, error: &dyn std::fmt::Display| format!("mounts: {}: {error}", path.display());
    let root = Path::new("/");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(root, private).map_err(|error| described(root, &error))?;
    let mut written: Vec<PathBuf> = Vec::new();
    for path in policy.written() {
        let path = path.canonicalize().map_err(|error| described(path, &error))?;
        mount_bind_recursive(&path, &path).map_err(|error| described(&path, &error))?;
        written.push(path);
    }
    let table = std::fs::read("/proc/self/mountinfo").map_err(|error| described(root, &error))?;
    for line in table.split(|byte| *byte == b'\n') {
        let Some((point, flags)) = mount_of(line) else { continue };
        if flags.contains(MountFlags::RDONLY) || written.iter().any(|path| point.starts_with(path)) {
            continue;
        }
        match mount_remount(&point, MountFlags::BIND | MountFlags::RDONLY | flags, c"") {
            // Hidden under another mount, or behind a folder that this user cannot pass: not to be reached by name.
            Ok(()) | Err(Errno::INVAL | Errno::ACCESS | Errno::NOENT) => {}
            Err(error) => return Err(described(&point, &error)),
        }
    }
    Ok(())
}

/// Mount point and flags of a line of the table.
///
/// **Source**: proc_pid_mountinfo(5).
fn mount_of(line: &[u8]) -> Option<(PathBuf, MountFlags)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = unescaped(fields.nth(4)?);
    let mut flags = MountFlags::empty();
    for option in fields.next()?.split(|byte| *byte == b',') {
        flags |= match option {
            b"ro" => MountFlags::RDONLY,
            b"nosuid" => MountFlags::NOSUID,
            b"nodev" => MountFlags::NODEV,
            b"noexec" => MountFlags::NOEXEC,
            b"noatime" => MountFlags::NOATIME,
            b"nodiratime" => MountFlags::NODIRATIME,
            b"relatime" => MountFlags::RELATIME,
            b"nosymfollow" => MountFlags::from_bits_retain(1 << 8),
            _ => MountFlags::empty(),
        };
    }
    Some((PathBuf::from(OsString::from_vec(point)), flags))
}

/// Blank, tab, newline and backslash are written as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) if *first == b'\\' => {
                plain.push(code);
                rest = &after[3..];
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

/// Gives the shim a socket that listens within this network: whoever connects to it from here is served from there.
fn hand_over_listener(handover: &Path) -> Result<(), String> {
    let described = |what: &str, error: &dyn std::fmt::Display| format!("network: {what}: {error}");
    raise_loopback().map_err(|error| described("loopback", &error))?;
    let listener = TcpListener::bind(("127.0.0.1", PROXY_PORT)).map_err(|error| described("listen", &error))?;
    let shim = UnixStream::connect(handover).map_err(|error| described("hand over", &error))?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let sockets = [listener.as_fd()];
    if !with.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err("network: the listener does not fit into its message".to_owned());
    }
    sendmsg(&shim, &[IoSlice::new(b"l")], &mut with, SendFlags::empty())
        .map_err(|error| described("hand over", &error))?;
    Ok(())
}

/// The loopback device of a new network is down; this is `ip link set lo up`.
///
/// **Source**: rtnetlink(7).
fn raise_loopback() -> Result<(), Errno> {
    const NEW_LINK: u16 = 16;
    const REQUEST_WITH_ANSWER: u16 = 1 | 4;
    const LOOPBACK: i32 = 1;
    const UP: u32 = 1;
    // Protocol 0 is the one for links and routes.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let mut request = Vec::with_capacity(32);
    request.extend(32u32.to_ne_bytes());
    request.extend(NEW_LINK.to_ne_bytes());
    request.extend(REQUEST_WITH_ANSWER.to_ne_bytes());
    request.extend([0; 8]); // sequence number and sender
    request.extend([0; 4]); // family and type
    request.extend(LOOPBACK.to_ne_bytes());
    request.extend(UP.to_ne_bytes()); // flags
    request.extend(UP.to_ne_bytes()); // which of them are meant
    sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 128];
    let (_, count) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
    match answer.get(16..20).filter(|_| count >= 20) {
        Some(&[a, b, c, d]) => match i32::from_ne_bytes([a, b, c, d]) {
            0 => Ok(()),
            error => Err(Errno::from_raw_os_error(-error)),
        },
        _ => Err(Errno::PROTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_read_with_blanks_in_names() {
        let check = |line: &str, point: &str, flags: MountFlags| {
            assert_eq!(mount_of(line.as_bytes()), Some((PathBuf::from(point), flags)), "{line}");
        };
        check(
            "36 35 98:0 / /mnt/a\\040b\\134 rw,nosuid,relatime shared:1 - ext4 /dev/root rw",
            "/mnt/a b\\",
            MountFlags::NOSUID | MountFlags::RELATIME,
        );
        check("1 0 0:1 / / ro - rootfs rootfs rw", "/", MountFlags::RDONLY);
        assert_eq!(mount_of(b""), None);
    }
}
