//! Balances of token accounts, and the text of an account's name.

use bincode::{Decode, Encode};

use crate::domain::budget::{Account, Balance};

/// What an account holds, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct BalanceRecord {
    reserved: u64,
    spent: u64,
}

impl From<Balance> for BalanceRecord {
    fn from(balance: Balance) -> Self {
        Self {
            reserved: balance.reserved,
            spent: balance.spent,
        }
    }
}

impl From<BalanceRecord> for Balance {
    fn from(record: BalanceRecord) -> Self {
        Self {
            reserved: record.reserved,
            spent: record.spent,
        }
    }
}

/// The key of an account's row. Names cannot contain a slash, so the text is unambiguous.
pub fn account_key(account: &Account) -> String {
    match account {
        Account::Run(run) => format!("run/{run}"),
        Account::AgentDay(agent, day) => format!("day/{agent}/{day}"),
        Account::AgentRun(agent, run) => format!("agent-run/{agent}/{run}"),
    }
}
