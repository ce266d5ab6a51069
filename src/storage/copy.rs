//! A consistent copy of the main file while it is read and written.
//!
//! One read transaction sees one moment; its tables are written row by row into a new file, which is also as small as
//! it can be. Nobody waits for it: readers have their own transactions and the writer makes new pages.
//!
//! **Limits**: pages that are freed meanwhile are not used again before the copy ends, so that the file grows by what
//! is written in that time.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use redb::{
    Database, Key, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, TableHandle as _, Value, WriteTransaction,
};

use super::error::{StoreError, step};
use super::store::Store;
use super::table::{EachTable, each_table};
use super::tape::open;

/// Rows by the name of their table.
pub type RowCounts = BTreeMap<String, u64>;

/// Room beside that of the store itself: a copy that is as small as can be still has its own pages of management, and
/// files beside it.
const ROOM_MORE_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of the cache with which a copy is written.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// The room that a copy of a store of so many bytes may take: it is as small as what is in the store.
pub(super) fn room_of_copy(store_bytes: u64) -> u64 {
    store_bytes.saturating_add(ROOM_MORE_BYTES)
}

/// Bytes that are free on the disk of a folder.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

struct Copying<'copy> {
    from: &'copy ReadTransaction,
    to: &'copy WriteTransaction,
    rows: RowCounts,
}

impl EachTable for Copying<'_> {
    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        definition: TableDefinition<'static, K, V>,
    ) -> Result<(), StoreError> {
        let Some(from) = open(self.from, definition, "open a table to copy")? else {
            return Ok(());
        };
        let mut to = self
            .to
            .open_table(definition)
            .map_err(step("make a table of the copy"))?;
        let mut rows = 0;
        for row in from.iter().map_err(step("read a table to copy"))? {
            let (key, value) = row.map_err(step("read a table to copy"))?;
            to.insert(key.value(), value.value())
                .map_err(step("write a row of the copy"))?;
            rows += 1;
        }
        self.rows.insert(definition.name().to_owned(), rows);
        Ok(())
    }
}

struct Counting<'count> {
    of: &'count ReadTransaction,
    rows: RowCounts,
}

impl EachTable for Counting<'_> {
    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        definition: TableDefinition<'static, K, V>,
    ) -> Result<(), StoreError> {
        if let Some(table) = open(self.of, definition, "open a table to count")? {
            let rows = table.len().map_err(step("count a table"))?;
            self.rows.insert(definition.name().to_owned(), rows);
        }
        Ok(())
    }
}

impl Store {
    /// How many rows each table has.
    pub fn row_counts(&self) -> Result<RowCounts, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let mut counting = Counting {
            of: &transaction,
            rows: RowCounts::new(),
        };
        each_table(&mut counting)?;
        Ok(counting.rows)
    }

    /// Writes everything that is committed now into a new file, durably, and says how many rows each table has.
    ///
    /// **Errors**: a table that this program does not know refuses the whole copy, because it would not be one.
    pub fn copy_to(&self, path: &Path) -> Result<RowCounts, StoreError> {
        let from = self.database().begin_read().map_err(step("begin reading"))?;
        copy_all(&from, path)
    }
}

/// Writes everything that a transaction sees into a new file, as [`Store::copy_to`] does.
pub(super) fn copy_all(from: &ReadTransaction, path: &Path) -> Result<RowCounts, StoreError> {
    let copy = Database::builder().set_cache_size(CACHE_BYTES).create(path);
    let copy = copy.map_err(|error| StoreError::Open {
        path: path.to_owned(),
        source: Box::new(error.into()),
    })?;
    let mut to = copy.begin_write().map_err(step("begin writing the copy"))?;
    to.set_quick_repair(true);
    let mut copying = Copying {
        from,
        to: &to,
        rows: RowCounts::new(),
    };
    each_table(&mut copying)?;
    let rows = copying.rows;
    let mut known = from.list_tables().map_err(step("list the tables"))?;
    if let Some(other) = known.find(|table| !rows.contains_key(table.name())) {
        return Err(StoreError::Corrupt {
            what: format!("table `{}`", other.name()),
            reason: "this program does not know it".into(),
        });
    }
    to.commit().map_err(step("commit the copy"))?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::batch::{Batch, Op};
    use crate::storage::writer::Writer;

    #[test]
    fn every_table_of_the_list_is_copied() {
        let list = include_str!("table.rs");
        let defined = list.matches("TableDefinition::new(\"").count();
        let copied = list.matches("    each.table(").count();
        assert_eq!(defined, copied, "a table is missing in `each_table`");
    }

    #[test]
    fn a_copy_holds_what_was_committed_when_it_began_and_opens_as_a_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let mut writer = Writer::new(store.clone()).expect("a writer");
        let note = |text: &str| crate::domain::audit::AuditNote {
            at: crate::domain::time::UtcMillis(1),
            actor: "test".into(),
            action: text.into(),
            object: "x".into(),
            detail: "".into(),
        };
        let append = |writer: &mut Writer, text: &str| {
            let batch = Batch::ops(vec![Op::AuditAppend(note(text))]);
            writer.commit(&[batch]).expect("committed");
        };
        append(&mut writer, "before");
        let copy = folder.path().join("copy.redb");
        let rows = store.copy_to(&copy).expect("copied");
        assert_eq!(rows["audit-1"], 1);
        append(&mut writer, "after");
        let copied = Store::open(&copy, 1 << 20).expect("opens");
        let read: Vec<String> = copied
            .audit(None, 9)
            .expect("reads")
            .iter()
            .map(|row| row.note.action.to_string())
            .collect();
        assert_eq!(read, ["before"]);
    }

    #[test]
    fn a_table_that_is_not_known_refuses_the_copy() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let foreign: TableDefinition<'_, u64, u64> = TableDefinition::new("of-tomorrow-1");
        let transaction = store.database().begin_write().expect("begins");
        transaction.open_table(foreign).expect("made");
        transaction.commit().expect("committed");
        let refused = store.copy_to(&folder.path().join("copy.redb"));
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    }
}
