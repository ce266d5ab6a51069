//! Alerts by webhook, signed so that the receiver knows who sent them and that nothing was changed.
//!
//! **Source**: Standard Webhooks, <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>:
//! `webhook-id` stays the same over all tries, the signature is HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::domain::alert::Delivery;

use super::error::SendError;

/// How secrets of the standard begin.
const PREFIX: &str = "whsec_";

/// A webhook.
#[derive(Clone)]
pub struct WebhookChannel {
    http: reqwest::Client,
    url: String,
    key: Option<hmac::Key>,
}

impl std::fmt::Debug for WebhookChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookChannel")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The key of a secret: of `whsec_…` the base-64 bytes, of any other text its own.
fn key_of(secret: &str) -> hmac::Key {
    let encoded = secret.strip_prefix(PREFIX);
    let bytes = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
    hmac::Key::new(hmac::HMAC_SHA256, &bytes.unwrap_or_else(|| secret.as_bytes().to_vec()))
}

/// The signature of a message.
fn sign(key: &hmac::Key, id: &str, timestamp: i64, body: &str) -> String {
    let signed = hmac::sign(key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(signed.as_ref()))
}

impl WebhookChannel {
    /// To this address; without a secret messages are not signed.
    pub fn new(http: reqwest::Client, url: String, secret: Option<&str>) -> Self {
        Self {
            http,
            url,
            key: secret.map(key_of),
        }
    }

    pub(super) async fn send(&self, delivery: &Delivery, now_s: i64) -> Result<(), SendError> {
        let id = delivery.id.to_string();
        let mut request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", now_s.to_string());
        if let Some(key) = &self.key {
            request = request.header("webhook-signature", sign(key, &id, now_s, &delivery.body));
        }
        let answer = request.body(delivery.body.to_string()).send().await;
        let answer = answer.map_err(|error| SendError::Refused(root(&error)))?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(SendError::Refused(format!("it answered {}", answer.status().as_u16())))
    }
}

/// The innermost cause; the address is left out, because it may hold a token.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // The example of the standard's own libraries.
        let key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signature = sign(
            &key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
