//! What must hold for any bytes: the bodies of the fuzz targets, called by the integration tests as well.
//!
//! Each panics when a promise is broken. Those who include this file provide `domain` and `wire`.

use std::borrow::Cow;

use serde_json::Value;

use super::domain::conversation::Arguments;
use super::domain::{json, text, text_policy};
use super::wire::delta::DeltaJoiner;
use super::wire::sse::{SseEvent, SseFramer};
use super::wire::{arguments, partial, strict, surrogate};

/// One target: its name, which is also the folder of its corpus, and what it checks.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 5] = [
    ("sse_framer", sse_framer),
    ("delta_joiner", delta_joiner),
    ("argument_parser", argument_parser),
    ("surrogate_repairer", surrogate_repairer),
    ("text_policy", text_policy),
];

/// However the stream is cut, the events are those of a simple reading of the whole. The first byte is the seed of
/// the cuts.
pub fn sse_framer(data: &[u8]) {
    let (seed, stream) = data.split_first().map_or((0, data), |(seed, stream)| (*seed, stream));
    let expected = read_simply(stream);
    let whole = frame([stream]);
    assert_eq!(whole, expected, "in one piece");
    assert_eq!(frame(stream.chunks(1)), expected, "byte by byte");
    let mut rest = stream;
    let mut size = usize::from(seed);
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        size = (size * 5 + 3) % 17;
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    assert_eq!(frame(chunks), expected, "in pieces of seed {seed}");
}

/// Events, comments and bytes that were no text.
type Framed = (Vec<SseEvent>, u64, u64);

fn frame<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Framed {
    let mut framer = SseFramer::new();
    let mut events = Vec::new();
    for chunk in chunks {
        framer.push(chunk);
        while let Some(event) = framer.next() {
            events.push(event.expect("no bound is passed by so little"));
        }
    }
    events.extend(
        framer
            .finish()
            .map(|event| event.expect("no bound is passed by so little")),
    );
    assert_eq!(framer.finish(), None, "the end comes once");
    assert_eq!(framer.next(), None, "nothing comes after the end");
    (events, framer.comments(), framer.invalid_bytes())
}

/// The standard's algorithm over the whole stream, with no thought of speed.
fn read_simply(stream: &[u8]) -> Framed {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let (mut events, mut comments, mut invalid) = (Vec::new(), 0, 0);
    let mut decode = |bytes: &[u8]| -> (String, bool) {
        let bad: usize = bytes.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
        invalid += bad as u64;
        (String::from_utf8_lossy(bytes).into_owned(), bad > 0)
    };
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    let mut at = 0;
    while at < stream.len() {
        match (stream[at], stream.get(at + 1)) {
            (b'\r', Some(b'\n')) => {
                at += 1;
                lines.push(Vec::new());
            }
            (b'\r' | b'\n', _) => lines.push(Vec::new()),
            (byte, _) => lines.last_mut().expect("there is always one").push(byte),
        }
        at += 1;
    }
    // The framer gives what is left at the end as if a blank line followed.
    lines.push(Vec::new());
    let (mut name, mut data, mut id): (Vec<u8>, Vec<Vec<u8>>, Option<Vec<u8>>) = Default::default();
    for line in lines {
        if line.is_empty() {
            if !data.is_empty() {
                let (name, odd_name) = decode(&name);
                let (data, odd_data) = decode(&data.join(&b'\n'));
                let id = id.as_deref().map(&mut decode);
                events.push(SseEvent {
                    sanitized: odd_name || odd_data || id.as_ref().is_some_and(|(_, odd)| *odd),
                    name,
                    data,
                    id: id.map(|(id, _)| id),
                });
            }
            (name, data, id) = Default::default();
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let field = &line[..colon.unwrap_or(line.len())];
        let value = colon.map_or(&b""[..], |colon| &line[colon + 1..]);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"" => comments += 1,
            b"data" => data.push(value.to_vec()),
            b"event" => name = value.to_vec(),
            b"id" if !value.contains(&0) => id = Some(value.to_vec()),
            _ => {}
        }
    }
    (events, comments, invalid)
}

/// Pieces joined one by one are the text of all of them in one literal, which is what a strict parser makes of it
/// after repair. Pieces are separated by line feeds, which no JSON string holds.
pub fn delta_joiner(data: &[u8]) {
    let source = String::from_utf8_lossy(data);
    let mut taken = String::new();
    let mut joiner = DeltaJoiner::new();
    let mut joined = String::new();
    for piece in source.split('\n') {
        let literal = format!("\"{piece}\"");
        let (length, before) = (joined.len(), joiner.clone());
        match joiner.push(&literal, &mut joined) {
            Ok(()) => taken.push_str(piece),
            Err(error) => {
                assert!(error.position <= literal.len(), "{error}");
                assert_eq!(
                    (joined.len(), &joiner),
                    (length, &before),
                    "a refused piece leaves no trace"
                );
                let parsed = serde_json::from_str::<String>(&surrogate::repair(&literal));
                assert!(parsed.is_err(), "{literal} is a string");
            }
        }
        // Literals without quotes of their own are no strings either way.
        let as_value = DeltaJoiner::new().push(piece, &mut String::new()).is_ok();
        let is_string = serde_json::from_str::<String>(&surrogate::repair(piece)).is_ok();
        assert_eq!(
            as_value,
            is_string && !piece.starts_with(' ') && piece.trim() == piece,
            "{piece}"
        );
    }
    joiner.finish(&mut joined);
    let literal = format!("\"{taken}\"");
    let mut at_once = String::new();
    let mut other = DeltaJoiner::new();
    other.push(&literal, &mut at_once).expect("its pieces were strings");
    other.finish(&mut at_once);
    assert_eq!(joined, at_once, "{literal}");
    assert_eq!(joiner.replaced(), other.replaced(), "{literal}");
    let parsed: String = serde_json::from_str(&surrogate::repair(&literal)).expect("a string");
    assert_eq!(joined, parsed, "{literal}");
}

/// Arguments are an object that survives being written and read, or a reason with a short preview; the view for eyes
/// agrees with what may be executed. The first byte says whether the answer was cut.
pub fn argument_parser(data: &[u8]) {
    let (cut, source) = data
        .split_first()
        .map_or((false, data), |(first, rest)| (first & 1 == 1, rest));
    let source = String::from_utf8_lossy(source);
    let shown = partial::view(&source);
    match arguments::parse(&source, cut) {
        Arguments::Object(value) => {
            assert!(value.is_object(), "{source}");
            assert!(json::depth(&value) <= 64, "{source}");
            let canonical = json::canonical(&value);
            assert_eq!(strict::check(&canonical), Ok(()), "{canonical}");
            let again: Value = serde_json::from_str(&canonical).expect("JSON");
            assert_eq!((&again, json::canonical(&again)), (&*value, canonical), "{source}");
            if !source.trim().is_empty() {
                assert_eq!((&shown.value, shown.complete), (&*value, true), "{source}");
            }
        }
        Arguments::Malformed { reason, preview } => {
            assert!(
                !reason.is_empty() && preview.chars().count() <= 200,
                "{reason}: {preview}"
            );
            let kept = preview.strip_suffix(text::CUT_MARK).unwrap_or(&preview);
            assert!(source.starts_with(kept), "{preview}");
            let repaired = surrogate::repair(&source);
            let object = serde_json::from_str::<Value>(&repaired).is_ok_and(|value| value.is_object());
            assert!(!object || strict::check(&repaired).is_err(), "{source}: {reason}");
        }
    }
    // Every beginning can be shown; a few are enough here.
    for part in 1..4 {
        let end = text::border_before(&source, source.len() * part / 4);
        let _ = partial::view(&source[..end]);
    }
}

/// Repair touches halves of characters and nothing else, and leaves none.
pub fn surrogate_repairer(data: &[u8]) {
    let source = String::from_utf8_lossy(data);
    let repaired = surrogate::repair(&source);
    assert_eq!(surrogate::find(&repaired), None, "{source}");
    assert_eq!(
        surrogate::find(&source).is_none(),
        matches!(repaired, Cow::Borrowed(_)),
        "{source}"
    );
    assert_eq!(repaired.len(), source.len(), "an escape is as long as the other");
    let mut at = 0;
    while at < source.len() {
        if source.as_bytes()[at] == repaired.as_bytes()[at] {
            at += 1;
            continue;
        }
        // The first two bytes are equal, so the difference begins within the digits.
        let start = source[..at].rfind("\\u").expect("an escape");
        let unit = u16::from_str_radix(&source[start + 2..start + 6], 16).expect("digits");
        assert!((0xd800..=0xdfff).contains(&unit), "{source}");
        assert_eq!(&repaired[start..start + 6], "\\ufffd", "{source}");
        at = start + 6;
    }
    if serde_json::from_str::<Value>(&source).is_ok() {
        assert_eq!(repaired, source, "a text that is taken is left alone");
    }
    // As a string, what is left to refuse is not halves.
    let literal = format!("\"{}\"", source.replace(['"', '\n'], ""));
    if let Err(error) = serde_json::from_str::<String>(&surrogate::repair(&literal)) {
        assert!(!error.to_string().contains("surrogate"), "{literal}: {error}");
    }
}

/// The views of a text for prompts and terminals are stable, and show what they say they do.
pub fn text_policy(data: &[u8]) {
    let source = String::from_utf8_lossy(data);
    let (view, changes) = text_policy::for_prompt(&source);
    assert_eq!(changes == text_policy::Changes::default(), view == source, "{source:?}");
    let (again, none) = text_policy::for_prompt(&view);
    assert_eq!((&again, none), (&view, text_policy::Changes::default()), "{source:?}");
    let left_out = changes.bidi + changes.tags + changes.joiners + changes.byte_order_marks;
    assert_eq!(view.chars().count() + left_out, source.chars().count(), "{source:?}");
    let shown = text_policy::for_terminal(&source);
    assert!(
        !shown
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\t' | '\r' | '\n')),
        "{source:?}"
    );
    assert_eq!(text_policy::for_terminal(&shown), shown, "{source:?}");
    for bytes_max in [0, 10, 40] {
        let cut = text::cut(&source, bytes_max);
        assert!(
            cut == source || cut.len() <= bytes_max.max(text::CUT_MARK.len()),
            "{source:?}"
        );
        let line = text::preview(&source, bytes_max);
        assert!(!line.contains(['\n', '\r', '\u{1b}', '\u{202e}']), "{source:?}");
        assert!(line.len() <= bytes_max.max(text::CUT_MARK.len()), "{source:?}");
        let _ = text::cut_middle(&source, bytes_max);
    }
}
