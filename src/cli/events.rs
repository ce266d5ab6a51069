//! The event stream of a run: read as it comes, taken up again where it broke.
//!
//! **Invariants**: no event is shown twice and none is left out (`Last-Event-ID`, and numbers that only rise); a
//! silent connection is given up and opened again; after a bounded number of vain attempts the stream ends with an
//! error.
//!
//! **Source**: WHATWG HTML, section "Server-sent events".

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Response;
use serde_json::Value;

use super::client::Client;
use super::error::CliError;

/// Largest event that is read.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How a broken stream is taken up again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Silence after which a connection counts as broken; several keepalive comments fit in.
    pub silence_ms: u64,
    /// Attempts without an event in between.
    pub attempts_max: u32,
    /// First pause; doubles.
    pub pause_ms: u64,
    /// Longest pause.
    pub pause_ms_max: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence_ms: 60_000,
            attempts_max: 10,
            pause_ms: 100,
            pause_ms_max: 3_000,
        }
    }
}

/// One event of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEvent {
    /// Place in the journal; none for what is not a committed fact.
    pub seq: Option<u64>,
    /// The kind, as `Fact::kind` says.
    pub kind: String,
    /// The data.
    pub data: Value,
}

impl RunEvent {
    /// Whether nothing follows that a reader would wait for. A parked run waits for a person.
    pub fn is_last(&self) -> bool {
        // A run that ended unknown may have been reopened; the stream says so.
        matches!(self.kind.as_str(), "run.done" | "run.parked") && self.data["reopened"] != true
    }
}

/// The events of one run.
pub struct EventStream<'client> {
    client: &'client Client,
    path: String,
    patience: Patience,
    last: Option<u64>,
    response: Option<Response>,
    frames: Frames,
    vain: u32,
    ended: bool,
}

impl<'client> EventStream<'client> {
    /// The events after `last`; none gives all of them.
    pub fn new(client: &'client Client, run: &str, last: Option<u64>, patience: Patience) -> Self {
        Self {
            client,
            path: format!("/v1/runs/{run}/events"),
            patience,
            last,
            response: None,
            frames: Frames::default(),
            vain: 0,
            ended: false,
        }
    }

    /// The next event; none after the last one.
    ///
    /// **Cancel**: nothing is lost when the future is dropped; the next call goes on.
    pub async fn next(&mut self) -> Result<Option<RunEvent>, CliError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            if let Some(frame) = self.frames.take() {
                let Some(event) = self.event(frame)? else { continue };
                self.vain = 0;
                self.ended = event.is_last();
                return Ok(Some(event));
            }
            self.fill().await?;
        }
    }

    /// Reads one more piece of the stream, over a new connection when the old one broke.
    async fn fill(&mut self) -> Result<(), CliError> {
        if self.response.is_none() {
            if self.vain > 0 {
                let factor = 1 << (self.vain - 1).min(10);
                let pause = self
                    .patience
                    .pause_ms
                    .saturating_mul(factor)
                    .min(self.patience.pause_ms_max);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            match self.client.open_stream(&self.path, self.last).await {
                Ok(response) => self.response = Some(response),
                Err(error) => return self.broken(error),
            }
        }
        let Some(response) = &mut self.response else {
            return Ok(());
        };
        let silence = Duration::from_millis(self.patience.silence_ms);
        let error = match tokio::time::timeout(silence, response.chunk()).await {
            Ok(Ok(Some(bytes))) => {
                return self
                    .frames
                    .push(&bytes)
                    .map_err(|TooLong| self.client.protocol(&self.path, "an event is too long"));
            }
            Ok(Ok(None)) => CliError::Unreachable {
                url: self.client.url().to_owned(),
                source: Some("the event stream ended before the run did".into()),
            },
            Ok(Err(error)) => self.client.unreachable(error),
            Err(_) => CliError::TimedOut {
                what: "an event or a sign of life".into(),
                ms: self.patience.silence_ms,
            },
        };
        self.broken(error)
    }

    /// Counts a vain attempt, or gives up.
    fn broken(&mut self, error: CliError) -> Result<(), CliError> {
        self.response = None;
        self.frames = Frames::default();
        self.vain += 1;
        let may_pass = match &error {
            CliError::Api { status, .. } => *status == 429 || *status >= 500,
            CliError::Unreachable { .. } | CliError::TimedOut { .. } => true,
            _ => false,
        };
        if may_pass && self.vain <= self.patience.attempts_max {
            Ok(())
        } else {
            Err(error)
        }
    }

    fn event(&mut self, frame: Frame) -> Result<Option<RunEvent>, CliError> {
        if frame.data.is_empty() {
            return Ok(None);
        }
        let data: Value = serde_json::from_str(&frame.data).map_err(|error| {
            self.client
                .protocol(&self.path, format!("an event is not JSON: {error}"))
        })?;
        let seq = frame.id.as_deref().and_then(|id| id.parse::<u64>().ok());
        if let Some(seq) = seq {
            if self.last.is_some_and(|last| seq <= last) {
                return Ok(None);
            }
            self.last = Some(seq);
        }
        Ok(Some(RunEvent {
            seq,
            kind: frame.event,
            data,
        }))
    }
}

/// One block of the stream.
#[derive(Debug, Default, PartialEq)]
struct Frame {
    id: Option<String>,
    event: String,
    data: String,
}

#[derive(Debug, PartialEq)]
struct TooLong;

/// Cuts bytes into lines and lines into blocks; bytes are decoded by whole lines, so that a character that is
/// split between two reads stays whole.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    open: Frame,
    open_bytes: usize,
    ready: VecDeque<Frame>,
}

impl Frames {
    fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.bytes.extend_from_slice(bytes);
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            self.line(&String::from_utf8_lossy(&line));
            if self.open_bytes > EVENT_BYTES_MAX {
                return Err(TooLong);
            }
        }
        if self.bytes.len() > EVENT_BYTES_MAX {
            return Err(TooLong);
        }
        Ok(())
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            let frame = std::mem::take(&mut self.open);
            self.open_bytes = 0;
            if frame != Frame::default() {
                self.ready.push_back(frame);
            }
            return;
        }
        self.open_bytes += line.len();
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.open.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.open.event),
            "data" => {
                if !self.open.data.is_empty() {
                    self.open.data.push('\n');
                }
                self.open.data.push_str(value);
            }
            // A comment has an empty field name; other fields mean nothing to this reader.
            _ => {}
        }
    }

    fn take(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": keepalive\r\n\r\nid: 1\r\nevent: run.accepted\r\ndata: {\"a\":\r\ndata: \"ü🙂\"}\r\n\r\n\
                          id:2\nevent:run.done\ndata:{}\nretry: 5\n\n";

    proptest! {
        #[test]
        fn a_stream_reads_the_same_however_it_is_cut(cuts in prop::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.push(STREAM.len());
            cuts.sort_unstable();
            let mut frames = Frames::default();
            let mut start = 0;
            for cut in cuts {
                prop_assert_eq!(frames.push(&STREAM.as_bytes()[start..cut]), Ok(()));
                start = cut;
            }
            let first = frames.take().expect("the first event");
            prop_assert_eq!(first.id.as_deref(), Some("1"));
            prop_assert_eq!(first.data.as_str(), "{\"a\":\n\"ü🙂\"}");
            let second = frames.take().expect("the second event");
            prop_assert_eq!((second.event.as_str(), second.data.as_str()), ("run.done", "{}"));
            prop_assert!(frames.take().is_none());
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut frames = Frames::default();
        let line = vec![b'x'; EVENT_BYTES_MAX + 1];
        assert_eq!(frames.push(&line), Err(TooLong));
    }
}
