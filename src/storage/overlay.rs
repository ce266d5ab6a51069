//! A file that is read and never written: what would be written to it is held in memory and forgotten.
//!
//! With it a store that a kill left can be repaired for a look at it, while the repair itself is left to the process that
//! will write to it. The file is locked meanwhile, as for any opening.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// Bytes of one piece.
const PIECE: u64 = 4096;
/// Pieces in memory at most: 256 MiB.
const PIECES_MAX: usize = 65_536;

type Piece = Box<[u8]>;

/// The file and what stands over it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: FileBackend,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    /// Bytes that there are.
    len: u64,
    /// Bytes of the file that still count: what is behind them was cut off once.
    below: u64,
    pieces: BTreeMap<u64, Piece>,
}

impl Overlay {
    /// Over the file at a path.
    pub(super) fn open(path: &Path) -> Result<Self, redb::DatabaseError> {
        // Its lock takes a descriptor that could write.
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let file = FileBackend::new(file)?;
        let len = file.len()?;
        let pieces = BTreeMap::new();
        let over = Mutex::new(Over {
            len,
            below: len,
            pieces,
        });
        Ok(Self { file, over })
    }

    fn over(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece as it is now.
    fn piece(&self, over: &Over, number: u64) -> io::Result<Piece> {
        if let Some(piece) = over.pieces.get(&number) {
            return Ok(piece.clone());
        }
        let mut piece = vec![0; PIECE as usize].into_boxed_slice();
        let start = number * PIECE;
        let there = over.below.saturating_sub(start).min(PIECE) as usize;
        if there > 0 {
            self.file.read(start, &mut piece[..there])?;
        }
        Ok(piece)
    }
}

/// The pieces that so many bytes from a place on lie in: number, first byte within the piece, first byte of the data,
/// bytes.
fn parts(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = bytes - done;
        let at = offset + done as u64;
        let within = (at % PIECE) as usize;
        let count = left.min(PIECE as usize - within);
        let part = (at / PIECE, within, done, count);
        done += count;
        (count > 0).then_some(part)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.over().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let over = self.over();
        if offset.saturating_add(out.len() as u64) > over.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, from, count) in parts(offset, out.len()) {
            let piece = self.piece(&over, number)?;
            out[from..from + count].copy_from_slice(&piece[within..within + count]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut over = self.over();
        if len < over.len {
            over.below = over.below.min(len);
            over.pieces.retain(|number, _| number * PIECE < len);
            let within = (len % PIECE) as usize;
            if let Some(piece) = over.pieces.get_mut(&(len / PIECE)) {
                piece[within..].fill(0);
            }
        }
        over.len = len;
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut over = self.over();
        for (number, within, from, count) in parts(offset, data.len()) {
            let mut piece = self.piece(&over, number)?;
            piece[within..within + count].copy_from_slice(&data[from..from + count]);
            over.pieces.insert(number, piece);
        }
        over.len = over.len.max(offset + data.len() as u64);
        if over.pieces.len() > PIECES_MAX {
            let why = "its repair would write more than is held in memory";
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, why));
        }
        Ok(())
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
    fn what_is_written_is_read_back_and_the_file_stays_as_it_was() {
        let mut random = fastrand::Rng::with_seed(7);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(20_000).collect();
        std::fs::write(&path, &bytes).expect("written");
        let overlay = Overlay::open(&path).expect("opens");
        let mut model = bytes.clone();
        for _ in 0..500 {
            let at = random.usize(..30_000);
            match random.u8(..4) {
                0 => {
                    overlay.set_len(at as u64).expect("set");
                    model.resize(at, 0);
                }
                1 => {
                    let data = vec![random.u8(..); random.usize(..9_000)];
                    overlay.write(at as u64, &data).expect("written");
                    // Bytes between the end and what is written are zero.
                    model.resize(model.len().max(at + data.len()), 0);
                    model[at..at + data.len()].copy_from_slice(&data);
                }
                _ => {
                    let mut out = vec![0; random.usize(..9_000)];
                    let read = overlay.read(at as u64, &mut out);
                    match model.get(at..at + out.len()) {
                        Some(wanted) => assert!(read.is_ok() && out == wanted, "{at}: {read:?}"),
                        None => assert!(read.is_err(), "{at}: behind the end"),
                    }
                }
            }
            assert_eq!(overlay.len().expect("known"), model.len() as u64);
        }
        assert!(std::fs::read(&path).expect("read") == bytes, "the file is as it was");
    }
}
