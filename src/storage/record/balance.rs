//! Balances of accounts, and the text of an account's name.

use bincode::{Decode, Encode};

use crate::domain::budget::{Account, Amount, Balance};
use crate::domain::money::MicroUsd;
use crate::storage::codec;
use crate::storage::error::StoreError;

/// What an account holds, in tokens: what the first programs with this layout wrote. Read, never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct TokensRecord {
    reserved: u64,
    spent: u64,
}

/// What an account holds, in tokens and in millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct BalanceRecord {
    reserved: u64,
    spent: u64,
    reserved_cost: u64,
    spent_cost: u64,
}

/// The row of a balance.
pub fn write_balance(balance: Balance) -> Vec<u8> {
    codec::encode(&BalanceRecord {
        reserved: balance.reserved.tokens,
        spent: balance.spent.tokens,
        reserved_cost: balance.reserved.cost.0,
        spent_cost: balance.spent.cost.0,
    })
}

/// The balance of a row, also of one that knows tokens alone. Which of the two it is, is certain: a row is read to its
/// end, and one of them has two numbers where the other has four.
pub fn read_balance(key: &str, bytes: &[u8]) -> Result<Balance, StoreError> {
    let what = || format!("balance of {key}");
    if let Ok(TokensRecord { reserved, spent }) = codec::decode::<TokensRecord>(what, bytes) {
        let only = |tokens| Amount {
            tokens,
            cost: MicroUsd::ZERO,
        };
        return Ok(Balance {
            reserved: only(reserved),
            spent: only(spent),
        });
    }
    let record: BalanceRecord = codec::decode(what, bytes)?;
    let amount = |tokens, cost| Amount {
        tokens,
        cost: MicroUsd(cost),
    };
    Ok(Balance {
        reserved: amount(record.reserved, record.reserved_cost),
        spent: amount(record.spent, record.spent_cost),
    })
}

/// The key of an account's row. Names cannot contain a slash, so the text is unambiguous.
pub fn account_key(account: &Account) -> String {
    match account {
        Account::Run(run) => format!("run/{run}"),
        Account::AgentDay(agent, day) => format!("day/{agent}/{day}"),
        Account::AgentRun(agent, run) => format!("agent-run/{agent}/{run}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_knows_tokens_alone_stays_readable() {
        let amount = |tokens, cost| Amount {
            tokens,
            cost: MicroUsd(cost),
        };
        // As the first programs with this layout wrote them: version, then two numbers.
        for (bytes, reserved, spent) in [(&[1, 0, 0][..], 0, 0), (&[1, 7, 251, 232, 3], 7, 1_000)] {
            let expected = Balance {
                reserved: amount(reserved, 0),
                spent: amount(spent, 0),
            };
            assert_eq!(read_balance("k", bytes).expect("readable"), expected);
        }
        for balance in [
            Balance::default(),
            Balance {
                reserved: amount(1, u64::MAX),
                spent: amount(70_000, 3),
            },
        ] {
            assert_eq!(read_balance("k", &write_balance(balance)).expect("readable"), balance);
        }
        assert!(read_balance("k", &[1, 7]).is_err());
        assert!(read_balance("k", &[1, 7, 7, 7]).is_err());
    }
}
