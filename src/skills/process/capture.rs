//! Keeps the beginning and the end of a stream in bounded memory, whatever its length.
//!
//! Pure. Invariant: never holds more than its limit; what is kept is shown as valid text with a mark in the gap.

use std::collections::VecDeque;

use crate::domain::text;

/// A bounded picture of one output stream.
#[derive(Debug)]
pub struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_max: usize,
    tail_max: usize,
    total: u64,
}

impl Capture {
    /// Keeps at most `bytes_max` bytes, one half from the beginning and one from the end: a compiler says the
    /// cause first, a test run says it last.
    pub fn new(bytes_max: usize) -> Self {
        let head_max = bytes_max / 2;
        Self {
            head: Vec::new(),
            tail: VecDeque::new(),
            head_max,
            tail_max: bytes_max - head_max,
            total: 0,
        }
    }

    /// Takes in the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.total = self.total.saturating_add(bytes.len() as u64);
        let room = self.head_max - self.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        // Only the last bytes of a large piece can stay.
        let rest = &rest[rest.len().saturating_sub(self.tail_max)..];
        let excess = (self.tail.len() + rest.len()).saturating_sub(self.tail_max);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    /// Whether something was left out.
    pub fn truncated(&self) -> bool {
        self.total > (self.head.len() + self.tail.len()) as u64
    }

    /// The text; bytes that are no UTF-8 become U+FFFD, and a mark says how much was left out in the middle.
    pub fn text(&self) -> String {
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        if !self.truncated() {
            let whole = [self.head.as_slice(), &tail].concat();
            return String::from_utf8_lossy(&whole).into_owned();
        }
        let head = whole_at_end(&self.head);
        let cut_start = tail.iter().take(3).take_while(|byte| (**byte & 0xc0) == 0x80).count();
        let tail = whole_at_start(&tail[cut_start..]);
        let left_out = self.total - (head.len() + tail.len()) as u64;
        format!(
            "{}\n…[{left_out} bytes left out]…\n{}",
            String::from_utf8_lossy(head),
            String::from_utf8_lossy(tail)
        )
    }
}

/// The bytes without what the cut may have broken at their end: the last of what people see as characters, because
/// what followed it is not known any more. Bytes that are no text have no such borders.
fn whole_at_end(bytes: &[u8]) -> &[u8] {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return bytes,
    };
    match text.bytes().last() {
        None | Some(b'\n') => text.as_bytes(),
        Some(_) => &bytes[..text::border_before(text, text.len() - 1)],
    }
}

/// The bytes without what the cut may have broken at their start.
fn whole_at_start(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        // A line's beginning is nobody's continuation.
        Ok(text) if !text.is_empty() && !text.starts_with('\n') => {
            // What a joiner joins belongs to what is gone, and nothing here says so to the search for a border.
            let joined = text.strip_prefix('\u{200d}').unwrap_or(text);
            &bytes[text::border_after(text, text.len() - joined.len() + 1)..]
        }
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cut_shows_both_ends_and_breaks_no_character() {
        let mut capture = Capture::new(20);
        capture.push("ääääääääääääääää".as_bytes());
        let text = capture.text();
        assert!(text.starts_with("äää") && text.ends_with("äää"), "{text}");
        assert!(!text.contains('\u{fffd}'), "{text}");
        assert!(text.contains("16 bytes left out"), "{text}");
        for bytes in 60..200 {
            let mut capture = Capture::new(bytes);
            let family = "👨‍👩‍👧‍👦";
            capture.push(family.repeat(20).as_bytes());
            let text = capture.text();
            let (head, tail) = text.split_once("\n…[").expect("marked");
            let (_, tail) = tail.split_once("]…\n").expect("marked");
            assert_eq!(
                head.replace(family, "") + &tail.replace(family, ""),
                "",
                "{bytes}: {text}"
            );
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_memory_is_bounded(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
            bytes_max in 2usize..100,
        ) {
            let whole: Vec<u8> = pieces.concat();
            let mut by_pieces = Capture::new(bytes_max);
            for piece in &pieces {
                by_pieces.push(piece);
                prop_assert!(by_pieces.head.len() + by_pieces.tail.len() <= bytes_max);
            }
            let mut at_once = Capture::new(bytes_max);
            at_once.push(&whole);
            prop_assert_eq!(by_pieces.text(), at_once.text());
            prop_assert_eq!(by_pieces.total, whole.len() as u64);
            prop_assert_eq!(by_pieces.truncated(), whole.len() > bytes_max);
            if whole.len() <= bytes_max {
                prop_assert_eq!(by_pieces.text(), String::from_utf8_lossy(&whole).into_owned());
            }
        }
    }
}
