//! Streams of responses: events as they were kept, from any number on, and those to come.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream;
use tokio::sync::watch;

use crate::domain::id::RunId;
use crate::gateway::parts::GatewayParts;
use crate::runs::handle::RunsError;

use super::scribe::Level;
use super::stream::events;

/// Events that are read at once; no more of them are held for one client.
const READ_MAX: usize = 64;

struct Replaying {
    parts: GatewayParts,
    run: RunId,
    level: watch::Receiver<Level>,
    next: u64,
    ready: VecDeque<String>,
    is_over: bool,
    keepalive: Duration,
}

/// The events after a number; all of them when there is none.
pub fn stream(parts: &GatewayParts, run: RunId, level: watch::Receiver<Level>, after: Option<u64>) -> Response {
    let replaying = Replaying {
        parts: parts.clone(),
        run,
        level,
        next: after.map_or(0, |after| after.saturating_add(1)),
        ready: VecDeque::new(),
        is_over: false,
        keepalive: parts.settings.load().keepalive,
    };
    let chunks = stream::unfold(replaying, async |mut replaying| {
        let text = replaying.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), replaying))
    });
    events(Body::from_stream(chunks))
}

impl Replaying {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            let level = *self.level.borrow_and_update();
            if self.next >= level.next {
                if level.is_end {
                    return None;
                }
                match tokio::time::timeout(self.keepalive, self.level.changed()).await {
                    Err(_) => return Some(": keepalive\n\n".to_owned()),
                    // Who writes has gone: the client comes back for the rest with the number of the last event.
                    Ok(Err(_)) => self.is_over = self.next >= self.level.borrow().next,
                    Ok(Ok(())) => {}
                }
                continue;
            }
            if let Err(error) = self.read() {
                tracing::error!(run = %self.run, %error, "the events of a response cannot be read");
                return None;
            }
        }
    }

    fn read(&mut self) -> Result<(), RunsError> {
        let before = self.next;
        for (first, shown) in self.parts.runs.shown(self.run, self.next, READ_MAX)? {
            for (number, event) in (first..).zip(shown.events) {
                if number == self.next {
                    self.next += 1;
                    self.ready.push_back(framed(&event));
                }
            }
        }
        // What should be there was deleted meanwhile.
        self.is_over = self.next == before;
        Ok(())
    }
}

/// An event whose name is its type.
fn framed(event: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(event).unwrap_or_default();
    let kind = value["type"].as_str().unwrap_or("message");
    format!("event: {kind}\ndata: {event}\n\n")
}
