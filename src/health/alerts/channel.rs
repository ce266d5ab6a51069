//! The ways to people.

use std::sync::Arc;

use crate::domain::alert::Delivery;

use super::command::CommandChannel;
use super::error::SendError;
use super::mail::MailChannel;
use super::webhook::WebhookChannel;

/// A way.
#[derive(Debug, Clone)]
pub enum Way {
    /// A webhook.
    Webhook(WebhookChannel),
    /// A command.
    Command(CommandChannel),
    /// E-mail.
    Mail(MailChannel),
}

/// A configured channel.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Its name.
    pub name: Arc<str>,
    /// How it goes.
    pub way: Way,
}

impl Channel {
    /// Sends a message once. The caller has the deadline.
    pub async fn send(&self, delivery: &Delivery, now_s: i64) -> Result<(), SendError> {
        match &self.way {
            Way::Webhook(webhook) => webhook.send(delivery, now_s).await,
            Way::Command(command) => command.send(delivery).await,
            Way::Mail(mail) => mail.send(delivery).await,
        }
    }
}
