//! The audit log: rows that are bound to each other by hashes, written in the transaction of what they tell.
//!
//! **Invariant**: a row is never changed by this program, and removed only from the front, up to a sealed row, with a
//! row that tells it. What changes the file behind its back breaks the chain, and [`Store::verify_audit`] names the
//! first row that does not hold.

use redb::{ReadableDatabase, ReadableTable};

use crate::domain::audit::{AuditBreak, AuditEntry, AuditNote};
use crate::domain::time::UtcMillis;

use super::codec;
use super::error::{StoreError, step};
use super::record::audit::AuditRecord;
use super::store::Store;
use super::table::AUDIT;
use super::tables::Tables;
use super::tape::open;

/// What the last row of a log is bound to: its place and its hash; nothing before the first.
pub type AuditHead = Option<(u64, [u8; 32])>;

/// Appends a row, and says its place and hash.
pub(super) fn append(tables: &mut Tables<'_>, note: &AuditNote) -> Result<(u64, [u8; 32]), StoreError> {
    let audit = tables.audit()?;
    let last = match audit.last().map_err(step("read the audit log"))? {
        None => None,
        Some((seq, value)) => Some(read(seq.value(), value.value())?),
    };
    let (seq, previous) = last.map_or((1, [0; 32]), |last| (last.body.seq + 1, last.hash));
    let record = AuditRecord::new(seq, note, previous);
    audit
        .insert(seq, codec::encode(&record).as_slice())
        .map_err(step("write the audit log"))?;
    Ok((seq, record.hash))
}

/// What the row says that tells of a cut.
fn cut_object(through: u64) -> String {
    format!("rows up to {through}")
}

/// The action of that row.
const CUT: &str = "audit.cut";

/// Removes the oldest rows, up to and with this one, and tells it in a row of its own.
pub(super) fn cut(tables: &mut Tables<'_>, through: u64) -> Result<(), StoreError> {
    let audit = tables.audit()?;
    audit
        .retain_in(..=through, |_, _| false)
        .map_err(step("cut the audit log"))
}

/// The row that tells of a cut; comes with it.
pub fn cut_note(through: u64, at: UtcMillis) -> AuditNote {
    AuditNote {
        at,
        actor: "this daemon".into(),
        action: CUT.into(),
        object: cut_object(through).into(),
        detail: "they are older than store.keepAudit".into(),
    }
}

fn read(seq: u64, bytes: &[u8]) -> Result<AuditRecord, StoreError> {
    codec::decode(|| format!("audit row {seq}"), bytes)
}

impl Store {
    /// At most `limit` rows, newest first, older than `before`.
    pub fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(table) = open(&transaction, AUDIT, "open the audit log")? else {
            return Ok(Vec::new());
        };
        let rows = table.range(..before.unwrap_or(u64::MAX));
        let rows = rows.map_err(step("read the audit log"))?.rev().take(limit);
        rows.map(|row| {
            let (seq, value) = row.map_err(step("read the audit log"))?;
            Ok(read(seq.value(), value.value())?.into_domain())
        })
        .collect()
    }

    /// Place of the first row that is left.
    pub fn audit_first(&self) -> Result<Option<u64>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(table) = open(&transaction, AUDIT, "open the audit log")? else {
            return Ok(None);
        };
        let first = table.first().map_err(step("read the audit log"))?;
        Ok(first.map(|(seq, _)| seq.value()))
    }

    /// Place and hash of the last row.
    pub fn audit_head(&self) -> Result<AuditHead, StoreError> {
        Ok(self.audit(None, 1)?.first().map(|last| (last.seq, last.hash)))
    }

    /// Reads the whole log and names the first row that does not hold. `sealed` are places with the hash that a
    /// checkpoint has for them.
    pub fn verify_audit(&self, sealed: &[(u64, [u8; 32])]) -> Result<Result<AuditHead, AuditBreak>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let broken = |seq: u64, what: &str| Ok(Err(AuditBreak { seq, what: what.into() }));
        let mut head: AuditHead = None;
        let mut sealed: Vec<_> = sealed.to_vec();
        sealed.sort_unstable();
        let mut sealed = sealed.into_iter().peekable();
        let mut cut = None;
        if let Some(table) = open(&transaction, AUDIT, "open the audit log")? {
            if let Some((first, _)) = table.first().map_err(step("read the audit log"))?
                && first.value() > 1
            {
                // What is left begins after a sealed row, and some row has to tell of the cut.
                let through = first.value() - 1;
                while sealed.next_if(|(place, _)| *place < through).is_some() {}
                match sealed.next_if(|(place, _)| *place == through) {
                    Some(base) => head = Some(base),
                    None => return broken(through, "it is missing, and no signed checkpoint ends with it"),
                }
                cut = Some(through);
            }
            for row in table.iter().map_err(step("read the audit log"))? {
                let (seq, value) = row.map_err(step("read the audit log"))?;
                let (seq, (last, previous)) = (seq.value(), head.unwrap_or_default());
                if seq != last + 1 {
                    return broken(last + 1, "it is missing");
                }
                let Ok(record) = read(seq, value.value()) else {
                    return broken(seq, "it cannot be read");
                };
                if record.body.seq != seq {
                    return broken(seq, "it stands at another place than it was written to");
                }
                if record.body.previous != previous {
                    return broken(seq, "it does not follow from the row before it");
                }
                if record.body.hash() != record.hash {
                    return broken(seq, "its text is not what was written");
                }
                while let Some((_, hash)) = sealed.next_if(|(place, _)| *place == seq) {
                    if hash != record.hash {
                        return broken(seq, "a signed checkpoint has another hash for it");
                    }
                }
                head = Some((seq, record.hash));
                let note = record.into_domain().note;
                if cut.is_some_and(|through| *note.action == *CUT && *note.object == *cut_object(through)) {
                    cut = None;
                }
            }
        }
        if let Some(through) = cut {
            return broken(through, "it is missing, and no row tells that it was cut");
        }
        match sealed.next() {
            Some((seq, _)) => {
                let first = head.map_or(1, |(last, _)| last + 1);
                broken(
                    first,
                    &format!("it is missing: a signed checkpoint knows rows up to {seq}"),
                )
            }
            None => Ok(Ok(head)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::batch::{Batch, Op};
    use crate::storage::writer::Writer;

    type Rows = Vec<(u64, Vec<u8>)>;

    fn note(text: &str) -> AuditNote {
        AuditNote {
            at: UtcMillis(1),
            actor: "test".into(),
            action: text.into(),
            object: "x".into(),
            detail: "".into(),
        }
    }

    /// A log of five rows, changed as `tamper` says.
    fn check(what: &str, tamper: impl FnOnce(&mut Rows), expected: Option<u64>) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let mut writer = Writer::new(store.clone()).expect("a writer");
        for text in ["a", "b", "c"] {
            writer
                .commit(&[Batch::ops(vec![Op::AuditAppend(note(text))])])
                .expect("committed");
        }
        let two = Batch::ops(vec![Op::AuditAppend(note("d")), Op::AuditAppend(note("e"))]);
        writer.commit(&[two]).expect("committed");
        let head = store.audit_head().expect("read").expect("rows");
        assert_eq!(store.verify_audit(&[head]).expect("read"), Ok(Some(head)), "{what}");

        let transaction = store.database().begin_write().expect("begins");
        {
            let mut table = transaction.open_table(AUDIT).expect("opens");
            let rows = table.iter().expect("reads").map(|row| {
                let (seq, value) = row.expect("reads");
                (seq.value(), value.value().to_vec())
            });
            let mut rows: Rows = rows.collect();
            tamper(&mut rows);
            table.retain(|_, _| false).expect("emptied");
            for (seq, bytes) in rows {
                table.insert(seq, bytes.as_slice()).expect("written");
            }
        }
        transaction.commit().expect("committed");
        let found = store.verify_audit(&[head]).expect("read");
        assert_eq!(found.err().map(|broken| broken.seq), expected, "{what}");
    }

    #[test]
    fn a_log_that_was_cut_holds_and_one_whose_front_is_just_gone_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let mut writer = Writer::new(store.clone()).expect("a writer");
        let mut commit = |ops: Vec<Op>| {
            writer.commit(&[Batch::ops(ops)]).expect("committed");
        };
        for text in ["a", "b", "c", "d"] {
            commit(vec![Op::AuditAppend(note(text))]);
        }
        let row = |place: u64| {
            let row = store.audit(Some(place + 1), 1).expect("read").remove(0);
            (row.seq, row.hash)
        };
        let sealed = [row(1), row(2), row(4)];
        let verify =
            |sealed: &[(u64, [u8; 32])]| store.verify_audit(sealed).expect("read").map_err(|broken| broken.seq);
        commit(vec![Op::AuditCut(2)]);
        assert_eq!(verify(&sealed), Err(2), "nothing tells of the cut");
        commit(vec![Op::AuditAppend(cut_note(2, UtcMillis(9)))]);
        assert_eq!(verify(&sealed).map(|head| head.map(|(seq, _)| seq)), Ok(Some(5)));
        assert_eq!(
            verify(&sealed[2..]),
            Err(2),
            "no checkpoint of the row that it ends with"
        );
        let forged = [(2, [7; 32]), sealed[2]];
        assert_eq!(verify(&forged), Err(3), "it does not follow from the checkpoint");
        commit(vec![Op::AuditCut(3)]);
        assert_eq!(verify(&sealed), Err(3), "more is gone than was told");
    }

    #[test]
    fn the_first_row_that_is_not_what_was_written_is_named() {
        check("nothing", |_| {}, None);
        check(
            "flipped",
            |rows| {
                let at = rows[2].1.iter().position(|byte| *byte == b'c').expect("its word");
                rows[2].1[at] = b'z';
            },
            Some(3),
        );
        check("no record", |rows| rows[1].1 = vec![7], Some(2));
        check("deleted", |rows| drop(rows.remove(1)), Some(2));
        check(
            "reordered",
            |rows| {
                let other = rows[3].1.clone();
                rows[3].1 = std::mem::replace(&mut rows[2].1, other);
            },
            Some(3),
        );
        check("truncated", |rows| rows.truncate(3), Some(4));
        check("emptied", Vec::clear, Some(1));
        check(
            "duplicated",
            |rows| {
                let last = rows[4].1.clone();
                rows.push((6, last));
            },
            Some(6),
        );
        check(
            "written anew from the third on",
            |rows| {
                let mut previous = read(2, &rows[1].1).expect("decodes").hash;
                for (seq, bytes) in rows.iter_mut().skip(2) {
                    let record = AuditRecord::new(*seq, &note("forged"), previous);
                    previous = record.hash;
                    *bytes = codec::encode(&record);
                }
            },
            // The chain holds by itself; the signed checkpoint of the fifth does not.
            Some(5),
        );
    }
}
