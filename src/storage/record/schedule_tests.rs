//! What is kept of schedules survives the disk, in a layout that later builds read.

use super::schedule::{ScheduleRecord, SlotRecord, read_kept, read_slot, slot_key};
use crate::domain::id::RunId;
use crate::domain::name::ScheduleName;
use crate::domain::schedule::slot::{Kept, SlotRow, SlotState};
use crate::domain::time::UtcMillis;
use crate::storage::codec;

fn kept() -> Kept {
    Kept {
        schedule: ScheduleName::new("nightly").expect("a name"),
        expression: "0 2 * * *".into(),
        zone: "Europe/Berlin".into(),
        anchor: UtcMillis(1),
        floor: UtcMillis(2),
        through: UtcMillis(300),
        paused: Some((UtcMillis(4), "why".into())),
        succeeded_at: Some(UtcMillis(5)),
    }
}

fn row(state: SlotState) -> SlotRow {
    SlotRow {
        why: "a reason".into(),
        run: Some(RunId::new(UtcMillis(7), 8)),
        ended_at: Some(UtcMillis(9)),
        count: 3,
        first: UtcMillis(1),
        ..SlotRow::new(kept().schedule, UtcMillis(1_000), state, UtcMillis(6))
    }
}

#[test]
fn what_is_kept_of_a_schedule_comes_back_from_the_disk() {
    let bytes = codec::encode(&ScheduleRecord::from(&kept()));
    assert_eq!(read_kept("nightly", &bytes).expect("reads"), kept());
    for state in SlotState::ALL {
        let row = row(state);
        let key = slot_key(&row.schedule, row.slot);
        let bytes = codec::encode(&SlotRecord::from(&row));
        assert_eq!(read_slot(&key, &bytes).expect("reads"), row);
    }
    assert!(read_slot(b"x", &codec::encode(&SlotRecord::from(&row(SlotState::Ran)))).is_err());
    assert!(read_kept("nightly", &bytes[..5]).is_err());
}

/// The layout as it was first written.
#[test]
fn the_first_layout_of_schedules_and_slots_is_still_read() {
    let bytes = b"\x01\x090 2 * * *\x0dEurope/Berlin\x01\x02\xfb\x2c\x01\x01\x04\x03why\x01\x05";
    assert_eq!(read_kept("nightly", bytes).expect("reads"), kept());
    let key = b"nightly\0\0\0\0\0\0\0\x03\xe8";
    let mut bytes = b"\x01\x03ran\x08a reason\x01".to_vec();
    bytes.extend_from_slice(&RunId::new(UtcMillis(7), 8).to_bytes());
    bytes.extend_from_slice(b"\x06\x01\x09\x03\x01");
    assert_eq!(read_slot(key, &bytes).expect("reads"), row(SlotState::Ran));
}
