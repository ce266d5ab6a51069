//! Certificates are made anew when two thirds of their life have passed.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::domain::fault::in_one_line;
use crate::runtime::timer::Timer;

use super::handle::Authority;

/// Between a renewal that failed and the next try.
const RETRY: Duration = Duration::from_secs(60);
/// Longest wait between two looks, so that a clock that was set is noticed.
const LOOK: Duration = Duration::from_secs(3600);

/// Says that it is time to look.
#[derive(Debug)]
pub struct RenewalDue;

/// Renews the daemon's own certificate and the operator's, for as long as the daemon runs.
pub struct Renewal(pub Authority);

fn again(myself: &ActorRef<RenewalDue>, wait: Duration) -> Timer {
    Timer::after(myself, wait.min(LOOK), || RenewalDue)
}

impl Actor for Renewal {
    type Msg = RenewalDue;
    type State = Timer;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<RenewalDue>, (): ()) -> Result<Timer, ActorProcessingErr> {
        Ok(again(&myself, self.0.until_renewal()))
    }

    async fn handle(
        &self,
        myself: ActorRef<RenewalDue>,
        RenewalDue: RenewalDue,
        timer: &mut Timer,
    ) -> Result<(), ActorProcessingErr> {
        let wait = match self.0.renew_due().await {
            Ok(()) => self.0.until_renewal(),
            Err(error) => {
                tracing::error!(error = %in_one_line(&error), "a certificate was not renewed; the old one stays");
                RETRY
            }
        };
        *timer = again(&myself, wait);
        Ok(())
    }
}
