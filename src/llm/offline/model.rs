//! The offline model behind the trait of all models.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::conversation::{ModelAnswer, ModelRequest};
use crate::domain::name::ModelAlias;
use crate::llm::model::{AskError, Asking, Model, ModelDescription};

use super::answer::answer;

/// The model inside this program.
#[derive(Debug)]
pub struct OfflineModel {
    alias: ModelAlias,
}

impl OfflineModel {
    /// Makes it under an alias.
    pub fn new(alias: ModelAlias) -> Self {
        Self { alias }
    }
}

impl Model for OfflineModel {
    fn ask(&self, request: ModelRequest, _asking: Asking) -> BoxFuture<'static, Result<ModelAnswer, AskError>> {
        // Bounded work on bounded input, a few milliseconds at most, so it needs no deadline of its own.
        Box::pin(async move { Ok(answer(&request)) })
    }

    fn describe(&self) -> ModelDescription {
        ModelDescription {
            alias: self.alias.clone(),
            provider: "offline",
            id: Arc::from("offline"),
            endpoint: None,
        }
    }
}
