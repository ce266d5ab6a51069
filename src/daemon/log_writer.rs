//! Log lines that stay lines: what is logged may come from a file, a page or a model.
//!
//! Invariants: one event is one line; nothing in it moves the cursor, reorders or hides, except the colours that the
//! formatter itself put there (it escapes those of the values).

use std::io::{self, Write};

use crate::domain::text_policy::for_terminal;

/// A stream for formatted events, each written in one piece with its line end.
#[derive(Debug)]
pub struct LogWriter<W>(pub W);

impl<W: Write> Write for LogWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let (event, end) = text.strip_suffix('\n').map_or((&*text, ""), |event| (event, "\n"));
        let mut line = String::with_capacity(text.len());
        let mut rest = event;
        while let Some(start) = rest.find('\u{1b}') {
            append(&mut line, &rest[..start]);
            let colour = colour_bytes(&rest[start..]);
            line.push_str(if colour > 0 {
                &rest[start..start + colour]
            } else {
                "\\u{1b}"
            });
            rest = &rest[start + colour.max(1)..];
        }
        append(&mut line, rest);
        line.push_str(end);
        self.0.write_all(line.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn append(line: &mut String, text: &str) {
    let shown = for_terminal(text);
    for (index, part) in shown.split('\n').enumerate() {
        line.push_str(if index > 0 { "\\n" } else { "" });
        line.push_str(part.strip_suffix('\r').unwrap_or(part));
        line.push_str(if part.ends_with('\r') { "\\r" } else { "" });
    }
}

/// Bytes of the colour sequence here; none when it is another one.
fn colour_bytes(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\u{1b}[") else {
        return 0;
    };
    match parameters.find(|c: char| !c.is_ascii_digit() && c != ';') {
        Some(end) if parameters[end..].starts_with('m') => "\u{1b}[".len() + end + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_that_shows_what_is_in_it() {
        let check = |event: &str, expected: &str| {
            let mut out = Vec::new();
            LogWriter(&mut out).write_all(event.as_bytes()).expect("written");
            assert_eq!(String::from_utf8_lossy(&out), expected, "{event:?}");
        };
        check("2026 INFO ready 😀\n", "2026 INFO ready 😀\n");
        check("\u{1b}[32m INFO\u{1b}[0m a\n", "\u{1b}[32m INFO\u{1b}[0m a\n");
        check("a\n2026 ERROR forged\rx\n", "a\\n2026 ERROR forged\\rx\n");
        check(
            "\u{1b}[2J\u{1b}]0;t\u{7}\u{202e}\n",
            "\\u{1b}[2J\\u{1b}]0;t\\u{7}\\u{202e}\n",
        );
        check("a\r\nb\r\n", "a\\r\\nb\\r\n");
        check("end\u{1b}", "end\\u{1b}");
    }
}
