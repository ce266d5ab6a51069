//! Which accounts the facts of a session touch.

use crate::agents::order::SessionOrder;
use crate::agents::treasury::{Bookings, Reservation};
use crate::agents::turn::state::OpenTurn;
use crate::domain::agent::AgentDefinition;
use crate::domain::budget::{Account, Amount, BudgetChange};
use crate::domain::fact::Fact;

pub(super) fn bookings(
    order: &SessionOrder,
    definition: Option<&AgentDefinition>,
    facts: &[Fact],
    open: Option<OpenTurn>,
) -> Bookings {
    let mut bookings = Bookings::default();
    let Some(definition) = definition else {
        return bookings;
    };
    let accounts = |day: u32| {
        let mut accounts = vec![
            (Account::Run(order.run), order.run_limit),
            (Account::AgentDay(definition.name.clone(), day), definition.daily_max),
        ];
        // Only counted where somebody set a limit: every account is a row that is written per turn.
        if !definition.per_run_max.is_none() {
            let account = Account::AgentRun(definition.name.clone(), order.run);
            accounts.push((account, definition.per_run_max));
        }
        accounts
    };
    let mut settle = |open: OpenTurn, spent: Amount| {
        let reserved = Amount {
            tokens: open.reserved,
            cost: open.reserved_cost,
        };
        let change = BudgetChange::Settle { reserved, spent };
        let changes = accounts(open.day).into_iter().map(|(account, _)| (account, change));
        bookings.settle.extend(changes);
    };
    for fact in facts {
        match (fact, open) {
            (Fact::TurnFinished { answer, cost, .. }, Some(open)) => {
                let tokens = answer.usage.total();
                settle(open, Amount { tokens, cost: *cost });
            }
            (Fact::TurnFailed { charged, cost, .. }, Some(open)) => {
                let tokens = *charged;
                settle(open, Amount { tokens, cost: *cost });
            }
            _ => {}
        }
    }
    let intended = facts.iter().find_map(|fact| match fact {
        Fact::TurnIntended {
            reserved,
            reserved_cost,
            day,
            ..
        } => Some((*day, *reserved, *reserved_cost)),
        _ => None,
    });
    bookings.reserve = intended.map(|(day, tokens, cost)| Reservation {
        accounts: accounts(day),
        amount: Amount { tokens, cost },
    });
    bookings
}
