//! Log lines on their way to a collector.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::id::RunId;
use crate::domain::time::UtcMillis;

/// Lines that wait; when there are more, the oldest go.
pub const LINES_MAX: usize = 4_096;
/// Bytes of one text of a line.
const TEXT_BYTES_MAX: usize = 8_192;

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// Every step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// What happened.
    Info,
    /// Somebody should know.
    Warn,
    /// Somebody has to act.
    Error,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: UtcMillis,
    /// How important.
    pub importance: Importance,
    /// Which part says so.
    pub target: &'static str,
    /// What.
    pub message: String,
    /// With which values.
    pub fields: Vec<(&'static str, String)>,
}

impl LogLine {
    /// The run that it tells of.
    pub fn run(&self) -> Option<RunId> {
        let (_, value) = self.fields.iter().find(|(name, _)| *name == "run")?;
        value.parse().ok()
    }
}

/// The lines that wait; a cheap clone.
#[derive(Debug, Clone, Default)]
pub struct LogQueue(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<LogLine>,
    dropped: u64,
}

impl LogQueue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line; texts that are too long are cut.
    pub fn push(&self, mut line: LogLine) {
        let texts = line.fields.iter_mut().map(|(_, text)| text);
        for text in texts.chain([&mut line.message]) {
            if text.len() > TEXT_BYTES_MAX {
                let end = (0..=TEXT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
                text.truncate(end.unwrap_or(0));
            }
        }
        let mut waiting = self.lock();
        if waiting.lines.len() >= LINES_MAX {
            waiting.lines.pop_front();
            waiting.dropped += 1;
        }
        waiting.lines.push_back(line);
    }

    /// Takes so many lines, and says how many went before they could be taken.
    pub fn take(&self, limit: usize) -> (Vec<LogLine>, u64) {
        let mut waiting = self.lock();
        let count = limit.min(waiting.lines.len());
        (
            waiting.lines.drain(..count).collect(),
            std::mem::take(&mut waiting.dropped),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> LogLine {
        LogLine {
            at: UtcMillis(number as u64),
            importance: Importance::Info,
            target: "test",
            message: "é".repeat(TEXT_BYTES_MAX),
            fields: Vec::new(),
        }
    }

    #[test]
    fn the_oldest_lines_go_and_are_counted_and_a_long_one_is_cut_between_characters() {
        let queue = LogQueue::default();
        for number in 0..LINES_MAX + 3 {
            queue.push(line(number));
        }
        let (lines, dropped) = queue.take(2);
        assert_eq!(dropped, 3);
        let times: Vec<u64> = lines.iter().map(|line| line.at.0).collect();
        assert_eq!(times, [3, 4]);
        assert_eq!(lines[0].message.len(), TEXT_BYTES_MAX);
        let (rest, dropped) = queue.take(usize::MAX);
        assert_eq!((rest.len(), dropped), (LINES_MAX - 2, 0));
    }
}
