//! One request to a remote provider over HTTP. (Dialects follow.)

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::domain::conversation::{ModelAnswer, ModelRequest};
use crate::domain::failure::FailureClass;

use super::config::ModelConfig;
use super::model::{AskError, Model, ModelDescription};

/// The connections that all remote models share.
#[derive(Clone, Debug, Default)]
pub struct Connections {}

impl Connections {
    /// Makes an empty pool.
    pub fn new() -> Self {
        Self::default()
    }
}

/// A model at a provider.
#[derive(Debug)]
pub struct RemoteModel {
    config: ModelConfig,
}

impl RemoteModel {
    /// Makes it; sends nothing.
    pub fn new(config: ModelConfig, _connections: Connections) -> Self {
        Self { config }
    }
}

impl Model for RemoteModel {
    fn ask(&self, _request: ModelRequest, _deadline: Duration) -> BoxFuture<'static, Result<ModelAnswer, AskError>> {
        let error = AskError::unspent(FailureClass::Config, "remote models are not built yet");
        Box::pin(std::future::ready(Err(error)))
    }

    fn describe(&self) -> ModelDescription {
        ModelDescription {
            alias: self.config.alias.clone(),
            provider: self.config.provider.as_str(),
            id: self.config.id.clone(),
            endpoint: self.config.url().map(Into::into),
        }
    }
}
