//! Brings the store of a home to the layout of this program before anybody opens it.

use crate::runtime::clock::Clock;
use crate::storage::error::StoreError;
use crate::storage::migration::engine::{MigrationPlan, Phase, migrate};
use crate::storage::migration::error::MigrationError;
use crate::storage::migration::order::OrderError;

use super::config::Home;
use super::service::manager::{self, Starting};

fn phase(plan: Phase) -> String {
    match plan {
        Phase::Copying => "copying the store to bring it to another layout".to_owned(),
        Phase::Step(from) => format!("bringing the copy from layout {from} to the next"),
        Phase::Checking => "checking the migrated copy".to_owned(),
        Phase::Keeping | Phase::Placing | Phase::Placed => "putting the migrated copy in place".to_owned(),
    }
}

/// Migrates a store of an earlier program; does nothing with one of this program, or one that another process has
/// open: whoever opens it next is told so.
///
/// **Errors**: the store is as it was, and the earlier program works with it.
pub fn bring_up(home: &Home) -> Result<Option<MigrationPlan>, MigrationError> {
    let store = home.store_file();
    let mut asking = None;
    let done = migrate(&store, Clock::system().now(), &mut |at| {
        let line = phase(at);
        if asking.is_none() {
            // Copying a large store takes its time. Without a thread to ask with, the manager's own bound holds.
            asking = Starting::begin(&line).ok();
        }
        manager::status(&line);
        tracing::info!("{line}");
    });
    match done {
        Ok(None) | Err(MigrationError::Open(StoreError::Locked { .. })) => Ok(None),
        Err(error) => {
            manager::status(&format!(
                "the store was not migrated and is as it was: {}",
                error.code().id
            ));
            Err(error)
        }
        Ok(Some(plan)) => {
            tracing::info!(from = plan.from, to = plan.to, kept = %plan.kept_as.display(), "the store was migrated");
            Ok(Some(plan))
        }
    }
}

/// What to do about a migration that was not done.
pub fn hint(error: &MigrationError) -> Option<&'static str> {
    match error {
        MigrationError::Order(OrderError::Newer { .. }) => Some("start the newer program that wrote the store"),
        MigrationError::NoRoom { .. } => Some(
            "nothing was changed: make room, or start the earlier program; `openclaw store migrate --dry-run` says how \
             much is needed",
        ),
        _ => Some("nothing was changed: the earlier program still works with this store"),
    }
}
