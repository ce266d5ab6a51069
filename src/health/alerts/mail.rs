//! Alerts by e-mail. The Message-ID is the message's own, so that a mailbox shows a message that came twice once.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use crate::domain::alert::Delivery;

use super::error::SendError;
use super::message::for_people;

/// Longest wait for one answer of the mail server.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// A mail server, and who writes to whom.
#[derive(Clone)]
pub struct MailChannel {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl std::fmt::Debug for MailChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailChannel")
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

impl MailChannel {
    /// Over this server: `smtps://host` (TLS from the start), `smtp://host?tls=required` (STARTTLS), `smtp://host`
    /// (in clear, for this machine).
    ///
    /// **Errors**: an address that is none, in words.
    pub fn new(server: &str, login: Option<(String, String)>, from: &str, to: &[String]) -> Result<Self, String> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(server);
        let mut builder = builder.map_err(|error| format!("`smtp` is no mail server: {error}"))?;
        if let Some((user, password)) = login {
            builder = builder.credentials(Credentials::new(user, password));
        }
        let mailbox = |text: &str| {
            text.parse::<Mailbox>()
                .map_err(|error| format!("`{text}` is no address: {error}"))
        };
        Ok(Self {
            transport: builder.timeout(Some(ANSWER_MAX)).build(),
            from: mailbox(from)?,
            to: to.iter().map(|to| mailbox(to)).collect::<Result<_, _>>()?,
        })
    }

    pub(super) async fn send(&self, delivery: &Delivery) -> Result<(), SendError> {
        let unusable = |error: &dyn std::fmt::Display| SendError::Unusable(error.to_string());
        let domain = self.from.email.domain();
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(&*delivery.subject)
            .message_id(Some(format!("<{}@{domain}>", delivery.id)));
        for to in &self.to {
            message = message.to(to.clone());
        }
        let message = message
            .body(for_people(&delivery.body))
            .map_err(|error| unusable(&error))?;
        let sent = self.transport.send(message).await;
        sent.map(drop).map_err(|error| SendError::Refused(error.to_string()))
    }
}
