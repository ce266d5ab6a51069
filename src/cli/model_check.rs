//! Asks configured models once each, as small as a question can be, and says whether they answer.
//!
//! **Invariants**: a key is never shown; no check outlasts its deadline; they are made together.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::daemon::adapters;
use crate::daemon::config::Config;
use crate::daemon::config::model::Stored;
use crate::domain::conversation::{Message, ModelRequest};
use crate::domain::fault::in_one_line;
use crate::llm::model::Asking;
use crate::llm::registry::{Models, RegistryError};

/// Longest time of one check.
const CHECK_MAX: Duration = Duration::from_secs(30);
/// Tokens of the answer: some models think before they speak.
const OUTPUT_TOKENS_MAX: u32 = 64;
/// The question.
const QUESTION: &str = "Answer with the word ok.";

/// What asking one model came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCheck {
    /// Its alias.
    pub alias: String,
    /// Its provider's word.
    pub provider: &'static str,
    /// Its name at the provider.
    pub id: String,
    /// Why it did not answer; none when it did.
    pub failure: Option<String>,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// Asks every model of a configuration.
pub async fn check_models(config: &Config) -> Result<Vec<ModelCheck>, RegistryError> {
    // The daemon alone can open its secret store.
    let stored = Stored::default();
    let models = Models::build(config.models.values().map(|model| adapters::model(model, &stored)))?;
    let checks = models.describe().into_iter().map(|description| {
        let model = models.get(&description.alias);
        let request = ModelRequest {
            model: description.alias.clone(),
            system: "You are being checked.".into(),
            messages: Arc::new(vec![Message::User(QUESTION.into())]),
            skills: Arc::new([]),
            output_schema: None,
            output_tokens_max: OUTPUT_TOKENS_MAX,
        };
        async move {
            #[expect(clippy::disallowed_methods, reason = "how long a model takes is what is asked for")]
            let began = std::time::Instant::now();
            let failure = match model {
                Ok(model) => {
                    let asked = tokio::time::timeout(CHECK_MAX, model.ask(request, Asking::quietly(CHECK_MAX))).await;
                    match asked {
                        Ok(Ok(_)) => None,
                        Ok(Err(error)) => Some(in_one_line(&error)),
                        Err(_) => Some(format!("no answer within {} s", CHECK_MAX.as_secs())),
                    }
                }
                Err(error) => Some(error.to_string()),
            };
            ModelCheck {
                alias: description.alias.to_string(),
                provider: description.provider,
                id: description.id.to_string(),
                failure,
                ms: began.elapsed().as_millis() as u64,
            }
        }
    });
    Ok(join_all(checks).await)
}
