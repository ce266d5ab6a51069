//! Answers from a cassette, in a model's place.
//!
//! **Invariants**: the answers of equal requests are given in the order in which they were recorded; the same turn of the
//! same attempt is always given the same one, also when it asks again after a crash; nothing is sent anywhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::domain::code;
use crate::domain::conversation::{ModelAnswer, ModelRequest};
use crate::domain::fact::Attempt;
use crate::domain::failure::FailureClass;
use crate::domain::name::ModelAlias;
use crate::domain::text::preview;
use crate::domain::traffic::{RequestHash, Traffic};
use crate::llm::model::{AskError, Asking, Delta, Model, ModelDescription};

use super::canon::Canon;
use super::format::{CassetteError, Line, read};
use super::recorder::{Recorder, Told};

/// Bytes that are shown around a difference.
const AROUND_BYTES: usize = 80;

/// A cassette that is played in one run.
#[derive(Debug)]
pub struct Player {
    lines: Vec<Line>,
    by_request: BTreeMap<RequestHash, Vec<usize>>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// How many answers of a request have been given.
    given: BTreeMap<RequestHash, usize>,
    /// Which turn got which.
    claims: BTreeMap<(Attempt, u32, RequestHash), usize>,
}

/// Says why no answer was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cassette has no answer for turn {turn} of {attempt} [{}]: {nearest}", code::CASSETTE_MISS.id)]
pub struct Miss {
    /// Who asked.
    pub attempt: Attempt,
    /// In which turn.
    pub turn: u32,
    /// What comes nearest, and where it differs.
    pub nearest: String,
}

impl Player {
    /// Reads a cassette. `answered` are the requests that the run has had answered already, in earlier lives.
    pub fn new(cassette: &str, answered: &[Traffic]) -> Result<Self, CassetteError> {
        let lines = read(cassette)?;
        let mut by_request: BTreeMap<RequestHash, Vec<usize>> = BTreeMap::new();
        for (index, line) in lines.iter().enumerate() {
            by_request.entry(line.request).or_default().push(index);
        }
        let mut taken = Taken::default();
        for traffic in answered {
            *taken.given.entry(traffic.request).or_default() += 1;
        }
        Ok(Self {
            lines,
            by_request,
            taken: Mutex::new(taken),
        })
    }

    /// The answer to the request that the recorder has just named.
    pub fn answer(
        &self,
        attempt: &Attempt,
        turn: u32,
        request: RequestHash,
        asked: &Recorder,
        canon: &Canon,
    ) -> Result<ModelAnswer, Miss> {
        let recorded: &[usize] = self.by_request.get(&request).map_or(&[], Vec::as_slice);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = (attempt.clone(), turn, request);
        let place = match taken.claims.get(&claim) {
            Some(place) => *place,
            None => taken.given.get(&request).copied().unwrap_or(0),
        };
        let Some(index) = recorded.get(place) else {
            let nearest = match recorded.len() {
                0 => self.nearest(asked),
                1 => "the same request was answered once when it was recorded and is asked again".into(),
                many => format!("the same request was answered {many} times when it was recorded and is asked again"),
            };
            return Err(Miss {
                attempt: attempt.clone(),
                turn,
                nearest,
            });
        };
        if taken.claims.insert(claim, place).is_none() {
            *taken.given.entry(request).or_default() += 1;
        }
        drop(taken);
        Ok(self.lines[*index].answer_in(canon))
    }

    /// What was recorded that comes nearest, and the first place where it differs.
    fn nearest(&self, asked: &Recorder) -> String {
        let mut told: BTreeMap<&Attempt, Vec<&Told>> = BTreeMap::new();
        let mut best: Option<((usize, bool), &Line, Option<Told>)> = None;
        for line in &self.lines {
            let conversation = told.entry(&line.attempt).or_default();
            conversation.truncate(line.after);
            conversation.extend(&line.messages);
            let same = conversation.iter().zip(asked.told());
            let equal = same.take_while(|(theirs, ours)| theirs.digest == ours.digest).count();
            let score = (equal, line.head == *asked.head());
            if best.as_ref().is_none_or(|(best, ..)| *best < score) {
                best = Some((score, line, conversation.get(equal).map(|told| (*told).clone())));
            }
        }
        let Some(((equal, _), line, theirs)) = best else {
            return "it has no answers at all".into();
        };
        let differs = difference(&line.head, asked.head())
            .unwrap_or_else(|| message_difference(equal, theirs.as_ref(), asked.told().get(equal)));
        format!("the nearest is turn {} of {}: {differs}", line.turn, line.attempt)
    }
}

/// The first part of the heads that differs.
fn difference(theirs: &Value, ours: &Value) -> Option<String> {
    let parts = [
        ("model", "the model"),
        ("system", "the system text"),
        ("skills", "the offered skills"),
        ("schema", "the schema of the answer"),
        ("output_tokens_max", "the ceiling of the answer"),
    ];
    let (member, what) = parts.into_iter().find(|(member, _)| theirs[*member] != ours[*member])?;
    Some(format!(
        "{what} differs: recorded {}, asked {}",
        theirs[member], ours[member]
    ))
}

fn message_difference(place: usize, theirs: Option<&Told>, ours: Option<&Told>) -> String {
    let number = place + 1;
    match (theirs, ours) {
        (Some(theirs), Some(ours)) => {
            let same = theirs.text.bytes().zip(ours.text.bytes()).take_while(|(a, b)| a == b);
            let mut at = same.count();
            while !theirs.text.is_char_boundary(at) || !ours.text.is_char_boundary(at) {
                at -= 1;
            }
            let around = |told: &Told| preview(&told.text[at..], AROUND_BYTES);
            format!(
                "message {number} ({}) differs from byte {at} on: recorded `{}`, asked `{}`",
                ours.role,
                around(theirs),
                around(ours)
            )
        }
        (None, Some(ours)) => format!(
            "message {number} ({}) was not asked when it was recorded: `{}`",
            ours.role,
            preview(&ours.text, AROUND_BYTES)
        ),
        _ => format!("it has more than the {place} messages that were asked"),
    }
}

/// One answer of a cassette as a model.
#[derive(Debug)]
pub struct Replayed {
    alias: ModelAlias,
    answer: Mutex<Option<Result<ModelAnswer, Miss>>>,
}

impl Replayed {
    /// A model that gives this, once.
    pub fn new(alias: ModelAlias, answer: Result<ModelAnswer, Miss>) -> Self {
        Self {
            alias,
            answer: Mutex::new(Some(answer)),
        }
    }
}

impl Model for Replayed {
    fn ask(&self, _: ModelRequest, asking: Asking) -> BoxFuture<'static, Result<ModelAnswer, AskError>> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let result = match answer {
            Some(Ok(answer)) => {
                if !answer.text.is_empty() {
                    asking.listener.delta(Delta::Text(answer.text.clone()));
                }
                Ok(answer)
            }
            // No wait and no other attempt would find it.
            Some(Err(miss)) => Err(AskError::unspent(FailureClass::Config, miss.to_string())),
            None => Err(AskError::unspent(FailureClass::Config, "the answer was given already")),
        };
        Box::pin(std::future::ready(result))
    }

    fn describe(&self) -> ModelDescription {
        ModelDescription {
            alias: self.alias.clone(),
            provider: "cassette",
            id: Arc::from("cassette"),
            endpoint: None,
        }
    }
}
