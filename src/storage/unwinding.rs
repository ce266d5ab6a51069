//! What must not be dropped while a panic unwinds.
//!
//! redb panics at pages that cannot be right. Its transactions and tables put things in order when they are dropped, and
//! panic once more where the first panic has poisoned a lock of theirs: a panic in a destructor that runs for a panic
//! ends the process without a word of what is wrong. Leaking them lets the first panic reach whoever says it to people;
//! nothing is written by what is leaked, and the process gives the store up.

use std::ops::{Deref, DerefMut};

/// Dropped as ever, and leaked by a panic.
pub(super) struct LeakedByPanic<T>(Option<T>);

/// Only [`LeakedByPanic::into_inner`] empties it, and that takes it.
const HELD: &str = "it is held until it is taken out";

impl<T> LeakedByPanic<T> {
    pub(super) fn new(held: T) -> Self {
        Self(Some(held))
    }

    pub(super) fn into_inner(mut self) -> T {
        self.0.take().expect(HELD)
    }
}

impl<T> Deref for LeakedByPanic<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for LeakedByPanic<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(HELD)
    }
}

impl<T> Drop for LeakedByPanic<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::mem::forget(self.0.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use fastrand::Rng;

    use super::*;
    use crate::domain::audit::AuditNote;
    use crate::domain::time::UtcMillis;
    use crate::storage::batch::{Batch, Op};
    use crate::storage::store::Store;
    use crate::storage::writer::Writer;

    /// Copies of the store that are damaged, one after the other.
    const COPIES: usize = 200;
    /// Bytes that are damaged: less than a page.
    const BYTES: usize = 64;

    fn row(text: &str) -> Batch {
        Batch::ops(vec![Op::AuditAppend(AuditNote {
            at: UtcMillis(1),
            actor: "test".into(),
            action: "put".into(),
            object: text.into(),
            detail: "".into(),
        })])
    }

    #[test]
    fn a_panic_passes_what_would_panic_again() {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("in a destructor");
            }
        }
        let ended = catch_unwind(|| {
            let _held = LeakedByPanic::new(Panics);
            panic!("first");
        });
        let said = ended.expect_err("it panics");
        assert_eq!(said.downcast_ref::<&str>(), Some(&"first"));
        let dropped = catch_unwind(|| drop(LeakedByPanic::new(Panics)));
        assert!(dropped.is_err(), "without a panic it is dropped as ever");
    }

    /// A panic that cannot be caught ends this process.
    #[test]
    fn a_write_to_a_damaged_store_ends_in_an_error_or_in_a_panic_that_can_be_caught() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.redb");
        let store = Store::open(&path, 1 << 20).expect("opens");
        let mut writer = Writer::new(store.clone()).expect("a writer");
        for index in 0..60 {
            let rows: Vec<Batch> = (0..8).map(|row_of| row(&format!("{index} {row_of}"))).collect();
            writer.commit(&rows).expect("commits");
        }
        // As a kill leaves it, which the next opening has to repair.
        let whole = std::fs::read(&path).expect("the store");
        drop(writer);
        drop(store);
        let mut random = Rng::with_seed(0x0c1a_55e5);
        let mut bad = 0;
        for _ in 0..COPIES {
            let mut bytes = whole.clone();
            let at = random.usize(..bytes.len() - BYTES);
            bytes[at..at + BYTES].fill_with(|| random.u8(..));
            let copy = tempfile::NamedTempFile::new_in(folder.path()).expect("a file");
            std::fs::write(copy.path(), bytes).expect("written");
            let ended = catch_unwind(AssertUnwindSafe(|| {
                let store = Store::open(copy.path(), 1 << 20)?;
                let mut writer = Writer::new(store)?;
                for index in 0..20 {
                    writer.commit(&[row(&index.to_string())])?;
                }
                Ok::<(), crate::storage::error::StoreError>(())
            }));
            bad += usize::from(!matches!(ended, Ok(Ok(()))));
        }
        assert!(bad > 0, "none of these places was ever read");
    }
}
