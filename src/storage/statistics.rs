//! Rows of figures: added to in the transaction of the facts that they count.

use std::collections::BTreeMap;

use redb::{ReadableTable, Table};

use crate::domain::statistics::{Figures, Happening, StatisticsKey};

use super::codec;
use super::error::{StoreError, step};
use super::record::statistics::{StatisticsRecord, statistics_row};

/// Figures by what they are of.
pub type Statistics = BTreeMap<StatisticsKey, Figures>;

/// Adds what happened to sums that are not written yet.
pub(super) fn count(sums: &mut Statistics, happened: &[Happening]) {
    for happening in happened {
        let Happening::OfAgent(occurrence) = happening else {
            continue;
        };
        for key in occurrence.keys() {
            sums.entry(key).or_default().count(&occurrence.what);
        }
    }
}

/// Adds sums to the rows of a table.
pub(super) fn write(table: &mut Table<'_, &'static str, &'static [u8]>, sums: &Statistics) -> Result<(), StoreError> {
    for (key, added) in sums {
        let row = statistics_row(key);
        let mut figures = match table.get(row.as_str()).map_err(step("read figures"))? {
            None => Figures::default(),
            Some(value) => read(&row, value.value())?,
        };
        figures.merge(added);
        let record = codec::encode(&StatisticsRecord::from(&figures));
        table
            .insert(row.as_str(), record.as_slice())
            .map_err(step("write figures"))?;
    }
    Ok(())
}

pub(super) fn read(row: &str, bytes: &[u8]) -> Result<Figures, StoreError> {
    codec::decode::<StatisticsRecord>(|| format!("figures of {row}"), bytes).map(Figures::from)
}

#[cfg(test)]
mod tests;
