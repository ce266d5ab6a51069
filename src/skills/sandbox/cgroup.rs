//! A control group for each program, where the system lets this process make some: by it the kernel itself bounds
//! processes and memory of everything that the program starts.
//!
//! In the unified hierarchy only below a group that was delegated to this process (systemd's `Delegate=yes`); in the
//! older one wherever groups can be made, which is root's right. **Source**: cgroups(7), the kernel's cgroup-v2.rst.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How groups made here begin, by which those that were left behind are found.
const PREFIX: &str = "openclaw-";
/// The group that the daemon itself moves into: a group with groups in it may hold no processes.
const OWN: &str = "daemon";
/// What stands for the call in the name of the group that is made to see whether one can be.
const TRY: &str = "try";
/// What systemd marks a delegated group with.
const DELEGATED: &str = "user.delegate";
/// Tries to remove a group whose last process is just going.
const REMOVAL_TRIES: u32 = 100;

/// Where groups can be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupHome {
    folder: PathBuf,
    /// Whether the kernel bounds memory here too.
    memory: bool,
}

impl CgroupHome {
    /// Finds it; in a delegated group prepares it, which moves this process into a group of its own. Tries whether a
    /// group can be made.
    pub(super) fn find() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let homes = [unified(&own, &mounts), older(&own, &mounts)];
        homes.into_iter().flatten().find(|home| {
            home.sweep();
            home.make(&format!("{PREFIX}{TRY}-{}", std::process::id()), 16, 1 << 30)
                .is_ok()
        })
    }

    /// A group with these bounds, empty.
    pub(in crate::skills) fn make(&self, name: &str, processes: u64, memory_bytes: u64) -> io::Result<Cgroup> {
        let folder = self.folder.join(name);
        match fs::create_dir(&folder) {
            // One of the same name whose maker was killed: it goes when nobody is in it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && fs::remove_dir(&folder).is_ok() => {
                fs::create_dir(&folder)?;
            }
            made => made?,
        }
        let group = Cgroup(folder);
        fs::write(group.0.join("pids.max"), processes.to_string())?;
        if self.memory {
            fs::write(group.0.join("memory.max"), memory_bytes.to_string())?;
            // Not there without swap.
            let _ = fs::write(group.0.join("memory.swap.max"), "0");
        }
        Ok(group)
    }

    /// The name of the group of a call.
    pub(in crate::skills) fn name_of(key: &str) -> String {
        format!("{PREFIX}{key}-{}", std::process::id())
    }

    /// The groups of the calls of these keys, whichever process wanted them.
    pub(in crate::skills) fn groups_of(&self, keys: &[String]) -> Vec<LeftGroup> {
        let is_wanted = |name: &str| {
            let rest = name.strip_prefix(PREFIX);
            rest.and_then(|rest| rest.rsplit_once('-'))
                .is_some_and(|(key, _)| keys.iter().any(|wanted| wanted == key))
        };
        self.groups_where(is_wanted)
    }

    /// The groups that processes wanted which are gone, with the keys of their calls.
    pub(in crate::skills) fn groups_of_the_gone(&self) -> Vec<(String, LeftGroup)> {
        let groups = self.groups_where(|name| maker_of(name).is_some_and(|pid| !Path::new("/proc").join(pid).exists()));
        let keyed = groups.into_iter().filter_map(|group| {
            let name = group.0.file_name()?.to_str()?;
            let (key, _) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
            Some((key.to_owned(), group))
        });
        keyed.collect()
    }

    fn groups_where(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<LeftGroup> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let named = entries.filter(|entry| entry.file_name().to_str().is_some_and(&is_wanted));
        named.map(|entry| LeftGroup(entry.path())).collect()
    }

    /// One in which no group can be made, for tests.
    #[cfg(test)]
    pub(super) fn nowhere() -> Self {
        Self {
            folder: "/no/such/folder".into(),
            memory: false,
        }
    }

    /// Removes what an earlier life has left of its try. Groups of calls are not touched: a shim outlives its daemon, and
    /// may just have made its group and not be in it yet.
    fn sweep(&self) {
        let tries = self.groups_of_the_gone().into_iter().filter(|(key, _)| key == TRY);
        for (_, group) in tries {
            // Refused while somebody is in it, as it should be.
            let _ = fs::remove_dir(group.0);
        }
    }
}

/// The process that wanted a group, by which its name ends: while it lives it may be about to fill it.
fn maker_of(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)?.rsplit('-').next()
}

/// A group of which nobody takes care any more.
#[derive(Debug)]
pub(in crate::skills) struct LeftGroup(PathBuf);

impl LeftGroup {
    /// Removes it when nobody is in it; if somebody is, lets nothing more start there and says who.
    ///
    /// Processes that have no number here, because they are of another name space, are not told and hold it.
    pub(in crate::skills) fn close(&self) -> Closed {
        let Ok(listed) = fs::read_to_string(self.0.join("cgroup.procs")) else {
            return Closed::Gone;
        };
        let within: Vec<i32> = listed.lines().filter_map(|line| line.trim().parse().ok()).collect();
        if within.contains(&0) {
            return Closed::OfOthers;
        }
        if within.is_empty() && fs::remove_dir(&self.0).is_ok() {
            return Closed::Gone;
        }
        let _ = fs::write(self.0.join("pids.max"), "0");
        Closed::Holds(within)
    }
}

/// What became of a group that nobody takes care of.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::skills) enum Closed {
    /// It is not there any more.
    Gone,
    /// These are still in it; none when the last of them is just going.
    Holds(Vec<i32>),
    /// Somebody is in it who cannot be seen from here.
    OfOthers,
}

/// One group; removed when this is dropped.
#[derive(Debug)]
pub(in crate::skills) struct Cgroup(PathBuf);

impl Cgroup {
    /// Where it is.
    pub(in crate::skills) fn folder(&self) -> &Path {
        &self.0
    }

    /// Lets nothing more start in it, and kills all of it at one stroke where the kernel can.
    pub(in crate::skills) fn end_all(&self) {
        // Whoever then looks for what is left does not race against what multiplies.
        let _ = fs::write(self.0.join("pids.max"), "0");
        // Not there in the older hierarchy, where this makes nothing.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..REMOVAL_TRIES {
            match fs::remove_dir(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::yield_now(),
                _ => return,
            }
        }
    }
}

/// Moves this process into a group.
pub(super) fn enter(folder: &Path) -> Result<(), String> {
    fs::write(folder.join("cgroup.procs"), "0").map_err(|error| format!("cgroup: {}: {error}", folder.display()))
}

fn unified(own: &str, mounts: &str) -> Option<CgroupHome> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut folder = mount_of(mounts, "cgroup2", "")?.join(path.trim_start_matches('/'));
    if folder.ends_with(OWN) {
        // An earlier look of this very process has moved it.
        folder.pop();
    }
    let mut mark = [0; 8];
    rustix::fs::getxattr(&folder, DELEGATED, &mut mark)
        .ok()
        .filter(|count| mark[..*count] == *b"1")?;
    let has = fs::read_to_string(folder.join("cgroup.controllers")).ok()?;
    let has = |name: &str| has.split_whitespace().any(|controller| controller == name);
    if !(has("pids") && has("memory")) {
        return None;
    }
    let daemon = folder.join(OWN);
    if !daemon.is_dir() {
        fs::create_dir(&daemon).ok()?;
    }
    enter(&daemon).ok()?;
    fs::write(folder.join("cgroup.subtree_control"), "+pids +memory").ok()?;
    Some(CgroupHome { folder, memory: true })
}

fn older(own: &str, mounts: &str) -> Option<CgroupHome> {
    let path = own.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|one| one == "pids").then_some(path)
    })?;
    let folder = mount_of(mounts, "cgroup", "pids")?.join(path.trim_start_matches('/'));
    Some(CgroupHome { folder, memory: false })
}

/// The first mount of a file system of this kind with this among its options.
fn mount_of(mounts: &str, kind: &str, option: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let (found, _, options) = (system.next()?, system.next()?, system.next()?);
        let fits = found == kind && (option.is_empty() || options.split(',').any(|one| one == option));
        fits.then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "30 29 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        31 30 0:27 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
        32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        33 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_place_of_groups_is_read_from_the_tables_of_the_kernel() {
        let check = |own: &str, wanted: Option<&str>| {
            let found = older(own, MOUNTS).map(|home| home.folder);
            assert_eq!(found.as_deref(), wanted.map(Path::new), "{own}");
        };
        check("8:pids:/\n0::/\n", Some("/sys/fs/cgroup/pids/"));
        check("8:cpu,pids:/a/b\n", Some("/sys/fs/cgroup/pids/a/b"));
        check("4:memory:/x\n0::/\n", None);
        assert_eq!(mount_of(MOUNTS, "cgroup2", ""), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(unified("0::/", MOUNTS), None, "nobody delegated it");
    }

    #[test]
    fn a_group_has_its_bounds_and_is_gone_when_it_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = CgroupHome {
            folder: folder.path().to_owned(),
            memory: true,
        };
        let group = home.make("openclaw-x", 7, 99).expect("made");
        let read = |name: &str| fs::read_to_string(group.folder().join(name)).expect("written");
        assert_eq!(
            (read("pids.max"), read("memory.max")),
            ("7".to_owned(), "99".to_owned())
        );
        group.end_all();
        assert_eq!(
            (read("cgroup.kill"), read("pids.max")),
            ("1".to_owned(), "0".to_owned())
        );
        enter(group.folder()).expect("entered");
        assert_eq!(read("cgroup.procs"), "0");
        assert!(
            home.make("openclaw-x", 7, 99).is_err(),
            "there is one, and it is in use"
        );
        // Files of a real group go with it; here they have to be removed first.
        for name in [
            "pids.max",
            "memory.max",
            "memory.swap.max",
            "cgroup.kill",
            "cgroup.procs",
        ] {
            fs::remove_file(group.folder().join(name)).expect("removed");
        }
        let path = group.folder().to_owned();
        drop(group);
        assert!(!path.exists());
    }

    #[test]
    fn a_group_that_was_left_behind_is_found_by_its_call_and_goes_when_nobody_is_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = CgroupHome {
            folder: folder.path().to_owned(),
            memory: false,
        };
        let own = std::process::id();
        let check = |call: &str, maker: &str, within: &str, wanted: Closed| {
            let path = folder.path().join(format!("{PREFIX}{call}-{maker}"));
            fs::create_dir(&path).expect("made");
            fs::write(path.join("cgroup.procs"), within).expect("written");
            let groups = home.groups_of(&[call.to_owned()]);
            assert_eq!(groups.len(), 1, "{groups:?}");
            assert_eq!(groups[0].close(), wanted, "{call}");
            let gone = home.groups_of_the_gone();
            let is_of_the_gone = gone.iter().any(|(key, group)| key == call && group.0 == path);
            assert_eq!(is_of_the_gone, maker != own.to_string(), "{call}: {gone:?}");
        };
        check("a-b", "999999999", "7\n8\n", Closed::Holds(vec![7, 8]));
        check("c", &own.to_string(), "9\n", Closed::Holds(vec![9]));
        check("d", "999999999", "0\n7\n", Closed::OfOthers);
        let made = |call: &str| {
            let path = folder.path().join(format!("{PREFIX}{call}-999999999"));
            fs::create_dir(&path).expect("made");
            path
        };
        let (call, tried) = (made("f"), made(TRY));
        home.sweep();
        assert!(
            call.exists(),
            "a shim that outlives its daemon may be about to enter it"
        );
        assert!(!tried.exists(), "nobody enters that one");
        let empty = folder.path().join(format!("{PREFIX}e-{own}"));
        fs::create_dir(&empty).expect("made");
        assert_eq!(home.groups_of(&["e".to_owned()])[0].close(), Closed::Gone);
        fs::create_dir_all(&empty).expect("made");
        let again = home.make(&format!("{PREFIX}e-{own}"), 7, 99);
        again.expect("an empty one of the same name is no hindrance");
    }
}
