//! The offline model behind the trait of all models.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::conversation::{Arguments, ModelAnswer, ModelRequest};
use crate::domain::name::ModelAlias;
use crate::domain::request_options::cut_at;
use crate::llm::model::{AskError, Asking, Delta, Listener, Model, ModelDescription};
use crate::llm::wire::pieces::pieces;

use super::answer::answer;

/// Bytes of a piece of text.
const PIECE_BYTES: usize = 256;

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
    fn ask(&self, request: ModelRequest, asking: Asking) -> BoxFuture<'static, Result<ModelAnswer, AskError>> {
        // Bounded work on bounded input, a few milliseconds at most, so it needs no deadline of its own.
        Box::pin(async move {
            let mut answer = answer(&request);
            let stop = request.options.as_ref().map(|options| options.stop.clone());
            if let Some(cut) = cut_at(&answer.text, &stop.unwrap_or_default()) {
                answer.text = cut.into();
            }
            tell(&answer, &*asking.listener);
            Ok(answer)
        })
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

/// Tells the answer in pieces, as a provider would.
fn tell(answer: &ModelAnswer, listener: &dyn Listener) {
    for piece in pieces(&answer.text, PIECE_BYTES) {
        listener.delta(Delta::Text(piece.into()));
    }
    for (index, call) in answer.calls.iter().enumerate() {
        let index = index as u32;
        listener.delta(Delta::CallBegun {
            index,
            skill: call.skill.clone(),
        });
        if let Arguments::Object(arguments) = &call.arguments {
            let json = arguments.to_string().into();
            listener.delta(Delta::CallArguments { index, json });
        }
    }
}
