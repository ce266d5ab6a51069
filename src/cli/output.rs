//! What a command prints: lines for people on one hand, one stable JSON form for programs on the other.
//!
//! **Invariants**: with `--json` the standard output carries nothing but JSON, one document a line. What the daemon
//! sends cannot move a terminal's cursor, change its colours or reorder what is read: such characters are escaped.
//! A reader that goes away (a closed pipe) is no error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};

use serde_json::Value;

use crate::domain::text_policy::for_terminal;

/// What a text means; decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Wrong.
    Bad,
    /// To be looked at.
    Odd,
    /// Of less interest.
    Dim,
    /// A heading.
    Strong,
}

/// Where and how a command prints.
pub struct Output {
    json: bool,
    quiet: bool,
    verbosity: u8,
    color: bool,
    terminal: bool,
    is_gone: bool,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
}

impl Output {
    /// The streams of this process. Colours only on a terminal, and not when `NO_COLOR` is set to anything
    /// (<https://no-color.org>).
    pub fn of_process(json: bool, quiet: bool, verbosity: u8, color_wanted: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            json,
            quiet,
            verbosity,
            color: color_wanted && !no_color && !dumb && !json && io::stdout().is_terminal(),
            terminal: !json && !quiet && !dumb && io::stderr().is_terminal() && io::stdout().is_terminal(),
            is_gone: false,
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
        }
    }

    /// Streams of a test, without terminal and colours.
    pub fn to_streams(json: bool, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self {
            json,
            quiet: false,
            verbosity: 0,
            color: false,
            terminal: false,
            is_gone: false,
            out,
            err,
        }
    }

    /// Whether JSON is wanted.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether what is printed reaches nobody any more: the reader of a pipe has left.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Whether moving progress bars make sense.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether only results and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// How much more is wanted than usual.
    pub fn verbosity(&self) -> u8 {
        self.verbosity
    }

    /// The result of a command: JSON for programs, or the text for people.
    pub fn result(&mut self, value: &Value, text: impl FnOnce(&Self) -> String) {
        if self.json {
            self.json_line(value);
        } else {
            let text = text(self);
            self.print(&text);
        }
    }

    /// One JSON document on a line of its own; nothing without `--json`.
    pub fn json_line(&mut self, value: &Value) {
        if self.json {
            self.raw(&format!("{value}\n"));
        }
    }

    /// A text for people as part of the result; nothing with `--json`.
    pub fn print(&mut self, text: &str) {
        if !self.json {
            let end = if text.ends_with('\n') || text.is_empty() {
                ""
            } else {
                "\n"
            };
            self.raw(&format!("{text}{end}"));
        }
    }

    /// Lines that are for programs and people alike, as they are.
    pub fn raw(&mut self, text: &str) {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        // A command does its work also when nobody reads what it prints; one that only prints asks whether to go on.
        self.is_gone |= written.is_err();
    }

    /// A line that says what goes on; nothing with `--json` or `--quiet`.
    pub fn note(&mut self, text: &str) {
        if !self.json && !self.quiet {
            let _ = writeln!(self.err, "{text}");
        }
    }

    /// A warning; nothing with `--quiet`. It goes to the standard error, so it does not disturb JSON.
    pub fn warn(&mut self, text: &str) {
        if !self.quiet {
            let _ = writeln!(self.err, "warning: {}", for_terminal(text));
        }
    }

    /// An error, as text or as JSON.
    pub fn error(&mut self, text: &str, value: &Value) {
        let _ = if self.json {
            writeln!(self.err, "{value}")
        } else {
            write!(self.err, "{}", for_terminal(text))
        };
    }

    /// A text in its colour, when colours are wanted.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let sequence = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Odd => "33",
            Tone::Dim => "2",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{sequence}m{text}\u{1b}[0m")
    }

    /// A status word in its colour.
    pub fn status(&self, word: &str) -> String {
        let tone = match word {
            "succeeded" | "done" | "running" | "ready" => Tone::Good,
            "failed" => Tone::Bad,
            "unknown" | "parked" | "expired" | "retrying" | "resting" | "checking" => Tone::Odd,
            _ => Tone::Dim,
        };
        self.paint(tone, &one_line(word, 32))
    }
}

/// Columns under headings, as wide as their widest cell. The last column is not filled up.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(width_of(cell));
        }
    }
    let mut text = String::new();
    let head: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let blanks = width.saturating_sub(width_of(cell));
            let _ = write!(line, "{cell}{}  ", " ".repeat(blanks));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Characters that a cell shows: colour sequences take no room.
fn width_of(cell: &str) -> usize {
    let mut width = 0;
    let mut in_sequence = false;
    for character in cell.chars() {
        match character {
            '\u{1b}' => in_sequence = true,
            'm' if in_sequence => in_sequence = false,
            _ if in_sequence => {}
            _ => width += 1,
        }
    }
    width
}

/// A text from elsewhere on one line of at most so many bytes.
pub fn one_line(text: &str, bytes_max: usize) -> String {
    crate::domain::text::preview(text, bytes_max)
}

/// A text from elsewhere with its line ends; what could drive a terminal, reorder or hide is escaped.
pub fn harmless(text: &str) -> String {
    for_terminal(text).into_owned()
}

/// A value from elsewhere for people: a text as it is, anything else as indented JSON.
pub fn show_value(value: &Value) -> String {
    match value {
        Value::String(text) => harmless(text),
        other => harmless(&format!("{other:#}")),
    }
}

#[cfg(test)]
pub mod capture {
    //! Streams that a test reads afterwards.

    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::Output;

    /// What was printed.
    #[derive(Clone, Default)]
    pub struct Capture(Arc<Mutex<Vec<u8>>>);

    impl Capture {
        /// The text so far.
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("no writer panicked").clone()).expect("UTF-8")
        }
    }

    impl Write for Capture {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output whose two streams are kept.
    pub fn output(json: bool) -> (Output, Capture, Capture) {
        let (out, err) = (Capture::default(), Capture::default());
        let output = Output::to_streams(json, Box::new(out.clone()), Box::new(err.clone()));
        (output, out, err)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn with_json_the_standard_output_carries_json_alone() {
        let (mut output, out, err) = capture::output(true);
        output.print("text");
        output.note("note");
        output.result(&json!({ "a": 1 }), |_| "text".into());
        output.warn("careful");
        assert_eq!(out.text(), "{\"a\":1}\n");
        assert_eq!(err.text(), "warning: careful\n");
    }

    #[test]
    fn text_from_elsewhere_cannot_drive_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\n\tc\u{7}"), "a\\u{1b}[2Jb\r\n\tc\\u{7}");
        assert_eq!(harmless("user\u{202e}nimda"), "user\\u{202e}nimda");
        assert_eq!(one_line("a\u{1b}]0;x\u{7}\nb", 40), "a ]0;x  b");
        assert_eq!(show_value(&json!({ "a": [1] })), "{\n  \"a\": [\n    1\n  ]\n}");
    }

    #[test]
    fn columns_line_up_also_with_colours() {
        let rows = vec![
            vec!["\u{1b}[32mok\u{1b}[0m".into(), "x".into()],
            vec!["longer".into(), "y".into()],
        ];
        assert_eq!(
            table(&["a", "b"], &rows),
            "a       b\n\u{1b}[32mok\u{1b}[0m      x\nlonger  y\n"
        );
    }
}
