//! What one conversation asks, message by message: each is put into canonical form once.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::conversation::ModelRequest;
use crate::domain::text::cut;
use crate::domain::traffic::RequestHash;

use super::canon::Canon;

/// Bytes of a message that a cassette shows; its hash is over all of them.
const SHOWN_BYTES_MAX: usize = 2_000;

/// One message as a cassette tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its role in one word.
    pub role: Arc<str>,
    /// The hash of its canonical text, in hexadecimal.
    pub digest: Arc<str>,
    /// The beginning of its canonical text.
    pub text: Arc<str>,
}

/// Keeps what the conversation has asked so far.
#[derive(Debug, Clone)]
pub struct Recorder {
    canon: Arc<Canon>,
    generation: u32,
    head: Value,
    told: Vec<Told>,
    /// Messages that are in notes already.
    noted: usize,
    hasher: blake3::Hasher,
}

impl Recorder {
    /// Of a conversation that has asked nothing.
    pub fn new(canon: Arc<Canon>) -> Self {
        Self {
            canon,
            generation: 0,
            head: Value::Null,
            told: Vec::new(),
            noted: 0,
            hasher: blake3::Hasher::new(),
        }
    }

    /// Names a request. `generation` changes when messages that were asked before have changed.
    pub fn ask(&mut self, request: &ModelRequest, generation: u32) -> RequestHash {
        let is_new = self.told.is_empty() || generation != self.generation || request.messages.len() < self.told.len();
        if is_new {
            *self = Self::new(self.canon.clone());
            self.generation = generation;
            self.head = self.canon.head(request);
            self.hasher.update(self.head.to_string().as_bytes());
        }
        for message in &request.messages[self.told.len()..] {
            let (role, text) = self.canon.message(message);
            let mut hasher = blake3::Hasher::new();
            hasher.update(role.as_bytes());
            hasher.update(b"\n");
            hasher.update(text.as_bytes());
            let digest = hasher.finalize();
            self.hasher.update(digest.as_bytes());
            self.told.push(Told {
                role: role.into(),
                digest: digest.to_hex()[..32].into(),
                text: cut(&text, SHOWN_BYTES_MAX).into(),
            });
        }
        *self.hasher.finalize().as_bytes()
    }

    /// What the last request asked beyond those that were noted before; taken when it is answered.
    pub fn note(&mut self) -> Arc<str> {
        let messages: Vec<Value> = self.told[self.noted..]
            .iter()
            .map(|told| json!({ "role": &*told.role, "digest": &*told.digest, "text": &*told.text }))
            .collect();
        let note = json!({ "head": self.head, "after": self.noted, "messages": messages });
        self.noted = self.told.len();
        note.to_string().into()
    }

    /// The head of the last request.
    pub fn head(&self) -> &Value {
        &self.head
    }

    /// The messages of the last request.
    pub fn told(&self) -> &[Told] {
        &self.told
    }
}
