//! What the committer applies in one transaction: facts of one run and what belongs with them.

use std::sync::Arc;

use crate::domain::alert::Delivery;
use crate::domain::audit::AuditNote;
use crate::domain::budget::{Account, BudgetChange};
use crate::domain::exchange::{Exchange, Shown};
use crate::domain::fact::{Fact, Stamped};
use crate::domain::id::{AlertId, IncidentId, RunId};
use crate::domain::incident::{Incident, IncidentChange};
use crate::domain::memory::{EarlierVectors, MemoryCopy, MemoryDue, MemoryEdit, NewMemory, NewVectors, ShardName};
use crate::domain::name::ScheduleName;
use crate::domain::schedule::slot::{Kept, SlotRow, SlotState};
use crate::domain::time::UtcMillis;
use crate::domain::traffic::{Tape, Traffic};

use super::codec;
use super::record::certificate::CertificateRecord;
use super::record::fact::EntryRecord;
use super::record::key::{KeyRecord, KeyTermsRecord};
use super::record::secret::SecretRecord;

/// One all-or-nothing change.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) append: Option<Append>,
    pub(super) submission: Option<Submission>,
    /// Whether the facts take up a run that had ended unknown.
    pub(super) reopens: bool,
    pub(super) ops: Vec<Op>,
}

/// Facts of one run, in order.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) run: RunId,
    pub(super) at: UtcMillis,
    pub(super) facts: Vec<Fact>,
    /// Encoded where the batch was made, so that the committer's thread only writes.
    pub(super) encoded: Vec<u8>,
}

/// Makes an append the acceptance of a new run.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Hash of submitter and idempotency key, if one was sent.
    pub idempotency: Option<[u8; 32]>,
    /// Hash of the body.
    pub body: [u8; 32],
    /// Active runs at which the submission is refused.
    pub active_max: usize,
}

/// A change outside the journal that shares the transaction.
#[derive(Debug, Clone)]
pub enum Op {
    /// Puts a memory entry: it supersedes the one of its key, joins the one of its text, or is new.
    MemoryPut(Box<NewMemory>),
    /// Changes a memory entry.
    MemoryEdit {
        /// Where it lives.
        shard: ShardName,
        /// Which.
        id: u64,
        /// How.
        edit: MemoryEdit,
        /// When.
        at: UtcMillis,
    },
    /// Takes over a memory entry from elsewhere; the same again changes nothing.
    MemoryTake(Box<MemoryCopy>),
    /// Does what a due time of memory asks for: archives what has ended until `until`, forgets what was archived.
    MemoryDue {
        /// Which.
        due: MemoryDue,
        /// When.
        now: UtcMillis,
        /// When what is archived now is deleted.
        until: UtcMillis,
    },
    /// Removes a shard of memory that holds nothing any more.
    MemoryShardDrop {
        /// Which.
        shard: ShardName,
        /// When.
        at: UtcMillis,
    },
    /// Gives memory entries the vectors that an embedder made of them later.
    MemoryVectors(Box<NewVectors>),
    /// Removes vectors that an embedder made before another one went through the same shard.
    MemoryVectorsForget(Box<EarlierVectors>),
    /// Says when the memory was last pruned.
    MemoryPruned(UtcMillis),
    /// Keeps the shortest list of facts that folds to the state up to `through`.
    Snapshot {
        /// Of which run.
        run: RunId,
        /// The place of the last fact that is included.
        through: u64,
        /// The facts.
        facts: Vec<Stamped>,
    },
    /// Says what a run does with its model traffic; comes with its acceptance.
    TapePut {
        /// Which run.
        run: RunId,
        /// What it does.
        tape: Tape,
    },
    /// Keeps which request the answer among the facts of the same batch belongs to.
    TrafficPut {
        /// Which run.
        run: RunId,
        /// The request.
        traffic: Traffic,
    },
    /// Keeps what a client asked; comes with the acceptance of the run that answers it.
    ExchangePut {
        /// The run.
        run: RunId,
        /// What was asked.
        exchange: Arc<Exchange>,
    },
    /// The answer to an exchange is not to be asked for any more.
    ExchangeForget {
        /// The run.
        run: RunId,
    },
    /// Keeps events of an answer before they are shown.
    ShownPut {
        /// The run.
        run: RunId,
        /// The number of the first of them.
        first: u64,
        /// The events.
        shown: Shown,
    },
    /// Puts an API key record.
    KeyPut(KeyRecord),
    /// Puts the terms of the key with this public id.
    KeyTermsPut([u8; 16], KeyTermsRecord),
    /// Keeps when the key with this public id was last used.
    KeyUsed([u8; 16], UtcMillis),
    /// Removes everything that is kept of runs that have ended.
    RunsDrop(Vec<RunId>),
    /// Keeps what a run was asked under a key that no other run has.
    SubmissionPut {
        /// The run.
        run: RunId,
        /// The key.
        key: [u8; 32],
        /// A hash of what was asked.
        body: [u8; 32],
    },
    /// Removes submissions by their keys.
    SubmissionsDrop(Vec<[u8; 32]>),
    /// A search for blobs that nothing refers to begins: what is written from now on stays.
    BlobsMark,
    /// Removes blobs that such a search has found.
    BlobsSweep(Vec<[u8; 32]>),
    /// Removes the oldest rows of the audit log, up to and with this one, which is sealed.
    AuditCut(u64),
    /// Appends a row to the audit log: comes with the change that it tells.
    AuditAppend(AuditNote),
    /// Puts the record of a certificate.
    CertificatePut(CertificateRecord),
    /// Removes the record of a certificate that ended long ago.
    CertificateRemove([u8; 16]),
    /// Puts a sealed secret under this name.
    SecretPut(String, SecretRecord),
    /// Removes the secret of this name.
    SecretRemove(String),
    /// Opens an incident.
    IncidentOpen(Incident),
    /// Changes how an incident went on.
    IncidentChange(IncidentId, IncidentChange),
    /// Removes the incidents of before a time.
    IncidentsDrop(UtcMillis),
    /// Writes a message to people before it is sent, or how far it came.
    DeliveryPut(Delivery),
    /// Removes a message that has arrived or is given up.
    DeliveryDrop(AlertId),
    /// Keeps what a schedule has come to.
    SchedulePut(Kept),
    /// Forgets a schedule that was removed; its ledger stays.
    ScheduleDrop(ScheduleName),
    /// Writes a row of the ledger. The whole batch is refused when the slot is in another state than was expected: so
    /// no slot starts twice.
    SlotPut {
        /// The row.
        row: SlotRow,
        /// The state that the slot has now; none means that there is no row.
        expected: Option<SlotState>,
    },
    /// Drops the oldest rows of a schedule's ledger, up to and with a slot.
    SlotsTrim {
        /// Whose.
        schedule: ScheduleName,
        /// The last that is dropped.
        through: UtcMillis,
    },
    /// Books token changes: reservations and settlements of the turns in the same batch.
    BudgetsBook(Vec<(Account, BudgetChange)>),
    /// Drops the balances of accounts that nobody needs any more.
    BudgetsDrop(Vec<Account>),
}

/// Where the facts of a batch stand in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Place of the first fact; 0 when the batch had none.
    pub first_seq: u64,
    /// Place of the last fact.
    pub last_seq: u64,
}

/// Why a batch was not applied; nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The same submission was accepted before.
    #[error("this submission was accepted as {0}")]
    SameSubmission(RunId),
    /// The idempotency key was used with another body.
    #[error("the idempotency key belongs to {0}, which had another body")]
    IdempotencyConflict(RunId),
    /// The limit of active runs is reached.
    #[error("{active} runs are active, at most {limit} may be")]
    TooManyActive {
        /// How many are.
        active: usize,
        /// How many may be.
        limit: usize,
    },
    /// The run has ended, is parked, or never was.
    #[error("{0} is not active")]
    NotActive(RunId),
    /// The slot is not in the state that was expected.
    #[error("the slot of {schedule} at {slot} is {found}")]
    SlotTaken {
        /// Whose slot.
        schedule: ScheduleName,
        /// Which.
        slot: UtcMillis,
        /// The word of its state, or that there is none.
        found: &'static str,
    },
}

impl Batch {
    /// A batch of facts of one run.
    pub fn facts(run: RunId, at: UtcMillis, facts: Vec<Fact>) -> Self {
        assert!(!facts.is_empty(), "a batch of facts has at least one");
        let encoded = codec::encode(&EntryRecord::from_domain(at, &facts));
        Self {
            append: Some(Append {
                run,
                at,
                facts,
                encoded,
            }),
            submission: None,
            reopens: false,
            ops: Vec::new(),
        }
    }

    /// Facts that take up a run that had ended unknown or was parked; they start with `RunReopened`. Refused when the run is active
    /// or has ended otherwise.
    pub fn reopen(run: RunId, at: UtcMillis, facts: Vec<Fact>) -> Self {
        assert!(
            matches!(facts.first(), Some(Fact::RunReopened { .. })),
            "reopening starts with RunReopened"
        );
        Self {
            reopens: true,
            ..Self::facts(run, at, facts)
        }
    }

    /// The acceptance of a new run: its facts start with `RunAccepted`.
    pub fn accept(run: RunId, at: UtcMillis, facts: Vec<Fact>, submission: Submission) -> Self {
        assert!(
            matches!(facts.first(), Some(Fact::RunAccepted(_))),
            "an acceptance starts with RunAccepted"
        );
        Self {
            submission: Some(submission),
            ..Self::facts(run, at, facts)
        }
    }

    /// A batch without facts.
    pub fn ops(ops: Vec<Op>) -> Self {
        Self { ops, ..Self::default() }
    }

    /// The same batch with one more change.
    #[must_use]
    pub fn with(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    /// Bytes that the batch adds to the journal.
    pub fn journal_bytes(&self) -> usize {
        self.append.as_ref().map_or(0, |append| append.encoded.len())
    }

    /// The run whose facts are in the batch.
    pub fn run(&self) -> Option<RunId> {
        self.append.as_ref().map(|append| append.run)
    }
}
