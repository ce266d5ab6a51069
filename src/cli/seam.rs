//! What the daemon does for a command in this process. The composition root implements it; commands know no more.

use std::future::Future;

use tokio::sync::oneshot;

use super::error::CliError;
use crate::daemon::config::{Home, Loaded};

/// Whether the operator's key had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyMade {
    /// It is new.
    New,
    /// It was there.
    Present,
}

/// A daemon that runs and answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Address of its gateway, with `http://`.
    pub gateway: String,
    /// Address of its operators' listener, with `https://`.
    pub admin: String,
}

/// The daemon, as far as a command needs it in its own process.
pub trait DaemonSeam {
    /// Makes the operator's key when there is none: its hash into the store, the key into
    /// `Home::operator_key_file` with mode 0600.
    fn make_operator_key(&self, home: &Home) -> Result<KeyMade, CliError>;

    /// Runs the daemon until it is told to stop (a signal, or `POST /admin/v1/stop`). Sends on `ready` once the gateway
    /// answers; drops it when the start fails.
    fn serve(
        &self,
        home: &Home,
        loaded: Loaded,
        ready: oneshot::Sender<Ready>,
    ) -> impl Future<Output = Result<(), CliError>>;
}
