//! What every model is to the rest of the program: something that is asked once and answers or says why not.
//!
//! Refuses to know: who asks, and whether to ask again.
//! Invariant: an implementation makes at most one request to its provider for one `ask`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::domain::conversation::{ModelAnswer, ModelRequest};
use crate::domain::failure::FailureClass;
use crate::domain::name::ModelAlias;

use super::wire::memo::Memo;

/// A model that can be asked.
pub trait Model: Send + Sync {
    /// Asks once. What arrives before the answer is complete goes to the listener of `asking`.
    ///
    /// **Limits**: the answer comes within the deadline of `asking` or the future ends with class `Timeout`.
    /// **Cancel**: dropping the future drops the request; what the provider already spent is not known, so a
    /// caller that drops it settles as for [`Spent::Unknown`].
    fn ask(&self, request: ModelRequest, asking: Asking) -> BoxFuture<'static, Result<ModelAnswer, AskError>>;

    /// Says what it is, for lists and logs; holds no secret.
    fn describe(&self) -> ModelDescription;
}

/// How one request is made.
#[derive(Clone)]
pub struct Asking {
    /// The time that is left for the whole answer.
    pub deadline: Duration,
    /// Who hears what arrives on the way.
    pub listener: Arc<dyn Listener>,
    /// What earlier requests of the same conversation left behind, so that a message is written as JSON once and
    /// not with every request after it. A fresh one is always right.
    pub memo: Memo,
}

impl Asking {
    /// A request that nobody listens to, with nothing remembered.
    pub fn quietly(deadline: Duration) -> Self {
        Self {
            deadline,
            listener: Arc::new(Nobody),
            memo: Memo::default(),
        }
    }
}

/// Hears what arrives while a model answers. Its methods are called on the task of the request: they return at once
/// and drop what they have no room for.
pub trait Listener: Send + Sync {
    /// A piece of the answer. What is heard here is for live display; only the complete answer counts.
    fn delta(&self, delta: Delta) {
        let _ = delta;
    }

    /// What the provider's headers say of its limits; comes at most once, before the first piece.
    fn limits(&self, limits: RateLimits) {
        let _ = limits;
    }
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Listener for Nobody {}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// More of the text.
    Text(Arc<str>),
    /// More of the thinking, as far as the provider shows it.
    Thinking(Arc<str>),
    /// A call begins.
    CallBegun {
        /// Counts from 0 within the answer.
        index: u32,
        /// The skill's name as the model wrote it.
        skill: Arc<str>,
    },
    /// More of a call's arguments, as JSON text that may be cut anywhere between characters.
    CallArguments {
        /// Which call.
        index: u32,
        /// The piece.
        json: Arc<str>,
    },
}

/// What a provider's headers say of its limits. What is not said is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Requests.
    pub requests: Option<RateWindow>,
    /// Tokens of requests and answers together, or of requests where the provider counts both apart.
    pub tokens: Option<RateWindow>,
    /// Tokens of answers, where they are counted apart.
    pub output_tokens: Option<RateWindow>,
}

/// One limit of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateWindow {
    /// How many a full window holds; 0 when it was not said.
    pub limit: u64,
    /// How many are left.
    pub remaining: u64,
    /// Milliseconds until the window is full again.
    pub reset_ms: u64,
}

/// What a model is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDescription {
    /// The configured name.
    pub alias: ModelAlias,
    /// The provider's word: `offline`, `openai`, `anthropic`.
    pub provider: &'static str,
    /// The provider's name of the model.
    pub id: Arc<str>,
    /// Where it is asked, without user or password; none for a model inside this program.
    pub endpoint: Option<Arc<str>>,
}

/// What a failed request may have cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// The provider surely did no work: the request never reached it, or it refused before it started.
    Nothing,
    /// It may have worked; the caller charges the ceiling.
    Unknown,
}

/// Why a model gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct AskError {
    /// What it means for the next attempt.
    pub class: FailureClass,
    /// In words, without secrets.
    pub reason: Arc<str>,
    /// How long the provider asks to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// What it may have cost.
    pub spent: Spent,
    /// Whether pieces of the answer had been heard before it failed.
    pub delivered: bool,
    /// What failed below, if anything did.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl AskError {
    /// An error before anything was sent, or a refusal before any work.
    pub fn unspent(class: FailureClass, reason: impl Into<Arc<str>>) -> Self {
        Self {
            class,
            reason: reason.into(),
            retry_after_ms: None,
            spent: Spent::Nothing,
            delivered: false,
            source: None,
        }
    }

    /// An error after which nobody knows what the provider did.
    pub fn unknown(class: FailureClass, reason: impl Into<Arc<str>>) -> Self {
        Self {
            spent: Spent::Unknown,
            ..Self::unspent(class, reason)
        }
    }

    /// The same with the error below it.
    #[must_use]
    pub fn because(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}
