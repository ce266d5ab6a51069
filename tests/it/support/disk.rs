//! A small file system that only the calling thread and its children see.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

/// A tmpfs of a few megabytes. It goes with the thread that mounted it.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts it over a new folder. None, and a loud word, for a user that may not mount; a test run that calls itself
    /// `CI` must be one that may.
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    pub fn mount(folder: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(folder).expect("a folder");
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
            assert!(std::env::var_os("CI").is_none(), "no mount namespace in CI: {error}");
            eprintln!("SKIPPED: a small file system needs a mount namespace: {error}");
            return None;
        }
        // Whatever is mounted here stays here.
        let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
        mount_change("/", private).expect("a private tree of mounts");
        let size = std::ffi::CString::new(format!("size={megabytes}m,mode=0700")).expect("no zero byte");
        mount("tmpfs", folder, "tmpfs", MountFlags::empty(), Some(size.as_c_str())).expect("mounted");
        Some(Self {
            folder: folder.to_owned(),
        })
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.folder).expect("a file system");
        found.f_bavail * found.f_frsize
    }

    /// Fills it until no more than so many bytes are free.
    pub fn fill_but(&self, bytes: u64) {
        let path = self.folder.join("filler");
        let mut filler = File::options().create(true).append(true).open(path).expect("a file");
        let page = [7; 4096];
        while self.free() > bytes {
            if filler.write_all(&page).is_err() {
                break;
            }
        }
    }

    /// Gives all of that back.
    pub fn empty(&self) {
        fs::remove_file(self.folder.join("filler")).expect("removed");
    }
}
