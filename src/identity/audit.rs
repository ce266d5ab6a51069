//! The audit log: each change of trust or configuration is committed together with the row that tells it.

use std::path::Path;
use std::sync::Arc;

use crate::domain::audit::{AuditBreak, AuditEntry, AuditNote};
use crate::domain::code::{self, Code};
use crate::domain::time::UtcMillis;
use crate::runtime::clock::Clock;
use crate::runtime::committer::{CommitError, Committer};
use crate::runtime::entropy::Entropy;
use crate::storage::audit::{AuditHead, cut_note};
use crate::storage::batch::{Batch, Op};
use crate::storage::error::StoreError;
use crate::storage::store::Store;

use super::checkpoint::{Checkpoints, SealError};

/// Bytes of each text of a row; longer ones are cut.
const TEXT_BYTES_MAX: usize = 512;

/// Rows that are cut at once, at least.
pub const CUT_ROWS_MIN: u64 = 100;

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
}

impl AuditLog {
    /// The log of a store, with its checkpoints in `folder`. Seals what an earlier life has written and not sealed.
    pub fn open(
        store: Store,
        committer: Committer,
        clock: Clock,
        entropy: &Entropy,
        folder: &Path,
    ) -> Result<Self, AuditError> {
        let checkpoints = Checkpoints::open(folder, entropy).map_err(AuditError::Seal)?;
        let log = Self {
            store,
            committer,
            clock,
            checkpoints: Arc::new(checkpoints),
        };
        log.seal()?;
        Ok(log)
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
        self.committer.commit(Batch::ops(ops)).await?;
        if let Err(error) = self.seal() {
            tracing::error!(error = %crate::domain::fault::in_one_line(&error), "the audit log was not sealed");
        }
        Ok(())
    }

    /// A row to be committed now.
    pub fn note(&self, actor: &str, action: &'static str, object: &str, detail: &str) -> AuditNote {
        note(self.clock.now(), actor, action, object, detail)
    }

    /// At most `limit` rows, newest first, older than `before`.
    pub fn rows(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, AuditError> {
        self.store.audit(before, limit).map_err(AuditError::Store)
    }

    /// Holds every row against the chain and against the signed checkpoints. Reads the whole log.
    pub fn verify(&self) -> Result<AuditReport, AuditError> {
        let known = self.checkpoints.read().map_err(AuditError::Seal)?;
        Ok(AuditReport {
            head: self.store.verify_audit(&known.sealed).map_err(AuditError::Store)?,
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

    fn seal(&self) -> Result<(), AuditError> {
        match self.store.audit_head().map_err(AuditError::Store)? {
            Some((seq, hash)) => self
                .checkpoints
                .seal(seq, hash, self.clock.now())
                .map_err(AuditError::Seal),
            None => Ok(()),
        }
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
