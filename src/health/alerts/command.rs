//! Alerts by a command of the operator's: it gets the message as JSON on its standard input.

use crate::domain::alert::Delivery;
use crate::domain::fault::in_one_line;
use crate::health::program::{self, ProgramError};

use super::error::SendError;

/// A command.
#[derive(Debug, Clone)]
pub struct CommandChannel {
    /// Program and arguments.
    pub argv: Vec<String>,
}

impl CommandChannel {
    /// **Cancel**: the command is killed with everything that it has started.
    pub(super) async fn send(&self, delivery: &Delivery) -> Result<(), SendError> {
        let id = delivery.id.to_string();
        let environment = [
            ("OPENCLAW_ALERT_ID", &*id),
            ("OPENCLAW_ALERT_SUBJECT", &*delivery.subject),
        ];
        match program::run(&self.argv, &environment, Some(&delivery.body)).await {
            Ok(ended) if ended.status.success() => Ok(()),
            Ok(ended) => Err(SendError::Refused(format!(
                "it ended with {}: {}",
                ended.status, ended.said
            ))),
            Err(error @ (ProgramError::Empty | ProgramError::Start(_))) => {
                Err(SendError::Unusable(in_one_line(&error)))
            }
            Err(error @ ProgramError::Watch(_)) => Err(SendError::Refused(in_one_line(&error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::id::AlertId;
    use crate::domain::time::UtcMillis;

    #[tokio::test]
    async fn a_message_that_was_taken_has_arrived_whatever_the_command_left_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = folder.path().join("told");
        let delivery = Delivery {
            id: AlertId::new(UtcMillis(1), 1),
            channel: "x".into(),
            subject: "a subject".into(),
            body: "{}".into(),
            made_at: UtcMillis(1),
            attempts: 0,
            next_at: UtcMillis(1),
        };
        let check = async |end: &str| {
            let script = format!(
                "(cat; echo \"|$OPENCLAW_ALERT_ID|$OPENCLAW_ALERT_SUBJECT\") > {}; sleep 300 & {end}",
                told.display()
            );
            let channel = CommandChannel {
                argv: ["sh", "-c", &script].map(str::to_owned).to_vec(),
            };
            let sent = tokio::time::timeout(Duration::from_secs(20), channel.send(&delivery)).await;
            sent.expect("its end is told at once")
        };
        assert!(matches!(check("exit 0").await, Ok(())));
        let wanted = format!("{{}}|{}|a subject\n", delivery.id);
        assert_eq!(std::fs::read_to_string(&told).expect("told"), wanted);
        let refused = check("echo no >&2; exit 3").await;
        assert!(
            matches!(&refused, Err(SendError::Refused(why)) if why.ends_with("3: no")),
            "{refused:?}"
        );
    }
}
