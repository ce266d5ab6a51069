//! Streams of answers that are not kept: a chunk for whatever is told, signs of life, and an error where it breaks off.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream;

use crate::domain::id::RunId;
use crate::gateway::error::ApiError;
use crate::gateway::parts::GatewayParts;

use super::follow::{Follower, Next};
use super::order::{self, Accepted, diverged, failure, stopping};
use super::told::Say;
use super::vendor::Vendor;
use super::{write_chat, write_messages};

/// The wait for an early end: one within it is an error with a status, and not one in the middle of a stream.
const EARLY: Duration = Duration::from_secs(2);

/// Writes what is told in a vendor's shape.
#[derive(Debug)]
pub enum Writer {
    /// Chunks of chat completions.
    Chat(write_chat::Chunks),
    /// Events of messages.
    Messages(write_messages::Events),
}

impl Writer {
    fn vendor(&self) -> Vendor {
        match self {
            Self::Chat(_) => Vendor::OpenAi,
            Self::Messages(_) => Vendor::Anthropic,
        }
    }

    fn begin(&self) -> String {
        match self {
            Self::Chat(chunks) => chunks.begin(),
            Self::Messages(events) => events.begin(),
        }
    }

    fn say(&mut self, say: &Say) -> String {
        match self {
            Self::Chat(chunks) => chunks.say(say),
            Self::Messages(events) => events.say(say),
        }
    }

    fn sign_of_life(&self) -> &'static str {
        match self {
            Self::Chat(_) => ": keepalive\n\n",
            Self::Messages(_) => "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        }
    }

    fn error(&self, error: &ApiError) -> String {
        let body = self.vendor().error_body(error);
        match self {
            Self::Chat(_) => format!("data: {body}\n\n"),
            Self::Messages(_) => format!("event: error\ndata: {body}\n\n"),
        }
    }
}

/// The head of a stream of events.
pub fn events(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that buffer would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Streaming {
    follower: Follower,
    writer: Writer,
    run: RunId,
    keepalive: Duration,
    first: Option<String>,
    has_ended: bool,
}

/// The answer of an accepted request as a stream.
pub async fn stream(parts: &GatewayParts, mut accepted: Accepted, writer: Writer) -> Result<Response, ApiError> {
    let run = accepted.run;
    // Its first words name the run.
    accepted.durable().await?;
    let waiting = accepted.waiting();
    let begun = begin(parts, accepted.follow(parts), run, writer).await;
    // What breaks off from here on its client has seen the beginning of, and does not send again by itself.
    if let Some(waiting) = waiting {
        order::answered_early(parts, waiting);
    }
    begun
}

async fn begin(parts: &GatewayParts, mut follower: Follower, run: RunId, writer: Writer) -> Result<Response, ApiError> {
    let mut streaming = match tokio::time::timeout(EARLY, follower.next()).await {
        Err(_) => Streaming::begin(follower, writer, run, parts.settings.load().keepalive),
        Ok(next) => {
            let next = next.map_err(|error| ApiError::from(error).of_run(run))?;
            if let Some(Next::Say(Say::End(ending))) = &next
                && let Some(error) = failure(run, ending)
            {
                return Err(error);
            }
            let mut streaming = Streaming::begin(follower, writer, run, parts.settings.load().keepalive);
            let text = streaming.write(next);
            streaming.first = streaming.first.map(|first| first + &text);
            streaming
        }
    };
    let first = streaming.first.take().unwrap_or_default();
    let chunks = stream::unfold((streaming, Some(first)), async |(mut streaming, first)| {
        if let Some(first) = first {
            return Some((Ok::<_, Infallible>(Bytes::from(first)), (streaming, None)));
        }
        let text = streaming.next().await?;
        Some((Ok(Bytes::from(text)), (streaming, None)))
    });
    Ok(events(Body::from_stream(chunks)))
}

impl Streaming {
    fn begin(follower: Follower, writer: Writer, run: RunId, keepalive: Duration) -> Self {
        Self {
            first: Some(writer.begin()),
            follower,
            writer,
            run,
            keepalive,
            has_ended: false,
        }
    }

    /// What goes over the wire for it.
    fn write(&mut self, next: Option<Next>) -> String {
        let broken = match next {
            None => {
                self.has_ended = true;
                return String::new();
            }
            Some(Next::Stopping) => stopping(self.run),
            Some(Next::Say(Say::Dropped)) => diverged(self.run),
            Some(Next::Say(say)) => {
                let ending = match &say {
                    Say::End(ending) => Some(ending),
                    _ => None,
                };
                let Some(error) = ending.and_then(|ending| failure(self.run, ending)) else {
                    self.has_ended = ending.is_some();
                    return self.writer.say(&say);
                };
                error
            }
        };
        self.has_ended = true;
        self.writer.error(&broken)
    }

    async fn next(&mut self) -> Option<String> {
        while !self.has_ended {
            let text = match tokio::time::timeout(self.keepalive, self.follower.next()).await {
                Err(_) => self.writer.sign_of_life().to_owned(),
                Ok(Ok(next)) => self.write(next),
                Ok(Err(error)) => {
                    self.has_ended = true;
                    tracing::error!(run = %self.run, %error, "a journal cannot be read for a stream");
                    self.writer.error(&error.into())
                }
            };
            if !text.is_empty() {
                return Some(text);
            }
        }
        None
    }
}
