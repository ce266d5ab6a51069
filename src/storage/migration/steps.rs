//! The steps, oldest first. A step that was released is never changed: stores that it led to exist.

use redb::WriteTransaction;

use crate::storage::error::{StoreError, step};
use crate::storage::statistics;
use crate::storage::store::Store;
use crate::storage::table::{FIRST_MEMORY, LAYOUTS, MEMORY_SHARDS, STATISTICS};
use crate::storage::writer::take_over_first_memory;

/// One step from a layout to the next.
pub struct Step {
    /// The layout that it leads on from.
    pub from: u64,
    /// What it does, for people.
    pub what: &'static str,
    /// Tables whose rows it may add, change or remove; all others have as many rows after it as before.
    pub tables: &'static [&'static str],
    /// Does it, within a transaction that the engine commits together with the number of the next layout. The store
    /// shows what was there before.
    pub apply: fn(&Store, &WriteTransaction) -> Result<(), StoreError>,
}

/// All of them.
pub const STEPS: &[Step] = &[Step {
    from: 1,
    what: "fold the figures of agents, days and runs from the journal, take over memory entries of the first form, and \
           keep which program brought the store to which layout",
    tables: &[
        "statistics-1",
        "memory-1",
        "memory-shards-1",
        "memory-entries-1",
        "memory-keys-1",
        "memory-hashes-1",
        "memory-vectors-1",
        "memory-due-1",
        "memory-changes-1",
        "memory-embedded-1",
        "memory-numbers-1",
        "memory-quarantine-1",
        "layouts-1",
        "meta",
    ],
    apply: figures_and_first_memory,
}];

/// What programs of the first layout did at each start: now it is done once, with a way back.
fn figures_and_first_memory(store: &Store, transaction: &WriteTransaction) -> Result<(), StoreError> {
    if !store.has_table(STATISTICS)? {
        let sums = store.fold_statistics()?;
        let mut table = transaction.open_table(STATISTICS).map_err(step("make the figures"))?;
        statistics::write(&mut table, &sums)?;
    }
    if store.has_table(FIRST_MEMORY)? {
        take_over_first_memory(transaction)?;
        transaction
            .delete_table(FIRST_MEMORY)
            .map_err(step("remove the first memory"))?;
    }
    transaction.open_table(MEMORY_SHARDS).map_err(step("make the memory"))?;
    transaction.open_table(LAYOUTS).map_err(step("make the layouts"))?;
    Ok(())
}
