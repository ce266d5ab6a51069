//! Figures in the store: added to in the transaction of the facts that they count, read by key, and folded anew from
//! the journal when a store is older than they are.

use std::collections::BTreeMap;

use redb::{ReadableDatabase, ReadableTable, Table};

use crate::domain::id::RunId;
use crate::domain::name::AgentName;
use crate::domain::statistics::{Counting, Figures, Happening, StatisticsKey};

use super::codec;
use super::error::{StoreError, step};
use super::record::statistics::{StatisticsRecord, day_prefix, read_statistics_row, statistics_row};
use super::store::Store;
use super::table::{RUNS, STATISTICS};

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

fn read(row: &str, bytes: &[u8]) -> Result<Figures, StoreError> {
    codec::decode::<StatisticsRecord>(|| format!("figures of {row}"), bytes).map(Figures::from)
}

impl Store {
    /// Figures of all agents, or of one, by prompt and model.
    pub fn statistics_of_agents(&self, agent: Option<&AgentName>) -> Result<Statistics, StoreError> {
        match agent {
            Some(agent) => self.statistics_between(&format!("agent/{agent}/"), &format!("agent/{agent}0")),
            // The character after the slash.
            None => self.statistics_between("agent/", "agent0"),
        }
    }

    /// Figures by day, agent and model, of the days from `first` to `last`, both included.
    pub fn statistics_of_days(&self, first: u32, last: u32) -> Result<Statistics, StoreError> {
        self.statistics_between(&day_prefix(first), &day_prefix(last.saturating_add(1)))
    }

    /// Figures of a run; nothing when no model was asked.
    pub fn statistics_of_run(&self, run: RunId) -> Result<Figures, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let table = transaction.open_table(STATISTICS).map_err(step("open the figures"))?;
        let row = statistics_row(&StatisticsKey::Run(run));
        let value = table.get(row.as_str()).map_err(step("read figures"))?;
        value.map_or_else(|| Ok(Figures::default()), |value| read(&row, value.value()))
    }

    /// All figures.
    pub fn statistics(&self) -> Result<Statistics, StoreError> {
        self.statistics_between("", "\u{10ffff}")
    }

    fn statistics_between(&self, from: &str, to: &str) -> Result<Statistics, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let table = transaction.open_table(STATISTICS).map_err(step("open the figures"))?;
        let mut found = Statistics::new();
        for entry in table.range::<&str>(from..to).map_err(step("read the figures"))? {
            let (row, value) = entry.map_err(step("read the figures"))?;
            let row = row.value();
            let key = read_statistics_row(row).ok_or_else(|| StoreError::Corrupt {
                what: format!("figures of {row}"),
                reason: "it is not known what they are of".into(),
            })?;
            found.insert(key, read(row, value.value())?);
        }
        Ok(found)
    }

    /// The figures that the whole journal adds up to. Reads everything: for stores that are older than the figures, and
    /// for tests.
    pub fn fold_statistics(&self) -> Result<Statistics, StoreError> {
        let mut sums = Statistics::new();
        let runs: Vec<RunId> = {
            let transaction = self.database().begin_read().map_err(step("begin reading"))?;
            let runs = transaction.open_table(RUNS).map_err(step("open the runs"))?;
            let keys = runs.iter().map_err(step("read the headers"))?;
            let keys = keys.map(|entry| Ok(RunId::from_bytes(*entry.map_err(step("read the headers"))?.0.value())));
            keys.collect::<Result<_, StoreError>>()?
        };
        for run in runs {
            let mut counting = Counting::default();
            for stamped in self.facts(run, 0)? {
                count(&mut sums, &counting.take(run, stamped.at, &stamped.fact));
            }
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests;
