//! Which token accounts the facts of a session touch.

use crate::agents::order::SessionOrder;
use crate::agents::treasury::{Bookings, Reservation};
use crate::agents::turn::state::OpenTurn;
use crate::domain::agent::AgentDefinition;
use crate::domain::budget::{Account, BudgetChange};
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
            (Account::Run(order.run), order.run_tokens_max),
            (
                Account::AgentDay(definition.name.clone(), day),
                definition.tokens_daily_max,
            ),
        ];
        // Only counted where somebody set a limit: every account is a row that is written per turn.
        if definition.tokens_per_run_max.is_some() {
            let account = Account::AgentRun(definition.name.clone(), order.run);
            accounts.push((account, definition.tokens_per_run_max));
        }
        accounts
    };
    for fact in facts {
        match (fact, open) {
            (Fact::TurnFinished { answer, .. }, Some(open)) => {
                let change = BudgetChange::Settle {
                    reserved: open.reserved,
                    spent: answer.usage.total(),
                };
                bookings
                    .settle
                    .extend(accounts(open.day).into_iter().map(|(account, _)| (account, change)));
            }
            (Fact::TurnFailed { charged, .. }, Some(open)) => {
                let change = BudgetChange::Settle {
                    reserved: open.reserved,
                    spent: *charged,
                };
                bookings
                    .settle
                    .extend(accounts(open.day).into_iter().map(|(account, _)| (account, change)));
            }
            (Fact::TurnIntended { reserved, day, .. }, _) => {
                let accounts = accounts(*day);
                bookings.reserve = Some(Reservation {
                    accounts,
                    tokens: *reserved,
                });
            }
            _ => {}
        }
    }
    bookings
}
