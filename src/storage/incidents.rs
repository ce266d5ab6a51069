//! Incidents with how they went on, and messages on their way to people.
//!
//! **Invariant**: what nobody has settled yet is in a table of its own, so that it is found without reading all that
//! ever happened.

use std::ops::ControlFlow;
use std::sync::Arc;

use redb::{ReadableDatabase as _, ReadableTable as _};

use crate::domain::alert::Delivery;
use crate::domain::id::{AlertId, IncidentId};
use crate::domain::incident::{Incident, IncidentChange, IncidentState};
use crate::domain::time::UtcMillis;

use super::batch::Op;
use super::codec;
use super::error::{StoreError, step};
use super::record::alert::DeliveryRecord;
use super::record::incident::IncidentRecord;
use super::record::incident_state::IncidentStateRecord;
use super::store::Store;
use super::table::{DELIVERIES, INCIDENT_STATES, INCIDENTS, INCIDENTS_OPEN};
use super::tables::Tables;
use super::tape::open;

/// An incident with how it went on.
pub type IncidentView = (Incident, IncidentState);

fn read_state(id: IncidentId, bytes: &[u8]) -> Result<IncidentState, StoreError> {
    let record: IncidentStateRecord = codec::decode(|| format!("state of {id}"), bytes)?;
    Ok(record.into())
}

impl Store {
    /// An incident.
    pub fn incident(&self, id: IncidentId) -> Result<Option<IncidentView>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let incidents = transaction.open_table(INCIDENTS).map_err(step("open the incidents"))?;
        let Some(value) = incidents.get(&id.to_bytes()).map_err(step("read an incident"))? else {
            return Ok(None);
        };
        let record: IncidentRecord = codec::decode(|| id.to_string(), value.value())?;
        let states = open(&transaction, INCIDENT_STATES, "open the states of incidents")?;
        let state = match &states {
            Some(states) => states
                .get(&id.to_bytes())
                .map_err(step("read the state of an incident"))?,
            None => None,
        };
        let state = state.map(|state| read_state(id, state.value())).transpose()?;
        Ok(Some((record.into(), state.unwrap_or_default())))
    }

    /// The newest incidents with how they went on, newest first: at most `limit` that are older than `before` and pass
    /// the filter.
    pub fn incident_views(
        &self,
        before: Option<IncidentId>,
        limit: usize,
        filter: &dyn Fn(&IncidentView) -> bool,
    ) -> Result<Vec<IncidentView>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let incidents = transaction.open_table(INCIDENTS).map_err(step("open the incidents"))?;
        let states = open(&transaction, INCIDENT_STATES, "open the states of incidents")?;
        let end = before.map_or([0xff; 16], IncidentId::to_bytes);
        let mut found = Vec::new();
        let range = incidents.range::<&[u8; 16]>(..&end);
        for entry in range.map_err(step("read the incidents"))?.rev() {
            if found.len() >= limit {
                break;
            }
            let (key, value) = entry.map_err(step("read the incidents"))?;
            let id = IncidentId::from_bytes(*key.value());
            let record: IncidentRecord = codec::decode(|| id.to_string(), value.value())?;
            let state = match &states {
                Some(states) => states.get(key.value()).map_err(step("read the state of an incident"))?,
                None => None,
            };
            let state = state.map(|state| read_state(id, state.value())).transpose()?;
            let view = (record.into(), state.unwrap_or_default());
            if filter(&view) {
                found.push(view);
            }
        }
        Ok(found)
    }

    /// Shows every incident that somebody still has to look at, oldest first, until `see` breaks. However many there are,
    /// one is held at a time.
    pub fn each_unsettled(&self, see: &mut dyn FnMut(IncidentView) -> ControlFlow<()>) -> Result<(), StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(unsettled) = open(&transaction, INCIDENTS_OPEN, "open the open incidents")? else {
            return Ok(());
        };
        let incidents = transaction.open_table(INCIDENTS).map_err(step("open the incidents"))?;
        let states = open(&transaction, INCIDENT_STATES, "open the states of incidents")?;
        for entry in unsettled.iter().map_err(step("read the open incidents"))? {
            let (key, _) = entry.map_err(step("read the open incidents"))?;
            let Some(value) = incidents.get(key.value()).map_err(step("read an incident"))? else {
                continue;
            };
            let id = IncidentId::from_bytes(*key.value());
            let record: IncidentRecord = codec::decode(|| id.to_string(), value.value())?;
            let state = match &states {
                Some(states) => states.get(key.value()).map_err(step("read the state of an incident"))?,
                None => None,
            };
            let state = state.map(|state| read_state(id, state.value())).transpose()?;
            if see((record.into(), state.unwrap_or_default())).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The oldest incidents that somebody still has to look at and that pass the filter, oldest first; at most `limit`.
    pub fn unsettled_incidents(
        &self,
        limit: usize,
        filter: &dyn Fn(&IncidentView) -> bool,
    ) -> Result<Vec<IncidentView>, StoreError> {
        let mut found = Vec::new();
        self.each_unsettled(&mut |view| {
            if found.len() >= limit {
                return ControlFlow::Break(());
            }
            if filter(&view) {
                found.push(view);
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The incident of a trouble that goes on, by the name that all incidents of that trouble have.
    pub fn open_incident_of(&self, fingerprint: &str) -> Result<Option<IncidentId>, StoreError> {
        let is_it = |(_, state): &IncidentView| state.is_open() && state.fingerprint.as_deref() == Some(fingerprint);
        let found = self.unsettled_incidents(1, &is_it)?;
        Ok(found.first().map(|(incident, _)| incident.id))
    }

    /// The open incidents of troubles whose names begin like this, with the rest of each name and when it was last seen.
    pub fn open_incidents_under(&self, prefix: &str) -> Result<Vec<(Arc<str>, IncidentId, UtcMillis)>, StoreError> {
        let mut found = Vec::new();
        self.each_unsettled(&mut |(incident, state)| {
            let of = state.fingerprint.as_deref().and_then(|of| of.strip_prefix(prefix));
            if let Some(rest) = of.filter(|_| state.is_open()) {
                found.push((rest.into(), incident.id, state.seen_at.unwrap_or(incident.at)));
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Messages on their way, oldest first; at most `limit`.
    pub fn deliveries(&self, limit: usize) -> Result<Vec<Delivery>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(table) = open(&transaction, DELIVERIES, "open the messages")? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in table.iter().map_err(step("read the messages"))?.take(limit) {
            let (_, value) = entry.map_err(step("read the messages"))?;
            let record: DeliveryRecord = codec::decode(|| "a message".into(), value.value())?;
            found.push(record.into());
        }
        Ok(found)
    }
}

/// How one incident follows something that is tried again and again: it begins with the first failure, sees each further
/// one, and ends with the first success (`Ok` says how).
pub fn follow(
    open: Option<IncidentId>,
    fingerprint: &str,
    result: Result<Arc<str>, Arc<str>>,
    at: UtcMillis,
    begin: impl FnOnce(Arc<str>) -> Incident,
) -> Vec<Op> {
    match (result, open) {
        (Ok(_), None) => Vec::new(),
        (Ok(how), Some(open)) => vec![Op::IncidentChange(open, IncidentChange::Resolved { at, how })],
        (Err(why), open) => fold(open, fingerprint, None, why, at, begin),
    }
}

/// How one incident stands for everything of one name: it begins with the first, and sees each further one. With
/// `quiet_ms` it ends by itself when it was not seen for so long.
pub fn fold(
    open: Option<IncidentId>,
    fingerprint: &str,
    quiet_ms: Option<u64>,
    evidence: Arc<str>,
    at: UtcMillis,
    begin: impl FnOnce(Arc<str>) -> Incident,
) -> Vec<Op> {
    if let Some(open) = open {
        let seen = IncidentChange::Seen { at, times: 1, evidence };
        return vec![Op::IncidentChange(open, seen)];
    }
    let incident = begin(evidence.clone());
    let named = IncidentChange::Named {
        fingerprint: fingerprint.into(),
        evidence,
        quiet_ms,
    };
    let id = incident.id;
    vec![Op::IncidentOpen(incident), Op::IncidentChange(id, named)]
}

/// Writes an incident, which somebody has to look at from now on.
pub(super) fn open_incident(tables: &mut Tables<'_>, incident: &Incident) -> Result<(), StoreError> {
    let record = codec::encode(&IncidentRecord::from(incident));
    let key = incident.id.to_bytes();
    let is_new = tables
        .incidents()?
        .insert(&key, record.as_slice())
        .map_err(step("write an incident"))?
        .is_none();
    if is_new {
        tables
            .incidents_open()?
            .insert(&key, ())
            .map_err(step("open an incident"))?;
    }
    Ok(())
}

/// Folds a change into the state of an incident; of one that is gone there is nothing to change.
pub(super) fn change_incident(
    tables: &mut Tables<'_>,
    id: IncidentId,
    change: &IncidentChange,
) -> Result<(), StoreError> {
    let key = id.to_bytes();
    if tables
        .incidents()?
        .get(&key)
        .map_err(step("read an incident"))?
        .is_none()
    {
        return Ok(());
    }
    let state = match tables
        .incident_states()?
        .get(&key)
        .map_err(step("read the state of an incident"))?
    {
        Some(value) => Some(read_state(id, value.value())?),
        None => None,
    };
    let mut state = state.unwrap_or_default();
    state.apply(change);
    let record = codec::encode(&IncidentStateRecord::from(&state));
    let written = tables.incident_states()?.insert(&key, record.as_slice()).map(drop);
    written.map_err(step("write the state of an incident"))?;
    if state.is_settled() {
        tables
            .incidents_open()?
            .remove(&key)
            .map_err(step("settle an incident"))?;
    }
    Ok(())
}

/// Removes incidents that are older than a time, whether anybody looked at them or not.
pub(super) fn drop_incidents(tables: &mut Tables<'_>, before: UtcMillis) -> Result<(), StoreError> {
    let end = IncidentId::new(before, 0).to_bytes();
    let old = ..&end;
    let gone = tables.incidents()?.retain_in::<&[u8; 16], _>(old, |_, _| false);
    gone.map_err(step("remove incidents"))?;
    let gone = tables.incident_states()?.retain_in::<&[u8; 16], _>(old, |_, _| false);
    gone.map_err(step("remove the states of incidents"))?;
    let gone = tables.incidents_open()?.retain_in::<&[u8; 16], _>(old, |_, ()| false);
    gone.map_err(step("remove open incidents"))
}

/// Writes a message, or how far it came.
pub(super) fn put_delivery(tables: &mut Tables<'_>, delivery: &Delivery) -> Result<(), StoreError> {
    let record = codec::encode(&DeliveryRecord::from(delivery));
    let written = tables
        .deliveries()?
        .insert(&delivery.id.to_bytes(), record.as_slice())
        .map(drop);
    written.map_err(step("write a message"))
}

/// Removes a message that has arrived or is given up.
pub(super) fn drop_delivery(tables: &mut Tables<'_>, id: AlertId) -> Result<(), StoreError> {
    let gone = tables.deliveries()?.remove(&id.to_bytes()).map(drop);
    gone.map_err(step("remove a message"))
}
