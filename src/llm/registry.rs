//! The configured models by alias, built once at start.
//!
//! Refuses to know: agents and prices. Invariants: the alias `offline` is always there and always the model inside
//! this program; a model that cannot be asked for lack of a key is there too and says so when it is asked, because
//! a missing key must not stop a start.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::fault::Fault;
use crate::domain::name::ModelAlias;

use super::cassette::redact::Redactor;
use super::client::{Connections, RemoteModel};
use super::config::{ModelConfig, Provider, Secret};
use super::model::{Model, ModelDescription};
use super::offline::OfflineModel;

/// The alias of the model inside this program.
pub const OFFLINE_ALIAS: &str = "offline";

/// Tokens of a conversation that a model is taken to hold when nobody says.
pub const CONTEXT_TOKENS_DEFAULT: u64 = 128_000;

/// Why the models cannot be built, or one of them not be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Nobody configured this alias.
    #[error("there is no model `{alias}`; known are {known}")]
    Unknown {
        /// What was asked for.
        alias: ModelAlias,
        /// The aliases that exist.
        known: String,
    },
    /// Two models of one name.
    #[error("the model alias `{alias}` is used twice")]
    Twice {
        /// Which.
        alias: ModelAlias,
    },
    /// The built-in alias for another provider.
    #[error("the model alias `offline` belongs to the built-in model; found provider `{provider}`")]
    Reserved {
        /// The other provider.
        provider: &'static str,
    },
    /// An address that no request can be sent to.
    #[error(
        "model `{alias}`: `{found}` is not an address of the form http(s)://host[:port][/path] without user or query"
    )]
    Address {
        /// Whose.
        alias: ModelAlias,
        /// The address, as far as it may be shown.
        found: String,
    },
}

impl RegistryError {
    /// What a caller has to act on.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unknown { .. } => Fault::NotFound,
            Self::Twice { .. } => Fault::Conflict,
            Self::Reserved { .. } | Self::Address { .. } => Fault::Invalid,
        }
    }
}

/// The models of this process.
#[derive(Clone)]
pub struct Models {
    by_alias: Arc<BTreeMap<ModelAlias, Arc<dyn Model>>>,
    redactor: Redactor,
    context_tokens: Arc<BTreeMap<ModelAlias, u64>>,
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.by_alias.keys()).finish()
    }
}

impl Models {
    /// Builds all of them; opens no connection.
    pub fn build(configs: impl IntoIterator<Item = ModelConfig>) -> Result<Self, RegistryError> {
        let mut by_alias: BTreeMap<ModelAlias, Arc<dyn Model>> = BTreeMap::new();
        let connections = Connections::new();
        let mut secrets: Vec<Secret> = Vec::new();
        let mut context_tokens = BTreeMap::new();
        for config in configs {
            context_tokens.extend(config.context_tokens.map(|tokens| (config.alias.clone(), tokens)));
            secrets.extend(config.api_key.clone());
            let alias = config.alias.clone();
            if alias.as_str() == OFFLINE_ALIAS && config.provider != Provider::Offline {
                return Err(RegistryError::Reserved {
                    provider: config.provider.as_str(),
                });
            }
            let model: Arc<dyn Model> = match config.provider {
                Provider::Offline => Arc::new(OfflineModel::new(alias.clone())),
                Provider::OpenAiChat | Provider::OpenAiResponses | Provider::Anthropic => {
                    check_address(&config)?;
                    Arc::new(RemoteModel::new(config, connections.clone()))
                }
            };
            if by_alias.insert(alias.clone(), model).is_some() {
                return Err(RegistryError::Twice { alias });
            }
        }
        Ok(Self {
            redactor: Redactor::new(secrets.iter().map(Secret::expose)),
            context_tokens: Arc::new(context_tokens),
            ..Self::of(by_alias)
        })
    }

    /// Takes models made elsewhere (scripted ones in tests); `offline` is added when it is not among them.
    pub fn of(mut by_alias: BTreeMap<ModelAlias, Arc<dyn Model>>) -> Self {
        let alias = ModelAlias::new(OFFLINE_ALIAS).expect("the built-in alias is a valid name");
        by_alias
            .entry(alias.clone())
            .or_insert_with(|| Arc::new(OfflineModel::new(alias)));
        Self {
            by_alias: Arc::new(by_alias),
            redactor: Redactor::default(),
            context_tokens: Arc::default(),
        }
    }

    /// Tokens of a conversation that a model holds, as configured.
    pub fn context_tokens(&self, alias: &ModelAlias) -> u64 {
        let known = self.context_tokens.get(alias).copied();
        known.unwrap_or(CONTEXT_TOKENS_DEFAULT)
    }

    /// Whether an alias is a model inside this program.
    pub fn is_offline(&self, alias: &ModelAlias) -> bool {
        let model = self.by_alias.get(alias);
        model.is_some_and(|model| model.describe().provider == Provider::Offline.as_str())
    }

    /// Takes the keys of all models, and what looks like a key, out of texts.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The model of an alias.
    pub fn get(&self, alias: &ModelAlias) -> Result<Arc<dyn Model>, RegistryError> {
        self.by_alias.get(alias).cloned().ok_or_else(|| RegistryError::Unknown {
            alias: alias.clone(),
            known: self
                .by_alias
                .keys()
                .map(ModelAlias::as_str)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// All of them, by alias.
    pub fn describe(&self) -> Vec<ModelDescription> {
        self.by_alias.values().map(|model| model.describe()).collect()
    }
}

/// The address comes from a file that a person wrote; a wrong one is better refused at start than at the first
/// request. User and password do not belong there: they would show up in lists.
fn check_address(config: &ModelConfig) -> Result<(), RegistryError> {
    let url = config.url().unwrap_or("");
    let good = reqwest::Url::parse(url).is_ok_and(|parsed| {
        matches!(parsed.scheme(), "http" | "https")
            && parsed.has_host()
            && parsed.username().is_empty()
            && parsed.password().is_none()
            && parsed.query().is_none()
            && parsed.fragment().is_none()
    });
    if good {
        return Ok(());
    }
    let shown = url.rsplit('@').next().unwrap_or("");
    Err(RegistryError::Address {
        alias: config.alias.clone(),
        found: shown.split(['?', '#']).next().unwrap_or("").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(text: &str) -> ModelAlias {
        ModelAlias::new(text).expect("valid")
    }

    #[test]
    fn the_offline_model_is_always_there() {
        let models = Models::build([]).expect("built");
        let model = models.get(&alias("offline")).expect("built in");
        assert_eq!(model.describe().provider, "offline");
        let error = models.get(&alias("claude")).err().expect("unknown");
        assert_eq!(error.to_string(), "there is no model `claude`; known are offline");
        assert_eq!(error.fault(), Fault::NotFound);
    }

    #[test]
    fn wrong_configurations_are_refused_at_start() {
        let check = |name: &str, provider: Provider, url: Option<&str>, expected: &str| {
            let mut config = ModelConfig::new(alias(name), provider, "x");
            config.base_url = url.map(Into::into);
            let error = Models::build([config]).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("offline", Provider::OpenAiChat, None, "belongs to the built-in model");
        check(
            "m",
            Provider::OpenAiChat,
            Some("ftp://x"),
            "`ftp://x` is not an address",
        );
        check("m", Provider::OpenAiChat, Some("localhost:80"), "is not an address");
        check(
            "m",
            Provider::Anthropic,
            Some("http://u:pw@h/?k=v"),
            "`h/` is not an address",
        );
        let twice = [
            ModelConfig::new(alias("m"), Provider::Offline, "x"),
            ModelConfig::new(alias("m"), Provider::Offline, "x"),
        ];
        assert_eq!(
            Models::build(twice).expect_err("refused"),
            RegistryError::Twice { alias: alias("m") }
        );
    }
}
