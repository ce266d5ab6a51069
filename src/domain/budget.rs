//! Budgets as arithmetic: reserved before a call, settled after it.
//!
//! **Invariant**: for every account with a limit, reserved plus spent never exceeds the limit at the moment of a
//! reservation. Settling may book more than was reserved when a provider used more than its ceiling; then the
//! next reservation is refused.

use std::collections::BTreeMap;

use super::id::RunId;
use super::name::AgentName;

/// Whose tokens are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// One run.
    Run(RunId),
    /// One agent on one UTC day (days since 1970).
    AgentDay(AgentName, u32),
    /// One agent within one run.
    AgentRun(AgentName, RunId),
}

/// What an account holds, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Booked for calls in flight.
    pub reserved: u64,
    /// Used.
    pub spent: u64,
}

impl Balance {
    /// Reserved and spent together.
    pub fn used(self) -> u64 {
        self.reserved.saturating_add(self.spent)
    }

    /// The balance after a change.
    #[must_use]
    pub fn apply(self, change: BudgetChange) -> Self {
        match change {
            BudgetChange::Reserve(tokens) => Self {
                reserved: self.reserved.saturating_add(tokens),
                ..self
            },
            BudgetChange::Settle { reserved, spent } => Self {
                reserved: self.reserved.saturating_sub(reserved),
                spent: self.spent.saturating_add(spent),
            },
        }
    }
}

/// One booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetChange {
    /// Before a call: its ceiling.
    Reserve(u64),
    /// After it: the ceiling goes, the use is booked.
    Settle {
        /// What had been reserved.
        reserved: u64,
        /// What was used; unknown use is the ceiling.
        spent: u64,
    },
}

/// A reservation that would pass a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} tokens wanted from {account:?}, {used} of {limit} are used")]
pub struct BudgetExhausted {
    /// The account.
    pub account: Account,
    /// Its limit.
    pub limit: u64,
    /// What is reserved and spent.
    pub used: u64,
    /// What was asked for.
    pub wanted: u64,
}

/// All open accounts.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    balances: BTreeMap<Account, Balance>,
}

impl Ledger {
    /// Puts back what the store knows of an account.
    pub fn load(&mut self, account: Account, balance: Balance) {
        self.balances.insert(account, balance);
    }

    /// The balance of an account; zero when it was never used.
    pub fn balance(&self, account: &Account) -> Balance {
        self.balances.get(account).copied().unwrap_or_default()
    }

    /// Books `tokens` on all accounts or on none.
    pub fn reserve(&mut self, accounts: &[(Account, Option<u64>)], tokens: u64) -> Result<(), BudgetExhausted> {
        for (account, limit) in accounts {
            let used = self.balance(account).used();
            if let Some(limit) = *limit
                && used.saturating_add(tokens) > limit
            {
                return Err(BudgetExhausted {
                    account: account.clone(),
                    limit,
                    used,
                    wanted: tokens,
                });
            }
        }
        for (account, _) in accounts {
            self.book(account, BudgetChange::Reserve(tokens));
        }
        Ok(())
    }

    /// Books a change without a limit: settlements always pass.
    pub fn book(&mut self, account: &Account, change: BudgetChange) {
        let balance = self.balances.entry(account.clone()).or_default();
        *balance = balance.apply(change);
    }

    /// Forgets the accounts of a run that has ended, and of days before `today`.
    pub fn close(&mut self, run: Option<RunId>, today: u32) {
        self.balances.retain(|account, _| match account {
            Account::Run(of) | Account::AgentRun(_, of) => Some(*of) != run,
            Account::AgentDay(_, day) => *day >= today,
        });
    }

    /// How many accounts are open.
    pub fn len(&self) -> usize {
        self.balances.len()
    }

    /// Whether no account is open.
    pub fn is_empty(&self) -> bool {
        self.balances.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::time::UtcMillis;

    proptest! {
        #[test]
        fn no_order_of_reservations_passes_a_limit(
            limit in 0u64..1000,
            steps in prop::collection::vec((0u64..300, 0u64..300, any::<bool>()), 0..50),
        ) {
            let run = RunId::new(UtcMillis(1), 1);
            let account = Account::Run(run);
            let mut ledger = Ledger::default();
            let mut open: Vec<u64> = Vec::new();
            for (reserve, use_up, settle) in steps {
                if settle && let Some(reserved) = open.pop() {
                    ledger.book(&account, BudgetChange::Settle { reserved, spent: use_up.min(reserved) });
                } else if ledger.reserve(&[(account.clone(), Some(limit))], reserve).is_ok() {
                    open.push(reserve);
                }
                let balance = ledger.balance(&account);
                prop_assert!(balance.used() <= limit);
                prop_assert_eq!(balance.reserved, open.iter().sum::<u64>());
            }
        }
    }

    #[test]
    fn a_refused_reservation_books_nothing_anywhere() {
        let run = RunId::new(UtcMillis(1), 1);
        let agent = AgentName::new("coder").expect("valid");
        let wide = (Account::AgentDay(agent, 3), None);
        let narrow = (Account::Run(run), Some(10));
        let mut ledger = Ledger::default();
        let refused = ledger.reserve(&[wide.clone(), narrow], 11).expect_err("over the limit");
        assert_eq!((refused.limit, refused.used, refused.wanted), (10, 0, 11));
        assert_eq!(ledger.balance(&wide.0), Balance::default());
    }
}
