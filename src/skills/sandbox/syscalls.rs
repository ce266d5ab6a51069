//! Which system calls a program makes: a filter that refuses those by which confined programs get out.
//!
//! A list of refusals and not of permissions: programs of every kind run here, and a call that is new in the kernel
//! must not break them. A refused call fails with EPERM, so that a program can go on without it.
//!
//! **Source**: seccomp(2); the default profile of container engines.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter, sock_filter,
};

use super::dispatch::{Verdict, dispatch};
use crate::domain::fault::in_one_line;

/// What is refused beside the list that holds for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusals {
    /// Every socket; else those that are neither IPv4 nor IPv6.
    pub(super) sockets: bool,
    /// Signals to other processes by their number: when the kernel has no edge for signals.
    pub(super) signals: bool,
    /// Changes of mode and owner of any file: when nothing makes the files of others read-only.
    pub(super) metadata: bool,
}

/// Refused to every program.
const REFUSED: &[i64] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Mounts, roots and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // Parts of the kernel that keep being the way out.
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Objects that are shared by all processes of a user, past every file rule.
    libc::SYS_shmget,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// Changes of mode, owner and extended attributes.
const METADATA: &[i64] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
];
#[cfg(target_arch = "x86_64")]
const METADATA_HERE: &[i64] = &[libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown];
#[cfg(not(target_arch = "x86_64"))]
const METADATA_HERE: &[i64] = &[];
/// The same on every architecture.
const SYS_FCHMODAT2: i64 = 452;

/// By this bit a call is of the second numbering that x86-64 kernels may have (x32). Nothing needs it, and there every
/// call of the lists here could be made under another number, so all of it is as if the kernel did not have it.
#[cfg(target_arch = "x86_64")]
const SECOND_NUMBERING: Option<u32> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const SECOND_NUMBERING: Option<u32> = None;
/// ENOSYS and not EPERM: then C libraries fall back to `clone`, whose flags a filter can see.
const UNSEEN: u32 = libc::SYS_clone3 as u32;

/// The flags by which `clone` makes namespaces: mount, cgroup, host name, IPC, user, pid, net.
const NEW_NAMESPACES: &[u64] = &[
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];
/// Requests that put text into a terminal's input.
const TERMINAL_INPUT: &[u64] = &[0x5412, 0x541c];
const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
/// The kinds of socket in pairs that can be turned to another peer afterwards.
const SOCK_DGRAM: u64 = 2;
const SOCK_RAW: u64 = 3;
const SOCK_KIND: u64 = 0xf;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

// Instructions of the filter. **Source**: linux/bpf_common.h, linux/seccomp.h.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_SET: u16 = 0x45;
const RETURN: u16 = 0x06;
const NUMBER_OFFSET: u32 = 0;
const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;

/// Filters that are the same for every program, made once in a process that starts many.
static PREPARED: OnceLock<Vec<(Refusals, BpfProgram)>> = OnceLock::new();

/// Makes the filters that name no process, for this process and its copies.
pub(crate) fn prepare_filters() {
    PREPARED.get_or_init(|| {
        let flags = [false, true];
        let all = flags
            .iter()
            .flat_map(|sockets| flags.map(|metadata| (*sockets, metadata)));
        let refusals = all.map(|(sockets, metadata)| Refusals {
            sockets,
            signals: false,
            metadata,
        });
        // One that cannot be made is made again for the program that needs it, which then says why.
        refusals
            .filter_map(|refusals| Some((refusals, filter(refusals).ok()?)))
            .collect()
    });
}

/// Puts the filter on this thread and on all that it becomes and starts, for good.
pub(super) fn apply(refusals: Refusals) -> Result<(), String> {
    let described = |error: &dyn std::error::Error| format!("system calls: {}", in_one_line(error));
    let prepared = PREPARED.get().into_iter().flatten();
    let mut prepared = prepared.filter(|(known, _)| *known == refusals);
    let made;
    let program = if let Some((_, program)) = prepared.next() {
        program
    } else {
        made = filter(refusals)?;
        &made
    };
    apply_filter(program).map_err(|error| described(&error))
}

fn filter(refusals: Refusals) -> Result<BpfProgram, String> {
    let described = |error: BackendError| format!("system calls: {}", in_one_line(&error));
    let rules = rules(refusals).map_err(described)?;
    let verdict = |conditions: &Vec<SeccompRule>| {
        if conditions.is_empty() {
            Verdict::Refused
        } else {
            Verdict::Asked
        }
    };
    let named = rules.iter().map(|(number, conditions)| {
        let number = u32::try_from(*number).map_err(|_| format!("system calls: {number} is no number of one"))?;
        Ok((number, verdict(conditions)))
    });
    let named = named.collect::<Result<Vec<_>, String>>()?;
    // Those that are refused whatever their arguments are known by the dispatch; the library has to know the others.
    let asked = rules.into_iter().filter(|(_, conditions)| !conditions.is_empty());
    let mut program = listed(asked.collect()).map_err(described)?;
    // One program and not two: the kernel translates each, and runs each with every call that is made. The library knows
    // one refusal for all, so those that look as if there were no such call are put in where it has loaded the number.
    let loads_number = |one: &sock_filter| (one.code, one.k) == (LOAD, NUMBER_OFFSET);
    let Some(place) = program.iter().position(loads_number) else {
        return Err("system calls: the filter has another form than is known".to_owned());
    };
    let absent = |code, k| {
        let jump = sock_filter { code, jt: 0, jf: 1, k };
        let refuse = sock_filter {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned(),
        };
        [jump, refuse]
    };
    let second = SECOND_NUMBERING.into_iter().flat_map(|bit| absent(JUMP_IF_SET, bit));
    let dispatch = dispatch(named, SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned())?;
    let first: Vec<sock_filter> = second.chain(absent(JUMP_IF_EQUAL, UNSEEN)).chain(dispatch).collect();
    // Jumps lead forward, and what comes before this place jumps no further than to it.
    program.splice(place + 1..=place, first);
    Ok(program)
}

/// The library's filter for these rules.
fn listed(rules: Rules) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

fn rules(refusals: Refusals) -> Result<Rules, BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    let rule = |conditions: &[(u8, SeccompCmpArgLen, SeccompCmpOp, u64)]| -> Result<SeccompRule, BackendError> {
        let conditions = conditions
            .iter()
            .map(|(argument, length, op, value)| SeccompCondition::new(*argument, length.clone(), op.clone(), *value));
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    };
    let each = |argument: u8, length: SeccompCmpArgLen, values: &[u64], op: &dyn Fn(u64) -> SeccompCmpOp| {
        let rules = values
            .iter()
            .map(|value| rule(&[(argument, length.clone(), op(*value), *value)]));
        rules.collect::<Result<Vec<_>, _>>()
    };
    let mut rules: Rules = REFUSED
        .iter()
        .chain(REFUSED_HERE)
        .map(|number| (*number, Vec::new()))
        .collect();
    rules.insert(libc::SYS_clone, each(0, Qword, NEW_NAMESPACES, &MaskedEq)?);
    rules.insert(libc::SYS_ioctl, each(1, Dword, TERMINAL_INPUT, &|_| Eq)?);
    // The limits of another process: the daemon's would be among them.
    rules.insert(libc::SYS_prlimit64, vec![rule(&[(0, Dword, Ne, 0)])?]);
    // Pairs are pipes, unless they are turned to a socket of the file system.
    let mut pairs = each(1, Dword, &[SOCK_DGRAM, SOCK_RAW], &|_| MaskedEq(SOCK_KIND))?;
    pairs.push(rule(&[(0, Dword, Ne, AF_UNIX)])?);
    rules.insert(libc::SYS_socketpair, pairs);
    let sockets = if refusals.sockets {
        Vec::new()
    } else {
        vec![rule(&[(0, Dword, Ne, AF_INET), (0, Dword, Ne, AF_INET6)])?]
    };
    rules.insert(libc::SYS_socket, sockets);
    if refusals.signals {
        let own = u64::from(std::process::id());
        rules.insert(libc::SYS_kill, vec![rule(&[(0, Dword, Ne, 0), (0, Dword, Ne, own)])?]);
        rules.insert(libc::SYS_tgkill, vec![rule(&[(0, Dword, Ne, own)])?]);
        for number in [
            libc::SYS_tkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_rt_tgsigqueueinfo,
            libc::SYS_pidfd_send_signal,
        ] {
            rules.insert(number, Vec::new());
        }
    }
    if refusals.metadata {
        rules.extend(METADATA.iter().chain(METADATA_HERE).map(|number| (*number, Vec::new())));
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_refusals() -> impl Iterator<Item = Refusals> {
        (0..8u8).map(|bits| Refusals {
            sockets: bits & 1 != 0,
            signals: bits & 2 != 0,
            metadata: bits & 4 != 0,
        })
    }

    /// What the kernel would do with a call: runs a filter as seccomp(2) says.
    fn verdict(program: &[sock_filter], number: u32, arguments: [u64; 2]) -> u32 {
        let word = |offset: u32| match offset {
            0 => number,
            4 => 0xc000_003e,
            16 => arguments[0] as u32,
            20 => (arguments[0] >> 32) as u32,
            24 => arguments[1] as u32,
            28 => (arguments[1] >> 32) as u32,
            other => panic!("offset {other}"),
        };
        let (mut place, mut loaded) = (0, 0u32);
        loop {
            let one = &program[place];
            place += 1;
            let mut jump = |holds: bool| place += usize::from(if holds { one.jt } else { one.jf });
            match one.code {
                0x20 => loaded = word(one.k),
                0x54 => loaded &= one.k,
                0x05 => place += one.k as usize,
                0x15 => jump(loaded == one.k),
                0x25 => jump(loaded > one.k),
                0x35 => jump(loaded >= one.k),
                0x45 => jump(loaded & one.k != 0),
                0x06 => return one.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_dispatch_decides_every_call_as_the_list_of_rules_does() {
        const ALLOWED: u32 = 0x7fff_0000;
        let own = u64::from(std::process::id());
        let flags = NEW_NAMESPACES.iter().chain(TERMINAL_INPUT).copied();
        let few = [
            0,
            1,
            2,
            3,
            10,
            17,
            own,
            0x0100_0000,
            u64::from(u32::MAX),
            u64::MAX,
            1 << 40,
        ];
        let values: Vec<u64> = flags.chain(few).collect();
        for refusals in all_refusals() {
            let made = filter(refusals).expect("a filter");
            let plain = listed(rules(refusals).expect("rules")).expect("a filter");
            let (mut refused, mut differing) = (0, 0);
            for number in (0..700).filter(|number| *number != UNSEEN) {
                let all = values
                    .iter()
                    .flat_map(|first| values.iter().map(move |second| [*first, *second]));
                let found: Vec<u32> = all
                    .map(|arguments| {
                        let (made, plain) = (verdict(&made, number, arguments), verdict(&plain, number, arguments));
                        assert_eq!(made, plain, "{refusals:?}: call {number} with {arguments:x?}");
                        made
                    })
                    .collect();
                refused += usize::from(found.iter().all(|one| *one != ALLOWED));
                differing += usize::from(found.iter().any(|one| *one != found[0]));
            }
            assert!(
                refused >= REFUSED.len() && differing >= 4,
                "{refused} refused, {differing} by their arguments"
            );
            assert_eq!(
                verdict(&made, UNSEEN, [0, 0]),
                SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()
            );
            assert_eq!(
                verdict(&made, 0x4000_0000, [0, 0]),
                SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()
            );
        }
    }

    #[test]
    fn every_combination_makes_a_filter_that_the_kernel_takes_in_length() {
        for refusals in all_refusals() {
            let program = filter(refusals).expect("a filter");
            assert!((100..4096).contains(&program.len()), "{refusals:?}: {}", program.len());
            // The form that the absent calls are put into.
            let head: Vec<(u16, u8, u8)> = program[..4].iter().map(|one| (one.code, one.jt, one.jf)).collect();
            assert_eq!(
                head,
                [(LOAD, 0, 0), (JUMP_IF_EQUAL, 1, 0), (RETURN, 0, 0), (LOAD, 0, 0)]
            );
        }
    }
}
