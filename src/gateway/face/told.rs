//! What is told to a client of a vendor's protocol: the fold of a run's facts, and of the pieces that come before them.
//!
//! Refuses to know: any vendor's shape, and where facts and pieces come from. **Invariants**: facts alone tell the same
//! texts as facts with any pieces, only in fewer parts; what has been told is never told again, and what must not count
//! any more is said so by [`Say::Dropped`]; after [`Say::End`] nothing is told, unless the run is reopened.

use std::sync::Arc;

use serde_json::Value;

use crate::domain::conversation::{CallRequest, ModelAnswer, Stop, Usage};
use crate::domain::fact::Fact;
use crate::domain::failure::FailureClass;
use crate::domain::run::Outcome;
use crate::runtime::live::{LivePiece, PieceKind};

/// The step of a run that one agent does alone.
const ONLY_STEP: &str = "work";

/// One thing to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Say {
    /// More of a text.
    Text(Arc<str>),
    /// The text is complete; the next piece begins another one.
    EndText,
    /// The text that is open does not count: the model was asked again and answers otherwise.
    Dropped,
    /// The step is tried another time: what was told of the tries before it is no part of the answer. A stream has
    /// shown it, and leaves it.
    Anew,
    /// The client is to make these calls.
    Calls(Vec<CallRequest>),
    /// The end.
    End(Ending),
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// What became of it.
    pub how: How,
    /// Why the model stopped, where it did.
    pub stop: Stop,
    /// Tokens of all its turns.
    pub usage: Usage,
}

/// What became of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum How {
    /// There is one.
    Answered,
    /// The model refused.
    Refused(Arc<str>),
    /// Somebody cancelled it.
    Cancelled(Arc<str>),
    /// There is none.
    Failed {
        /// Why.
        class: Option<FailureClass>,
        /// In words.
        reason: Arc<str>,
    },
}

/// Folds.
#[derive(Debug, Clone)]
pub struct Teller {
    /// Texts are told when they are accepted, because a text that does not match is sent back.
    has_schema: bool,
    held: bool,
    is_compacting: bool,
    /// Attempt and turn of what is heard now, and of the last that is committed.
    place: (u32, u32),
    committed: (u32, u32),
    /// What was told of the open text.
    told: String,
    /// What was heard since the turn was last asked.
    heard: String,
    /// A piece is missing: the fact will have the whole.
    is_deaf: bool,
    last: Option<Arc<ModelAnswer>>,
    failed_as: Option<FailureClass>,
    failed_because: Option<Arc<str>>,
    usage: Usage,
    has_ended: bool,
}

impl Teller {
    /// Before the first fact. With a schema only the accepted answer is told.
    pub fn new(has_schema: bool) -> Self {
        Self {
            has_schema,
            held: false,
            is_compacting: false,
            place: (0, 0),
            committed: (0, 0),
            told: String::new(),
            heard: String::new(),
            is_deaf: false,
            last: None,
            failed_as: None,
            failed_because: None,
            usage: Usage::default(),
            has_ended: false,
        }
    }

    /// Takes up where another life left: this much of the open text was told.
    pub fn resume(&mut self, told: String) {
        self.told = told;
    }

    /// Whether the end was told.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Tokens so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Whether a model has been asked.
    pub fn has_begun(&self) -> bool {
        self.place.1 > 0
    }

    /// Takes in what arrives before it is committed.
    pub fn piece(&mut self, piece: &LivePiece, says: &mut Vec<Say>) {
        let place = (piece.attempt, piece.turn);
        let is_of_answer = piece.step.as_str() == ONLY_STEP && place > self.committed;
        if !is_of_answer || self.has_schema || self.is_compacting || self.has_ended {
            return;
        }
        match piece.kind {
            PieceKind::Restart => self.listen(place),
            PieceKind::Text => {
                if place != self.place || piece.offset == 0 {
                    self.listen(place);
                }
                if piece.offset != self.heard.len() as u64 {
                    self.is_deaf = true;
                }
                if !self.is_deaf {
                    self.heard.push_str(&piece.text);
                    self.tell_heard(false, says);
                }
            }
            PieceKind::Thinking | PieceKind::Call { .. } | PieceKind::Arguments { .. } => {}
        }
    }

    /// Pieces were missed.
    pub fn lagged(&mut self) {
        self.is_deaf = true;
    }

    fn listen(&mut self, place: (u32, u32)) {
        self.place = place;
        self.heard.clear();
        self.is_deaf = false;
    }

    /// Brings what was told to what was heard.
    fn tell_heard(&mut self, is_whole: bool, says: &mut Vec<Say>) {
        if let Some(rest) = self.heard.strip_prefix(&*self.told) {
            if !rest.is_empty() {
                says.push(Say::Text(rest.into()));
                self.told.clone_from(&self.heard);
            }
            return;
        }
        if is_whole || !self.told.starts_with(&*self.heard) {
            says.push(Say::Dropped);
            self.told.clone_from(&self.heard);
            if !self.told.is_empty() {
                says.push(Say::Text((&*self.told).into()));
            }
        }
    }

    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact, says: &mut Vec<Say>) {
        if matches!(fact, Fact::RunReopened { .. }) {
            self.reopen();
        }
        if self.has_ended {
            return;
        }
        match fact {
            Fact::CompactionBegun { .. } => self.is_compacting = true,
            Fact::HistoryCompacted { .. } => self.is_compacting = false,
            Fact::TurnIntended { attempt, turn, .. } if (attempt.number, *turn) != self.place => {
                self.listen((attempt.number, *turn));
            }
            Fact::TurnFinished {
                attempt, turn, answer, ..
            } => {
                self.count(answer.usage);
                if (1..attempt.number).contains(&self.committed.0) {
                    says.push(Say::Anew);
                }
                self.committed = (attempt.number, *turn);
                if self.is_compacting {
                    return;
                }
                self.last = Some(answer.clone());
                self.held = self.has_schema;
                if !self.has_schema {
                    self.heard = answer.text.to_string();
                    self.tell_heard(true, says);
                    if !self.told.is_empty() {
                        says.push(Say::EndText);
                    }
                    self.told.clear();
                    self.heard.clear();
                }
            }
            Fact::AnswerRejected { .. } => self.held = false,
            Fact::StepDone { output, .. } => {
                let calls = self.last.as_ref().map_or(&[][..], |answer| &answer.calls);
                if !calls.is_empty() {
                    says.push(Say::Calls(calls.to_vec()));
                } else if self.held {
                    says.extend([Say::Text(output.clone()), Say::EndText]);
                }
                self.held = false;
            }
            Fact::StepFailed { class, reason, .. } => {
                self.failed_as = Some(*class);
                self.failed_because = Some(reason.clone());
            }
            Fact::RunDone { outcome, result } => {
                let how = self.how(*outcome, result);
                self.end(how, says);
            }
            Fact::RunParked { reason } => {
                let how = How::Failed {
                    class: None,
                    reason: reason.clone(),
                };
                self.end(how, says);
            }
            _ => {}
        }
    }

    /// A run that had ended unknown goes on: its end, and what was said for it, do not count.
    fn reopen(&mut self) {
        self.has_ended = false;
        self.failed_as = None;
        self.failed_because = None;
    }

    fn how(&self, outcome: Outcome, result: &str) -> How {
        let reason = || {
            let text: Arc<str> = match serde_json::from_str(result) {
                Ok(Value::String(text)) => text.into(),
                _ => result.into(),
            };
            self.failed_because.clone().unwrap_or(text)
        };
        match outcome {
            Outcome::Succeeded => How::Answered,
            Outcome::Cancelled => How::Cancelled(reason()),
            Outcome::Failed if self.failed_as == Some(FailureClass::Refusal) => How::Refused(reason()),
            Outcome::Failed => How::Failed {
                class: self.failed_as,
                reason: reason(),
            },
            Outcome::Expired => How::Failed {
                class: Some(FailureClass::Deadline),
                reason: reason(),
            },
            Outcome::Unknown => How::Failed {
                class: Some(FailureClass::UnknownEffect),
                reason: reason(),
            },
        }
    }

    fn end(&mut self, how: How, says: &mut Vec<Say>) {
        self.has_ended = true;
        says.push(Say::End(Ending {
            how,
            stop: self.last.as_ref().map_or(Stop::End, |answer| answer.stop),
            usage: self.usage,
        }));
    }

    fn count(&mut self, usage: Usage) {
        let sum = &mut self.usage;
        sum.input = sum.input.saturating_add(usage.input);
        sum.output = sum.output.saturating_add(usage.output);
        sum.cache_read = sum.cache_read.saturating_add(usage.cache_read);
        sum.cache_write = sum.cache_write.saturating_add(usage.cache_write);
        sum.estimated |= usage.estimated;
    }
}

/// An answer as a whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Told {
    /// Its texts, one for each turn of the last attempt that said something.
    pub texts: Vec<String>,
    /// The calls that the client is to make.
    pub calls: Vec<CallRequest>,
    /// How it ended; none while it goes on.
    pub ending: Option<Ending>,
    /// Tokens so far.
    pub usage: Usage,
    /// Whether a model has been asked.
    pub has_begun: bool,
    open: String,
}

impl Told {
    /// What these facts tell.
    pub fn of<'facts>(facts: impl IntoIterator<Item = &'facts Fact>, has_schema: bool) -> Self {
        let mut teller = Teller::new(has_schema);
        let mut told = Self::default();
        let mut says = Vec::new();
        for fact in facts {
            teller.fact(fact, &mut says);
            for say in says.drain(..) {
                told.take(say);
            }
            if !teller.has_ended() {
                // The end of a run that was reopened was none.
                told.ending = None;
            }
        }
        told.by(&teller)
    }

    /// Takes in what is told next.
    pub fn take(&mut self, say: Say) {
        match say {
            Say::Text(text) => self.open.push_str(&text),
            Say::EndText => self.texts.push(std::mem::take(&mut self.open)),
            Say::Dropped => self.open.clear(),
            // A text that is open is of the new attempt.
            Say::Anew => self.texts.clear(),
            Say::Calls(calls) => self.calls = calls,
            Say::End(ending) => self.ending = Some(ending),
        }
    }

    /// With what the teller counted.
    #[must_use]
    pub fn by(mut self, teller: &Teller) -> Self {
        self.usage = teller.usage();
        self.has_begun = teller.has_begun();
        // A text that is not complete is no part of an answer.
        self.open.clear();
        self
    }
}

#[cfg(test)]
mod tests;
