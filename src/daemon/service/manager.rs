//! What the service manager is told. Without one (no `NOTIFY_SOCKET`) every word goes nowhere.
//!
//! Source: `sd_notify(3)`, `systemd.service(5)`.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use sd_notify::NotifyState;

/// Between two requests for more time.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// What one request asks for; two missed ones are forgiven.
const EXTEND_BY: Duration = Duration::from_secs(15);
/// The longest start for which more time is asked: a store that takes longer to open is stuck, not large.
const START_MAX: Duration = Duration::from_secs(15 * 60);

/// Tells a word, and says in the log when it could not be told: the manager acts on what it has not heard.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// Everything is up: the store, the tree, the gateway.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read again; [`ready`] ends that.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of the reload: there is no clock"),
    }
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// The orderly end has begun.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// The process makes progress.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Asks for more time while a start takes long, until it is dropped, and at most for a quarter of an hour.
#[derive(Debug)]
pub struct Starting {
    _ends_with_this: mpsc::Sender<()>,
}

impl Starting {
    /// Begins to ask. The thread ends with the value.
    pub fn begin(status_line: &str) -> io::Result<Self> {
        status(status_line);
        let (sender, ended) = mpsc::channel();
        std::thread::Builder::new().name("starting".into()).spawn(move || {
            for _ in 0..START_MAX.as_secs() / EXTEND_EVERY.as_secs() {
                let micros = u32::try_from(EXTEND_BY.as_micros()).unwrap_or(u32::MAX);
                tell(&[NotifyState::ExtendTimeoutUsec(micros)]);
                if ended.recv_timeout(EXTEND_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self {
            _ends_with_this: sender,
        })
    }
}
