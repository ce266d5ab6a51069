//! Schedules between two slots, and the rows of the ledger.

use bincode::{Decode, Encode};

use crate::domain::id::RunId;
use crate::domain::name::ScheduleName;
use crate::domain::schedule::slot::{Kept, SlotRow, SlotState};
use crate::domain::time::UtcMillis;
use crate::storage::codec;
use crate::storage::error::StoreError;

use super::reading::{Reason, named, word};

/// What is kept of one schedule; its name is the key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ScheduleRecord {
    expression: String,
    zone: String,
    anchor: u64,
    floor: u64,
    through: u64,
    paused: Option<(u64, String)>,
    succeeded_at: Option<u64>,
}

/// One row of the ledger; schedule and slot are the key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SlotRecord {
    state: String,
    why: String,
    run: Option<[u8; 16]>,
    decided_at: u64,
    ended_at: Option<u64>,
    count: u64,
    first: u64,
}

impl From<&Kept> for ScheduleRecord {
    fn from(kept: &Kept) -> Self {
        Self {
            expression: kept.expression.to_string(),
            zone: kept.zone.to_string(),
            anchor: kept.anchor.0,
            floor: kept.floor.0,
            through: kept.through.0,
            paused: kept.paused.as_ref().map(|(since, why)| (since.0, why.to_string())),
            succeeded_at: kept.succeeded_at.map(|at| at.0),
        }
    }
}

impl From<&SlotRow> for SlotRecord {
    fn from(row: &SlotRow) -> Self {
        Self {
            state: row.state.as_str().to_owned(),
            why: row.why.to_string(),
            run: row.run.map(RunId::to_bytes),
            decided_at: row.decided_at.0,
            ended_at: row.ended_at.map(|at| at.0),
            count: row.count,
            first: row.first.0,
        }
    }
}

fn corrupt(what: &str) -> impl FnOnce(Reason) -> StoreError {
    let what = what.to_owned();
    move |reason| StoreError::Corrupt { what, reason }
}

/// Reads what is kept of a schedule.
pub fn read_kept(name: &str, bytes: &[u8]) -> Result<Kept, StoreError> {
    let record: ScheduleRecord = codec::decode(|| format!("schedule {name}"), bytes)?;
    Ok(Kept {
        schedule: named(name).map_err(corrupt(name))?,
        expression: record.expression.into(),
        zone: record.zone.into(),
        anchor: UtcMillis(record.anchor),
        floor: UtcMillis(record.floor),
        through: UtcMillis(record.through),
        paused: record.paused.map(|(since, why)| (UtcMillis(since), why.into())),
        succeeded_at: record.succeeded_at.map(UtcMillis),
    })
}

/// The key of a row.
pub fn slot_key(schedule: &ScheduleName, slot: UtcMillis) -> Vec<u8> {
    let mut key = Vec::with_capacity(schedule.as_str().len() + 9);
    key.extend_from_slice(schedule.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&slot.0.to_be_bytes());
    key
}

/// Reads a row.
pub fn read_slot(key: &[u8], bytes: &[u8]) -> Result<SlotRow, StoreError> {
    let what = || format!("slot {}", String::from_utf8_lossy(key).escape_debug());
    let record: SlotRecord = codec::decode(what, bytes)?;
    let reads = || -> Result<SlotRow, Reason> {
        let (name, slot) = key.split_last_chunk::<8>().ok_or("its key is too short")?;
        let name = name.strip_suffix(&[0]).and_then(|name| std::str::from_utf8(name).ok());
        Ok(SlotRow {
            schedule: named(name.ok_or("its key has no name")?)?,
            slot: UtcMillis(u64::from_be_bytes(*slot)),
            state: word(&record.state, SlotState::from_word)?,
            why: record.why.as_str().into(),
            run: record.run.map(RunId::from_bytes),
            decided_at: UtcMillis(record.decided_at),
            ended_at: record.ended_at.map(UtcMillis),
            count: record.count,
            first: UtcMillis(record.first),
        })
    };
    reads().map_err(corrupt(&what()))
}
