//! Server-sent events out of bytes as they arrive: lines are found first, text is decoded when an event is complete.
//!
//! Refuses to know: what the data says. Invariants: how the bytes were cut into chunks changes nothing of what comes
//! out; a byte is looked at a bounded number of times; one bad byte costs that byte and not the event; what is kept
//! at once is bounded by [`LINE_BYTES_MAX`], [`EVENT_BYTES_MAX`] and the last chunk.
//!
//! **Source**: the HTML standard, "Server-sent events", section on interpreting an event stream.

use memchr::memchr2;

/// Bytes of one line, without its end.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the data of one event, line ends between its lines included.
pub const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SseEvent {
    /// The last `event` field; empty when there was none, which the standard calls `message`.
    pub name: String,
    /// The `data` fields, joined by line feeds.
    pub data: String,
    /// The last `id` field of this event, if it had one.
    pub id: Option<String>,
    /// Whether bytes that are no text were replaced with U+FFFD in it.
    pub sanitized: bool,
}

/// A stream that is not read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A line goes on and on.
    #[error("a line of the event stream has more than {bytes_max} bytes")]
    LineTooLong {
        /// The bound.
        bytes_max: usize,
    },
    /// The lines of an event together are too much.
    #[error("an event of the stream has more than {bytes_max} bytes of data")]
    EventTooLong {
        /// The bound.
        bytes_max: usize,
    },
}

/// Frames a stream. Give it each chunk with [`push`](Self::push), then take events with
/// [`next`](Self::next) until there is none; call [`finish`](Self::finish) when the stream has ended.
#[derive(Debug, Default)]
pub struct SseFramer {
    /// What has arrived and is not yet part of an event; everything before `start` has been used.
    pending: Vec<u8>,
    start: usize,
    /// No line ends between `start` and here.
    searched: usize,
    /// The beginning of the stream is behind us, with or without its byte order mark.
    begun: bool,
    /// The last line ended with a carriage return: a line feed right after it belongs to that end.
    after_return: bool,
    /// Refused: nothing more comes out.
    ended: bool,
    event: Gathered,
    comments: u64,
    invalid_bytes: u64,
}

/// The fields of the event that is not complete yet.
#[derive(Debug, Default)]
struct Gathered {
    name: Vec<u8>,
    data: Vec<u8>,
    id: Option<Vec<u8>>,
    has_data: bool,
}

impl SseFramer {
    /// A framer at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream.
    ///
    /// **Limits**: nothing is kept after a refusal; otherwise at most one unfinished line beside the chunk itself,
    /// provided that [`next`](Self::next) was called until it gave nothing.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.ended {
            return;
        }
        if self.start == self.pending.len() {
            self.pending.clear();
            self.searched = 0;
            self.start = 0;
        } else if self.start > self.pending.len() / 2 {
            // More is dropped than moved, so that the moves add up to no more than what has arrived.
            self.pending.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.pending.extend_from_slice(chunk);
    }

    /// The next complete event, or nothing until more bytes arrive. An event without data is passed over, as the
    /// standard has it.
    ///
    /// **Errors**: a bound is passed; after that nothing comes any more.
    #[expect(clippy::should_implement_trait, reason = "nothing now does not mean nothing later")]
    pub fn next(&mut self) -> Option<Result<SseEvent, FrameError>> {
        if self.ended || !self.begin() {
            return None;
        }
        loop {
            if self.after_return && self.start < self.pending.len() {
                self.after_return = false;
                if self.pending[self.start] == b'\n' {
                    self.start += 1;
                    self.searched = self.start;
                }
            }
            let Some(length) = memchr2(b'\n', b'\r', &self.pending[self.searched..]) else {
                self.searched = self.pending.len();
                if self.searched - self.start > LINE_BYTES_MAX {
                    return Some(Err(self.refuse(FrameError::LineTooLong {
                        bytes_max: LINE_BYTES_MAX,
                    })));
                }
                return None;
            };
            let end = self.searched + length;
            self.after_return = self.pending[end] == b'\r';
            let taken = self.take_line(end);
            self.start = end + 1;
            self.searched = self.start;
            match taken {
                Ok(None) => {}
                Ok(Some(event)) => return Some(Ok(event)),
                Err(error) => return Some(Err(self.refuse(error))),
            }
        }
    }

    /// What is left when the stream has ended: servers leave out the blank line after the last event. The standard
    /// drops such an event; it is given here because its data says by itself whether it is whole.
    ///
    /// **Errors**: as [`next`](Self::next).
    pub fn finish(&mut self) -> Option<Result<SseEvent, FrameError>> {
        self.begun = true;
        if let Some(event) = self.next() {
            return Some(event);
        }
        if self.ended {
            return None;
        }
        let end = self.pending.len();
        let last = self.take_line(end);
        self.start = end;
        self.ended = true;
        match last {
            Ok(Some(event)) => Some(Ok(event)),
            Ok(None) => self.dispatch().map(Ok),
            Err(error) => Some(Err(self.refuse(error))),
        }
    }

    /// Comment lines so far. Servers send them to say that they live, so a watch over an idle stream counts them.
    pub fn comments(&self) -> u64 {
        self.comments
    }

    /// Bytes so far that were no text and became U+FFFD.
    pub fn invalid_bytes(&self) -> u64 {
        self.invalid_bytes
    }

    /// Passes over a byte order mark; false while it may still be one.
    fn begin(&mut self) -> bool {
        if !self.begun {
            if self.pending.starts_with(BOM) {
                self.start = BOM.len();
                self.searched = self.start;
            } else if BOM.starts_with(&self.pending) {
                return false;
            }
            self.begun = true;
        }
        true
    }

    fn refuse(&mut self, error: FrameError) -> FrameError {
        self.ended = true;
        self.pending = Vec::new();
        self.start = 0;
        self.searched = 0;
        self.event = Gathered::default();
        error
    }

    /// Uses the line from `start` to here.
    fn take_line(&mut self, end: usize) -> Result<Option<SseEvent>, FrameError> {
        let line = &self.pending[self.start..end];
        if line.len() > LINE_BYTES_MAX {
            return Err(FrameError::LineTooLong {
                bytes_max: LINE_BYTES_MAX,
            });
        }
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"" => self.comments += 1,
            b"data" => {
                let event = &mut self.event;
                if event.data.len() + usize::from(event.has_data) + value.len() > EVENT_BYTES_MAX {
                    return Err(FrameError::EventTooLong {
                        bytes_max: EVENT_BYTES_MAX,
                    });
                }
                if event.has_data {
                    event.data.push(b'\n');
                }
                event.has_data = true;
                event.data.extend_from_slice(value);
            }
            b"event" => {
                self.event.name.clear();
                self.event.name.extend_from_slice(value);
            }
            b"id" if !value.contains(&0) => self.event.id = Some(value.to_vec()),
            // `retry` speaks to browsers; anything else is for somebody else.
            _ => {}
        }
        Ok(None)
    }

    /// Makes an event of the fields, if it has data.
    fn dispatch(&mut self) -> Option<SseEvent> {
        let event = std::mem::take(&mut self.event);
        if !event.has_data {
            return None;
        }
        let before = self.invalid_bytes;
        let name = self.decode(event.name);
        let data = self.decode(event.data);
        let id = event.id.map(|id| self.decode(id));
        Some(SseEvent {
            name,
            data,
            id,
            sanitized: self.invalid_bytes > before,
        })
    }

    /// The text of bytes; each longest piece that is no text becomes one U+FFFD.
    fn decode(&mut self, bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap_or_else(|error| {
            let mut text = String::with_capacity(error.as_bytes().len());
            for chunk in error.as_bytes().utf8_chunks() {
                text.push_str(chunk.valid());
                if !chunk.invalid().is_empty() {
                    self.invalid_bytes += chunk.invalid().len() as u64;
                    text.push(char::REPLACEMENT_CHARACTER);
                }
            }
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that comes out when the bytes come in these chunks.
    fn frame<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> (Vec<SseEvent>, Option<FrameError>, u64, u64) {
        let mut framer = SseFramer::new();
        let mut events = Vec::new();
        let mut error = None;
        let mut take = |next: Option<Result<SseEvent, FrameError>>| match next {
            Some(Ok(event)) => {
                events.push(event);
                true
            }
            Some(Err(refused)) => {
                assert_eq!(error.replace(refused), None, "refused twice");
                true
            }
            None => false,
        };
        for chunk in chunks {
            framer.push(chunk);
            while take(framer.next()) {}
        }
        take(framer.finish());
        assert!(!take(framer.finish()), "the end comes once");
        (events, error, framer.comments(), framer.invalid_bytes())
    }

    fn event(name: &str, data: &str) -> SseEvent {
        SseEvent {
            name: name.to_owned(),
            data: data.to_owned(),
            ..SseEvent::default()
        }
    }

    #[test]
    fn a_stream_gives_the_events_of_the_standard() {
        let check = |stream: &[u8], expected: &[SseEvent]| {
            let shown = String::from_utf8_lossy(stream);
            assert_eq!(frame([stream]).0, expected, "{shown:?}");
            assert_eq!(frame(stream.chunks(1)).0, expected, "{shown:?} byte by byte");
        };
        check(b"", &[]);
        check(b"data: a\n\n", &[event("", "a")]);
        check(
            b"data:a\r\n\r\ndata:b\r\rdata:c\n\n",
            &[event("", "a"), event("", "b"), event("", "c")],
        );
        check(b"data: a\r\ndata:  b\ndata\rdata: \n\r\n", &[event("", "a\n b\n\n")]);
        check(b"event: ping\n\ndata: x\n\n", &[event("", "x")]);
        check(
            b"event: a\nevent: b\ndata: x\n\ndata: y\n\n",
            &[event("b", "x"), event("", "y")],
        );
        check(b"data\n\n", &[event("", "")]);
        check(b": alive\n:\n\ndata: x\n\n", &[event("", "x")]);
        check(b"Data: x\nretry: 5\nunknown\n data: y\n\n", &[]);
        check(b"\xef\xbb\xbfdata: x\n\n\xef\xbb\xbfdata: y\n\n", &[event("", "x")]);
        check(b"\xef\xbb", &[]);
        check(b"data: [DONE]", &[event("", "[DONE]")]);
        check(b"data: a\ndata: b\n", &[event("", "a\nb")]);
        check(b"data: a:b: c\n\n", &[event("", "a:b: c")]);
        let with_id = |id: &str| SseEvent {
            id: Some(id.to_owned()),
            ..event("", "x")
        };
        check(b"id: 7\ndata: x\n\nid\ndata: x\n\n", &[with_id("7"), with_id("")]);
        check(b"id: a\0b\ndata: x\n\n", &[event("", "x")]);
    }

    #[test]
    fn bytes_that_are_no_text_cost_themselves_and_are_counted() {
        let check = |data: &[u8], expected: &str, invalid: u64| {
            let stream = [b"data: ", data, b"\n\n"].concat();
            for chunks in [vec![&stream[..]], stream.chunks(1).collect()] {
                let (events, error, _, counted) = frame(chunks);
                assert_eq!((error, counted), (None, invalid), "{data:?}");
                assert_eq!(events[0].data, expected, "{data:?}");
                assert_eq!(events[0].sanitized, invalid > 0, "{data:?}");
            }
        };
        check("{\"é\":\"😀\"}".as_bytes(), "{\"é\":\"😀\"}", 0);
        check(b"{\"a\":\"x\xffy\"}", "{\"a\":\"x\u{fffd}y\"}", 1);
        check(b"\xf0\x9f\x98", "\u{fffd}", 3);
        check(b"\xed\xa0\xbd", "\u{fffd}\u{fffd}\u{fffd}", 3);
        check(b"\xc0\xaf!", "\u{fffd}\u{fffd}!", 2);
        check(b"\xe2\x82\ndata: \xac", "\u{fffd}\n\u{fffd}", 3);
        check("\u{feff}".as_bytes(), "\u{feff}", 0);
    }

    #[test]
    fn what_has_no_end_is_refused_and_nothing_comes_after_it() {
        let line = |bytes: usize| [b"data: ", &vec![b'x'; bytes - 6][..]].concat();
        let end = b"\n\n".to_vec();
        let check = |stream: Vec<u8>, events: usize, expected: Option<FrameError>| {
            for size in [stream.len(), 4096, 7] {
                let (found, error, ..) = frame(stream.chunks(size));
                assert_eq!((found.len(), error), (events, expected), "in chunks of {size}");
            }
        };
        let too_long = Some(FrameError::LineTooLong {
            bytes_max: LINE_BYTES_MAX,
        });
        let too_much = Some(FrameError::EventTooLong {
            bytes_max: EVENT_BYTES_MAX,
        });
        let small = b"data: y\n\n".to_vec();
        check([line(LINE_BYTES_MAX), end.clone(), small.clone()].concat(), 2, None);
        check(
            [small.clone(), line(LINE_BYTES_MAX + 1), end.clone(), small.clone()].concat(),
            1,
            too_long,
        );
        check([b": ".to_vec(), line(LINE_BYTES_MAX)].concat(), 0, too_long);
        let lines = |count: usize| [line(LINE_BYTES_MAX), b"\n".to_vec()].concat().repeat(count);
        check([lines(4), b"data: 12345678901234567890\n\n".to_vec()].concat(), 1, None);
        check(
            [lines(4), b"data: 123456789012345678901\n\n".to_vec()].concat(),
            0,
            too_much,
        );
        check([lines(5), end, small].concat(), 0, too_much);
    }

    #[test]
    fn comments_are_seen_as_they_come() {
        let mut framer = SseFramer::new();
        framer.push(b": one\n:two\r\n");
        assert_eq!((framer.next(), framer.comments()), (None, 2));
        framer.push(b": half");
        assert_eq!((framer.next(), framer.comments()), (None, 2));
    }

    #[test]
    fn a_carriage_return_ends_a_line_at_once() {
        let mut framer = SseFramer::new();
        framer.push(b"data: x\r\n\r");
        assert_eq!(framer.next(), Some(Ok(event("", "x"))));
        framer.push(b"\ndata: y\n\n");
        assert_eq!(framer.next(), Some(Ok(event("", "y"))));
    }

    #[test]
    fn a_chunk_of_many_events_and_a_byte_at_a_time_are_both_cheap() {
        // Work is seen in what is kept: used bytes must not pile up, nor be moved again and again.
        let mut framer = SseFramer::new();
        for _ in 0..10_000 {
            for byte in b"data: x\n\n" {
                framer.push(std::slice::from_ref(byte));
                let _ = framer.next();
            }
        }
        assert!(
            framer.pending.capacity() < 64,
            "{} bytes kept",
            framer.pending.capacity()
        );
    }

    /// Pieces of which streams are made, hostile ones among them.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let fixed: &[&[u8]] = &[
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"data: ",
            b"data:",
            b"data",
            b"event: x",
            b"id: 1",
            b": c",
            b":",
            b"\xef\xbb\xbf",
            b"\xf0\x9f",
            b"\x98\x80",
            b"\xff",
            b"\0",
            "👩‍👩‍👧".as_bytes(),
            b" ",
        ];
        prop_oneof![
            prop::sample::select(fixed.to_vec()).prop_map(<[u8]>::to_vec),
            prop::collection::vec(any::<u8>(), 0..6),
        ]
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_changes_nothing(pieces in prop::collection::vec(piece(), 0..30), cuts in prop::collection::vec(1usize..9, 1..40)) {
            let stream = pieces.concat();
            let whole = frame([&stream[..]]);
            prop_assert_eq!(&frame(stream.chunks(1)), &whole);
            let mut rest = &stream[..];
            let mut chunks = Vec::new();
            for size in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, after) = rest.split_at((*size).min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            prop_assert_eq!(&frame(chunks), &whole);
        }

        #[test]
        fn every_text_comes_through_cut_at_every_byte(text in "[^\r\n]{0,40}") {
            let stream = format!("data: {text}\r\n\r\n");
            for cut in 0..=stream.len() {
                let (head, tail) = stream.as_bytes().split_at(cut);
                let (events, error, ..) = frame([head, tail]);
                prop_assert_eq!(error, None);
                prop_assert_eq!(&events[0].data, &text);
            }
        }
    }
}
