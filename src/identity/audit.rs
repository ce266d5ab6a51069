//! The audit log: each change of trust or configuration is committed together with the row that tells it.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::domain::audit::{AuditBreak, AuditEntry, AuditNote};
use crate::domain::code::{self, Code};
use crate::domain::fault::in_one_line;
use crate::domain::time::UtcMillis;
use crate::runtime::clock::Clock;
use crate::runtime::committer::{CommitError, Committer, Pending};
use crate::runtime::entropy::Entropy;
use crate::storage::audit::{AuditHead, cut_note};
use crate::storage::batch::{Batch, Op};
use crate::storage::error::StoreError;
use crate::storage::store::Store;
use crate::storage::writer::Writer;

use super::checkpoint::{Checkpoints, SealError};

/// Bytes of each text of a row; longer ones are cut.
const TEXT_BYTES_MAX: usize = 512;

/// Rows that are cut at once, at least.
pub const CUT_ROWS_MIN: u64 = 100;

/// Who writes the rows that nobody asked for.
const DAEMON: &str = "this daemon";
/// The action of the row that tells that the end of the log was in doubt.
const DOUBTED: &str = "audit.doubted";

/// Why the log cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The change and its row cannot be written.
    #[error("write the audit log")]
    Commit(#[source] CommitError),
    /// The log cannot be read.
    #[error("read the audit log")]
    Store(#[source] StoreError),
    /// The checkpoints cannot be read or written.
    #[error("use the checkpoints of the audit log")]
    Seal(#[source] SealError),
}

impl AuditError {
    /// The code that users see.
    pub fn code(&self) -> Code {
        match self {
            Self::Commit(_) | Self::Store(_) => code::STORE_FAILED,
            Self::Seal(_) => code::HOME_FILE,
        }
    }
}

/// What a check of the whole log came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// The last row, when the log holds.
    pub head: Result<AuditHead, AuditBreak>,
    /// Checkpoints that were held against it.
    pub checkpoints: usize,
    /// Lines of the file of checkpoints that are none of this key's.
    pub forged: usize,
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.head.is_ok() && self.forged == 0
    }
}

/// Writes and reads the log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AuditLog {
    store: Store,
    committer: Committer,
    clock: Clock,
    checkpoints: Arc<Checkpoints>,
    /// Where log and checkpoints parted when it was opened.
    doubt: Option<AuditBreak>,
}

impl AuditLog {
    /// The log of a store, with its checkpoints in `folder`. Every life leaves its last row sealed, or at least announced
    /// when it was killed; where that is not so, rows or checkpoints were taken away behind its back. It is told in a row
    /// of its own, by the log of the daemon, by [`AuditLog::doubt`] and by [`AuditLog::verify`].
    pub fn open(
        store: Store,
        committer: Committer,
        clock: Clock,
        entropy: &Entropy,
        folder: &Path,
    ) -> Result<Self, AuditError> {
        let checkpoints = Checkpoints::open(folder, entropy).map_err(AuditError::Seal)?;
        let doubt = parting(&store, &checkpoints)?;
        if doubt.is_none() {
            seal(&store, &checkpoints, clock.now())?;
        }
        let log = Self {
            store,
            committer,
            clock,
            checkpoints: Arc::new(checkpoints),
            doubt,
        };
        if let Some(AuditBreak { seq, what }) = &log.doubt {
            tracing::error!(row = seq, what = &**what, "the end of the audit log is in doubt");
            let note = log.note(DAEMON, DOUBTED, &format!("row {seq}"), what);
            // It is sealed with its commit, before the first change of this life.
            log.submit(vec![Op::AuditAppend(note)], || ())
                .map_err(AuditError::Commit)?
                .detach();
        }
        Ok(log)
    }

    /// What is wrong with the end of the log, as far as that can be told without reading it: it was in doubt when it was
    /// opened, its checkpoints were taken away since, or its last row cannot be sealed.
    ///
    /// **Errors**: the store or the file cannot be read or written.
    pub fn doubt(&self) -> Result<Option<AuditBreak>, AuditError> {
        seal(&self.store, &self.checkpoints, self.clock.now())?;
        if let Some(doubt) = &self.doubt {
            return Ok(Some(doubt.clone()));
        }
        if self.checkpoints.is_as_left().map_err(AuditError::Seal)? {
            Ok(None)
        } else {
            self.shortened()
        }
    }

    /// The first row whose checkpoint is not there any more.
    fn shortened(&self) -> Result<Option<AuditBreak>, AuditError> {
        let known = self.checkpoints.read().map_err(AuditError::Seal)?;
        let first = self.store.audit_first().map_err(AuditError::Store)?;
        let mut sealed: Vec<u64> = known.sealed.iter().map(|(seq, _)| *seq).collect();
        sealed.sort_unstable();
        Ok(Some(AuditBreak {
            seq: sealed.last().map_or(first.unwrap_or(1), |last| last + 1),
            what: "its checkpoint is missing: the file of signed checkpoints is not as this daemon left it".into(),
        }))
    }

    /// Commits a change together with the row that tells it, then seals the row. A change whose row cannot be sealed
    /// has happened all the same: the next one seals both.
    pub async fn commit(&self, ops: Vec<Op>, note: AuditNote) -> Result<(), CommitError> {
        let mut ops = ops;
        ops.push(Op::AuditAppend(note));
        self.commit_all(ops).await
    }

    /// Commits changes that come with their rows, then seals the last row.
    pub async fn commit_all(&self, ops: Vec<Op>) -> Result<(), CommitError> {
        self.commit_then(ops, || ()).await
    }

    /// The same, and puts the changes in force before anybody is told that they are made. `enforce` is short: the
    /// committer waits for it.
    ///
    /// **Cancel**: the changes are committed, put in force and sealed all the same.
    pub async fn commit_then<T: Send + 'static>(
        &self,
        ops: Vec<Op>,
        enforce: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CommitError> {
        let (tell, mut told) = oneshot::channel();
        // Whoever asked may have left.
        let then = move || drop(tell.send(enforce()));
        self.submit(ops, then)?.carried().await?;
        // It was told before the commit was; nothing was if it panicked, and then what holds in memory is in doubt.
        told.try_recv().map_err(|_| CommitError::Closed)
    }

    fn submit(&self, ops: Vec<Op>, then: impl FnOnce() + Send + 'static) -> Result<Pending, CommitError> {
        let (store, clock, checkpoints) = (self.store.clone(), self.clock.clone(), self.checkpoints.clone());
        let announce = {
            let (clock, checkpoints) = (clock.clone(), checkpoints.clone());
            move |seq, hash| announce(&checkpoints, (seq, hash), clock.now())
        };
        self.committer.submit_announced(Batch::ops(ops), announce, move || {
            then();
            if let Err(error) = seal(&store, &checkpoints, clock.now()) {
                tracing::error!(error = %in_one_line(&error), "the audit log was not sealed");
            }
        })
    }

    /// A row to be committed now.
    pub fn note(&self, actor: &str, action: &'static str, object: &str, detail: &str) -> AuditNote {
        note(self.clock.now(), actor, action, object, detail)
    }

    /// At most `limit` rows, newest first, older than `before`.
    pub fn rows(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, AuditError> {
        self.store.audit(before, limit).map_err(AuditError::Store)
    }

    /// Holds every row against the chain and against the signed checkpoints, and these against what was sealed. Reads the
    /// whole log.
    pub fn verify(&self) -> Result<AuditReport, AuditError> {
        let doubt = self.doubt()?;
        let known = self.checkpoints.read().map_err(AuditError::Seal)?;
        let held = self.store.verify_audit(&known.sealed).map_err(AuditError::Store)?;
        Ok(AuditReport {
            head: held.and_then(|head| doubt.map_or(Ok(head), Err)),
            checkpoints: known.sealed.len(),
            forged: known.forged,
        })
    }

    /// Cuts rows that were written before a time, up to a sealed one, and says how many. A few are left until there are
    /// [`CUT_ROWS_MIN`], because each cut is a row too.
    pub async fn cut(&self, before: UtcMillis) -> Result<u64, AuditError> {
        let known = self.checkpoints.read().map_err(AuditError::Seal)?;
        let mut sealed: Vec<u64> = known.sealed.iter().map(|(seq, _)| *seq).collect();
        sealed.sort_unstable();
        let row = |place: u64| -> Result<Option<AuditEntry>, AuditError> {
            let found = self.rows(Some(place.saturating_add(1)), 1)?;
            Ok(found.into_iter().next().filter(|row| row.seq == place))
        };
        // The last sealed row that is old enough; rows are written in the order of their times.
        let (mut low, mut high) = (0, sealed.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let is_old = row(sealed[middle])?.is_none_or(|row| row.note.at < before);
            (low, high) = if is_old { (middle + 1, high) } else { (low, middle) };
        }
        let Some(through) = low.checked_sub(1).map(|last| sealed[last]) else {
            return Ok(0);
        };
        let first = self.store.audit_first().map_err(AuditError::Store)?.unwrap_or(u64::MAX);
        let rows = (through + 1).saturating_sub(first);
        if rows < CUT_ROWS_MIN {
            return Ok(0);
        }
        let note = cut_note(through, self.clock.now());
        let cut = self.commit(vec![Op::AuditCut(through)], note).await;
        cut.map_err(AuditError::Commit)?;
        self.checkpoints.forget_before(through).map_err(AuditError::Seal)?;
        Ok(rows)
    }
}

/// Commits a change with its row in a store that no daemon has open, and seals it.
///
/// **Errors**: the store or the checkpoints cannot be used.
pub fn commit_alone(
    store: Store,
    folder: &Path,
    entropy: &Entropy,
    ops: Vec<Op>,
    now: UtcMillis,
) -> Result<(), AuditError> {
    let checkpoints = Checkpoints::open(folder, entropy).map_err(AuditError::Seal)?;
    let doubt = parting(&store, &checkpoints)?;
    let mut writer = Writer::new(store.clone()).map_err(AuditError::Store)?;
    let batches = [Batch::ops(ops)];
    if doubt.is_some() {
        // A word of these rows would cover it up; the next start tells it.
        return writer.commit(&batches).map(drop).map_err(AuditError::Store);
    }
    let announce = |seq, hash| announce(&checkpoints, (seq, hash), now);
    writer.commit_announced(&batches, announce).map_err(AuditError::Store)?;
    seal(&store, &checkpoints, now)
}

/// Announces a row that is about to be committed. A change is not refused for want of it: it only says where a kill came.
fn announce(checkpoints: &Checkpoints, (seq, hash): (u64, [u8; 32]), now: UtcMillis) {
    if let Err(error) = checkpoints.announce(seq, hash, now) {
        tracing::error!(error = %in_one_line(&error), "a row of the audit log was not announced");
    }
}

/// The first row at which the end of a log parts from its last checkpoint, and from what was announced after it.
fn parting(store: &Store, checkpoints: &Checkpoints) -> Result<Option<AuditBreak>, AuditError> {
    let head = store.audit_head().map_err(AuditError::Store)?;
    let last = checkpoints.last();
    // Killed between the commit and the checkpoint.
    let sealed = last.map_or(0, |(seq, _)| seq);
    if head.is_some() && head == checkpoints.announced().filter(|(seq, _)| *seq > sealed) {
        return Ok(None);
    }
    let broken = |seq: u64, what: String| Some(AuditBreak { seq, what: what.into() });
    let beyond = |row: u64, sealed: u64| {
        let what = format!(
            "it is missing: a signed checkpoint knows rows up to {sealed}; the end was cut off, or the store is an earlier one"
        );
        broken(row + 1, what)
    };
    let behind = |sealed: u64, row: u64| {
        let what = format!(
            "no signed checkpoint knows it, nor those up to {row}: checkpoints were taken away, or rows were added behind this program's back"
        );
        broken(sealed + 1, what)
    };
    Ok(match (head, last) {
        (None, Some((sealed, _))) => beyond(0, sealed),
        (Some((row, _)), None) => behind(0, row),
        (Some((row, _)), Some((sealed, _))) if row < sealed => beyond(row, sealed),
        (Some((row, _)), Some((sealed, _))) if row > sealed => behind(sealed, row),
        (Some(row), Some(sealed)) if row != sealed => {
            broken(row.0, "a signed checkpoint has another hash for it".to_owned())
        }
        _ => None,
    })
}

/// Seals the last row, unless it is.
fn seal(store: &Store, checkpoints: &Checkpoints, now: UtcMillis) -> Result<(), AuditError> {
    match store.audit_head().map_err(AuditError::Store)? {
        Some((seq, hash)) => checkpoints.seal(seq, hash, now).map_err(AuditError::Seal),
        None => Ok(()),
    }
}

/// A row, its texts on one line and cut to their limit.
pub fn note(at: UtcMillis, actor: &str, action: &'static str, object: &str, detail: &str) -> AuditNote {
    let text = |text: &str| crate::domain::text::preview(text, TEXT_BYTES_MAX).into();
    AuditNote {
        at,
        actor: text(actor),
        action: action.into(),
        object: text(object),
        detail: text(detail),
    }
}
