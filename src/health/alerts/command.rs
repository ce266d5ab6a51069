//! Alerts by a command of the operator's: it gets the message as JSON on its standard input.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::domain::alert::Delivery;

use super::error::SendError;

/// Bytes of what it says that are shown.
const SAID_BYTES_MAX: usize = 300;

/// A command.
#[derive(Debug, Clone)]
pub struct CommandChannel {
    /// Program and arguments.
    pub argv: Vec<String>,
}

impl CommandChannel {
    /// **Cancel**: the command is killed.
    pub(super) async fn send(&self, delivery: &Delivery) -> Result<(), SendError> {
        let Some((program, arguments)) = self.argv.split_first() else {
            return Err(SendError::Unusable("the command is empty".into()));
        };
        let started = Command::new(program)
            .args(arguments)
            .env("OPENCLAW_ALERT_ID", delivery.id.to_string())
            .env("OPENCLAW_ALERT_SUBJECT", &*delivery.subject)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = started.map_err(|error| SendError::Unusable(format!("it did not start: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not want to read it may still do its part.
            stdin.write_all(delivery.body.as_bytes()).await.ok();
        }
        let ended = child.wait_with_output().await;
        let ended = ended.map_err(|error| SendError::Refused(error.to_string()))?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        let said = crate::domain::text::preview(said.trim(), SAID_BYTES_MAX);
        Err(SendError::Refused(format!("it ended with {}: {said}", ended.status)))
    }
}
