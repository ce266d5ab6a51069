//! Room that is kept free for the moment when there is none: a file beside the store that holds nothing.
//!
//! When a write of the store fails because the disk is full, the file is removed and the write is made again, so that
//! what is under way can be committed. redb cannot go on after a failed write, so this has to happen below it.

use std::fs::{self, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::error::is_full;

/// Largest reserve, in bytes.
pub const RESERVE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The reserve.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: AtomicBool,
}

impl Reserve {
    /// The reserve of a store, made when there is room. A disk without room for it is no reason not to start.
    pub fn of(store: &Path, bytes: u64) -> Self {
        let reserve = Self {
            path: store.with_extension("reserve"),
            bytes: bytes.min(RESERVE_BYTES_MAX),
            held: AtomicBool::new(false),
        };
        if let Err(error) = reserve.make() {
            tracing::warn!(%error, "the reserve of the store cannot be made");
        }
        reserve
    }

    /// The reserve of a store on a full disk: given up, whatever an earlier process has left of it.
    pub fn given_up(store: &Path, bytes: u64) -> Self {
        let reserve = Self {
            path: store.with_extension("reserve"),
            bytes: bytes.min(RESERVE_BYTES_MAX),
            held: AtomicBool::new(true),
        };
        reserve.release();
        reserve
    }

    /// Makes it, when it is not there whole.
    pub fn make(&self) -> io::Result<()> {
        let made = self.fill();
        if made.is_err() {
            // A half of it helps nobody.
            fs::remove_file(&self.path).ok();
        }
        self.held.store(made.is_ok(), Ordering::Release);
        made
    }

    fn fill(&self) -> io::Result<()> {
        let mut open = OpenOptions::new();
        let file = open
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)?;
        file.set_len(self.bytes)?;
        // Blocks, not only a length: a file with holes keeps nothing free.
        let allocated = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.bytes);
        match allocated {
            Err(rustix::io::Errno::OPNOTSUPP) => {
                io::copy(&mut io::Read::take(io::repeat(0), self.bytes), &mut &file).map(drop)
            }
            other => other.map_err(io::Error::from),
        }
    }

    /// Whether it is there.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives it up; false when it was given up before.
    pub fn release(&self) -> bool {
        self.held.swap(false, Ordering::AcqRel) && fs::remove_file(&self.path).is_ok()
    }
}

/// The file of the store, whose writes may use the reserve.
#[derive(Debug)]
pub(super) struct ReservedFile {
    file: FileBackend,
    reserve: Arc<Reserve>,
}

impl ReservedFile {
    /// Over an open file.
    pub(super) fn new(file: FileBackend, reserve: Arc<Reserve>) -> Self {
        Self { file, reserve }
    }

    fn with_reserve(&self, write: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match write() {
            Err(error) if is_full(&error) && self.reserve.release() => {
                tracing::error!("the disk is full; the reserve of the store was given up");
                write()
            }
            other => other,
        }
    }
}

impl StorageBackend for ReservedFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.with_reserve(|| self.file.set_len(len))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        // What a sync could not write is lost to the kernel: only the writes before it can be made again.
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.with_reserve(|| self.file.write(offset, data))
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_takes_real_room_is_given_up_once_and_made_again() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let reserve = Reserve::of(&folder.path().join("s.redb"), 1 << 20);
        let path = folder.path().join("s.reserve");
        assert!(reserve.is_held());
        let found = fs::metadata(&path).expect("there");
        assert!(found.blocks() * 512 >= 1 << 20, "{} blocks", found.blocks());
        assert!(reserve.release() && !path.exists());
        assert!(!reserve.release(), "it can be given up once");
        reserve.make().expect("made");
        assert!(reserve.is_held() && path.exists());
    }
}
