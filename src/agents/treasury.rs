//! The treasury: every batch that touches token accounts goes through here on its way to the committer.
//!
//! Not an actor, on purpose: checking an account and queueing the batch that books it must be one step for all
//! sessions, and the critical section is a few map look-ups. Because the booking is queued before the lock is
//! left, and the committer keeps the order, what this ledger granted and what the journal says cannot differ
//! after a crash.
//!
//! **Invariant**: concurrent sessions cannot together reserve more than a limit allows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::domain::budget::{Account, Balance, BudgetChange, BudgetExhausted, Ledger};
use crate::domain::id::RunId;
use crate::domain::name::AgentName;
use crate::runtime::committer::{CommitError, Committer, Pending};
use crate::storage::batch::{Batch, Op};
use crate::storage::error::StoreError;
use crate::storage::store::Store;

/// Books tokens and passes batches on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Treasury {
    committer: Committer,
    store: Store,
    books: Arc<Mutex<Books>>,
}

#[derive(Debug, Default)]
struct Books {
    ledger: Ledger,
    loaded: BTreeSet<Account>,
}

/// Why a batch did not go to the committer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TreasuryError {
    /// A limit does not allow the reservation; nothing was booked or queued.
    #[error("reserve tokens")]
    Exhausted(#[source] BudgetExhausted),
    /// A balance cannot be read.
    #[error("read a balance")]
    Balance(#[source] Arc<StoreError>),
    /// The committer did not take the batch; nothing was booked.
    #[error("queue a batch with its bookings")]
    Commit(#[source] CommitError),
}

/// Bookings that go with a batch.
#[derive(Debug, Clone, Default)]
pub struct Bookings {
    /// Settlements; they always pass.
    pub settle: Vec<(Account, BudgetChange)>,
    /// What to reserve.
    pub reserve: Option<Reservation>,
}

/// Tokens to book on several accounts, on all or on none.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// The accounts with their limits.
    pub accounts: Vec<(Account, Option<u64>)>,
    /// Tokens on each.
    pub tokens: u64,
}

impl Treasury {
    /// A treasury over the committed balances.
    pub fn new(store: Store, committer: Committer) -> Self {
        Self {
            committer,
            store,
            books: Arc::default(),
        }
    }

    /// Books and queues a batch, or refuses both.
    pub fn submit(&self, batch: Batch, bookings: Bookings) -> Result<Pending, TreasuryError> {
        if bookings.settle.is_empty() && bookings.reserve.is_none() {
            return self.committer.submit(batch).map_err(TreasuryError::Commit);
        }
        let mut books = self.books.lock().expect("nothing panics while it holds the books");
        let reserved = bookings.reserve.iter().flat_map(|reservation| &reservation.accounts);
        let reserved = reserved.map(|(account, _)| account);
        for account in bookings.settle.iter().map(|(account, _)| account).chain(reserved) {
            self.load(&mut books, account)?;
        }
        // Worked on a copy, so that a refusal by limit or committer leaves the books as they were.
        let mut ledger = books.ledger.clone();
        for (account, change) in &bookings.settle {
            ledger.book(account, *change);
        }
        let mut changes = bookings.settle;
        if let Some(Reservation { accounts, tokens }) = bookings.reserve {
            ledger.reserve(&accounts, tokens).map_err(TreasuryError::Exhausted)?;
            changes.extend(
                accounts
                    .into_iter()
                    .map(|(account, _)| (account, BudgetChange::Reserve(tokens))),
            );
        }
        let pending = self
            .committer
            .submit(batch.with(Op::BudgetsBook(changes)))
            .map_err(TreasuryError::Commit)?;
        books.ledger = ledger;
        Ok(pending)
    }

    fn load(&self, books: &mut Books, account: &Account) -> Result<(), TreasuryError> {
        if !books.loaded.contains(account) {
            // Never booked by this process, so the committed balance is the whole truth.
            let balance = self
                .store
                .balance(account)
                .map_err(|error| TreasuryError::Balance(Arc::new(error)))?;
            books.ledger.load(account.clone(), balance);
            books.loaded.insert(account.clone());
        }
        Ok(())
    }

    /// What an account holds now.
    pub fn balance(&self, account: &Account) -> Result<Balance, TreasuryError> {
        let mut books = self.books.lock().expect("nothing panics while it holds the books");
        self.load(&mut books, account)?;
        Ok(books.ledger.balance(account))
    }

    /// Forgets the accounts of a run that has ended and gives the changes that drop their rows. Requests whose end
    /// nobody saw, because a life of the process was cut off and the run was not resumed, are charged in full.
    pub fn close_run(
        &self,
        run: RunId,
        agents: &BTreeSet<AgentName>,
        unsettled: &[(Account, BudgetChange)],
        today: u32,
    ) -> Vec<Op> {
        let mut books = self.books.lock().expect("nothing panics while it holds the books");
        for (account, change) in unsettled {
            // An account that is not loaded is read with this change committed when it is next asked for.
            if books.loaded.contains(account) {
                books.ledger.book(account, *change);
            }
        }
        books.ledger.close(Some(run), today);
        books.loaded.retain(|account| match account {
            Account::Run(of) | Account::AgentRun(_, of) => *of != run,
            Account::AgentDay(_, day) => *day >= today,
        });
        let of_agents = agents.iter().map(|agent| Account::AgentRun(agent.clone(), run));
        let drop = Op::BudgetsDrop(of_agents.chain([Account::Run(run)]).collect());
        vec![Op::BudgetsBook(unsettled.to_vec()), drop]
    }
}
