//! The offline model behind the trait of all models.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::domain::conversation::{ModelAnswer, ModelRequest, Stop, Usage};
use crate::domain::name::ModelAlias;
use crate::llm::estimate;
use crate::llm::model::{AskError, Model, ModelDescription};

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

/// The answer to a request: a pure function.
pub fn answer(request: &ModelRequest) -> ModelAnswer {
    let mut answer = ModelAnswer {
        text: "I am the offline model and work by rules.".into(),
        calls: Vec::new(),
        stop: Stop::End,
        usage: Usage::default(),
        answered_by: "offline".into(),
    };
    answer.usage = Usage {
        input: estimate::request_tokens(request),
        output: estimate::answer_tokens(&answer),
        estimated: false,
    };
    answer
}

impl Model for OfflineModel {
    fn ask(&self, request: ModelRequest, _deadline: Duration) -> BoxFuture<'static, Result<ModelAnswer, AskError>> {
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
