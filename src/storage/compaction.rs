//! Makes the main file as small as what is in it. Files of redb grow and never shrink by themselves.
//!
//! Needs the file alone: while it runs no transaction begins, and those that ask wait. A process that is killed
//! meanwhile opens the file as it was, after a repair that reads it once.

use std::time::Duration;

use super::error::{StoreError, step};
use super::store::Store;

/// Largest file that is compacted while others want to read it: about two seconds.
pub const COMPACT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How often it is tried while transactions are under way.
const TRIES_MAX: u32 = 200;
/// Between two tries.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// What a compaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the file before.
    pub before: u64,
    /// Bytes of the file after.
    pub after: u64,
}

/// Why the file was not compacted.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// It would take too long while others wait.
    #[error(
        "compact the store while it is in use: it has {bytes} bytes, at most {COMPACT_BYTES_MAX} are compacted then"
    )]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// Something was always being read or written.
    #[error("compact the store: no moment without a transaction was found")]
    Busy,
    /// It failed; the store must not be written to again by this process.
    #[error("compact the store")]
    Store(#[source] StoreError),
}

impl Store {
    /// Bytes of the file that hold nothing. Reads all tables, and nobody writes meanwhile.
    pub fn spare_bytes(&self) -> Result<u64, StoreError> {
        let database = self.database();
        // Nothing is changed by it: only whoever writes sees which pages are in use.
        let transaction = database.begin_write().map_err(step("begin measuring"))?;
        let stats = transaction.stats().map_err(step("measure the store"))?;
        transaction.abort().map_err(step("end measuring"))?;
        let used = stats.allocated_pages() * stats.page_size() as u64;
        Ok(self.file_bytes().saturating_sub(used))
    }

    /// Compacts the file. Blocks its thread, and everybody who wants to read or write. `bytes_max` refuses a file that
    /// would hold them up for too long.
    pub fn compact(&self, bytes_max: u64) -> Result<Compacted, CompactError> {
        let before = self.file_bytes();
        if before > bytes_max {
            return Err(CompactError::TooLarge { bytes: before });
        }
        // From here on no transaction begins; those under way end by themselves.
        let mut alone = self.database_alone();
        for _ in 0..TRIES_MAX {
            match alone.compact() {
                Ok(_) => {
                    drop(alone);
                    return Ok(Compacted {
                        before,
                        after: self.file_bytes(),
                    });
                }
                Err(redb::CompactionError::TransactionInProgress) => wait(),
                Err(error) => return Err(CompactError::Store(step("compact")(error))),
            }
        }
        Err(CompactError::Busy)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "redb does not tell when a transaction ends; bounded by the number of tries"
)]
fn wait() {
    std::thread::sleep(TRY_AGAIN);
}

#[cfg(test)]
mod tests {
    use redb::ReadableDatabase as _;

    use super::*;
    use crate::storage::batch::{Batch, Op};
    use crate::storage::writer::Writer;

    fn store_with_room() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let mut writer = Writer::new(store.clone()).expect("a writer");
        let secret = |number: u32, bytes: usize| {
            let record = crate::storage::record::secret::SecretRecord {
                key_id: [0; 8],
                sealed: vec![7; bytes],
                set_at: 0,
            };
            Op::SecretPut(format!("s{number}"), record)
        };
        let large = (0..64).map(|number| secret(number, 100_000)).collect();
        writer.commit(&[Batch::ops(large)]).expect("committed");
        let gone = (0..64).map(|number| Op::SecretRemove(format!("s{number}"))).collect();
        writer.commit(&[Batch::ops(gone)]).expect("committed");
        (folder, store)
    }

    #[test]
    fn what_was_deleted_takes_no_room_after_a_compaction() {
        let (_folder, store) = store_with_room();
        let (bytes, spare) = (store.file_bytes(), store.spare_bytes().expect("measured"));
        assert!(spare > bytes / 2 && spare < bytes, "{spare} of {bytes}");
        let compacted = store.compact(u64::MAX).expect("compacted");
        assert!(compacted.after < compacted.before / 2, "{compacted:?}");
        assert_eq!(compacted.after, store.file_bytes());
        assert!(store.review().expect("reads").is_sound());
    }

    #[test]
    fn a_large_file_and_a_reader_that_stays_refuse_it() {
        let (_folder, store) = store_with_room();
        assert!(matches!(store.compact(10), Err(CompactError::TooLarge { .. })));
        let reading = store.database().begin_read().expect("begins");
        assert!(matches!(store.compact(u64::MAX), Err(CompactError::Busy)));
        drop(reading);
        store.compact(u64::MAX).expect("compacted");
    }
}
