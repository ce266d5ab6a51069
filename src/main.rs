//! The `openclaw` binary: the daemon's seam for the commands, and the two small lives of the binary beside programs.

use std::process::ExitCode;

use openclaw::cli::seam::Ready;
use openclaw::cli::{CliError, DaemonSeam, KeyMade};
use openclaw::daemon::config::{Home, Loaded};
use openclaw::daemon::logging;
use openclaw::daemon::operator_key::ensure;
use openclaw::daemon::start::Daemon;
use openclaw::runtime::tls::install_provider;
use tokio::sync::oneshot;

struct InThisProcess;

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
        let failed = |error: openclaw::daemon::start::DaemonError| CliError::Daemon {
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
            })
            .ok();
        daemon.serve().await.map_err(failed)
    }
}

fn main() -> ExitCode {
    // Before anything else: these two lives of the binary must stay small and single-purpose.
    match std::env::args_os().nth(1).as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("__shim") => return openclaw::skills::process::shim_main(),
        Some("__exec") => return openclaw::skills::process::exec_main(),
        _ => {}
    }
    install_provider();
    openclaw::cli::main(std::env::args_os(), &InThisProcess)
}
