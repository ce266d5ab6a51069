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

/// A model that can be asked.
pub trait Model: Send + Sync {
    /// Asks once.
    ///
    /// **Limits**: the answer comes within `deadline` or the future ends with class `Timeout`.
    /// **Cancel**: dropping the future drops the request; what the provider already spent is not known, so a
    /// caller that drops it settles as for [`Spent::Unknown`].
    fn ask(&self, request: ModelRequest, deadline: Duration) -> BoxFuture<'static, Result<ModelAnswer, AskError>>;

    /// Says what it is, for lists and logs; holds no secret.
    fn describe(&self) -> ModelDescription;
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
