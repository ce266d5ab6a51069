//! Budgets as arithmetic: reserved before a call, settled after it.
//!
//! **Invariant**: for every account with a limit, in tokens or in money, reserved plus spent never exceeds it at the
//! moment of a reservation. Settling may book more than was reserved when a provider used more than its ceiling; then the
//! next reservation is refused.

use std::collections::BTreeMap;
use std::fmt;

use super::id::RunId;
use super::money::MicroUsd;
use super::name::AgentName;

/// Whose use is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// One run.
    Run(RunId),
    /// One agent on one UTC day (days since 1970).
    AgentDay(AgentName, u32),
    /// One agent within one run.
    AgentRun(AgentName, RunId),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(run) => write!(f, "the run {run}"),
            Self::AgentDay(agent, _) => write!(f, "the day of agent {agent}"),
            Self::AgentRun(agent, run) => write!(f, "agent {agent} in {run}"),
        }
    }
}

/// Tokens and the money that they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Tokens.
    pub tokens: u64,
    /// Their cost.
    pub cost: MicroUsd,
}

impl Amount {
    /// The sum, or the largest amount.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost: self.cost.plus(other.cost),
        }
    }

    /// The difference, each part at least nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            cost: self.cost.minus(other.cost),
        }
    }
}

/// What an account may hold; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// Tokens.
    pub tokens: Option<u64>,
    /// Money.
    pub cost: Option<MicroUsd>,
}

impl Limit {
    /// Whether neither is limited.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// What an account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Booked for calls in flight.
    pub reserved: Amount,
    /// Used.
    pub spent: Amount,
}

impl Balance {
    /// Reserved and spent together.
    pub fn used(self) -> Amount {
        self.reserved.plus(self.spent)
    }

    /// The balance after a change.
    #[must_use]
    pub fn apply(self, change: BudgetChange) -> Self {
        match change {
            BudgetChange::Reserve(amount) => Self {
                reserved: self.reserved.plus(amount),
                ..self
            },
            BudgetChange::Settle { reserved, spent } => Self {
                reserved: self.reserved.minus(reserved),
                spent: self.spent.plus(spent),
            },
        }
    }
}

/// One booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetChange {
    /// Before a call: its ceiling.
    Reserve(Amount),
    /// After it: the ceiling goes, the use is booked.
    Settle {
        /// What had been reserved.
        reserved: Amount,
        /// What was used; unknown use is the ceiling.
        spent: Amount,
    },
}

/// A reservation that would pass a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetExhausted {
    /// A limit in tokens.
    #[error("{wanted} tokens wanted from {account}, {used} of {limit} are used")]
    Tokens {
        /// The account.
        account: Account,
        /// Its limit.
        limit: u64,
        /// What is reserved and spent.
        used: u64,
        /// What was asked for.
        wanted: u64,
    },
    /// A limit in money.
    #[error("{wanted} wanted from {account}, {used} of {limit} are used")]
    Money {
        /// The account.
        account: Account,
        /// Its limit.
        limit: MicroUsd,
        /// What is reserved and spent.
        used: MicroUsd,
        /// What was asked for.
        wanted: MicroUsd,
    },
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

    /// Books an amount on all accounts or on none. Something that costs nothing passes a limit in money that is used
    /// up: a free model can always be asked.
    pub fn reserve(&mut self, accounts: &[(Account, Limit)], amount: Amount) -> Result<(), BudgetExhausted> {
        for (account, limit) in accounts {
            let used = self.balance(account).used();
            let with = used.plus(amount);
            if let Some(limit) = limit.tokens.filter(|limit| amount.tokens > 0 && with.tokens > *limit) {
                return Err(BudgetExhausted::Tokens {
                    account: account.clone(),
                    limit,
                    used: used.tokens,
                    wanted: amount.tokens,
                });
            }
            if let Some(limit) = limit
                .cost
                .filter(|limit| amount.cost > MicroUsd::ZERO && with.cost > *limit)
            {
                return Err(BudgetExhausted::Money {
                    account: account.clone(),
                    limit,
                    used: used.cost,
                    wanted: amount.cost,
                });
            }
        }
        for (account, _) in accounts {
            self.book(account, BudgetChange::Reserve(amount));
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

    fn amount(tokens: u64, micro_usd: u64) -> Amount {
        Amount {
            tokens,
            cost: MicroUsd(micro_usd),
        }
    }

    proptest! {
        #[test]
        fn no_order_of_reservations_passes_a_limit_in_tokens_or_in_money(
            tokens_max in prop::option::of(0u64..1000),
            cost_max in prop::option::of(0u64..1000),
            steps in prop::collection::vec((0u64..300, 0u64..300, 0u64..300, 0u64..300, any::<bool>()), 0..50),
        ) {
            let run = RunId::new(UtcMillis(1), 1);
            let account = Account::Run(run);
            let limit = Limit { tokens: tokens_max, cost: cost_max.map(MicroUsd) };
            let mut ledger = Ledger::default();
            let mut open: Vec<Amount> = Vec::new();
            for (tokens, cost, used_tokens, used_cost, settle) in steps {
                if settle && let Some(reserved) = open.pop() {
                    let spent = amount(used_tokens.min(reserved.tokens), used_cost.min(reserved.cost.0));
                    ledger.book(&account, BudgetChange::Settle { reserved, spent });
                } else if ledger.reserve(&[(account.clone(), limit)], amount(tokens, cost)).is_ok() {
                    open.push(amount(tokens, cost));
                }
                let balance = ledger.balance(&account);
                prop_assert!(tokens_max.is_none_or(|limit| balance.used().tokens <= limit));
                prop_assert!(cost_max.is_none_or(|limit| balance.used().cost.0 <= limit));
                let booked = open.iter().fold(Amount::default(), |sum, part| sum.plus(*part));
                prop_assert_eq!(balance.reserved, booked);
            }
        }
    }

    #[test]
    fn a_refused_reservation_books_nothing_anywhere() {
        let run = RunId::new(UtcMillis(1), 1);
        let agent = AgentName::new("coder").expect("valid");
        let wide = (Account::AgentDay(agent, 3), Limit::default());
        let check = |tokens: Option<u64>, cost: Option<u64>, wanted: Amount, expected: &str| {
            let narrow = Limit {
                tokens,
                cost: cost.map(MicroUsd),
            };
            let mut ledger = Ledger::default();
            let refused = ledger.reserve(&[wide.clone(), (Account::Run(run), narrow)], wanted);
            let text = refused.expect_err("over the limit").to_string();
            assert_eq!(
                text,
                format!(
                    "{expected} wanted from the run {run}, {}",
                    text.rsplit(", ").next().unwrap_or("")
                )
            );
            assert!(ledger.balance(&wide.0) == Balance::default(), "{text}");
        };
        check(Some(10), None, amount(11, 0), "11 tokens");
        check(None, Some(10), amount(1, 11), "$0.000011");
        check(Some(10), Some(10), amount(5, 11), "$0.000011");
        check(Some(0), None, amount(1, 0), "1 tokens");
    }

    #[test]
    fn what_costs_nothing_passes_a_limit_in_money_that_is_used_up() {
        let account = Account::Run(RunId::new(UtcMillis(1), 1));
        let limit = Limit {
            tokens: None,
            cost: Some(MicroUsd(5)),
        };
        let mut ledger = Ledger::default();
        let used_up = BudgetChange::Settle {
            reserved: Amount::default(),
            spent: amount(1, 9),
        };
        ledger.book(&account, used_up);
        assert!(ledger.reserve(&[(account.clone(), limit)], amount(1, 1)).is_err());
        assert!(ledger.reserve(&[(account, limit)], amount(1, 0)).is_ok());
    }
}
