//! The daemon in the process of the command: `start` and `quickstart` serve here, and the operator's key is made here.
//!
//! In the library and not in the binary on purpose: everything generic over the seam is compiled where it stands, and
//! a binary that is only a link step is built in seconds.

use tokio::sync::oneshot;

use super::error::CliError;
use super::seam::{DaemonSeam, KeyMade, Ready};
use crate::daemon::config::{Home, Loaded};
use crate::daemon::error::DaemonError;
use crate::daemon::logging;
use crate::daemon::operator_key::ensure;
use crate::daemon::start::Daemon;

/// The seam of the real program.
pub struct InThisProcess;

impl DaemonSeam for InThisProcess {
    fn make_operator_key(&self, home: &Home) -> Result<KeyMade, CliError> {
        match ensure(home) {
            Ok(true) => Ok(KeyMade::New),
            Ok(false) => Ok(KeyMade::Present),
            Err(error) => Err(CliError::Daemon {
                step: "make the operator's key",
                code: error.code(),
                hint: None,
                source: Box::new(error),
            }),
        }
    }

    async fn serve(&self, home: &Home, loaded: Loaded, ready: oneshot::Sender<Ready>) -> Result<(), CliError> {
        logging::start(&loaded.config.log);
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let failed = |error: DaemonError| CliError::Daemon {
            step: "run the daemon",
            code: error.code(),
            hint: error.hint().map(str::to_owned),
            source: Box::new(error),
        };
        let daemon = Daemon::start(home, &loaded.config).await.map_err(failed)?;
        // Whoever waited for it may have gone; the daemon serves all the same.
        ready
            .send(Ready {
                gateway: daemon.gateway.clone(),
                admin: daemon.admin.clone(),
            })
            .ok();
        daemon.serve().await.map_err(failed)
    }
}
