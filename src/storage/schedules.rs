//! Reading what is kept of schedules, and their ledger.
//!
//! A store that was made before there were schedules has no such tables until the first is written: then there are
//! none.

use std::ops::RangeInclusive;

use redb::{ReadableDatabase as _, ReadableTable as _};

use crate::domain::name::ScheduleName;
use crate::domain::schedule::slot::{Kept, SlotRow};
use crate::domain::time::UtcMillis;

use super::error::{StoreError, step};
use super::record::schedule::{read_kept, read_slot, slot_key};
use super::store::Store;
use super::table::{SCHEDULES, SLOTS};
use super::tape::open;

impl Store {
    /// What is kept of a schedule.
    pub fn schedule(&self, name: &ScheduleName) -> Result<Option<Kept>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(table) = open(&transaction, SCHEDULES, "open the schedules")? else {
            return Ok(None);
        };
        let value = table.get(name.as_str()).map_err(step("read a schedule"))?;
        value.map(|value| read_kept(name.as_str(), value.value())).transpose()
    }

    /// The names of all schedules that anything is kept of.
    pub fn schedules(&self) -> Result<Vec<ScheduleName>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(table) = open(&transaction, SCHEDULES, "open the schedules")? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in table.iter().map_err(step("read the schedules"))? {
            let (name, value) = entry.map_err(step("read the schedules"))?;
            names.push(read_kept(name.value(), value.value())?.schedule);
        }
        Ok(names)
    }

    /// One row of the ledger.
    pub fn slot(&self, schedule: &ScheduleName, slot: UtcMillis) -> Result<Option<SlotRow>, StoreError> {
        Ok(self.slots(schedule, slot..=slot, 1, &|_| true)?.pop())
    }

    /// Rows of the ledger between two slots, newest first: at most `limit` that pass the filter.
    pub fn slots(
        &self,
        schedule: &ScheduleName,
        between: RangeInclusive<UtcMillis>,
        limit: usize,
        filter: &dyn Fn(&SlotRow) -> bool,
    ) -> Result<Vec<SlotRow>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(table) = open(&transaction, SLOTS, "open the slots")? else {
            return Ok(Vec::new());
        };
        let (first, last) = (slot_key(schedule, *between.start()), slot_key(schedule, *between.end()));
        if first > last {
            return Ok(Vec::new());
        }
        let rows = table.range(first.as_slice()..=last.as_slice());
        let mut found = Vec::new();
        for entry in rows.map_err(step("read the slots"))?.rev() {
            if found.len() >= limit {
                break;
            }
            let (key, value) = entry.map_err(step("read the slots"))?;
            let row = read_slot(key.value(), value.value())?;
            if filter(&row) {
                found.push(row);
            }
        }
        Ok(found)
    }
}
