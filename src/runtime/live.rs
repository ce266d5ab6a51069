//! Pieces of answers as they arrive, for whoever watches a run. Nothing here is kept: only committed facts count.
//!
//! A writer never waits and, while nobody watches, only looks at a counter. A reader that is too slow loses the
//! oldest pieces and is told how many. Both the number of pieces and the bytes of each are bounded.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::domain::id::RunId;
use crate::domain::name::StepId;

/// Pieces that a run keeps for its slowest reader.
pub const PIECES_MAX: usize = 512;
/// Bytes of one piece; a longer one is passed on in several.
pub const PIECE_BYTES_MAX: usize = 8 * 1024;

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePiece {
    /// Which step.
    pub step: StepId,
    /// Which attempt at it.
    pub attempt: u32,
    /// Which turn of the attempt.
    pub turn: u32,
    /// What it is.
    pub kind: PieceKind,
    /// Of a text: how many bytes of it came before this piece since the turn was last asked; 0 otherwise. Who began to
    /// read in its middle knows by it.
    pub offset: u64,
    /// Its text: of the answer, the thinking, the name of a skill, or arguments as JSON that may be cut anywhere.
    pub text: Arc<str>,
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// Text of the answer.
    Text,
    /// Thinking.
    Thinking,
    /// A call begins.
    Call {
        /// Counts from 0 within the answer.
        index: u32,
    },
    /// Arguments of a call.
    Arguments {
        /// Of which.
        index: u32,
    },
    /// The turn is asked again: what was shown of it does not count.
    Restart,
}

impl PieceKind {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Thinking => "thinking",
            Self::Call { .. } => "call",
            Self::Arguments { .. } => "arguments",
            Self::Restart => "restart",
        }
    }
}

/// The pieces of all runs; a cheap clone.
#[derive(Debug, Clone, Default)]
pub struct Live(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// How many readers there are, so that a writer without any need not take the lock.
    readers: AtomicUsize,
    rings: Mutex<HashMap<RunId, broadcast::Sender<LivePiece>>>,
}

/// Reads the pieces of one run from when it began to.
#[derive(Debug)]
pub struct LiveReader {
    run: RunId,
    pieces: Option<broadcast::Receiver<LivePiece>>,
    live: Live,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The next piece.
    Piece(LivePiece),
    /// The reader was too slow: so many pieces are gone.
    Lagged(u64),
}

impl Live {
    /// Starts to read.
    pub fn read(&self, run: RunId) -> LiveReader {
        let mut rings = self.0.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = rings.entry(run).or_insert_with(|| broadcast::channel(PIECES_MAX).0);
        let pieces = ring.subscribe();
        self.0.readers.fetch_add(1, Ordering::AcqRel);
        LiveReader {
            run,
            pieces: Some(pieces),
            live: self.clone(),
        }
    }

    /// Hands a piece to those who read this run; it is not even made when nobody reads any run.
    pub fn push(&self, run: RunId, piece: impl FnOnce() -> LivePiece) {
        if self.0.readers.load(Ordering::Acquire) == 0 {
            return;
        }
        let rings = self.0.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ring) = rings.get(&run) else { return };
        let piece = piece();
        if piece.text.len() <= PIECE_BYTES_MAX {
            ring.send(piece).ok();
            return;
        }
        let mut rest = &*piece.text;
        let mut offset = piece.offset;
        while !rest.is_empty() {
            let mut end = rest.len().min(PIECE_BYTES_MAX);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (head, tail) = rest.split_at(end);
            let text = head.into();
            let part = LivePiece {
                offset,
                text,
                ..piece.clone()
            };
            ring.send(part).ok();
            if piece.kind == PieceKind::Text {
                offset += head.len() as u64;
            }
            rest = tail;
        }
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.0.readers.load(Ordering::Acquire)
    }
}

impl LiveReader {
    /// Waits for the next piece. Bound it with a deadline or another wait.
    ///
    /// **Cancel**: nothing is lost.
    pub async fn next(&mut self) -> Heard {
        let pieces = self
            .pieces
            .as_mut()
            .expect("a reader has its pieces until it is dropped");
        match pieces.recv().await {
            Ok(piece) => Heard::Piece(piece),
            Err(RecvError::Lagged(count)) => Heard::Lagged(count),
            // The sender lives as long as this reader does.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for LiveReader {
    fn drop(&mut self) {
        drop(self.pieces.take());
        self.live.0.readers.fetch_sub(1, Ordering::AcqRel);
        let mut rings = self.live.0.rings.lock().unwrap_or_else(PoisonError::into_inner);
        if rings.get(&self.run).is_some_and(|ring| ring.receiver_count() == 0) {
            rings.remove(&self.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::UtcMillis;

    fn piece(text: &str) -> LivePiece {
        LivePiece {
            step: StepId::new("s").expect("valid"),
            attempt: 1,
            turn: 1,
            kind: PieceKind::Text,
            offset: 0,
            text: text.into(),
        }
    }

    fn run(number: u64) -> RunId {
        RunId::new(UtcMillis(number), 0)
    }

    #[tokio::test]
    async fn pieces_reach_the_readers_of_their_run_and_cost_nothing_without_one() {
        let live = Live::default();
        live.push(run(1), || panic!("nobody reads"));
        let mut reader = live.read(run(1));
        live.push(run(2), || panic!("nobody reads this run"));
        live.push(run(1), || piece("a"));
        let second = live.read(run(1));
        assert_eq!(reader.next().await, Heard::Piece(piece("a")));
        drop(second);
        live.push(run(1), || piece("b"));
        assert_eq!(reader.next().await, Heard::Piece(piece("b")));
        drop(reader);
        assert_eq!(live.readers(), 0);
        assert!(live.0.rings.lock().expect("free").is_empty());
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed_and_goes_on_with_the_newest() {
        let live = Live::default();
        let mut reader = live.read(run(1));
        for number in 0..PIECES_MAX + 10 {
            live.push(run(1), || piece(&number.to_string()));
        }
        assert_eq!(reader.next().await, Heard::Lagged(10));
        assert_eq!(reader.next().await, Heard::Piece(piece("10")));
    }

    #[tokio::test]
    async fn a_long_piece_comes_in_several_cut_between_characters() {
        let live = Live::default();
        let mut reader = live.read(run(1));
        let text = "é".repeat(PIECE_BYTES_MAX) + "x";
        live.push(run(1), || piece(&text));
        let mut found = String::new();
        while found.len() < text.len() {
            let Heard::Piece(piece) = reader.next().await else {
                panic!("nothing is lost")
            };
            assert!(piece.text.len() <= PIECE_BYTES_MAX);
            found.push_str(&piece.text);
        }
        assert_eq!(found, text);
    }
}
