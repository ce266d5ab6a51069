//! The treasury: every batch that touches accounts goes through here on its way to the committer.
//!
//! Not an actor, on purpose: checking an account and queueing the batch that books it must be one step for all
//! sessions, and the critical section is a few map look-ups. Because the booking is queued before the lock is
//! left, and the committer keeps the order, what this ledger granted and what the journal says cannot differ
//! after a crash.
//!
//! **Invariant**: concurrent sessions cannot together reserve more than a limit allows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::domain::budget::{Account, Amount, Balance, BudgetChange, BudgetExhausted, Ledger, Limit};
use crate::domain::id::RunId;
use crate::domain::name::AgentName;
use crate::runtime::committer::{CommitError, Committer, Pending};
use crate::storage::batch::{Batch, Op};
use crate::storage::error::StoreError;
use crate::storage::store::Store;

/// Books tokens and money and passes batches on. Cheap to clone.
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
    #[error("reserve a budget")]
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

/// What to book on several accounts, on all or on none.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// The accounts with their limits.
    pub accounts: Vec<(Account, Limit)>,
    /// How much on each.
    pub amount: Amount,
}

impl Books {
    fn balances_of(&self, bookings: &Bookings) -> Vec<(Account, Balance)> {
        let accounts = bookings.accounts();
        accounts
            .map(|account| (account.clone(), self.ledger.balance(account)))
            .collect()
    }
}

impl Bookings {
    /// The accounts that it touches.
    fn accounts(&self) -> impl Iterator<Item = &Account> {
        let reserved = self.reserve.iter().flat_map(|reservation| &reservation.accounts);
        let settled = self.settle.iter().map(|(account, _)| account);
        settled.chain(reserved.map(|(account, _)| account))
    }
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
        for account in bookings.accounts() {
            self.load(&mut books, account)?;
        }
        // Only the touched accounts are kept for the way back: there are as many accounts as runs are active, and a
        // turn touches two or three.
        let before = books.balances_of(&bookings);
        for (account, change) in &bookings.settle {
            books.ledger.book(account, *change);
        }
        let mut changes = bookings.settle;
        let reserved = match bookings.reserve {
            None => Ok(()),
            Some(Reservation { accounts, amount }) => books.ledger.reserve(&accounts, amount).map(|()| {
                let accounts = accounts.into_iter();
                changes.extend(accounts.map(|(account, _)| (account, BudgetChange::Reserve(amount))));
            }),
        };
        let submitted = reserved.map_err(TreasuryError::Exhausted).and_then(|()| {
            let batch = batch.with(Op::BudgetsBook(changes));
            self.committer.submit(batch).map_err(TreasuryError::Commit)
        });
        if submitted.is_err() {
            // A refusal by limit or committer leaves the books as they were.
            for (account, balance) in before {
                books.ledger.load(account, balance);
            }
        }
        submitted
    }

    fn load(&self, books: &mut Books, account: &Account) -> Result<(), TreasuryError> {
        if !books.loaded.contains(account) {
            // Never booked by this process, so the committed balance is the whole truth.
            let balance = self.committed(account)?;
            books.ledger.load(account.clone(), balance);
            books.loaded.insert(account.clone());
        }
        Ok(())
    }

    fn committed(&self, account: &Account) -> Result<Balance, TreasuryError> {
        let balance = self.store.balance(account);
        balance.map_err(|error| TreasuryError::Balance(Arc::new(error)))
    }

    /// What an account holds now. A look opens no account: that of a run that has ended would never be closed again, and
    /// one that was read just before the commit that drops its row would be taken for what is in the store.
    pub fn balance(&self, account: &Account) -> Result<Balance, TreasuryError> {
        let books = self.books.lock().expect("nothing panics while it holds the books");
        if books.loaded.contains(account) {
            return Ok(books.ledger.balance(account));
        }
        self.committed(account)
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
        // Agents that were replaced in the plan meanwhile, and a planner that was replaced by a reload, are not named by
        // whoever ends the run.
        let is_of_run = |account: &&Account| matches!(account, Account::AgentRun(_, of) if *of == run);
        let mut gone: BTreeSet<Account> = books.loaded.iter().filter(is_of_run).cloned().collect();
        gone.extend(agents.iter().map(|agent| Account::AgentRun(agent.clone(), run)));
        gone.insert(Account::Run(run));
        books.loaded.retain(|account| match account {
            Account::Run(of) | Account::AgentRun(_, of) => *of != run,
            Account::AgentDay(_, day) => *day >= today,
        });
        let drop = Op::BudgetsDrop(gone.into_iter().collect());
        vec![Op::BudgetsBook(unsettled.to_vec()), drop]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::MicroUsd;
    use crate::domain::time::UtcMillis;
    use crate::runtime::bus::Bus;

    #[tokio::test]
    async fn a_refusal_leaves_the_books_as_they_were() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let committer = Committer::start(store.clone(), Bus::default()).expect("starts");
        let treasury = Treasury::new(store, committer);
        let account = Account::Run(RunId::new(UtcMillis(1), 1));
        let amount = |tokens, cost| Amount {
            tokens,
            cost: MicroUsd(cost),
        };
        let limit = Limit {
            tokens: Some(100),
            cost: Some(MicroUsd(1_000)),
        };
        let bookings = |settle: &[BudgetChange], wanted: Amount| Bookings {
            settle: settle.iter().map(|change| (account.clone(), *change)).collect(),
            reserve: Some(Reservation {
                accounts: vec![(account.clone(), limit)],
                amount: wanted,
            }),
        };
        let check = |bookings: Bookings, passes: bool, reserved: Amount, spent: Amount| {
            let submitted = treasury.submit(Batch::default(), bookings);
            assert_eq!(submitted.map(Pending::detach).is_ok(), passes);
            let balance = treasury.balance(&account).expect("readable");
            assert_eq!(balance, Balance { reserved, spent });
        };
        let settled = BudgetChange::Settle {
            reserved: amount(60, 600),
            spent: amount(50, 100),
        };
        let nothing = Amount::default();
        check(bookings(&[], amount(60, 600)), true, amount(60, 600), nothing);
        check(bookings(&[settled], amount(51, 1)), false, amount(60, 600), nothing);
        check(bookings(&[settled], amount(1, 901)), false, amount(60, 600), nothing);
        check(
            bookings(&[settled], amount(50, 900)),
            true,
            amount(50, 900),
            amount(50, 100),
        );
    }

    #[tokio::test]
    async fn a_look_at_an_account_opens_none_and_what_was_closed_is_not_counted_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("s.redb"), 1 << 20).expect("opens");
        let committer = Committer::start(store.clone(), Bus::default()).expect("starts");
        let treasury = Treasury::new(store, committer);
        let run = RunId::new(UtcMillis(1), 1);
        let account = Account::Run(run);
        let replaced = Account::AgentRun(AgentName::new("coder").expect("valid"), run);
        let spent = Amount {
            tokens: 7,
            cost: MicroUsd(70),
        };
        let book = async || {
            let change = BudgetChange::Settle {
                reserved: Amount::default(),
                spent,
            };
            let bookings = Bookings {
                settle: vec![(account.clone(), change), (replaced.clone(), change)],
                reserve: None,
            };
            let pending = treasury.submit(Batch::default(), bookings).expect("taken");
            pending.durable().await.expect("committed");
        };
        book().await;
        let end = treasury.close_run(run, &BTreeSet::new(), &[], 0);
        // Somebody looks at the run before its end is on disk.
        assert_eq!(treasury.balance(&account).expect("readable").spent, spent);
        let pending = treasury.submit(Batch::ops(end), Bookings::default()).expect("taken");
        pending.durable().await.expect("committed");
        assert_eq!(treasury.balance(&account).expect("readable"), Balance::default());
        assert_eq!(
            treasury.balance(&replaced).expect("readable"),
            Balance::default(),
            "nobody named its agent"
        );
        {
            let books = treasury.books.lock().expect("no panic");
            assert!(books.loaded.is_empty() && books.ledger.is_empty(), "{books:?}");
        }
        // It is reopened, with what it had used.
        book().await;
        assert_eq!(treasury.balance(&account).expect("readable").spent, spent);
    }
}
